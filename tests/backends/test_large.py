"""What kernels do for large arrays only, made to happen on small ones: whole numbers, so that every sum is exact."""

import itertools

import numpy as np
import pytest

pytest.importorskip("numba")

from fastcnn.backends import numba as kernels
from fastcnn.backends.numba.convolution import direct_input, direct_pixels
from fastcnn.backends.numba.convolution.winograd import convolution, table
from fastcnn.backends.numba.core import copying, jit
from fastcnn.backends.numba.pointwise import softmax
from fastcnn.backends.numba.product import gemm
from fastcnn.windows import Window, both, square
from tests.helpers.arguments import original
from tests.helpers.switches import conv_algorithm, forget_plans, winograd


@pytest.fixture
def limit(monkeypatch):
    """``limit(module, NAME=value)`` for one test; plans made with other limits are forgotten before and after."""

    def change(module, **limits):
        for name, value in limits.items():
            monkeypatch.setattr(module, name, value)
        forget_plans()

    yield change
    forget_plans()


def window_of(row, groups):
    """Windows of a row of Winograd's table, padded as 'SAME'; in groups dilated too, where the row takes that."""
    dilation = 2 if groups > 1 and row.stride == 1 else 1
    around = (row.r // 2 * dilation,) * 2
    return Window((row.r,) * 2, (row.stride,) * 2, (dilation,) * 2, (around, around))


def whole_numbers(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float64)


@pytest.mark.parametrize("row", table.TABLE, ids=lambda row: row.name)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("shape", [(20, 9, 11, 20), (1, 5, 4, 33), (20, 17, 24, 20)])
def test_transformed_weights_that_all_threads_share(limit, rng, row, shape, groups):
    """Groups of channels too, of images that are interleaved where the row takes these."""
    window, channels = window_of(row, groups), groups * shape[3]
    x, weights = whole_numbers(rng, *shape[:3], channels), whole_numbers(rng, row.r, row.r, shape[3], 37 * groups)
    bias = whole_numbers(rng, 37 * groups)
    with winograd(row.name):
        own = kernels.conv_forward(x, weights, bias, window)
        limit(convolution, OWN_BYTES=0)
        shared = kernels.conv_forward(x, weights, bias, window)
        back = kernels.conv_input_gradient(shared, weights, x.shape, window)
    np.testing.assert_array_equal(own, shared)
    with conv_algorithm("direct"):
        exact = kernels.conv_forward(x, weights, bias, window)
        np.testing.assert_allclose(shared, exact, rtol=0, atol=1e-10)
        exact = kernels.conv_input_gradient(shared, weights, x.shape, window)
        np.testing.assert_allclose(back, exact, rtol=0, atol=1e-7)


@pytest.mark.parametrize("row", table.TABLE, ids=lambda row: row.name)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("shape", "outputs"),
    [((20, 9, 11, 70), 131), ((1, 5, 4, 70), 131), ((4, 9, 9, 20), 33), ((16, 13, 9, 20), 20), ((70, 13, 9, 5), 20)],
)
def test_a_weight_gradient_in_cuts_and_shares(rng, row, shape, outputs, groups):
    """More channels than one task takes, so many tiles that they are shared out, and so few that they are not: then
    two tasks share the outputs."""
    window = window_of(row, groups)
    x = whole_numbers(rng, *shape[:3], groups * shape[3])
    eta = whole_numbers(rng, shape[0], *window.positions(*shape[1:3]), groups * outputs)
    results = {}
    for algorithm, switch in (("winograd", winograd(row.name)), ("im2col", conv_algorithm("im2col"))):
        with switch:
            results[algorithm] = kernels.conv_weight_gradient(x, eta, window, groups, True)
    for fast, exact in zip(*results.values(), strict=True):
        np.testing.assert_allclose(fast, exact, rtol=0, atol=1e-8)


@pytest.mark.parametrize("groups", [1, 3, 20])
@pytest.mark.parametrize("dilation", [1, 2, (3, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("ksize", [2, 3, 5])
def test_an_input_gradient_in_bands_and_parts(limit, rng, ksize, stride, dilation, groups):
    """Bands of image rows, parts of its channels or of each group's, and small blocks of pixels change no result."""
    x, weights = whole_numbers(rng, 2, 23, 12, 60), whole_numbers(rng, ksize, ksize, 60 // groups, 60)
    around = (ksize - 1) // 2, ksize // 2
    window = Window((ksize, ksize), (stride, stride), both(dilation), (around, around[::-1]))
    with conv_algorithm("im2col"):
        eta = kernels.conv_forward(x, weights, weights[0, 0, 0], window)
        exact = kernels.conv_input_gradient(eta, weights, x.shape, window, x)
    limit(direct_pixels, PIXELS=20, MIN_TASKS=100, SMALL_WORK=0)
    for by_pixels, line in ((True, 1), (False, 1), (False, 64)):  # groups one by one, and all together
        limit(direct_input, COLUMNS=8, MIN_TASKS=100, BAND=3, PIXELS=20, LINE_CHANNELS=line)
        limit(direct_pixels, pays=lambda *_, answer=by_pixels: answer)
        with conv_algorithm("direct"):
            got = kernels.conv_input_gradient(eta, weights, x.shape, window, x)
        np.testing.assert_array_equal(got, exact)


@pytest.mark.parametrize(("groups", "inputs"), [(1, 34), (1, 70), (2, 17), (3, 40)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("ksize", [(1, 1), (2, 3), (5, 4)])
def test_an_input_gradient_pixel_by_pixel(limit, rng, ksize, stride, groups, inputs):
    """Also of kernels smaller than the stride, whose windows leave pixels out, of padding that nothing fills, and of
    one row of pixels."""
    for shape, padding in (
        ((2, 11, 14), ((3, 1), (0, 2))),
        ((3, 1, 9), ((4, 4), (0, 0))),
        ((1, 6, 1), ((0, 0), (2, 3))),
    ):
        window = Window(ksize, stride, (1, 1), padding)
        x, weights = whole_numbers(rng, *shape, groups * inputs), whole_numbers(rng, *ksize, inputs, groups * 6)
        size = window.positions(*shape[1:])
        if min(size) < 1:
            continue
        eta = whole_numbers(rng, shape[0], *size, groups * 6)
        with conv_algorithm("im2col"):
            exact = kernels.conv_input_gradient(eta, weights, x.shape, window, x)
        limit(direct_pixels, pays=lambda *_: True)
        with conv_algorithm("direct"):
            np.testing.assert_array_equal(kernels.conv_input_gradient(eta, weights, x.shape, window, x), exact)


@pytest.mark.parametrize(("ksize", "stride"), [(2, 2), (3, 2), (3, 1), (2, 3)])
def test_results_written_past_the_caches(limit, rng, ksize, stride):
    x = whole_numbers(rng, 4, 19, 17, 32)
    for forward, backward in (
        (kernels.max_pool_forward, kernels.max_pool_backward),
        (lambda *args: (kernels.avg_pool_forward(*args),), kernels.avg_pool_backward),
    ):
        out, *index = forward(x, *original(x.shape, ksize, stride))
        cached = backward(out, *index, x.shape, square(ksize, stride))
        limit(copying, STREAMED=0)
        assert copying.streams(cached)
        np.testing.assert_array_equal(backward(out, *index, x.shape, square(ksize, stride)), cached)
        limit(copying, STREAMED=1 << 60)


def test_products_without_threads_and_with(limit, rng):
    a, b = whole_numbers(rng, 9, 1100), whole_numbers(rng, 1100, 70)
    x, weights, eta = (whole_numbers(rng, *shape) for shape in ((2, 9, 8, 20), (3, 3, 20, 37), (2, 9, 8, 37)))
    for few in (0, 1 << 30):
        limit(jit, SMALL_WORK=few)
        np.testing.assert_array_equal(gemm.product(a, b), a @ b)
        np.testing.assert_array_equal(gemm.product(b.T, a.T), (a @ b).T)
        results = []
        for algorithm in ("direct", "im2col"):
            with conv_algorithm(algorithm):
                results.append(kernels.conv_forward(x, weights, weights[0, 0, 0], square(3, 1, 1, 1)))
                results.append(kernels.conv_input_gradient(eta, weights, x.shape, square(3, 1, 1, 1)))
        np.testing.assert_array_equal(results[0], results[2])
        np.testing.assert_array_equal(results[1], results[3])


def test_softmax_of_few_and_of_many(limit, rng):
    logits, labels = 10 * rng.standard_normal((6, 11)), rng.integers(0, 11, 6)
    few = kernels.softmax_loss(logits, labels), kernels.softmax_forward(logits)
    limit(softmax, FEW=0)
    many = kernels.softmax_loss(logits, labels), kernels.softmax_forward(logits)
    for one, other in zip((*few[0], few[1]), (*many[0], many[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_products_cut_by_rows_by_columns_and_by_sums(limit, rng):
    for m, n, k in itertools.product((4, 200, 400), (1, 33, 70), (1, 40, 1100)):
        a, b, bias = whole_numbers(rng, m, k), whole_numbers(rng, k, n), whole_numbers(rng, n)
        for few in (0, 1000):
            limit(gemm, FEW_TASKS=few)
            np.testing.assert_array_equal(gemm.product(a, b, bias), a @ b + bias)
            np.testing.assert_array_equal(gemm.product(a, b.T.copy().T), a @ b)
