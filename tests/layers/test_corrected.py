"""The original's defects, each shown to be absent. Contract, "What is corrected"."""

import numpy as np
import pytest

from fastcnn.layers import AvgPooling, Conv2D, FullyConnect, MaxPooling, Relu, Softmax
from fastcnn.windows import square
from tests import naive
from tests.helpers.arguments import original


@pytest.fixture(autouse=True)
def _both(backend, float64):
    """Every test here runs on both backends, in float64."""


def test_bias_is_updated_with_its_gradient(rng):
    for layer in (Conv2D((2, 4, 4, 1), 3), FullyConnect((2, 4, 4, 1), 3)):
        out = layer.forward(rng.random((2, 4, 4, 1)))
        bias = layer.bias.copy()
        layer.gradient(np.ones_like(out))
        gradient = out[..., 0].size
        layer.backward(alpha=0.1, weight_decay=0)
        np.testing.assert_allclose(layer.bias, bias - 0.1 * gradient)


def test_max_pooling_forgets_the_batch_before(rng):
    pool, fresh = MaxPooling((2, 4, 4, 3)), MaxPooling((2, 4, 4, 3))
    pool.gradient(pool.forward(rng.random((2, 4, 4, 3))))
    x = rng.random((2, 4, 4, 3))
    eta = fresh.forward(x)
    pool.forward(x)
    np.testing.assert_array_equal(pool.gradient(eta), fresh.gradient(eta))
    np.testing.assert_array_equal(pool.index, fresh.index)
    assert pool.index.sum() == eta.size


@pytest.mark.parametrize("method", ["VALID", "SAME"])
@pytest.mark.parametrize("stride", [2, 3])
def test_strided_convolution_has_the_right_input_gradient(rng, stride, method):
    conv = Conv2D((2, 7, 8, 2), 3, 3, stride, method)
    eta = rng.random(conv.forward(rng.random((2, 7, 8, 2))).shape)
    expected = naive.conv_input_gradient(eta, conv.weights, (2, 7, 8, 2), conv.window)
    np.testing.assert_allclose(conv.gradient(eta), expected, rtol=1e-12, atol=1e-14)


def test_valid_sizes_the_width_by_the_width(rng):
    conv = Conv2D((1, 5, 9, 1), 2, 3)
    assert conv.output_shape == (1, 3, 7, 2)
    assert conv.forward(rng.random((1, 5, 9, 1))).shape == (1, 3, 7, 2)


@pytest.mark.parametrize("ksize", [2, 4])
def test_even_kernels_with_same(rng, ksize):
    conv = Conv2D((2, 5, 6, 2), 3, ksize, 1, "SAME")
    x = rng.random((2, 5, 6, 2))
    out = conv.forward(x)
    assert out.shape == (2, 5, 6, 3)
    assert conv.window == square(ksize, 1, (ksize - 1) // 2, ksize // 2)
    np.testing.assert_allclose(out, naive.conv_forward(x, conv.weights, conv.bias, conv.window), rtol=1e-12, atol=1e-14)
    assert conv.gradient(out).shape == x.shape


def test_overlapping_pooling_gradients(rng):
    x = rng.random((2, 6, 7, 2))
    largest, mean = MaxPooling(x.shape, 3, 2), AvgPooling(x.shape, 3, 2)
    eta = rng.random(largest.forward(x).shape)
    window, size = original(x.shape, 3, 2)
    index = naive.max_pool_forward(x, window, size)[1]
    np.testing.assert_allclose(largest.gradient(eta), naive.max_pool_backward(eta, index, x.shape, window))
    mean.forward(x)
    np.testing.assert_allclose(mean.gradient(eta), naive.avg_pool_backward(eta, x.shape, window))


def test_a_last_smaller_batch(rng):
    layers = [Conv2D((64, 8, 8, 1), 4), Relu((64, 6, 6, 4)), MaxPooling((64, 6, 6, 4)), FullyConnect((64, 3, 3, 4), 5)]
    loss = Softmax((64, 5))
    x = rng.random((7, 8, 8, 1))
    out = x
    for layer in layers:
        out = layer.forward(out)
    assert loss.cal_loss(out, np.arange(7) % 5) > 0
    eta = loss.gradient()
    for layer in reversed(layers):
        eta = layer.gradient(eta)
    assert eta.shape == x.shape


def test_relu_gradient_leaves_its_argument_alone(rng):
    relu = Relu((2, 5))
    relu.forward(rng.standard_normal((2, 5)))
    eta = np.ones((2, 5))
    relu.gradient(eta)
    assert (eta == 1).all()
