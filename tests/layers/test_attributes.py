"""What scripts read from layers and write into them. Contract, section 2, the table of attributes."""

import numpy as np
import pytest

from fastcnn import Sequential, layers
from fastcnn.augmentation import Augmentation
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
from fastcnn.optimizers import SGD, Adam, Momentum, RMSProp

SHAPE = (3, 7, 5, 2)


@pytest.mark.parametrize(("made", "name", "first"), [(BatchNorm, "alpha", 1.0), (PReLU, "alpha", 0.25)])
def test_a_parameter_that_is_read_for_the_first_time_is_seen_whole(monkeypatch, made, name, first):
    """Another thread may read it in the midst of that: it would have computed with zeros."""
    layer, seen = made(SHAPE), []
    first_of = vars(made)[name].first
    monkeypatch.setattr(vars(made)[name], "first", lambda layer: seen.append(name in vars(layer)) or first_of(layer))
    assert (getattr(layer, name) == first).all() and seen == [False]
    assert getattr(layer, name) is getattr(layer, name)


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
        (conv, "method", "FULL", "`method` must be one of 'VALID', 'SAME', 'SAME_UPPER'. Received method='FULL'"),
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
        (layers.GELU(SHAPE), ("x", "eta", "approximate", "output_shape")),
        (layers.HardSigmoid(SHAPE), ("x", "eta", "alpha", "beta", "output_shape")),
        (layers.ReLU6(SHAPE), ("x", "eta", "output_shape")),
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


IMAGE = (2, 6, 6, 2)
# Each attribute of each kind that is no array: values that the constructor refuses too, and the start of the message.
ASSIGNED = [
    (lambda: Relu((2, 3)), "dtype", "float64", r"Relu: `dtype` must be dtype\('float32'\), as in the constructor"),
    (lambda: Relu((2, 3)), "dtype", "int8", "Relu: `dtype` must be one of 'float32', 'float64'"),
    (lambda: Relu((2, 3)), "batchsize", 0, "Relu: `batchsize` must be an integer of at least 1"),
    (lambda: layers.Rescaling((2, 3)), "scale", np.nan, "Rescaling: `scale` must be a finite number"),
    (lambda: layers.Rescaling((2, 3)), "offset", "1", "Rescaling: `offset` must be a finite number"),
    (lambda: Conv2D(IMAGE, 3), "weights_shape", (1, 1, 2, 3), r"Conv2D: `weights_shape` must be \(3, 3, 2, 3\), as in"),
    (lambda: Conv2D(IMAGE, 3), "stride", 0, "Conv2D: `stride` must be an integer"),
    (lambda: Conv2D(IMAGE, 3), "method", "FULL", "Conv2D: `method` must be one of 'VALID', 'SAME'"),
    (lambda: MaxPooling(IMAGE), "padding", 2, "MaxPooling: `padding` must be an integer from 0 to 1"),
    (lambda: BatchNorm(IMAGE), "epsilon", 0, "BatchNorm: `epsilon` must be a finite number of at least 1e-12"),
    (lambda: BatchNorm(IMAGE), "total", 3, "BatchNorm: `total` must be None, or a function"),
    (lambda: Dropout(IMAGE), "prob", 0, "Dropout: `prob` must be a number above 0, at most 1"),
    (lambda: Dropout(IMAGE), "seed", 2**63, "Dropout: `seed` must be an integer from 0 to"),
    (lambda: LeakyRelu(IMAGE), "alpha", np.inf, "Leaky_Relu: `alpha` must be a finite number"),
    (lambda: layers.Residual(Relu(IMAGE)), "body", [], "Residual: `body` must be .*as in the constructor"),
    (lambda: layers.Residual(Relu(IMAGE)), "shortcut", [1], "Residual: `shortcut` must be .*as in the constructor"),
    (lambda: SGD([FullyConnect((2, 3))]), "weight_decay", np.nan, "SGD: `weight_decay` must be a finite number"),
    (lambda: SGD([FullyConnect((2, 3))]), "learning_rate", -1, "SGD: `learning_rate` must be a finite number"),
    (lambda: SGD([FullyConnect((2, 3))]), "clip_norm", 0, "SGD: `clip_norm` must be a number above 0"),
    (
        lambda: SGD([FullyConnect((2, 3))]),
        "decay",
        "bias",
        "SGD: `decay` must be one of 'all', 'weights', or a function",
    ),
    (lambda: Momentum([FullyConnect((2, 3))]), "momentum", 1, "Momentum: `momentum` must be a number .* below 1"),
    (lambda: RMSProp([FullyConnect((2, 3))]), "rho", "a", "RMSProp: `rho` must be a finite number"),
    (lambda: Adam([FullyConnect((2, 3))]), "beta2", 1, "Adam: `beta2` must be a number .* below 1"),
    (lambda: Adam([FullyConnect((2, 3))]), "epsilon", 0, "Adam: `epsilon` must be a number above 0"),
    (Augmentation, "shift", -1, "Augmentation: `shift` must be an integer of at least 0"),
    (Augmentation, "flip", "no", "Augmentation: `flip` must be True or False"),
    (Augmentation, "crop", (1, 2, 3), "Augmentation: `crop` must be an integer or a pair"),
    (lambda: Sequential([Relu((2, 3))]), "layers", [3], "Sequential: `layers"),
]


@pytest.mark.parametrize(
    ("make", "name", "value", "message"), ASSIGNED, ids=[f"{case[1]}={case[2]}" for case in ASSIGNED]
)
def test_what_is_assigned_is_checked_as_by_the_constructor(make, name, value, message):
    made = make()
    before = getattr(made, name)
    with pytest.raises((ValueError, TypeError), match=message):
        setattr(made, name, value)
    assert getattr(made, name) is before or getattr(made, name) == before
    setattr(made, name, before)  # what it has may be assigned


def test_a_rescaling_follows_what_is_assigned():
    layer = layers.Rescaling((2, 3), 0.5)
    layer.scale, layer.offset = 2, np.float32(1)
    np.testing.assert_array_equal(layer.forward([[1, 2, 3]]), [[3, 5, 7]])
    np.testing.assert_array_equal(layer.gradient([[1, 1, 1]]), [[2, 2, 2]])


def test_labels_that_a_script_assigns_to_a_loss(backend):
    loss = Softmax((2, 3))
    loss.cal_loss([[0, 0, 0], [0, 0, 0]], [0, 1])
    loss.label = [2, 2]
    np.testing.assert_allclose(loss.gradient(), [[1 / 3, 1 / 3, -2 / 3]] * 2, rtol=1e-6)
    for wrong in ([0, 3], [-1, 0], [0], [0.5, 1]):
        with pytest.raises((ValueError, TypeError), match="Softmax: `label` must"):
            loss.label = wrong
    np.testing.assert_array_equal(loss.label, [2, 2])


@pytest.mark.parametrize("shape", [{2, 3}, {2: 3, 3: 2}, frozenset({2, 3}), "23", b"23", {2: 3}.keys()], ids=repr)
def test_what_has_no_order_is_no_shape(shape):
    with pytest.raises(ValueError, match="Relu: `shape` must be positive integers, the batch size first"):
        Relu(shape)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (Conv2D((1, 2, 2, 1), 2, 1), "strides"),
        (Dropout((1, 2)), "p"),
        (BatchNorm((1, 2)), "momentum"),
        (Softmax((1, 2)), "class_weight"),
    ],
)
def test_a_name_that_nothing_reads(layer, name):
    """A warning, once, as scripts may mark layers with what they like; but they may mean another framework's name."""
    message = f"{type(layer).__name__}: nothing reads an attribute `{name}`. What may be assigned: .*batchsize"
    with pytest.warns(UserWarning, match=message):
        setattr(layer, name, 2)
    setattr(layer, name, 3)
    assert getattr(layer, name) == 3


def test_attributes_of_a_layer_of_a_script():
    class Own(layers.Layer):
        def __init__(self, shape):
            super().__init__(shape)
            self.level = 3
            self.output_shape = (1, 5)

    assert Own((1, 2)).level == 3 and Own((1, 2)).output_shape == (1, 5)


@pytest.mark.parametrize("made", [Softmax, layers.Rescaling])
def test_an_output_shape_that_is_that_of_the_input(made):
    layer = made((4, 3))
    layer.output_shape = (2, 3)
    with pytest.raises(ValueError, match=r"`output_shape` must be \(4, 3\), as `input_shape` is. Received"):
        layer.output_shape = (4, 9)
    assert layer.output_shape == (2, 3)


def test_a_misspelt_augmentation():
    with pytest.raises(AttributeError, match=r"reads an attribute `sihft`. What may be assigned: crop, flip, shift"):
        Augmentation().sihft = 3


BEYOND = {
    "LeakyRelu": lambda: LeakyRelu((1, 2), 1e300),
    "ELU": lambda: ELU((1, 2), alpha=1e300),
    "PReLU": lambda: PReLU((1, 2), alpha=-1e300),
    "Rescaling": lambda: layers.Rescaling((1, 2), 1e300),
    "Rescaling's offset": lambda: layers.Rescaling((1, 2), 1, offset=1e300),
    "BatchNorm": lambda: BatchNorm((1, 2), epsilon=1e300),
    "HardSigmoid": lambda: layers.HardSigmoid((1, 2), 1e300),
    "HardSigmoid's beta": lambda: layers.HardSigmoid((1, 2), beta=1e300),
    "Conv2D": lambda: Conv2D((1, 2, 2, 1), 2, 1, initializer=1e300),
    "FullyConnect": lambda: FullyConnect((1, 2), 2, initializer=10**60),
    "backward": lambda: FullyConnect((1, 2), 2).backward(1e39),
    "weight_decay": lambda: FullyConnect((1, 2), 2).backward(0.1, 1e39),
    "SGD": lambda: SGD([FullyConnect((1, 2), 2)], 1e300),
    "SGD's decay": lambda: SGD([FullyConnect((1, 2), 2)], 0.1, weight_decay=1e300),
    "Adam": lambda: Adam([FullyConnect((1, 2), 2)], epsilon=1e300),
    "clipping": lambda: SGD([FullyConnect((1, 2), 2)], 0.1, clip_norm=1e300),
}


@pytest.mark.parametrize("name", BEYOND)
def test_settings_that_float32_cannot_hold(name):
    """They would become infinite, and what is computed with them 0, infinite or NaN."""
    with pytest.raises(ValueError, match=r"must be a finite number.* no larger than float32 can hold, 3.4e\+38"):
        BEYOND[name]()


def test_a_list_that_holds_itself():
    """Twice: a walk through it would never end."""
    endless = [1.0]
    endless += [endless, endless]
    for x in (endless, [endless, np.ma.masked]):
        with pytest.raises((ValueError, TypeError), match="`x` must"):
            Relu((1, 3)).forward(x)


def test_masked_arrays(backend):
    """Their mask would be lost without a word, and what is under it used."""
    masked = np.ma.masked_array(np.arange(6.0).reshape(2, 3), [[0, 0, 1], [0, 0, 0]])
    message = r"`x` must hold no masked values.*as in x.filled\(0\). Received 1 masked of 6 values"
    for x in (masked, [masked[0], masked[1]], [[np.ma.masked, 1.0, 2.0]], ([masked[1]], [masked[0]])):
        with pytest.raises(TypeError, match=message if x is masked else "`x` must hold no masked values"):
            Relu((2, 3)).forward(x)
    np.testing.assert_array_equal(Relu((2, 3)).forward(masked.filled(0)), [[0, 1, 0], [3, 4, 5]])
    np.testing.assert_array_equal(Relu((2, 3)).forward(np.ma.masked_array(np.ones((2, 3)))), np.ones((2, 3)))
    with pytest.raises(TypeError, match="`label` must hold no masked values"):
        Softmax((2, 3)).cal_loss(np.zeros((2, 3)), np.ma.masked_array([0, 1], [0, 1]))
    with pytest.raises(TypeError, match="`weights` must hold no masked values"):
        FullyConnect((2, 2), 3).weights = masked


HUGE = [
    lambda: Relu((1, 2)).forward([[0, 1e300]]),
    lambda: layers.Rescaling((1, 2), 1e-300).forward([[0, 1e300]]),
    lambda: setattr(FullyConnect((1, 1), 2), "bias", [0, -1e300]),
    lambda: Sequential([Relu((1, 2))]).predict([[0, 1e300]]),
    lambda: Sequential([layers.Rescaling((1, 2))]).predict(np.array([[0, -1e39]])),
    lambda: Sequential([FullyConnect((1, 2), 2), Softmax((1, 2))]).fit([[0, 1e300]], [1]),
    lambda: Sequential([FullyConnect((1, 2), 2), Softmax((1, 2))]).train_on_batch([[0, 1e300]], [1]),
]


@pytest.mark.parametrize("call", HUGE)
def test_numbers_that_a_dtype_cannot_hold(call):
    """They would be infinite, and what follows from them NaN."""
    with pytest.raises(ValueError, match=r"must be at most 3.403e\+38 in size, the largest float32. Received"):
        call()


def test_the_largest_numbers_and_infinities_pass():
    x = np.array([[np.finfo(np.float32).max, np.inf, 1e-300]])
    np.testing.assert_array_equal(Relu((1, 3)).forward(x), [[np.finfo(np.float32).max, np.inf, 0]])
    np.testing.assert_array_equal(Relu((1, 1), dtype="float64").forward([[1e300]]), [[1e300]])
