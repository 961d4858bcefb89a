"""Every kernel of both backends against the oracle, over random shapes; twins are found by name.

A new kernel needs its name in `fastcnn.backends.KERNELS`, a twin in each backend, a scalar definition in `naive.py`,
and below a function that draws its arguments.
"""

import contextlib
import importlib
import inspect
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastcnn.backends import KERNELS, UPDATES, pool_index_dtype
from fastcnn.backends.numba.core import cache
from fastcnn.backends.numba.core.width import VECTOR_BYTES
from fastcnn.backends.numba.product import gemm
from tests import naive
from tests.helpers.processes import ROOT, run_python
from tests.helpers.switches import BACKENDS, conv_algorithm, on_threads, tile_side

MODULES = {name: importlib.import_module(f"fastcnn.backends.{name}") for name in BACKENDS}
TOLERANCE = {"float32": 2e-6, "float64": 4e-15}  # relative to the sum of absolute terms: sums of up to some 300 terms

FENCED = ROOT / "tests/helpers/fenced.py"
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])


class Case:
    """Random arguments from hypothesis: small numbers for shapes, one seed for the values."""

    def __init__(self, data, dtype):
        self.data, self.dtype = data, dtype
        self.rng = np.random.default_rng(self.integer(0, 2**20))

    def integer(self, low, high):
        return self.data.draw(st.integers(low, high))

    def boolean(self):
        return self.data.draw(st.booleans())

    def array(self, *shape):
        return self.rng.standard_normal(shape).astype(self.dtype)

    def image(self):
        return (self.integer(1, 4), self.integer(1, 9), self.integer(1, 9), self.integer(1, 17))

    def convolution(self):
        """(image shape, OH, OW, ksize, stride, padding), padded as 'VALID' or 'SAME'."""
        shape = self.image()
        same = self.boolean()
        ksize = self.integer(1, 5) if same else self.integer(1, min(5, *shape[1:3]))
        stride = self.integer(1, 4)
        padding = ((ksize - 1) // 2, ksize // 2) if same else (0, 0)
        oh, ow = (naive.output_size(size, ksize, stride, padding) for size in shape[1:3])
        return shape, oh, ow, ksize, stride, padding

    def pooling(self):
        """(image shape, ksize, stride): windows apart, side by side and overlapping, clipped or not."""
        shape = self.image()
        return shape, self.integer(1, min(4, *shape[1:3])), self.integer(1, min(4, *shape[1:3]))

    def pooled_values(self, shape):
        """Values with many ties, and now and then with NaN and infinities."""
        values = self.rng.integers(-2, 3, shape).astype(self.dtype)
        if self.boolean():
            values = np.where(self.rng.random(shape) < 0.1, self.rng.choice(SPECIAL, shape), values)
        return values.astype(self.dtype)


class WideCase(Case):
    """Images up to 20 wide, up to 35 channels, and 3x3 kernels with this `stride` where `ksize` is 3."""

    def __init__(self, data, dtype, ksize, stride):
        super().__init__(data, dtype)
        self.ksize, self.stride = ksize, stride

    def image(self):
        low = self.ksize or 1
        return self.integer(1, 5), self.integer(low, 7), self.integer(low, 20), self.integer(1, 35)

    def convolution(self):
        if self.ksize is None:
            return super().convolution()
        shape, padding = self.image(), (1, 1) if self.boolean() else (0, 0)
        sizes = (naive.output_size(size, 3, self.stride, padding) for size in shape[1:3])
        return shape, *sizes, 3, self.stride, padding


def im2col(case):
    shape, _, _, ksize, stride, padding = case.convolution()
    return case.array(*shape), ksize, stride, padding


def col2im(case):
    shape, oh, ow, ksize, stride, padding = case.convolution()
    return case.array(shape[0] * oh * ow, ksize * ksize * shape[3]), shape, ksize, stride, padding


def conv_forward(case):
    shape, _, _, ksize, stride, padding = case.convolution()
    outputs, rectify = case.integer(1, 20), case.boolean()
    weights = case.array(ksize, ksize, shape[3], outputs)
    return case.array(*shape), weights, case.array(outputs), stride, padding, rectify


def conv_input_gradient(case):
    shape, oh, ow, ksize, stride, padding = case.convolution()
    outputs = case.integer(1, 20)
    return (
        case.array(shape[0], oh, ow, outputs),
        case.array(ksize, ksize, shape[3], outputs),
        shape,
        stride,
        padding,
        case.pooled_values(shape) if case.boolean() else None,
    )


def conv_weight_gradient(case):
    shape, oh, ow, ksize, stride, padding = case.convolution()
    eta = case.array(shape[0], oh, ow, case.integer(1, 20))
    return case.array(*shape), eta, ksize, stride, padding, case.boolean()


def dense_forward(case):
    batch, inputs, outputs = case.integer(1, 9), case.integer(1, 40), case.integer(1, 35)
    return case.array(batch, inputs), case.array(inputs, outputs), case.array(outputs)


def dense_input_gradient(case):
    batch, inputs, outputs = case.integer(1, 9), case.integer(1, 40), case.integer(1, 35)
    return case.array(batch, outputs), case.array(inputs, outputs)


def dense_weight_gradient(case):
    batch, inputs, outputs = case.integer(1, 9), case.integer(1, 40), case.integer(1, 35)
    return case.array(batch, inputs), case.array(batch, outputs)


def max_pool_forward(case):
    shape, ksize, stride = case.pooling()
    return case.pooled_values(shape), ksize, stride, case.boolean()


def max_pool_backward(case):
    shape, ksize, stride = case.pooling()
    index = naive.max_pool_forward(case.pooled_values(shape), ksize, stride, case.boolean())[1]
    return case.array(*index.shape), index.astype(pool_index_dtype(ksize)), shape, ksize, stride


def avg_pool_forward(case):
    shape, ksize, stride = case.pooling()
    return case.array(*shape), ksize, stride


def avg_pool_backward(case):
    shape, ksize, stride = case.pooling()
    return case.array(shape[0], shape[1] // stride, shape[2] // stride, shape[3]), shape, ksize, stride


def relu_forward(case):
    return (case.pooled_values((case.integer(1, 50),)),)


def relu_backward(case):
    x = case.pooled_values((case.integer(1, 50),))
    return x, case.array(*x.shape)


def leaky_relu_forward(case):
    return case.pooled_values((case.integer(1, 50),)), 0.25


def leaky_relu_backward(case):
    return *relu_backward(case), 0.25


def softmax_forward(case):
    logits = 10 * case.array(case.integer(1, 9), case.integer(1, 12))
    return (np.where(case.rng.random(logits.shape) < 0.05, case.rng.choice(SPECIAL), logits).astype(case.dtype),)


def softmax_loss(case):
    (logits,) = softmax_forward(case)
    return logits, case.rng.integers(0, logits.shape[1], len(logits))


def gather_images(case):
    shape, count = case.image(), case.integer(1, 5)
    size = [case.integer(1, 11), case.integer(1, 11)]
    places = [case.rng.integers(-12, 13, count) for _ in range(2)]
    flip = case.rng.random(count) < 0.5
    return case.array(*shape), case.rng.integers(0, shape[0], count), *places, flip, *size


def add(case):
    shape = case.image()
    return case.array(*shape), case.array(*shape)


def activated(case):
    """Values of a line, and now and then NaN, infinities, and numbers whose exponential is 0."""
    x = 4 * case.array(case.integer(1, 80))
    special = case.rng.choice([*SPECIAL, 1e4, -1e4], x.shape)
    return np.where(case.rng.random(x.shape) < 0.1, special, x).astype(case.dtype) if case.boolean() else x


def sigmoid_forward(case):
    return (activated(case),)


def sigmoid_backward(case):
    y = case.rng.random(case.integer(1, 50)).astype(case.dtype)
    return y, case.array(*y.shape)


def tanh_forward(case):
    return (activated(case),)


def tanh_backward(case):
    return sigmoid_backward(case)


def elu_forward(case):
    return activated(case), 0.75


def elu_backward(case):
    x = activated(case)
    return x, case.array(*x.shape), 0.75


def prelu_forward(case):
    shape = case.image()
    return case.pooled_values(shape), case.array(shape[-1])


def prelu_backward(case):
    x, alpha = prelu_forward(case)
    return x, case.array(*x.shape), alpha


def global_avg_pool_forward(case):
    return (case.array(*case.image()),)


def global_avg_pool_backward(case):
    shape = case.image()
    return case.array(shape[0], shape[3]), shape


def pad(case):
    return case.array(*case.image()), (case.integer(0, 3), case.integer(0, 3))


def unpad(case):
    image, padding = pad(case)
    return case.array(*naive.pad(image, padding).shape), padding


def rows(case):
    """(N, C), some columns far from 0."""
    shape = case.integer(1, 120), case.integer(1, 40)
    return (case.array(*shape) + 100 * case.rng.integers(0, 2, shape[1])).astype(case.dtype)


def batch_statistics(case):
    return (rows(case),)


def batch_norm_forward(case):
    x = rows(case)
    mean, var = (part.astype(case.dtype) for part in naive.batch_statistics(x))
    return x, mean, var, case.array(x.shape[1]), case.array(x.shape[1]), 1e-3


def batch_norm_parameter_gradient(case):
    x, mean, var, *_ = batch_norm_forward(case)
    return x, case.array(*x.shape), mean, var, 1e-3


def batch_norm_input_gradient(case):
    x, mean, var, gain, dbias, epsilon = batch_norm_forward(case)
    return x, case.array(*x.shape), mean, var, gain, case.array(x.shape[1]), dbias, epsilon


def dropout(case):
    seed = int(case.rng.integers(2**64, dtype=np.uint64))
    return case.array(*case.image()), case.integer(1, 8) / 8, seed, case.integer(0, 2**40)


def exponential_terms(logits, expected):
    """The error of an exponential, relative to itself, is that of its exponent."""
    size = 1 + np.abs(logits).max(axis=1, keepdims=True)
    return [part * size if part.ndim == 2 else size[:, 0] for part in expected]


def statistics_terms(arguments, expected):
    """Of a mean: the values; of a variance: itself, and what the rounded mean adds."""
    (x,) = arguments
    size = np.square(x.astype(float)).mean(axis=0)
    return [np.abs(x.astype(float)).mean(axis=0), expected[1] + np.finfo(x.dtype).eps * size]


def difference_terms(name):
    """What is subtracted adds to the terms: the mean, and gradients that go through the statistics."""
    function = getattr(naive, name)
    names = list(inspect.signature(function).parameters)

    def terms(arguments, expected):
        absolute = [np.abs(argument) for argument in arguments]
        return parts(
            function(*(-a if n in ("mean", "dgain", "dbias") else a for n, a in zip(names, absolute, strict=True)))
        )

    return terms


def prelu_terms(arguments, expected):
    """x keeps its sign, which chooses."""
    x, eta, alpha = arguments
    return [np.abs(part) for part in naive.prelu_backward(x, np.abs(eta), np.abs(alpha))]


TERMS = {
    "softmax_forward": lambda arguments, expected: exponential_terms(arguments[0], expected),
    "softmax_loss": lambda arguments, expected: exponential_terms(arguments[0], expected),
    "batch_statistics": statistics_terms,
    "prelu_backward": prelu_terms,
    "batch_norm_forward": difference_terms("batch_norm_forward"),
    "batch_norm_parameter_gradient": difference_terms("batch_norm_parameter_gradient"),
    "batch_norm_input_gradient": difference_terms("batch_norm_input_gradient"),
}


def parts(result):
    return result if isinstance(result, tuple) else (result,)


@np.errstate(invalid="ignore")
def assert_agrees(name, module, arguments, dtype, tiles=False):
    """`tiles`: Winograd's algorithm also adds what cancels out again: the error is that of the largest terms that one
    pair of channels has anywhere in an image or kernel, and some more of it, as it takes more additions."""
    before = [np.copy(argument) for argument in arguments]
    result = parts(getattr(module, name)(*arguments))
    for argument, copy in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(argument, copy, err_msg=f"{name} changed an argument")
    expected = parts(getattr(naive, name)(*arguments))
    absolute = [np.abs(a) if isinstance(a, np.ndarray) and a.dtype == dtype else a for a in arguments]
    terms = TERMS[name](arguments, expected) if name in TERMS else parts(getattr(naive, name)(*absolute))
    assert len(result) == len(expected)
    for got, wanted, size in zip(result, expected, terms, strict=True):
        assert got.shape == wanted.shape
        assert got.flags.c_contiguous and got.flags.writeable
        if wanted.dtype.kind == "i":
            np.testing.assert_array_equal(got, wanted)
            continue
        assert got.dtype == dtype
        if tiles and size.ndim == 4:
            size = 4 * size.max(axis=(0, 1) if name == "conv_weight_gradient" else (1, 2), keepdims=True)
        close = np.abs(got - wanted) <= TOLERANCE[dtype] * size
        same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
        assert (close | same).all(), f"{name}: {got[~(close | same)][:3]} for {wanted[~(close | same)][:3]}"


def small_or_large(data):
    """As small work is done, or as large: kernels are compiled without threads and with them."""
    return on_threads() if data.draw(st.booleans(), "on threads") else contextlib.nullcontext()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", BACKENDS)
@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=60)
@given(data=st.data())
def test_kernel_agrees_with_the_oracle(name, module, dtype, data):
    arguments = globals()[name](Case(data, dtype))
    with small_or_large(data):
        assert_agrees(name, MODULES[module], arguments, dtype)


CONVOLUTIONS = ("conv_forward", "conv_input_gradient", "conv_weight_gradient")


@pytest.mark.parametrize(
    ("algorithm", "side", "stride"),
    [("winograd", 2, 1), ("winograd", 4, 1), ("winograd", 4, 2), ("direct", 0, 0), ("im2col", 0, 0)],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
@settings(max_examples=40)
@given(data=st.data())
def test_convolution_by_every_algorithm(name, dtype, algorithm, side, stride, data):
    with conv_algorithm(algorithm), tile_side(side), small_or_large(data):
        case = WideCase(data, dtype, 3 if algorithm == "winograd" else None, stride)
        assert_agrees(name, MODULES["numba"], globals()[name](case), dtype, algorithm == "winograd")


def sgd_update(case):
    return (), (0.1, 0.9)


def momentum_update(case):
    return (case.array(case.size),), (0.1, 0.9, 0.5, 0.01, case.boolean())


def rmsprop_update(case):
    return (np.abs(case.array(case.size)),), (0.1, 0.9, 1e-3, 0.5, 0.01)


def adam_update(case):
    kept = case.array(case.size), np.abs(case.array(case.size))
    return kept, (case.integer(1, 5), 0.1, 0.9, 0.99, 1e-3, 0.5, 0.01, 0.95)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", BACKENDS)
@pytest.mark.parametrize("name", UPDATES)
@settings(max_examples=40)
@given(data=st.data())
def test_update_agrees_with_the_oracle(name, module, dtype, data):
    """In place; of numbers of order 1, a few of which are added. The gradient stays as it was."""
    case = Case(data, dtype)
    case.size = case.integer(1, 50)
    gradient = case.array(case.size)
    kept, numbers = globals()[name](case)
    arrays = [case.array(case.size), *kept]
    exact = [array.astype(np.float64) for array in arrays]
    before = gradient.copy()
    getattr(naive, name)(exact[0], gradient.astype(np.float64), *exact[1:], *numbers)
    with small_or_large(data):
        assert getattr(MODULES[module], name)(arrays[0], gradient, *arrays[1:], *numbers) is None
    np.testing.assert_array_equal(gradient, before)
    for array, wanted in zip(arrays, exact, strict=True):
        assert array.dtype == dtype
        np.testing.assert_allclose(array, wanted, rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("module", BACKENDS)
def test_batches_of_bytes(module, rng):
    images = rng.integers(0, 256, (5, 6, 7, 3), np.uint8)
    arguments = np.array([4, 0, 4]), np.array([-1, 0, 2]), np.array([1, 0, -3]), np.array([True, False, True]), 5, 6
    got = MODULES[module].gather_images(images, *arguments)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, naive.gather_images(images, *arguments))


@pytest.mark.parametrize("name", [*KERNELS, *UPDATES])
def test_twins_have_one_signature(name):
    signatures = [str(inspect.signature(getattr(module, name))) for module in MODULES.values()]
    assert signatures[0] == signatures[1]
    names = list(inspect.signature(getattr(naive, name)).parameters)
    assert names == list(inspect.signature(getattr(MODULES["numpy"], name)).parameters)


def test_every_public_kernel_is_listed():
    for module in MODULES.values():
        public = {name for name, value in vars(module).items() if inspect.isfunction(value)}
        assert public == {*KERNELS, *UPDATES} == set(module.__all__)


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


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_kernels_stay_inside_their_arrays():
    """See fenced.py; its own last act, on demand, shows that the fence holds."""
    for arguments, status in (((), {0}), (("--cross",), {-signal.SIGSEGV, -signal.SIGBUS})):
        done = run_python(FENCED, "float32", "float64", *arguments)
        assert done.stdout.endswith("done\n"), done.stdout[-200:] + done.stderr
        assert done.returncode in status


@pytest.fixture(scope="module", autouse=True)
def other_widths(request):
    """What the last test waits for: processes that compile for minutes, one after the other beside the other tests."""
    asked = [item.callspec.params for item in request.session.items if item.name.startswith("test_kernels_at_other_ve")]
    with ThreadPoolExecutor(1) as pool:
        yield {
            (bits, dtype): pool.submit(run_python, FENCED, dtype, FASTCNN_VECTOR_BITS=str(bits), timeout=900)
            for bits, dtype in ((params["bits"], params["dtype"]) for params in asked)
            if bits != 8 * VECTOR_BYTES
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
@pytest.mark.parametrize(("bits", "dtype"), [(32, "float32"), (128, "float64"), (256, "float32"), (512, "float64")])
def test_kernels_at_other_vector_widths(bits, dtype, other_widths):
    """32 bits are one lane: scalar code. The widest is what the processor has, or what LLVM makes of it."""
    if bits == 8 * VECTOR_BYTES:
        pytest.skip("the processor's own width: the test above")
    done = other_widths[bits, dtype].result()
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout[-200:] + done.stderr
    assert done.stdout.startswith(f"vectors of {bits} bits\n")


def test_an_unknown_vector_width_is_refused():
    done = run_python("-c", "import fastcnn.backends.numba", FASTCNN_VECTOR_BITS="100")
    assert "FASTCNN_VECTOR_BITS must be one of 32, 128, 256, 512. Received FASTCNN_VECTOR_BITS='100'" in done.stderr


def test_a_cache_for_each_vector_width(monkeypatch, tmp_path):
    """Whatever numba takes two processors for: kernels use memory that is allocated by this width."""
    monkeypatch.setattr(cache, "CACHE_FOLDER", tmp_path)
    find = cache.folder_of.__wrapped__
    own = find(gemm.__name__)
    assert own == find(gemm.__name__) and own.startswith(str(tmp_path))
    monkeypatch.setattr(cache, "VECTOR_BYTES", 8)
    assert own != find(gemm.__name__)


def test_what_no_layer_asks_for(rng):
    """Pixels without a window, and windows wider than the image."""
    numpy_, numba_ = MODULES["numpy"], MODULES["numba"]
    weights, eta = rng.standard_normal((1, 1, 3, 2)), rng.standard_normal((2, 6, 7, 2))
    for padding, image in (((1, 1), (2, 4, 5, 3)), ((0, 0), (2, 6, 7, 3))):
        expected = numpy_.conv_input_gradient(eta, weights, image, 1, padding)
        np.testing.assert_allclose(numba_.conv_input_gradient(eta, weights, image, 1, padding), expected, atol=1e-14)
    x = rng.standard_normal((1, 5, 1, 3))
    for ksize in (2, 3):
        for expected, got in zip(
            numpy_.max_pool_forward(x, ksize, 1), numba_.max_pool_forward(x, ksize, 1), strict=True
        ):
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_allclose(numba_.avg_pool_forward(x, ksize, 1), numpy_.avg_pool_forward(x, ksize, 1))


@pytest.mark.parametrize("module", BACKENDS)
def test_empty_batches(module):
    kernels = MODULES[module]
    x, weights = np.zeros((0, 6, 5, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)
    out = kernels.conv_forward(x, weights, np.ones(4, np.float32), 1, (0, 0))
    assert out.shape == (0, 4, 3, 4)
    assert kernels.conv_input_gradient(out, weights, x.shape, 1, (0, 0)).shape == x.shape
    dw, db = kernels.conv_weight_gradient(x, out, 3, 1, (0, 0))
    assert not dw.any() and not db.any() and dw.shape == weights.shape
    pooled, index = kernels.max_pool_forward(x, 2, 2)
    assert kernels.max_pool_backward(pooled, index, x.shape, 2, 2).shape == x.shape
    assert kernels.softmax_forward(x[:, 0, 0]).shape == (0, 3)
    assert [part.shape for part in kernels.softmax_loss(x[:, 0, 0], np.zeros(0, np.int64))] == [(0, 3), (0,)]


@pytest.mark.parametrize("module", BACKENDS)
def test_batches_larger_than_one_group_of_columns(module, rng):
    """The numba backend works through a large batch in groups; the whole must not show it."""
    x = rng.standard_normal((40, 30, 30, 8)).astype(np.float32)
    weights, bias = rng.standard_normal((5, 5, 8, 3)).astype(np.float32), np.ones(3, np.float32)
    kernels = MODULES[module]
    out = kernels.conv_forward(x, weights, bias, 1, (2, 2))
    one = [kernels.conv_forward(x[i : i + 1], weights, bias, 1, (2, 2)) for i in range(40)]
    np.testing.assert_allclose(out, np.concatenate(one), rtol=1e-4, atol=1e-4)
    dw, db = kernels.conv_weight_gradient(x, out, 5, 1, (2, 2))
    parts_of_it = [kernels.conv_weight_gradient(x[i : i + 1], out[i : i + 1], 5, 1, (2, 2)) for i in range(40)]
    np.testing.assert_allclose(dw, sum(p[0].astype(np.float64) for p in parts_of_it), rtol=1e-3, atol=0.2)
    np.testing.assert_allclose(db, sum(p[1].astype(np.float64) for p in parts_of_it), rtol=1e-3, atol=0.2)
