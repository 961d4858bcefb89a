"""How many terms a kernel adds up one after another: no more than docs/reliability.md states.

One term is 1 and all others 2**-24, half of the last place of 1: each of them that is added to a sum that holds the 1
is lost, so that the error in units of 2**-24 is the number of additions after the 1. It lies at the beginning of every
sixteenth of the terms in turn, where a share may begin.
"""

import math

import numpy as np
import pytest

import fastcnn
from fastcnn.config import load
from fastcnn.windows import Window, square
from tests.helpers.switches import conv_algorithm

TERMS = 447**2
TINY = np.float32(2.0**-24)


def terms_of(count, first, tiny=TINY):
    terms = np.full(count, tiny)
    terms[first] = 1
    return terms


def check(found, terms):
    right = terms.sum(dtype=np.float64)
    bound = min(terms.size, 8192) + terms.size / 8192 + 4
    assert abs(float(found) - right) / right * 2**24 <= bound


def starts(count):
    return [i * count // 16 for i in range(16)]


def column(terms):
    return np.ascontiguousarray(terms[:, np.newaxis])


ONE, NONE = np.ones(1, np.float32), np.zeros(1, np.float32)
SUMS = {
    "mean of an image": lambda k, t: k.global_avg_pool_forward(t.reshape(1, 447, 447, 1)) * np.float64(t.size),
    "dense, one image": lambda k, t: k.dense_forward(t[np.newaxis], np.ones((t.size, 1), np.float32), NONE),
    "dense, images": lambda k, t: k.dense_forward(np.tile(t, (9, 1)), np.ones((t.size, 1), np.float32), NONE)[8],
    "dense, gradient": lambda k, t: k.dense_input_gradient(t[np.newaxis], np.ones((1, t.size), np.float32)),
    "dense, weights": lambda k, t: k.dense_weight_gradient(np.ones((t.size, 1), np.float32), column(t))[0],
    "dense, bias": lambda k, t: k.dense_weight_gradient(np.ones((t.size, 1), np.float32), column(t))[1],
    "mean of a channel": lambda k, t: k.batch_statistics(column(t))[0] * np.float64(t.size),
    "gain": lambda k, t: k.batch_norm_parameter_gradient(column(t), column(t * 0 + 1), NONE, ONE, 0.0)[0],
    "bias": lambda k, t: k.batch_norm_parameter_gradient(column(t * 0 + 1), column(t), NONE, ONE, 0.0)[1],
    "sum of rows": lambda k, t: k.sum_rows(column(t)),
    "slope": lambda k, t: -k.prelu_backward(-np.ones((t.size, 1), np.float32), column(t), ONE)[1],
}


@pytest.fixture(params=["numpy", "numba"])
def kernels(request):
    if request.param == "numba":
        pytest.importorskip("numba")
    with fastcnn.use_backend(request.param):
        yield load(request.param)


@pytest.mark.parametrize("name", SUMS)
def test_sums(kernels, name):
    for first in starts(TERMS):
        terms = terms_of(TERMS, first)
        check(SUMS[name](kernels, terms).item(), terms)


@pytest.mark.parametrize("ksize", [100, pytest.param(200, marks=pytest.mark.slow)])
def test_means_of_windows(kernels, ksize):
    for first in starts(ksize**2):
        terms = terms_of(ksize**2, first)
        mean = kernels.avg_pool_forward(terms.reshape(1, ksize, ksize, 1), square(ksize), (1, 1)).item()
        check(mean * terms.size, terms)


def weighted(kernels, terms, rows):
    """One pixel that is the sum of all terms, which lie in a row or in a column."""
    one, run = (np.array([[0, 1]]), np.ones((1, 1))), (np.array([[0, terms.size]]), np.ones((1, terms.size)))
    image, taps = ((1, -1, 1, 1), (*run, *one)) if rows else ((1, 1, -1, 1), (*one, *run))
    return kernels.resample(terms.reshape(image), *taps).item()


@pytest.mark.parametrize("rows", [False, True])
def test_images_of_another_size(kernels, rows):
    for first in list(starts(TERMS))[:: 8 if kernels.__name__.endswith("numpy") else 1]:  # it takes 0.5 s for each
        terms = terms_of(TERMS, first)
        check(weighted(kernels, terms, rows), terms)


def test_many_windows_over_a_pixel(kernels):
    """The middle of a row of pixels, over which all of 10,000 windows lie."""
    count = 10_000
    terms, window = terms_of(count, 0), Window((1, count), (1, 1))
    sums = kernels.avg_pool_backward(terms.reshape(1, 1, -1, 1), (1, 1, 2 * count - 1, 1), window, False, 1)
    check(sums[0, 0, count - 1, 0], terms)


def test_probabilities(kernels):
    """Logits whose exponential is a little less than 2**-24."""
    for count in (4096, 5000, TERMS):
        logits = np.full((1, count), np.float32(1.001 * math.log(TINY)))
        for first in starts(count):
            logits[0, first] = 0
            probabilities, _ = kernels.softmax_loss(logits, np.zeros(1, np.int64))
            check(1 / np.float64(probabilities[0, first]), np.exp(logits[0].astype(np.float64)))
            logits[0, first] = logits[0, first - 1]


ALGORITHMS = [("numpy", "auto"), ("numba", "direct"), ("numba", "winograd"), ("numba", "im2col")]


@pytest.fixture(params=ALGORITHMS, ids="-".join)
def convolution(request):
    backend, algorithm = request.param
    if backend == "numba":
        pytest.importorskip("numba")
    with conv_algorithm(algorithm):
        yield load(backend)


@pytest.mark.parametrize(("shape", "ksize"), [((1, 447, 447, 1), 3), ((17, 1, 7700, 1), 1), ((6, 3, 7000, 1), 1)])
def test_gradients_of_convolution_weights(convolution, shape, ksize):
    """The second and the third have a few blocks of rows more than shares."""
    before, count = (ksize - 1) // 2, math.prod(shape)
    for first in starts(count) + [image * count // shape[0] for image in range(shape[0])]:
        terms = terms_of(count, first)
        eta, x = terms.reshape(shape), np.ones(shape, np.float32)
        dw, db = convolution.conv_weight_gradient(x, eta, square(ksize, 1, before, before))
        check(db.item(), terms)
        check(dw[before, before].item(), terms)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("shape", [(1, 300, 300, 1), (6, 3, 5000, 1)])
def test_gradients_of_grouped_convolution_weights(convolution, shape, dilation):
    """Of the second of two channels by themselves, and of a dilated kernel."""
    window, count = Window((3, 3), (1, 1), (dilation,) * 2, ((dilation,) * 2,) * 2), math.prod(shape)
    for first in starts(count)[::3]:
        terms = terms_of(count, first)
        eta, x = np.zeros((*shape[:3], 2), np.float32), np.ones((*shape[:3], 2), np.float32)
        eta[..., 1] = terms.reshape(shape[:3])
        dw, db = convolution.conv_weight_gradient(x, eta, window, 2)
        check(db[1], terms)
        check(dw[1, 1, 0, 1], terms)
        assert not dw[..., 0].any() and not db[0]


@pytest.mark.parametrize(("ksize", "channels"), [(1, 20_000), (3, 3000), (150, 1)])
def test_outputs_of_a_group(convolution, ksize, channels):
    """Its terms are those of the group's channels alone."""
    count = ksize * ksize * channels
    weights = np.ones((ksize, ksize, channels, 2), np.float32)
    for first in starts(count)[::3]:
        terms = terms_of(count, first)
        x = np.full((1, ksize, ksize, 2 * channels), 7, np.float32)
        x[..., channels:] = terms.reshape(1, ksize, ksize, channels)
        check(convolution.conv_forward(x, weights, NONE.repeat(2), square(ksize))[0, 0, 0, 1], terms)


@pytest.mark.parametrize(("ksize", "outputs"), [(1, 20_000), (3, 3000), (24, 36)])
def test_outputs_of_a_transposed_convolution(convolution, ksize, outputs):
    """Of the pixel that lies under all windows, in the second of two groups."""
    count, side = ksize * ksize * outputs, 2 * ksize - 1
    weights = np.ones((ksize, ksize, 1, 2 * outputs), np.float32)
    for first in starts(count)[::3]:
        terms = terms_of(count, first)
        x = np.full((1, ksize, ksize, 2 * outputs), 7, np.float32)
        x[..., outputs:] = terms.reshape(1, ksize, ksize, outputs)
        image = convolution.conv_transpose_forward(x, weights, NONE.repeat(2), (1, side, side, 2), square(ksize))
        check(image[0, ksize - 1, ksize - 1, 1], terms)


@pytest.mark.parametrize(("ksize", "channels"), [(1, 20_000), (3, 3000), (150, 1)])
def test_outputs_of_a_convolution(convolution, ksize, channels):
    count = ksize * ksize * channels
    weights = np.ones((ksize, ksize, channels, 1), np.float32)
    for first in starts(count):
        terms = terms_of(count, first)
        x = terms.reshape(1, ksize, ksize, channels)
        check(convolution.conv_forward(x, weights, NONE, square(ksize)).item(), terms)


@pytest.mark.parametrize(("ksize", "outputs"), [(1, 20_000), (3, 3000), (24, 36)])
def test_input_gradient_of_a_convolution(convolution, ksize, outputs):
    """Of the pixel that lies under all windows."""
    count, side = ksize * ksize * outputs, 2 * ksize - 1
    weights = np.ones((ksize, ksize, 1, outputs), np.float32)
    for first in starts(count):
        terms = terms_of(count, first)
        eta = terms.reshape(1, ksize, ksize, outputs)
        image = convolution.conv_input_gradient(eta, weights, (1, side, side, 1), square(ksize))
        check(image[0, ksize - 1, ksize - 1, 0], terms)
