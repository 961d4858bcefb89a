"""Bad arguments to layers: one clear error each that names the argument, what was expected and what was received."""

import numpy as np
import pytest

from fastcnn import layers
from fastcnn.layers import (
    ELU,
    GELU,
    AdaptiveAvgPooling,
    AvgPooling,
    BatchNorm,
    Conv2D,
    Dropout,
    Flatten,
    FullyConnect,
    GlobalAvgPooling,
    HardSigmoid,
    LeakyRelu,
    MaxPooling,
    PReLU,
    Relu,
    Rescaling,
    Sigmoid,
    Softmax,
    Tanh,
)
from fastcnn.metrics import confusion_matrix

SHAPE = (2, 6, 5, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2D((6, 5, 3), 4), r"Conv2D: `shape` must be \(batch, height, width, channels\), .*=\(6, 5, 3\)"),
        (lambda: Conv2D(7, 4), r"Received shape=7"),
        (lambda: Conv2D((2, 6, 0, 3), 4), r"all at least 1. Received shape=\(2, 6, 0, 3\)"),
        (lambda: Conv2D((2, 6.5, 5, 3), 4), r"Received shape=\(2, 6.5, 5, 3\)"),
        (lambda: Conv2D("abcd", 4), r"Received shape='abcd'"),
        (lambda: Conv2D(SHAPE, 0), "`output_channels` must be an integer of at least 1. Received output_channels=0"),
        (lambda: Conv2D(SHAPE, 4, 0), "`ksize` must be an integer of at least 1. Received ksize=0"),
        (lambda: Conv2D(SHAPE, 4, 2.0), "`ksize` must be an integer of at least 1. Received ksize=2.0"),
        (lambda: Conv2D(SHAPE, 4, True), "`ksize` must be an integer of at least 1. Received ksize=True"),
        (lambda: Conv2D(SHAPE, 4, 3, 0), "Conv2D: `stride` must be an integer of at least 1. Received stride=0"),
        (lambda: Conv2D(SHAPE, 4, 6), "`ksize` must not be larger than the image, 6 x 5. Received ksize=6"),
        (
            lambda: Conv2D(SHAPE, 4, method="FULL"),
            "`method` must be one of 'VALID', 'SAME', 'SAME_UPPER'. Received method='FULL'",
        ),
        (lambda: Conv2D(SHAPE, 4, method="same"), "Received method='same'"),
        (lambda: Conv2D(SHAPE, 4, initializer="best"), "`initializer` must be one of 'msra', 'he', 'xavier', 'zeros'"),
        (
            lambda: Conv2D(SHAPE, 4, initializer=[1]),
            r"`initializer` must be one of .*'zeros', a number, or a callable \(shape, rng\). Received .*=\[1\]",
        ),
        (lambda: Conv2D(SHAPE, 4, initializer=np.nan), "`initializer` must be a finite number. Received"),
        (lambda: Conv2D(SHAPE, 4, initializer=lambda s, r: np.zeros(3)), r"`initializer\(...\)` must have the shape"),
        (
            lambda: MaxPooling(SHAPE, 6),
            "MaxPooling: `ksize` must not be larger than the image, 6 x 5. Received ksize=6",
        ),
        (lambda: MaxPooling(SHAPE, 2, 0), "`stride` must be an integer of at least 1. Received stride=0"),
        (lambda: AvgPooling(SHAPE, 2, 6), "AvgPooling: `stride` must not be larger than the image, 6 x 5. Received"),
        (lambda: AvgPooling((2, 6, 5)), r"AvgPooling: `shape` must be \(batch, height, width, channels\)"),
        (lambda: Relu(()), "Relu: `shape` must be positive integers"),
        (lambda: LeakyRelu(SHAPE, 10**400), "Leaky_Relu: `alpha` must be a finite number. Received alpha=1000"),
        (lambda: Relu(SHAPE, dtype="half"), "Relu: `dtype` must be one of 'float32', 'float64'. Received dtype='half'"),
        (lambda: LeakyRelu(SHAPE, "0.1"), "Leaky_Relu: `alpha` must be a finite number. Received alpha='0.1'"),
        (
            lambda: FullyConnect((4,), 2),
            r"FullyConnect: `shape` must be \(batch, features, ...\). Received shape=\(4,\)",
        ),
        (lambda: FullyConnect(SHAPE, -1), "`output_num` must be an integer of at least 1. Received output_num=-1"),
        (
            lambda: MaxPooling(SHAPE, 2, 2, padding=2),
            "MaxPooling: `padding` must be an integer from 0 to 1, smaller than `ksize`. Received padding=2",
        ),
        (
            lambda: MaxPooling(SHAPE, "2"),
            r"MaxPooling: `ksize` must be an integer of at least 1, or two: \(height, width\). Received ksize='2'",
        ),
        (
            lambda: Conv2D(SHAPE, 4, padding="same"),
            r"Conv2D: `padding` must be an integer of at least 0, \(rows, columns\), or \(\(top, bottom\), \(left, "
            r"right\)\); a text such as 'SAME' is a `method`. Received padding='same'",
        ),
        (
            lambda: AdaptiveAvgPooling(SHAPE, 10**9),
            r"AdaptiveAvgPooling: `output_size` must be smaller: images of the shape \(1000000000, 1000000000, 3\) "
            "would take too much memory. Received output_size=1000000000",
        ),
        (
            lambda: MaxPooling(SHAPE, 2, 2, padding=-1),
            "`padding` must be an integer of at least 0. Received padding=-1",
        ),
        (
            lambda: AvgPooling(SHAPE, 8, 2, padding=1),
            "`ksize` must not be larger than the image with its padding, 8 x 7. Received ksize=8",
        ),
        (lambda: GlobalAvgPooling((2, 6, 5)), r"GlobalAvgPooling: `shape` must be \(batch, height, width, channels\)"),
        (
            lambda: Flatten((4,)),
            r"Flatten: `shape` must be \(batch, ..., channels\), two axes at least. Received shape=\(4,\)",
        ),
        (lambda: PReLU((4,)), r"PReLU: `shape` must be \(batch, ..., channels\), two axes"),
        (lambda: PReLU(SHAPE, "0"), "PReLU: `alpha` must be a finite number. Received alpha='0'"),
        (lambda: ELU(SHAPE, np.nan), "ELU: `alpha` must be a finite number. Received alpha=nan"),
        (lambda: GELU(SHAPE, approximate="erf"), "GELU: `approximate` must be one of 'none', 'tanh'. Received approx"),
        (lambda: HardSigmoid(SHAPE, 0.0), "HardSigmoid: `alpha` must be a finite number of at least 1e-12. Received"),
        (lambda: BatchNorm((4,)), r"BatchNorm: `shape` must be \(batch, ..., channels\), two axes at least"),
        (
            lambda: BatchNorm(SHAPE, epsilon=-1),
            "BatchNorm: `epsilon` must be a finite number of at least 1e-12. Received",
        ),
        (lambda: BatchNorm(SHAPE, moving_decay="a"), "`moving_decay` must be a number from 0 to 1. Received"),
        (
            lambda: BatchNorm(SHAPE).forward(np.ones(SHAPE), "eval"),
            "`phase` must be one of 'train', 'test', True or False. Received phase='eval'",
        ),
        (lambda: Dropout(SHAPE, 0), "Dropout: `prob` must be a number above 0, at most 1. Received prob=0"),
        (lambda: Dropout(SHAPE, 1.5), "Dropout: `prob` must be a number above 0, at most 1. Received prob=1.5"),
        (
            lambda: Dropout(SHAPE).forward(np.ones(SHAPE), 1),
            "`phase` must be one of 'train', 'test', True or False. Received phase=1",
        ),
        (
            lambda: Softmax(SHAPE),
            r"Softmax: `shape` must be \(batch, classes\), all at least 1. Received shape=\(2, 6, 5, 3\)",
        ),
        (lambda: Rescaling(SHAPE, np.inf), "Rescaling: `scale` must be a finite number. Received scale=inf"),
        (
            lambda: layers.im2col(np.zeros((6, 5, 3)), 2, 1),
            r"im2col: `image.shape` must be .*Received image.shape=\(6, 5, 3\)",
        ),
        (lambda: layers.im2col(np.zeros(SHAPE), 2, 0), "im2col: `stride` must be an integer of at least 1"),
        (lambda: layers.col2im(np.zeros((2, 2)), SHAPE, 9, 1), "col2im: `ksize` must not be larger than the image"),
    ],
)
def test_constructors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


HUGE = [2**62, 2**64, 10**30, 10**400]
BOUND = "must be an integer from 1 to 2147483647. Received"


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda value: FullyConnect((2, 3), value), f"FullyConnect: `output_num` {BOUND} output_num="),
        (lambda value: Conv2D(SHAPE, value), f"Conv2D: `output_channels` {BOUND} output_channels="),
        (lambda value: Conv2D(SHAPE, 4, value, method="SAME"), f"Conv2D: `ksize` {BOUND} ksize="),
        (lambda value: Conv2D(SHAPE, 4, 3, value), f"Conv2D: `stride` {BOUND} stride="),
        (lambda value: layers.im2col(np.zeros(SHAPE), 2, value), f"im2col: `stride` {BOUND} stride="),
        (lambda value: confusion_matrix([0], [0], value), f"confusion_matrix: `classes` {BOUND} classes="),
        (lambda value: MaxPooling(SHAPE, 2, value), "MaxPooling: `stride` must "),
        (
            lambda value: Conv2D((1, value, value, 1), 2),
            "Conv2D: `shape` must be smaller: such an array takes more than",
        ),
        (lambda value: FullyConnect((2, value), 2), "FullyConnect: `shape` must be smaller: such an array takes "),
        (lambda value: BatchNorm((2, value)), "BatchNorm: `shape` must be smaller: such an array takes "),
        (lambda value: PReLU((value, 2)), r"PReLU: `shape` must be smaller: .*Received shape=\([14]"),
        (lambda value: Relu((value, value)), "Relu: `shape` must be smaller: such an array takes more than 10"),
    ],
)
def test_huge_numbers(make, message, value):
    with pytest.raises(ValueError, match=message):
        make(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: FullyConnect((2, 2**20, 2**20), 2**20),
            r"FullyConnect: `weights` of the shape \(1099511627776, 1048576\) takes 4,611,686,018,427,387,904 bytes, ",
        ),
        (
            lambda: Conv2D((1, 9, 9, 2**40), 2, initializer="zeros", dtype="float64"),
            r"Conv2D: `weights` of the shape \(3, 3, 1099511627776, 2\) takes 158,329,674,399,744 bytes, more memory",
        ),
        (
            lambda: Conv2D((1, 199, 199, 1), 2**31 - 1, 199, initializer=1.0),
            r"`weights` of the shape \(199, 199, 1, 2147483647\) takes 340,169,999,619,388 bytes",
        ),
        (
            lambda: Relu((2**30, 2**29)).x,
            r"Relu: `x` of the shape \(1073741824, 536870912\) takes 2,305,843,009,213,69",
        ),
        (lambda: MaxPooling((2**20, 2**20, 2, 2**18)).index, r"MaxPooling: `index` of the shape .* takes 2,305,843,00"),
        (lambda: Softmax((2**30, 2**29)).softmax, r"Softmax: `softmax` of the shape \(1073741824, 536870912\) takes"),
        (lambda: confusion_matrix([0], [0], 2**30), r"confusion_matrix: `classes` of the shape \(1073741824, 10737418"),
    ],
)
def test_arrays_that_fit_into_no_memory(make, message):
    with pytest.raises(MemoryError, match=message):
        make()


def test_rng_of_the_wrong_kind():
    with pytest.raises(
        TypeError, match=r"Conv2D: `rng` must be a NumPy generator or a seed, an integer >= 0. Received"
    ):
        Conv2D(SHAPE, 4, rng="seed")


EVERY = [Conv2D(SHAPE, 4), MaxPooling(SHAPE), AvgPooling(SHAPE), Relu(SHAPE), LeakyRelu(SHAPE), FullyConnect(SHAPE)]
EVERY += [kind(SHAPE) for kind in (BatchNorm, Dropout, Flatten, GlobalAvgPooling, ELU, PReLU, Sigmoid, Tanh)]


@pytest.mark.parametrize("layer", [*EVERY, Rescaling(SHAPE)], ids=lambda layer: layer.name)
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            np.zeros((6, 5, 3)),
            ValueError,
            r"`x` must have the shape \(batch, 6, 5, 3\). Received the shape \(6, 5, 3\)",
        ),
        (np.zeros((2, 6, 5, 4)), ValueError, r"Received the shape \(2, 6, 5, 4\)"),
        (np.zeros((2, 5, 6, 3)), ValueError, r"Received the shape \(2, 5, 6, 3\)"),
        (3.0, ValueError, r"Received the shape \(\)"),
        ([[1, 2], [3]], ValueError, "`x` must be an array of numbers"),
        (np.zeros(SHAPE, complex), TypeError, "`x` must hold real numbers. Received an array of dtype complex128"),
        (np.full(SHAPE, "a"), TypeError, "Received an array of dtype <U1"),
        (None, TypeError, "`x` must hold real numbers. Received x=None"),
        ([None, {}], TypeError, r"`x` must hold real numbers. Received x=\[None, {}\]"),
        (np.array([None]), TypeError, "Received an array of dtype object"),
    ],
)
def test_forward(layer, x, error, message):
    with pytest.raises(error, match=f"{layer.name}: .*{message}" if error is TypeError else message):
        layer.forward(x)


@pytest.mark.parametrize("layer", EVERY, ids=lambda layer: layer.name)
def test_gradient(layer, backend):
    fresh = type(layer)(**layer.config())
    with pytest.raises(RuntimeError, match=f"{layer.name}: `gradient` needs a call of `forward` first"):
        fresh.gradient(np.zeros(layer.output_shape))
    out = fresh.forward(np.zeros((3, *SHAPE[1:])))
    sizes = ", ".join(map(str, out.shape))
    for wrong in (out[:2], out[..., :1], out[0], np.zeros(())):
        with pytest.raises(
            ValueError, match=rf"{layer.name}: `eta` must have the shape \({sizes}\). Received the shape"
        ):
            fresh.gradient(wrong)
    with pytest.raises(TypeError, match="`eta` must hold real numbers"):
        fresh.gradient(out.astype(complex))
    with pytest.raises(ValueError, match=r"Received the shape \(\)"):
        fresh.gradient(np.zeros((), out.dtype))
    assert fresh.gradient(out).shape == (3, *SHAPE[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", 0), "`alpha` must be a finite number. Received alpha='x'"),
        ((np.nan, 0), "`alpha` must be a finite number. Received alpha=nan"),
        ((0.1, np.inf), "`weight_decay` must be a finite number. Received weight_decay=inf"),
    ],
)
def test_backward(arguments, message):
    fc = FullyConnect((2, 3), 2)
    before = fc.weights.copy()
    with pytest.raises(ValueError, match=message):
        fc.backward(*arguments)
    assert (fc.weights == before).all()


def test_an_array_without_axes_is_no_row():
    """Its shape is what remains of that of a row without the batch."""
    fc, relu = FullyConnect((2, 3), 1), Relu((5,))
    with pytest.raises(ValueError, match=r"FullyConnect: `bias` must have the shape \(1,\). Received the shape \(\)"):
        fc.bias = np.zeros((), fc.dtype)
    with pytest.raises(ValueError, match=r"Relu: `x` must have the shape .*\. Received the shape \(\)"):
        relu.forward(np.zeros((), relu.dtype))


def test_shapes_of_one_axis_are_written_as_python_does():
    fc = FullyConnect((2, 3), 12)
    with pytest.raises(ValueError, match=r"`bias` must have the shape \(12,\). Received the shape \(3,\)"):
        fc.bias = np.zeros(3)
    with pytest.raises(ValueError, match=r"`x` must have the shape \(batch,\). Received the shape \(2, 1\)"):
        Relu((4,)).forward(np.zeros((2, 1)))


def test_softmax_predictions():
    softmax = Softmax((2, 3))
    with pytest.raises(ValueError, match=r"Softmax: `prediction` must have the shape \(batch, 3\). Received the shape"):
        softmax.cal_loss(np.zeros((2, 4)), [0, 1])
    with pytest.raises(ValueError, match=r"Softmax: `prediction` must have"):
        softmax.predict(np.zeros(3))


@pytest.mark.parametrize("layer", [Conv2D(SHAPE, 4), MaxPooling(SHAPE)], ids=lambda layer: layer.name)
def test_what_is_refused_leaves_a_pending_gradient_alone(layer, backend, rng):
    """Also one that includes the gradient of a Relu before the layer."""
    x = rng.standard_normal(SHAPE)
    eta = layer.forward_rectified(x)
    wanted = layer.gradient(eta)
    layer.forward_rectified(x)
    with pytest.raises(ValueError, match="`x` must have the shape"):
        layer.forward(x[0])
    assert layer.rectified
    np.testing.assert_array_equal(layer.gradient(eta), wanted)


def test_what_no_memory_holds_once_it_is_copied():
    huge = np.broadcast_to(np.float32(1), (2**50, *SHAPE[1:]))
    for layer in (Conv2D(SHAPE, 4), Relu(SHAPE), Rescaling(SHAPE)):
        with pytest.raises(MemoryError, match=rf"{layer.name}: `x` of the shape \(1125899906842624, 6, 5, 3\) takes"):
            layer.forward(huge)


@pytest.mark.parametrize("dtype", ["\ud800", "f4,,", {"names": 1}, [1], object(), np.zeros(3)])
def test_dtypes_that_numpy_cannot_read(dtype):
    with pytest.raises(ValueError, match=r"Relu: `dtype` must be one of 'float32', 'float64'. Received dtype="):
        Relu(SHAPE, dtype=dtype)
