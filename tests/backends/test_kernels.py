"""Every kernel of both backends against the oracle, over random shapes; twins are found by name.

All follows from the declarations in `fastcnn.backends.numpy`: a new kernel needs nothing here, and a scalar definition
in `naive.py`.
"""

import collections
import contextlib
import importlib
import inspect
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastcnn import backends
from fastcnn.backends import registry
from fastcnn.backends.numba.convolution import conv, conv_transpose
from fastcnn.backends.numba.convolution.winograd import table
from fastcnn.backends.registry import DECLARED, TOLERANCE_OF_DRAWN
from fastcnn.windows import square
from tests import naive
from tests.helpers.arguments import NO_GROUPS, NO_LANES, OF_LANES, Drawn, original, wide
from tests.helpers.processes import run_python
from tests.helpers.switches import BACKENDS, conv_algorithm, on_threads, winograd

MODULES = {name: importlib.import_module(f"fastcnn.backends.{name}") for name in BACKENDS}
CONVOLUTIONS = [name for name, declaration in DECLARED.items() if declaration.tile_axes]


# Eight points and more cost digits: over some hundred draws of each up to 6.5 times `TOLERANCE_OF_DRAWN` (of F(5,4),
# for the input gradient; 5.9 of F(2,7), 3.6 of F(4,5) and F(4,7)), where F(4,3) had 2.7 and the others less.
TILES = {"F(4,7) down": 8, "F(4,7) across": 8, "F(4,5)": 8, "F(2,7)": 12, "F(5,4)": 12}


@np.errstate(invalid="ignore")
def assert_agrees(name, module, arguments, dtype, tiles=0):
    """`tiles`: Winograd's algorithm takes more additions, so its error is so many times larger than its terms say."""
    declaration, compute, oracle = DECLARED[name], getattr(module, name), getattr(naive, name)
    arrays = [argument for argument in arguments if isinstance(argument, np.ndarray)]
    before = [array.copy() for array in arrays]
    result = declaration.results(compute, arguments)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy, err_msg=f"{name} changed an argument")
    expected = declaration.results(oracle, arguments)
    terms = declaration.sizes(oracle, arguments, expected, tiles > 0)
    for got, wanted, size in zip(result, expected, terms, strict=True):
        assert got.shape == wanted.shape
        assert got.flags.c_contiguous and got.flags.writeable
        if wanted.dtype.kind in "iu":
            np.testing.assert_array_equal(got, wanted)
            continue
        assert got.dtype == dtype
        allowed = TOLERANCE_OF_DRAWN[dtype] * (tiles * size if tiles and wanted.ndim == 4 else size)
        good = (np.abs(got - wanted) <= allowed) | (got == wanted) | (np.isnan(got) & np.isnan(wanted))
        assert good.all(), f"{name}: {got[~good][:3]} for {wanted[~good][:3]}"


def small_or_large(data):
    """As small work is done, by the caller alone, or as large, on threads."""
    return on_threads() if data.draw(st.booleans(), "on threads") else contextlib.nullcontext()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", BACKENDS)
@pytest.mark.parametrize("name", backends.KERNELS)
@settings(max_examples=60)
@given(data=st.data())
def test_kernel_agrees_with_the_oracle(name, module, dtype, data):
    arguments = DECLARED[name].draw(Drawn(data, dtype, NO_LANES if module == "numpy" else NO_GROUPS))
    with small_or_large(data):
        by_tiles = module == "numba" and name in CONVOLUTIONS and algorithm_of(name, arguments) == "winograd"
        assert_agrees(name, MODULES[module], arguments, dtype, 4 * by_tiles)


def algorithm_of(name, arguments):
    """Which algorithm computes a convolution."""
    module = conv_transpose if "transpose" in name else conv
    return getattr(module, f"find_{name.removeprefix('conv_').removeprefix('transpose_')}")(*arguments)[0]


# Transposed convolutions are planned as the gradients that they are: what differs is the way to the plan.
BY_ALGORITHM = [
    (name, algorithm)
    for name in CONVOLUTIONS
    for algorithm in (["F(4,4)/2", "direct"] if "transpose" in name else [*table.ROWS, "lanes", "direct", "im2col"])
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "algorithm"), BY_ALGORITHM)
def test_convolution_by_every_algorithm(name, dtype, algorithm):
    """And that it is this one which computes, groups, dilation and padding of all kinds included."""
    row, taken = table.ROWS.get(algorithm), collections.Counter()
    ranges = wide(row.ksize, row.stride) | NO_LANES if row else OF_LANES if algorithm == "lanes" else wide()

    @settings(max_examples=40 if row is None or (row.axis == table.BOTH and row.r == 3) else 20)  # the same code
    @given(data=st.data())
    def run(data):
        with winograd(algorithm) if row else conv_algorithm(algorithm), small_or_large(data):
            arguments = DECLARED[name].draw(Drawn(data, dtype, ranges))
            if algorithm_of(name, arguments) == ("winograd" if row else algorithm):
                taken.update(["any", *traits(dict(zip(DECLARED[name].parameters, arguments, strict=True)))])
            assert_agrees(name, MODULES["numba"], arguments, dtype, TILES.get(algorithm, 4) if row else 0)

    run()
    wanted = {"any", "groups", "both axes differ"} | ({"dilation"} if row is None or row.stride == 1 else set())
    assert wanted <= taken.keys() and taken["any"] >= 10, taken


def traits(given):
    """What is special about the convolution of these arguments, by name."""
    window, groups = given["window"], given.get("groups")
    if groups is None:
        images = given.get("image_shape") or given.get("x", given.get("eta")).shape
        groups = images[3] // given["weights"].shape[2]
    has = {
        "groups": groups > 1,
        "dilation": window.dilation != (1, 1),
        "both axes differ": any(down != across for down, across in window),
    }
    return [trait for trait, is_there in has.items() if is_there]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", BACKENDS)
@pytest.mark.parametrize("name", backends.UPDATES)
@settings(max_examples=40)
@given(data=st.data())
def test_update_agrees_with_the_oracle(name, module, dtype, data):
    """In place; of numbers of order 1, a few of which are added. The gradient stays as it was."""
    declaration = DECLARED[name]
    arguments = declaration.draw(Drawn(data, dtype))
    exact = tuple(a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments)
    before, wanted = arguments[1].copy(), declaration.results(getattr(naive, name), exact)
    with small_or_large(data):
        assert getattr(MODULES[module], name)(*arguments) is None
    np.testing.assert_array_equal(arguments[1], before)
    for got, right in zip(declaration.changed(arguments), wanted, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, right, rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("module", BACKENDS)
def test_batches_of_bytes(module, rng):
    images = rng.integers(0, 256, (5, 6, 7, 3), np.uint8)
    arguments = np.array([4, 0, 4]), np.array([-1, 0, 2]), np.array([1, 0, -3]), np.array([True, False, True]), 5, 6
    got = MODULES[module].gather_images(images, *arguments)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, naive.gather_images(images, *arguments))


@pytest.mark.parametrize("name", DECLARED)
def test_twins_have_one_signature(name):
    signatures = [str(inspect.signature(getattr(module, name), eval_str=True)) for module in MODULES.values()]
    assert signatures[0] == signatures[1]
    assert list(inspect.signature(getattr(naive, name)).parameters) == DECLARED[name].parameters


def test_every_public_kernel_is_listed():
    assert {*backends.KERNELS, *backends.UPDATES} == set(DECLARED)
    for module in MODULES.values():
        public = {name for name, value in vars(module).items() if inspect.isfunction(value)}
        assert public == set(DECLARED) == set(module.__all__)


@pytest.mark.parametrize("name", DECLARED)
def test_the_definition_says_what_each_parameter_is(name):
    _, text = inspect.getdoc(DECLARED[name].define).split("\nParameters\n----------\n")
    parameters, *returns = text.split("\nReturns\n-------\n")
    described = [
        part for line in re.findall(r"^(\w.*?)(?: : .*)?$", parameters, re.MULTILINE) for part in line.split(", ")
    ]
    assert described == DECLARED[name].parameters
    assert len(returns) == (not DECLARED[name].changes)


def test_the_interface_is_printed():
    done = run_python("-m", "fastcnn.backends")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2 * len(DECLARED)
    assert "conv_forward(x, weights, bias, window, rectify=False)" in lines
    assert lines[lines.index("sgd_update(parameter, gradient, rate, keep)") + 1].endswith("Changes parameter in place.")


@pytest.fixture
def declared(monkeypatch):
    """Declarations may be added in the test."""
    monkeypatch.setattr(registry, "DECLARED", dict(DECLARED))
    return registry.DECLARED


def test_a_kernel_without_a_twin_or_with_two_is_an_error(declared):
    with pytest.raises(ImportError, match=r"two kernels relu_forward: .*numba.*activation, .*numpy.activation"):
        registry.find_twins("here", ["fastcnn.backends.numba.pointwise", "fastcnn.backends.numpy"])
    declared["relu_sideways"] = DECLARED["relu_forward"]
    with pytest.raises(ImportError, match=r"here lacks the kernel relu_sideways \(fastcnn.backends.numpy.activation\)"):
        registry.find_twins("here", ["fastcnn.backends.numpy"])


def test_a_kernel_is_declared_once(declared):
    def relu_forward(x):
        """Another one."""

    with pytest.raises(ImportError, match=r"relu_forward is declared twice: fastcnn.backends.numpy.activation, tests"):
        registry.declare(lambda source: ())(relu_forward)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", BACKENDS)
@given(m=st.integers(0, 20), n=st.integers(1, 40), k=st.integers(1, 36), seed=st.integers(0, 1000))
@example(m=7, n=1, k=3, seed=0)  # a tile of 16 columns reaches over 15 rows of one column
@example(m=400, n=17, k=5, seed=0)  # three tasks of rows
@example(m=3, n=5, k=2000, seed=0)  # a sum that is cut into pieces, each of several panels
@example(m=200, n=33, k=600, seed=0)  # several panels in both directions
@settings(max_examples=40)
def test_products_of_every_tail(module, dtype, m, n, k, seed):
    """Every remainder of the tile: rows, columns and depth; the oracle here is a product in long double."""
    rng = np.random.default_rng(seed)
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n), (n,)))
    eta = rng.standard_normal((m, n)).astype(dtype)
    kernels = MODULES[module]
    dw, db = kernels.dense_weight_gradient(x, eta)
    extended = np.vstack([w, b])  # a bias is one more input that is always 1
    checks = (
        (kernels.dense_forward(x, w, b), np.hstack([x, np.ones((m, 1))]), extended),
        (kernels.dense_input_gradient(eta, w), eta, w.T),
        (dw, x.T, eta),
        (db, np.ones(m), eta),
    )
    for got, left, right in checks:
        left, right = left.astype(np.longdouble), right.astype(np.longdouble)
        assert (np.abs(got - left @ right) <= 4 * np.finfo(dtype).eps * (np.abs(left) @ np.abs(right))).all()


def test_what_no_layer_asks_for(rng):
    """Pixels without a window, and windows wider than the image."""
    numpy_, numba_ = MODULES["numpy"], MODULES["numba"]
    weights, eta = rng.standard_normal((1, 1, 3, 2)), rng.standard_normal((2, 6, 7, 2))
    for window, image in ((square(1, 1, 1, 1), (2, 4, 5, 3)), (square(1), (2, 6, 7, 3))):
        expected = numpy_.conv_input_gradient(eta, weights, image, window)
        np.testing.assert_allclose(numba_.conv_input_gradient(eta, weights, image, window), expected, atol=1e-14)
    x = rng.standard_normal((1, 5, 1, 3))
    for ksize in (2, 3):
        for expected, got in zip(
            numpy_.max_pool_forward(x, square(ksize), (5, 1)),
            numba_.max_pool_forward(x, square(ksize), (5, 1)),
            strict=True,
        ):
            np.testing.assert_array_equal(got, expected)
        expected = numpy_.avg_pool_forward(x, square(ksize), (5, 1))
        np.testing.assert_allclose(numba_.avg_pool_forward(x, square(ksize), (5, 1)), expected)


@pytest.mark.parametrize("module", BACKENDS)
def test_empty_batches(module):
    kernels = MODULES[module]
    x = np.zeros((0, 6, 5, 3), np.float32)
    for groups, outputs in ((1, 4), (3, 6)):
        weights, bias = np.ones((3, 3, 3 // groups, outputs), np.float32), np.ones(3, np.float32)
        out = kernels.conv_forward(x, weights, np.ones(outputs, np.float32), square(3))
        assert out.shape == (0, 4, 3, outputs)
        assert kernels.conv_input_gradient(out, weights, x.shape, square(3)).shape == x.shape
        assert kernels.conv_transpose_forward(out, weights, bias, x.shape, square(3)).shape == x.shape
        dw, db = kernels.conv_weight_gradient(x, out, square(3), groups)
        assert not dw.any() and not db.any() and dw.shape == weights.shape and db.shape == (outputs,)
    assert not kernels.sum_rows(x[:, 0, 0]).any()
    pooled, index = kernels.max_pool_forward(x, *original(x.shape, 2, 2))
    assert kernels.max_pool_backward(pooled, index, x.shape, square(2, 2)).shape == x.shape
    assert kernels.softmax_forward(x[:, 0, 0]).shape == (0, 3)
    assert [part.shape for part in kernels.softmax_loss(x[:, 0, 0], np.zeros(0, np.int64))] == [(0, 3), (0,)]


@pytest.mark.parametrize("module", BACKENDS)
def test_batches_larger_than_one_group_of_columns(module, rng):
    """The numba backend works through a large batch in groups; the whole must not show it."""
    x = rng.standard_normal((40, 30, 30, 8)).astype(np.float32)
    weights, bias = rng.standard_normal((5, 5, 8, 3)).astype(np.float32), np.ones(3, np.float32)
    kernels = MODULES[module]
    out = kernels.conv_forward(x, weights, bias, square(5, 1, 2, 2))
    one = [kernels.conv_forward(x[i : i + 1], weights, bias, square(5, 1, 2, 2)) for i in range(40)]
    np.testing.assert_allclose(out, np.concatenate(one), rtol=1e-4, atol=1e-4)
    dw, db = kernels.conv_weight_gradient(x, out, square(5, 1, 2, 2))
    parts_of_it = [kernels.conv_weight_gradient(x[i : i + 1], out[i : i + 1], square(5, 1, 2, 2)) for i in range(40)]
    np.testing.assert_allclose(dw, sum(p[0].astype(np.float64) for p in parts_of_it), rtol=1e-3, atol=0.2)
    np.testing.assert_allclose(db, sum(p[1].astype(np.float64) for p in parts_of_it), rtol=1e-3, atol=0.2)
