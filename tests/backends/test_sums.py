"""Sums of many terms: within the bound that docs/reliability.md states, on every backend, up to 1e8 terms.

The terms are equal: additions to a long float32 chain then err in the same direction for a while, and 2**24 ones are
all that such a chain can count. The right values are known without a sum. How long chains are: `test_sum_lengths`.
"""

import math

import numpy as np
import pytest

import fastcnn
from fastcnn.backends.numpy.softmax import softmax_loss as define_loss
from fastcnn.config import load
from fastcnn.layers import AvgPooling, BatchNorm, GlobalAvgPooling, Softmax
from fastcnn.optimizers import SGD
from fastcnn.windows import square
from tests.helpers.arguments import original
from tests.helpers.switches import conv_algorithm

BACKENDS = ("numpy", "numba")


def bound(terms, dtype=np.float32):
    """The largest error over the sum of the absolute terms."""
    return (min(terms, 8192) + terms / 8192 + 4) * np.finfo(dtype).eps / 2


def assert_near(value, right, terms):
    np.testing.assert_allclose(value, right, rtol=bound(terms), atol=0)


@pytest.fixture(params=BACKENDS)
def kernels(request):
    if request.param == "numba":
        pytest.importorskip("numba")
    with fastcnn.use_backend(request.param):
        yield load(request.param)


TERM = np.float64(np.float32(0.1))
QUICK = 6_000_000  # a float32 chain of so many of them is off by 7 %


def many(count):
    return np.full(count, TERM, np.float32)


LONG = pytest.param(100_000_000, marks=pytest.mark.long)


@pytest.mark.parametrize("terms", [QUICK, LONG])
def test_means_of_images(kernels, terms):
    side = math.isqrt(terms)
    image = many(side * side).reshape(1, side, side, 1)
    assert_near(kernels.global_avg_pool_forward(image), TERM, side * side)
    assert_near(kernels.global_avg_pool_forward(image.reshape(1, 1, -1, 1)), TERM, side * side)
    assert_near(kernels.global_avg_pool_forward(many(terms // 3 * 3).reshape(1, -1, 1, 3)), TERM, terms // 3)


@pytest.mark.parametrize(("side", "channels"), [(1500, 1), (1000, 3)])
def test_means_of_large_windows(side, channels):
    """k additions of arrays in NumPy, so not on both backends at the same size."""
    pytest.importorskip("numba")
    image = many(side * side * channels).reshape(1, side, side, channels)
    layer = AvgPooling(image.shape, side, side)
    assert_near(layer.forward(image), TERM, side * side)


def test_the_means_of_the_trials():
    """What trials found: 3.67 for the mean of 4097 x 4097 threes, and 1500 x 1500 random images off by 5e-5."""
    pytest.importorskip("numba")
    threes = np.full((1, 4097, 4097, 1), 3, np.float32)
    np.testing.assert_allclose(GlobalAvgPooling(threes.shape).forward(threes), 3, rtol=1e-6)
    images = np.random.default_rng(0).random((2, 1500, 1500, 2), np.float32)
    right = images.mean(axis=(1, 2), dtype=np.float64)
    for layer in (GlobalAvgPooling(images.shape), AvgPooling(images.shape, 1500, 1500)):
        np.testing.assert_allclose(layer.forward(images).reshape(2, 2), right, rtol=1e-6)


def test_gradients_of_overlapping_windows(kernels):
    """The middle pixel lies in every window: ksize ** 2 of them, each of which gives it a share."""
    ksize, side = 40, 79
    eta = many(side * side).reshape(1, side, side, 1)
    middle = kernels.avg_pool_backward(eta, (1, side, side, 1), square(ksize))[0, ksize - 1, ksize - 1, 0]
    sizes = np.minimum(ksize, side - np.arange(ksize))
    right = TERM * (1 / sizes).sum() ** 2
    np.testing.assert_allclose(middle, right, rtol=bound(2 * ksize))
    peak = np.zeros((1, side, side, 1), np.float32)
    peak[0, ksize - 1, ksize - 1] = 1
    _, index = kernels.max_pool_forward(peak, *original(peak.shape, ksize, 1))
    image = kernels.max_pool_backward(eta, index, peak.shape, square(ksize))
    np.testing.assert_allclose(image[0, ksize - 1, ksize - 1, 0], TERM * ksize**2, rtol=bound(2 * ksize))


def test_col2im_of_many_windows(kernels):
    ksize, side = 40, 79
    cols = many(40 * 40 * ksize * ksize * 2).reshape(1600, -1)
    image = kernels.col2im(cols, (1, side, side, 2), square(ksize))
    counts = np.minimum(np.arange(1, 80), np.arange(1, 80)[::-1])
    right = TERM * np.outer(counts, counts)[np.newaxis, :, :, np.newaxis]
    np.testing.assert_allclose(image, np.repeat(right, 2, axis=3), rtol=bound(2 * ksize))


@pytest.mark.parametrize("terms", [QUICK, LONG])
@pytest.mark.parametrize("outputs", [1, 3])
def test_gradients_of_dense_weights(kernels, terms, outputs):
    rows = terms // outputs
    eta = many(rows * outputs).reshape(rows, outputs)
    dw, db = kernels.dense_weight_gradient(np.ones((rows, 1), np.float32), eta)
    assert_near(dw, TERM * rows, rows)
    assert_near(db, TERM * rows, rows)


@pytest.mark.parametrize("terms", [QUICK, LONG])
def test_products_of_long_rows(kernels, terms):
    x, weights = many(terms).reshape(1, terms), np.ones((terms, 1), np.float32)
    assert_near(kernels.dense_forward(x, weights, np.zeros(1, np.float32)), TERM * terms, terms)
    eta = kernels.dense_input_gradient(x, weights.reshape(1, terms))
    assert_near(eta, TERM * terms, terms)


ALGORITHMS = [("numpy", "auto"), ("numba", "direct"), ("numba", "winograd"), ("numba", "im2col")]


@pytest.mark.parametrize("terms", [QUICK, LONG])
@pytest.mark.parametrize(("backend", "algorithm"), ALGORITHMS)
@pytest.mark.parametrize("wide", [False, True])
def test_gradients_of_convolution_weights(backend, algorithm, wide, terms):
    """Many pixels: many images, or one that is all width."""
    if backend == "numba":
        pytest.importorskip("numba")
    kernels, side = load(backend), 3 if algorithm == "winograd" else 1
    if algorithm == "winograd":
        terms //= 4  # whose arrays are larger
    shape = (1, side, terms // side, 1) if wide else (terms // 4800, 60, 80, 1)
    x = many(math.prod(shape)).reshape(shape)
    before = (side - 1) // 2
    with conv_algorithm(algorithm):
        dw, db = kernels.conv_weight_gradient(x, x, square(side, 1, before, before))
    pixels = math.prod(shape)
    assert_near(db, TERM * pixels, pixels)
    assert_near(dw[before, before], TERM**2 * pixels, pixels)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_convolution_with_a_large_kernel(algorithm):
    pytest.importorskip("numba")
    kernels, side = load("numba"), 1600
    x, weights = many(side * side).reshape(1, side, side, 1), np.ones((side, side, 1, 1), np.float32)
    with conv_algorithm(algorithm):
        out = kernels.conv_forward(x, weights, np.zeros(1, np.float32), square(side))
        assert_near(out, TERM * side * side, side * side)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_input_gradient_under_many_windows(algorithm):
    pytest.importorskip("numba")
    kernels, ksize = load("numba"), 60
    eta, weights = many(3600).reshape(1, 60, 60, 1), np.ones((ksize, ksize, 1, 1), np.float32)
    with conv_algorithm(algorithm):
        image = kernels.conv_input_gradient(eta, weights, (1, 119, 119, 1), square(ksize))
    np.testing.assert_allclose(image[0, 59, 59, 0], TERM * 3600, rtol=bound(2 * ksize))


@pytest.mark.parametrize("terms", [QUICK, LONG])
@pytest.mark.parametrize("channels", [1, 5])
def test_sums_of_channels(kernels, terms, channels):
    rows = terms // channels
    x = many(rows * channels).reshape(rows, channels)
    x[rows // 2 :] = 0.5
    few, others = rows // 2, rows - rows // 2
    mean, var = kernels.batch_statistics(x)
    assert_near(mean, (TERM * few + 0.5 * others) / rows, rows)
    assert_near(var, (0.5 - TERM) ** 2 * few * others / rows**2, rows)
    dgain, dbias = kernels.batch_norm_parameter_gradient(x, x, mean * 0, mean * 0 + 1, 1e-12)
    assert_near(dbias, TERM * few + 0.5 * others, rows)
    assert_near(dgain, TERM**2 * few + 0.25 * others, rows)
    _, dalpha = kernels.prelu_backward(-x, x, mean)
    assert_near(dalpha, -(TERM**2) * few - 0.25 * others, rows)


@pytest.mark.parametrize("terms", [1000, 4096, QUICK, LONG])
def test_probabilities_of_many_classes(kernels, terms):
    logits = np.zeros((1, terms), np.float32)
    probabilities, losses = kernels.softmax_loss(logits, np.zeros(1, np.int64))
    assert_near(probabilities, 1 / terms, terms)
    np.testing.assert_allclose(losses, math.log(terms), rtol=2e-7)


@pytest.mark.parametrize("terms", [QUICK, LONG])
def test_the_loss_of_many_images(kernels, terms):
    logits, labels = np.zeros((terms // 2, 2), np.float32), np.zeros(terms // 2, np.int64)
    right = float(define_loss(logits[:1], labels[:1])[1][0]) * (terms // 2)
    assert Softmax(logits.shape).cal_loss(logits, labels) == pytest.approx(right, rel=1e-9)


@pytest.mark.parametrize("size", [1.0, 1e25, 1e-25])
def test_the_norm_of_clipping(size):
    """Squares of large numbers overflow in float32, and the step would be 0; those of small ones vanish."""
    layer = BatchNorm((4, 1_000_000))
    layer.b_gradient = np.full(1_000_000, 3 * size, np.float32)
    SGD([layer], 1.0, clip_norm=size, weight_decay=0).step()
    np.testing.assert_allclose(layer.beta, -np.float32(3 * size) / 3000, rtol=1e-5)
