"""What scripts read from layers and write into them. Contract, section 2, the table of attributes."""

import numpy as np
import pytest

from fastcnn import layers
from fastcnn.layers import (
    ELU,
    AvgPooling,
    BatchNorm,
    Conv2D,
    Dropout,
    FullyConnect,
    LeakyRelu,
    MaxPooling,
    PReLU,
    Relu,
    Sigmoid,
    Softmax,
    Tanh,
)

SHAPE = (3, 7, 5, 2)


def test_parameters_can_be_assigned(backend):
    fc = FullyConnect((2, 3), 2)
    fc.weights = [[1, 2], [3, 4], [5, 6]]
    fc.bias = np.array([1.0, -1.0])
    assert fc.weights.dtype == np.float32
    np.testing.assert_array_equal(fc.forward([[1, 1, 1], [0, 0, 1]]), [[10, 11], [6, 5]])
    fc.gradient(np.ones((2, 2)))
    fc.w_gradient *= 0.5
    np.testing.assert_array_equal(fc.w_gradient, [[0.5, 0.5], [0.5, 0.5], [1, 1]])
    fc.w_gradient = np.zeros((3, 2))
    assert not fc.w_gradient.any()
    with pytest.raises(ValueError, match=r"`weights` must have the shape \(3, 2\). Received the shape \(2, 3\)"):
        fc.weights = np.zeros((2, 3))


def test_attributes_scripts_read(backend):
    conv = Conv2D([64, 28, 28, 1], 12, 5, 1)
    assert (conv.batchsize, conv.input_channels, conv.output_channels, conv.stride, conv.ksize, conv.method) == (
        64, 1, 12, 1, 5, "VALID",
    )  # fmt: skip
    assert conv.eta.shape == (64, 24, 24, 12) and conv.w_gradient.shape == (5, 5, 1, 12)
    x = np.random.default_rng(0).random((2, 28, 28, 1)).astype(np.float32)
    out = conv.forward(x)
    columns = conv.col_image
    assert columns.shape == (2, 576, 25)
    np.testing.assert_allclose(columns @ conv.weights.reshape(25, 12) + conv.bias, out.reshape(2, 576, 12), atol=1e-6)
    conv.col_image = []
    conv.gradient(out)
    np.testing.assert_array_equal(conv.eta, out)

    relu = Relu(conv.output_shape)
    assert relu.x.shape == relu.eta.shape == (64, 24, 24, 12)
    signed = np.array([[-1.0, 0.0, 2.0]])
    relu = Relu((1, 3))
    relu.forward(signed)
    np.testing.assert_array_equal(relu.gradient([[5, 5, 5]]), [[0, 5, 5]])
    np.testing.assert_array_equal(relu.eta, [[0, 5, 5]])
    assert layers.Leaky_Relu is LeakyRelu and LeakyRelu((1, 3)).alpha == 0.2

    pool = MaxPooling([1, 2, 4, 1])
    assert (pool.ksize, pool.stride, pool.output_channels) == (2, 2, 1)
    assert not pool.index.any()
    pool.forward(np.array([1, 5, 2, 2, 3, 4, 2, 2]).reshape(1, 2, 4, 1))
    np.testing.assert_array_equal(pool.index[0, :, :, 0], [[0, 1, 1, 0], [0, 0, 0, 0]])
    pool.index = np.zeros((1, 2, 4, 1))
    np.testing.assert_array_equal(pool.gradient(np.ones((1, 1, 2, 1)))[0, :, :, 0], [[0, 1, 1, 0], [0, 0, 0, 0]])

    fc = FullyConnect([64, 5, 5, 24], 10)
    assert fc.batchsize == 64 and fc.x.shape == (64, 600) and fc.output_shape == (64, 10)
    sf = Softmax(fc.output_shape)
    assert sf.batchsize == 64 and sf.softmax.shape == sf.eta.shape == (64, 10)


def test_assigned_parameters_are_copies(backend):
    """What dtype they have makes no difference: training one layer never changes another."""
    first, second = FullyConnect((2, 3), 2), FullyConnect((2, 3), 2)
    second.weights, second.bias = first.weights, first.bias
    first.gradient(first.forward(np.ones((2, 3))))
    second.w_gradient = first.w_gradient
    before, gradient = first.weights.copy(), first.w_gradient.copy()
    second.gradient(second.forward(np.ones((2, 3))))
    second.backward(0.1, 0.1)
    np.testing.assert_array_equal(first.weights, before)
    np.testing.assert_array_equal(first.w_gradient, gradient)


def test_stride_and_method_may_be_changed(backend, rng):
    """The layer is then as one made so; a gradient of the forward before has no meaning and raises."""
    x = rng.standard_normal(SHAPE)
    conv, pool = Conv2D(SHAPE, 4, 3, 2), MaxPooling(SHAPE, 2, 2)
    for layer in (conv, pool):
        eta = layer.forward(x)
        layer.stride = 1
        with pytest.raises(RuntimeError, match="`gradient` needs a call of `forward` first"):
            layer.gradient(eta)
        out = layer.forward(x)
        assert out.shape == layer.output_shape != eta.shape
        assert layer.gradient(out).shape == SHAPE
    conv.method = "SAME"
    assert conv.forward(x).shape == conv.output_shape == (3, 7, 5, 4)
    pool.ksize = 3
    wanted = MaxPooling(SHAPE, 3, 1)
    np.testing.assert_array_equal(pool.forward(x), wanted.forward(x))
    np.testing.assert_array_equal(pool.gradient(out[..., :2]), wanted.gradient(out[..., :2]))
    for layer, name, value, message in (
        (conv, "stride", 0, "`stride` must be an integer of at least 1. Received stride=0"),
        (conv, "method", "FULL", "`method` must be one of 'VALID', 'SAME'. Received method='FULL'"),
        (pool, "ksize", 6, "`ksize` must not be larger than the image, 7 x 5. Received ksize=6"),
        (pool, "stride", 6, "`stride` must not be larger than the image, 7 x 5. Received stride=6"),
        (pool, "padding", 3, "`padding` must be an integer from 0 to 2, smaller than `ksize`. Received padding=3"),
        (BatchNorm((1, 2)), "epsilon", 0, "`epsilon` must be a finite number of at least 1e-12. Received epsilon=0"),
        (BatchNorm((1, 2)), "moving_decay", 2, "`moving_decay` must be a number from 0 to 1. Received moving_decay=2"),
        (Dropout((1, 2)), "prob", 0, "`prob` must be a number above 0, at most 1. Received prob=0"),
        (Dropout((1, 2)), "seed", -1, "`seed` must be an integer from 0 to 9223372036854775807. Received seed=-1"),
        (Dropout((1, 2)), "calls", 0.5, "`calls` must be an integer of at least 0. Received calls=0.5"),
        (LeakyRelu((1, 2)), "alpha", "a", "`alpha` must be a finite number. Received alpha='a'"),
    ):
        before = getattr(layer, name)
        with pytest.raises(ValueError, match=message):
            setattr(layer, name, value)
        assert getattr(layer, name) == before
    big = Conv2D(SHAPE, 4, 7, method="SAME")
    with pytest.raises(ValueError, match="`ksize` must not be larger than the image"):
        big.method = "VALID"
    assert big.method == "SAME"


@pytest.mark.parametrize("name", ["input_shape", "output_shape", "output_channels", "input_channels", "ksize"])
def test_what_follows_from_something_else_stays(name):
    conv = Conv2D(SHAPE, 4)
    value = getattr(conv, name)
    setattr(conv, name, list(value) if isinstance(value, tuple) else value)
    other = [3, 9, 9, 2] if isinstance(value, tuple) else value + 1
    with pytest.raises(ValueError, match=rf"Conv2D: `{name}` .*make a new layer for another. Received {name}="):
        setattr(conv, name, other)
    assert getattr(conv, name) == value


def test_every_attribute_of_the_contract_can_be_assigned(backend, rng):
    """Contract, section 2: "attributes a script may read or write"; what is read first may be written back."""
    common = ("input_shape", "output_shape", "ksize", "stride", "output_channels")
    parameters = ("weights", "bias", "w_gradient", "b_gradient", "batchsize")
    running = ("moving_mean", "moving_var")
    x = rng.standard_normal(SHAPE)
    for layer, names in (
        (Conv2D(SHAPE, 4), (*common, *parameters, "input_channels", "method", "eta", "col_image", "x")),
        (MaxPooling(SHAPE, padding=1), (*common, "index", "padding")),
        (AvgPooling(SHAPE, padding=1), (*common, "padding")),
        (Relu(SHAPE), ("x", "eta", "output_shape")),
        (LeakyRelu(SHAPE), ("x", "eta", "alpha", "output_shape")),
        (FullyConnect(SHAPE), ("input_shape", "x", "output_shape", *parameters)),
        (BatchNorm(SHAPE), ("x", "alpha", "beta", "a_gradient", "b_gradient", "epsilon", "moving_decay", *running)),
        (Dropout(SHAPE, 1.0), ("input_shape", "output_shape", "prob", "seed", "calls", "first_image")),
        (PReLU(SHAPE), ("x", "eta", "alpha", "a_gradient", "output_shape")),
        (ELU(SHAPE), ("x", "eta", "alpha", "output_shape")),
        (Sigmoid(SHAPE), ("y", "eta", "output_shape")),
        (Tanh(SHAPE), ("y", "eta", "output_shape")),
    ):
        wanted = layer.forward(x)
        for name in names:
            setattr(layer, name, getattr(layer, name))
        np.testing.assert_array_equal(layer.forward(x), wanted)
        assert layer.gradient(wanted).shape == SHAPE
    loss = Softmax((3, 2))
    loss.cal_loss([[1, 2], [3, 4], [5, 6]], [0, 1, 0])
    for name in ("softmax", "loss", "eta", "label", "prediction", "batchsize"):
        setattr(loss, name, getattr(loss, name))


def test_another_batch_size_may_be_assigned():
    relu = Relu((64, 3))
    relu.input_shape, relu.batchsize = [1, 3], 1
    assert relu.input_shape == relu.output_shape == (1, 3) and relu.batchsize == 1


def test_reading_an_attribute_changes_nothing():
    for layer in (Conv2D(SHAPE, 4), Relu(SHAPE), FullyConnect(SHAPE)):
        assert not layer.x.any()
        with pytest.raises(RuntimeError, match="`gradient` needs a call of `forward` first"):
            layer.gradient(np.zeros(layer.output_shape))


def test_layers_of_ones_own_may_say_their_output_shape():
    class Pairs(layers.Layer):
        def __init__(self, shape):
            super().__init__(shape)
            self.output_shape = [shape[0], shape[1] // 2]

    assert Pairs((4, 6)).output_shape == (4, 3)
