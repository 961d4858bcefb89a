"""Finite differences over every layer in float64, on both backends, over random shapes."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fastcnn
from fastcnn.layers import (
    ELU,
    AvgPooling,
    BatchNorm,
    Conv2D,
    Conv2DTranspose,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    FullyConnect,
    GlobalAvgPooling,
    LeakyRelu,
    MaxPooling,
    PReLU,
    Relu,
    Rescaling,
    Residual,
    Sigmoid,
    Softmax,
    Tanh,
)
from fastcnn.windows import Window, both, square
from tests.helpers.switches import BACKENDS

STEP = 1e-5


def numeric_gradient(function, array):
    """Central differences of the scalar `function()` with respect to each element of `array`."""
    gradient = np.zeros(array.shape)
    for index in np.ndindex(*array.shape):
        value = array[index]
        array[index] = value + STEP
        high = function()
        array[index] = value - STEP
        low = function()
        array[index] = value
        gradient[index] = (high - low) / (2 * STEP)
    return gradient


def away_from_kinks(rng, shape):
    """Distinct values, none within a step of another or of 0: neither a maximum nor a sign changes on the way."""
    count = int(np.prod(shape))
    return (rng.permutation(count) - count // 2 + 0.5).reshape(shape) * 0.1


def assert_gradients(layer, x, rng, **phase):
    eta = rng.standard_normal(layer.forward(x, **phase).shape)

    def loss():
        return float((layer.forward(x, **phase) * eta).sum())

    analytic = layer.gradient(eta)
    np.testing.assert_allclose(analytic, numeric_gradient(loss, x), rtol=1e-6, atol=1e-7)
    for name, gradient in layer.gradients().items():
        numeric = numeric_gradient(loss, getattr(layer, name))
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7, err_msg=name)


def sides(data, low, high):
    """A number, or one for each axis."""
    number = st.integers(low, high)
    return data.draw(number | st.tuples(number, number))


def windows(data, shape, transposed=False):
    """Options of a convolution of images of that shape, or to them: windows that fit, padded in any way."""
    options = {"ksize": sides(data, 1, 4), "stride": sides(data, 1, 3), "dilation": sides(data, 1, 2)}
    method = data.draw(st.sampled_from(["VALID", "SAME", "SAME_UPPER", "padding"]))
    options |= {"bias": data.draw(st.booleans()), "dtype": "float64"}
    short = [
        max(0, (both(options["ksize"])[axis] - 1) * both(options["dilation"])[axis] + 1 - shape[axis + 1])
        for axis in (0, 1)
    ]
    if method == "padding" and not transposed:
        options["padding"] = tuple(
            (data.draw(st.integers(0, 2)), more + data.draw(st.integers(0, 2))) for more in short
        )
    elif method == "padding":
        options["padding"] = data.draw(st.integers(0, min((side - 1) // 2 for side in both(options["ksize"]))))
    else:
        options["method"] = "SAME" if method == "VALID" and any(short) and not transposed else method
    return options


def groups(data, shape):
    """Groups that divide the channels, and the outputs of all of them."""
    count = data.draw(st.sampled_from([g for g in range(1, shape[3] + 1) if shape[3] % g == 0]))
    return {"groups": count, "output_channels": count * data.draw(st.integers(1, 3))}


def conv(data, shape):
    return Conv2D(shape, **groups(data, shape), **windows(data, shape))


def depthwise(data, shape):
    return DepthwiseConv2D(shape, multiplier=data.draw(st.integers(1, 3)), **windows(data, shape))


def transposed(data, shape):
    options = windows(data, shape, True)
    if options.get("method") in (None, "VALID"):
        most = min(both(options["stride"])) - 1
        options["output_padding"] = data.draw(st.integers(0, most))
    return Conv2DTranspose(shape, **groups(data, shape), **options)


def pool(layer):
    def make(data, shape):
        ksize, stride = (data.draw(st.integers(1, min(3, *shape[1:3]))) for _ in range(2))
        return layer(shape, ksize, stride, padding=data.draw(st.integers(0, ksize - 1)), dtype="float64")

    return make


def batch_norm(data, shape):
    """Of an epsilon that leaves the function smooth where a channel has few values, all nearly the same."""
    layer = BatchNorm(shape, epsilon=0.1, dtype="float64")
    numbers = np.random.default_rng(data.draw(st.integers(0, 1000))).standard_normal((4, shape[-1]))
    layer.alpha, layer.beta, layer.moving_mean, layer.moving_var = *numbers[:3], np.abs(numbers[3])
    return layer


def residual(data, shape):
    inner = Conv2D(shape, shape[-1], 3, 1, "SAME", dtype="float64")
    return Residual([inner, Tanh(inner.output_shape, dtype="float64")])


class Repeating(Dropout):
    """The same elements in each call."""

    def forward(self, x, phase="train"):
        self.calls = 0
        return super().forward(x, phase)


MAKERS = {
    "Conv2D": conv,
    "DepthwiseConv2D": depthwise,
    "Conv2DTranspose": transposed,
    "MaxPooling": pool(MaxPooling),
    "AvgPooling": pool(AvgPooling),
    "FullyConnect": lambda data, shape: FullyConnect(shape, data.draw(st.integers(1, 4)), dtype="float64"),
    "Relu": lambda data, shape: Relu(shape, dtype="float64"),
    "Leaky_Relu": lambda data, shape: LeakyRelu(shape, 0.3, dtype="float64"),
    "ELU": lambda data, shape: ELU(shape, 0.7, dtype="float64"),
    "PReLU": lambda data, shape: PReLU(shape, -0.3, dtype="float64"),
    "Sigmoid": lambda data, shape: Sigmoid(shape, dtype="float64"),
    "Tanh": lambda data, shape: Tanh(shape, dtype="float64"),
    "BatchNorm": batch_norm,
    "Dropout": lambda data, shape: Repeating(shape, 0.6, rng=data.draw(st.integers(0, 1000)), dtype="float64"),
    "Flatten": lambda data, shape: Flatten(shape, dtype="float64"),
    "GlobalAvgPooling": lambda data, shape: GlobalAvgPooling(shape, dtype="float64"),
    "Residual": residual,
    "Rescaling": lambda data, shape: Rescaling(shape, 0.5, -1, dtype="float64"),
}


@pytest.mark.parametrize("backend_name", BACKENDS)
@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=12)
@given(data=st.data())
def test_gradients_are_those_of_finite_differences(name, backend_name, data):
    shape = tuple(data.draw(st.integers(1, high)) for high in (2, 5, 5, 4 if "Conv" in name else 3))
    assume(name != "BatchNorm" or math.prod(shape[:3]) > 1)  # one value has no variance
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    with fastcnn.use_backend(backend_name):
        np.random.seed(0)
        assert_gradients(MAKERS[name](data, shape), away_from_kinks(rng, shape), rng)


@pytest.mark.parametrize("name", ["BatchNorm", "Dropout"])
@settings(max_examples=12)
@given(data=st.data())
def test_gradients_in_the_test_phase(name, backend, data):
    shape = tuple(data.draw(st.integers(1, high)) for high in (2, 5, 5, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    assert_gradients(MAKERS[name](data, shape), away_from_kinks(rng, shape), rng, phase="test")


def test_every_layer_is_here():
    from fastcnn import layers

    classes = {
        value.__name__ for value in vars(layers).values() if isinstance(value, type) and issubclass(value, layers.Layer)
    }
    assert classes - {"Layer", "Softmax"} == set(MAKERS)


def test_softmax_gradient(rng):
    logits, labels = rng.standard_normal((3, 4)), np.array([0, 3, 1])
    layer = Softmax((3, 4), dtype="float64")
    layer.cal_loss(logits, labels)
    analytic = layer.gradient()
    numeric = numeric_gradient(lambda: layer.cal_loss(logits, labels), logits)
    np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "window",
    [
        square(3, 2),
        square(3, 2, 1, 1),
        square(3, 2, 1, 2),
        Window((2, 3), (3, 1), (2, 3), ((1, 0), (0, 2))),
        Window((1, 4), (2, 3), (4, 1), ((0, 3), (1, 0))),
    ],
)
def test_im2col_and_col2im_are_adjoint(backend, rng, window):
    """<im2col(x), y> = <x, col2im(y)> for all x and y."""
    from fastcnn.backends.active import active

    x = rng.standard_normal((2, 7, 6, 3))
    cols = active().im2col(x, window)
    y = rng.standard_normal(cols.shape)
    np.testing.assert_allclose((cols * y).sum(), (x * active().col2im(y, x.shape, window)).sum(), rtol=1e-12)
