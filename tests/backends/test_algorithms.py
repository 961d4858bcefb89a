"""Convolution algorithms: which one is chosen, how exact they are, and that no thread changes a bit. Fused ReLUs."""

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential
from fastcnn.backends import numba as kernels
from fastcnn.backends.numba.convolution import columns, direct, direct_input, direct_pixels, rule
from fastcnn.backends.numba.convolution.winograd import convolution, table
from fastcnn.layers import AvgPooling, Conv2D, FullyConnect, MaxPooling, Relu, Softmax
from fastcnn.windows import Window, square, window_of
from tests.helpers.processes import run_python
from tests.helpers.switches import conv_algorithm, forget_plans, winograd

EVERYTHING = """
import hashlib, sys
import numpy as np
import fastcnn
from fastcnn.backends import numba as kernels
from fastcnn.backends.numba.core import jit
from fastcnn.windows import Window, pooled, square

PADS = (2, 1), (0, 3)
jit.SMALL_WORK = 0  # every kernel on all threads
rng = np.random.default_rng(0)
digest = hashlib.sha256()


def keep(*arrays):
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return arrays[0]


fastcnn.set_num_threads(int(sys.argv[1]))
for dtype in ("float32", "float64"):
    for algorithm in ("auto", "winograd", "direct", "im2col"):
        fastcnn.set_conv_algorithm(algorithm)
        shapes = (9, 21, 5, 35, 3, 1), (3, 20, 33, 40, 3, 1), (4, 31, 33, 40, 3, 2), (5, 17, 3, 7, 5, 2)
        cases = [(*shape[:4], 1, square(*shape[4:], 1, 1)) for shape in shapes]
        cases += (3, 20, 36, 40, 4, square(3, 1, 1, 1)), (4, 31, 40, 40, 40, square(3, 2, 1, 1))
        cases += (4, 31, 40, 80, 40, square(3, 1, 1, 1)), (2, 20, 33, 40, 1, Window((3, 3), (1, 1), (2, 4), PADS))
        cases += (3, 19, 12, 9, 3, Window((1, 7), (2, 1), (1, 2), PADS)), (3, 19, 12, 9, 1, Window((4, 2), (2, 2)))
        for batch, side, c, o, groups, window in cases:
            x = rng.standard_normal((batch, side, side + 2, c)).astype(dtype)
            w = rng.standard_normal((*window.ksize, c // groups, o)).astype(dtype)
            eta = keep(kernels.conv_forward(x, w, w[0, 0, 0], window, True))
            keep(kernels.conv_input_gradient(eta, w, x.shape, window, x))
            keep(*kernels.conv_weight_gradient(x, eta, window, groups, True))
            keep(kernels.conv_transpose_forward(eta, w, x[0, 0, 0], x.shape, window))
            keep(kernels.sum_rows(eta.reshape(-1, o)))
    for window in (square(3, 2, 1, 1), Window((2, 3), (1, 2), (3, 2), PADS)):
        cols = keep(kernels.im2col(x, window))
        keep(kernels.col2im(cols, x.shape, window))
    for ksize, stride in ((2, 2), (3, 2), (2, 3)):
        for geometry in ("original", "floor"):
            p = pooled(x.shape[1:3], ksize, stride, 1, 1, geometry)
            eta, index = kernels.max_pool_forward(x, p.window, p.out, True)
            keep(eta, index, kernels.max_pool_backward(eta, index, x.shape, p.window))
            keep(kernels.avg_pool_backward(keep(kernels.avg_pool_forward(x, p.window, p.out)), x.shape, p.window))
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((700, 1300), (1300, 50)))
    eta = keep(kernels.dense_forward(a, b, b[0]))
    keep(kernels.dense_input_gradient(eta, b), *kernels.dense_weight_gradient(a, eta))
    keep(kernels.dense_forward(a[:2], b, b[0]), kernels.relu_backward(a, kernels.relu_forward(a)))
    keep(kernels.leaky_relu_backward(a, kernels.leaky_relu_forward(a, 0.5), 0.5))
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_no_kernel_depends_on_the_number_of_threads():
    results = [run_python("-c", EVERYTHING, count, FASTCNN_NUM_THREADS="7") for count in (1, 2, 3, 7, 2)]
    assert all(done.returncode == 0 for done in results), results[0].stderr
    assert len({done.stdout for done in results}) == 1


def test_the_rule_by_shape(monkeypatch):
    algorithms = {}

    def watch(module, name):
        function = getattr(module, name)

        def watched(*arguments, **options):
            algorithms[module.__name__.split(".")[-1]] = None
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, watched)

    for module, names in (
        (columns, ["forward_plan", "input_gradient_plan"]),
        (direct, ["forward_plan"]),
        (direct_input, ["input_gradient_plan"]),
        (direct_pixels, ["input_gradient_plan"]),
        (convolution, ["forward_plan", "input_gradient_plan"]),
    ):
        for name in names:
            watch(module, name)

    def used(channels, outputs, ksize, stride, direction, batch=8, side=8):
        forget_plans()
        algorithms.clear()
        x, w = (
            np.ones((batch, side, side, channels), np.float32),
            np.ones((ksize, ksize, channels, outputs), np.float32),
        )
        window = square(ksize, stride, 1, 1)
        eta = kernels.conv_forward(x, w, w[0, 0, 0], window)
        if direction == "input":
            algorithms.clear()
            kernels.conv_input_gradient(eta, w, x.shape, window)
        return list(algorithms)

    assert used(32, 64, 3, 1, "forward") == used(32, 64, 3, 1, "input") == ["convolution"]
    assert used(16, 16, 3, 1, "forward") == ["convolution"] and used(15, 16, 3, 1, "forward") == ["direct"]
    assert used(3, 64, 3, 1, "forward") == used(32, 64, 3, 2, "forward") == ["direct"]
    assert used(64, 64, 3, 2, "forward", 128) == used(64, 64, 3, 2, "input", 128) == ["convolution"]
    assert used(64, 64, 3, 2, "forward", 127) == used(64, 63, 3, 2, "forward", 128) == ["direct"]
    assert used(64, 64, 3, 2, "forward", 300, 12) == ["direct"]  # 6 x 6 outputs, of which tiles would make 8 x 8
    assert used(64, 127, 3, 1, "forward", batch=1) == ["direct"]
    assert used(64, 128, 3, 1, "forward", batch=1) == used(64, 128, 3, 1, "input", batch=1) == ["convolution"]
    assert used(1, 64, 3, 1, "input") == used(15, 64, 5, 1, "input") == ["direct_input"]
    assert used(32, 64, 3, 2, "input") == used(64, 63, 3, 2, "input", 128) == ["direct_pixels"]
    for name, module, other in (
        ("direct", "direct", "direct_input"),
        ("im2col", "columns", "columns"),
        ("winograd", "convolution", "convolution"),
    ):
        with conv_algorithm(name):
            for stride in (1, 2):
                assert [used(1, 3, 3, stride, "forward"), used(1, 3, 3, stride, "input")] == [[module], [other]]
    assert used(15, 32, 5, 1, "forward") == ["direct"] and used(16, 32, 5, 1, "forward") == ["convolution"]
    with conv_algorithm("winograd"):
        assert used(32, 32, 5, 1, "forward", 1) == used(3, 32, 5, 1, "input") == ["convolution"]  # a row of the table
        assert used(32, 32, 6, 1, "forward") == used(32, 32, 3, 3, "forward") == ["direct"]
    forget_plans()  # what is watched


@pytest.mark.parametrize("direction", rule.DIRECTIONS)
def test_the_rule_by_window_and_groups(direction):
    """Winograd's algorithm takes groups, each with channels enough, and dilation without a stride."""

    def taken(window, channels=64, outputs=64, groups=1, name="auto"):
        shape = 16, 24, 24, channels
        out_shape = 16, *window.positions(24, 24), outputs
        return rule.choose(name, rule.layer_of(direction, shape, out_shape, window, groups)).algorithm

    dilated, strided = Window((3, 3), (1, 1), (2, 2), ((2, 2), (2, 2))), Window((3, 3), (2, 2), (2, 2))
    assert taken(square(3, 1, 1, 1), groups=2) == taken(dilated) == taken(dilated, groups=2) == "winograd"
    assert taken(square(3, 1, 1, 1), groups=4) == taken(dilated, groups=8) == "lanes"  # of 16 and 8 channels
    assert taken(square(3, 1, 1, 1), outputs=32, groups=8) == "direct"  # of 8 channels for 4 outputs
    assert taken(square(3, 1, 1, 1), channels=8, outputs=32, groups=8) == "lanes"  # of 1 for 4
    assert taken(Window((1, 7))) == taken(Window((7, 1), (1, 1), (2, 1))) == taken(Window((3, 1))) == "winograd"
    for window in (strided, Window((1, 7), (1, 2)), Window((1, 4)), Window((3, 3), (1, 2)), Window((3, 2))):
        assert taken(window) == taken(window, name="winograd") == "direct"
    assert taken(Window((3, 3), (1, 1), (20, 20), ((20, 20), (20, 20)))) == "direct"  # images smaller than tiles
    few = {name: taken(square(3), groups=16, name=name) for name in ("auto", "winograd", "lanes", "direct")}
    assert few == {"auto": "lanes", "winograd": "lanes", "lanes": "lanes", "direct": "direct"}
    assert taken(square(3), groups=64) == "lanes" and taken(square(3), name="lanes") == "direct"
    uneven = Window((3, 3), (1, 1), (1, 3), ((1, 0), (3, 5)))
    assert taken(uneven) == "winograd" and taken(uneven, name="im2col") == "im2col"


def test_the_switch():
    assert fastcnn.get_conv_algorithm() == "auto"
    with pytest.raises(ValueError, match=r"set_conv_algorithm: `name` must be one of 'auto', .* Received name='fft'"):
        fastcnn.set_conv_algorithm("fft")
    assert fastcnn.get_conv_algorithm() == "auto"
    script = "import fastcnn; print(fastcnn.get_conv_algorithm())"
    assert run_python("-c", script, FASTCNN_CONV="direct").stdout == "direct\n"
    assert "`FASTCNN_CONV` must be one of 'auto'" in run_python("-c", script, FASTCNN_CONV="fft").stderr


# Of the table in docs/guide.md, in float32: with 64 channels, and with any number up to 512, of which 256 are the
# worst, as longer sums are cut.
BOUNDS = {
    "F(2,3)": (1e-6, 2e-6),
    **{f"F(4,{r}) {axis}": (4e-6, 8e-6) for r in (3, 5) for axis in ("down", "across")},
    **dict.fromkeys(("F(4,2)", "F(4,3)/2", "F(4,4)/2"), (1.2e-5, 1.5e-5)),
    **dict.fromkeys(("F(4,3)", "F(4,5)", "F(4,5)/2", "F(4,7)/2"), (1.5e-5, 3e-5)),
    **dict.fromkeys(("F(2,7)", "F(4,7) down", "F(4,7) across"), (1.5e-5, 3e-5)),
    "F(5,4)": (2e-5, 4e-5),
}


@pytest.mark.parametrize("channels", [64, 256])
@pytest.mark.parametrize("transform", table.ROWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_documented_error_of_winograd(transform, dtype, channels, rng):
    """Relative to the largest value; docs/guide.md says so."""
    row, bound = table.ROWS[transform], BOUNDS[transform][channels > 64]
    side, batch = (30, 4) if channels == 64 else (16, 2)
    window = window_of((side, side), row.ksize, row.stride, method="SAME")
    x, w = (rng.standard_normal(shape) for shape in ((batch, side, side, channels), (*window.ksize, channels, 48)))
    with conv_algorithm("direct"):
        exact = [kernels.conv_forward(x, w, w[0, 0, 0], window)]
        exact += [kernels.conv_input_gradient(exact[0], w, x.shape, window)]
        exact += [kernels.conv_weight_gradient(x, exact[0], window)[0]]
    eta, x, w = (array.astype(dtype) for array in (exact[0], x, w))
    with winograd(transform):
        found = [kernels.conv_forward(x, w, w[0, 0, 0], window)]
        found += [kernels.conv_input_gradient(eta, w, x.shape, window)]
        found += [kernels.conv_weight_gradient(x, eta, window)[0]]
    for got, wanted in zip(found, exact, strict=True):
        error = np.abs(got - wanted).max() / np.abs(wanted).max()
        assert error <= (bound if dtype == "float32" else bound * 2.5e-9)


def network(dtype="float64"):
    np.random.seed(3)
    shape, made = (2, 13, 12, 2), []
    for make in (
        Relu,
        lambda s: Conv2D(s, 30, 3, 1, "SAME", initializer="he", dtype=dtype),
        Relu,
        lambda s: Conv2D(s, 26, 3, 1, "SAME", initializer="he", dtype=dtype),
        Relu,
        lambda s: MaxPooling(s, 3, 2, dtype=dtype),
        Relu,
        AvgPooling,
        Relu,
        lambda s: FullyConnect(s, 4, dtype=dtype),
        Softmax,
    ):
        made.append(make(shape) if isinstance(make, type(lambda: 0)) else make(shape, dtype=dtype))
        shape = getattr(made[-1], "output_shape", shape)
    return Sequential(made)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
def test_a_fused_relu_computes_what_the_layers_do_one_by_one(algorithm, rng):
    """To the last bit, in both directions, zeros and NaN included; and the Relu's own attributes are there."""
    x = rng.integers(-2, 3, (2, 13, 12, 2)).astype(float)
    x[0, 3, 3, 1], x[1, 0] = np.nan, 0
    with conv_algorithm(algorithm):
        fused, layers = network(), network().body
        out, steps = x, []
        for layer in layers:
            steps.append(out)
            out = layer.forward(out)
        np.testing.assert_array_equal(fused.logits(x), out)
        eta = rng.standard_normal(out.shape)
        got = fused.gradient(eta)
        for layer in reversed(layers):
            eta = layer.gradient(eta)
        np.testing.assert_array_equal(got, eta)
        for mine, theirs, step in zip(fused.body, layers, steps, strict=True):
            for name in ("w_gradient", "b_gradient"):
                if hasattr(theirs, name):
                    np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
            if isinstance(mine, Relu):
                np.testing.assert_array_equal(mine.x, step)
                np.testing.assert_array_equal(mine.eta, theirs.eta)
            if isinstance(mine, Conv2D):
                np.testing.assert_array_equal(mine.col_image, theirs.col_image)


def test_a_layer_used_alone_after_a_fused_step(rng):
    """What was fused does not linger: forward alone is forward, and a gradient that passed a Relu passes it again."""
    model = network()
    x = rng.standard_normal((2, 13, 12, 2))
    model.gradient(np.ones_like(model.logits(x)))
    relu, pool = model.body[4], model.body[5]
    eta = relu.eta.copy()
    np.testing.assert_array_equal(relu.gradient(eta), eta)
    values = rng.standard_normal((2, 13, 12, 26))
    np.testing.assert_array_equal(pool.forward(values), MaxPooling(values.shape, 3, 2, dtype="float64").forward(values))
    assert not pool.rectified and (pool.forward(values - 9) < 0).any()


def test_derived_layers_are_not_fused(rng):
    class Louder(Relu):
        def forward(self, x):
            return 2 * super().forward(x)

    relu, pool = Louder((1, 4, 4, 1)), MaxPooling((1, 4, 4, 1))
    x = rng.standard_normal((1, 4, 4, 1))
    np.testing.assert_array_equal(Sequential([relu, pool]).forward(x), pool.forward(relu.forward(x)))
