"""Residual connections: layers inside a layer. Their gradients: test_gradients.py."""

import numpy as np
import pytest

from fastcnn import Sequential, schedules, zoo
from fastcnn.layers import BatchNorm, Conv2D, Dropout, FullyConnect, MaxPooling, Relu, Residual, Softmax
from fastcnn.layers.protocol import tensors_of, walk
from fastcnn.optimizers import Adam

SHAPE = (4, 6, 6, 3)


def conv(shape=SHAPE, channels=3, stride=1, **options):
    return Conv2D(shape, channels, 3, stride, "SAME", **options)


def block(**options):
    first = conv(channels=5, stride=2, **options)
    norm = BatchNorm(first.output_shape, **options)
    return Residual([first, norm, Relu(norm.output_shape, **options)], Conv2D(SHAPE, 5, 1, 2, "SAME", **options))


def test_the_sum_of_both_ways(backend, rng):
    layer, x = block(), rng.standard_normal(SHAPE)
    body = layer.body[2].forward(layer.body[1].forward(layer.body[0].forward(x)))
    np.testing.assert_allclose(layer.forward(x), body + layer.shortcut[0].forward(x), rtol=1e-6)
    assert layer.input_shape == SHAPE and layer.output_shape == (4, 3, 3, 5) and layer.batchsize == 4
    plain = Residual(conv())
    np.testing.assert_allclose(plain.forward(x), plain.body[0].forward(x) + x.astype(np.float32), rtol=1e-6)


def test_phases_reach_what_is_inside(backend, rng):
    inner = Residual([Dropout(SHAPE, 0.5, rng=0), BatchNorm(SHAPE)])
    outer = Residual([inner])
    x = rng.standard_normal(SHAPE)
    outer.forward(x)
    assert inner.body[0].calls == 1 and inner.body[1].moving_mean.any()
    still = outer.forward(x, phase="test")
    assert inner.body[0].calls == 1
    np.testing.assert_array_equal(still, outer.forward(x, phase="test"))
    model = Sequential([outer])
    np.testing.assert_array_equal(model.forward(x), still)
    model.logits(x, phase="train")
    assert inner.body[0].calls == 2


def test_a_relu_is_fused_inside_too(backend, rng):
    first = conv()
    fused = Residual([first, Relu(SHAPE), conv()])

    class Own(Relu):
        """The same, but nobody else may compute it."""

    plain = Residual([first, Own(SHAPE), fused.body[2]])
    x, eta = rng.standard_normal(SHAPE), rng.standard_normal(SHAPE)
    np.testing.assert_allclose(fused.forward(x), plain.forward(x), rtol=1e-6)
    expected = plain.gradient(eta)
    np.testing.assert_allclose(fused.gradient(eta), expected, rtol=1e-5, atol=1e-6)


def test_backward_updates_what_is_inside(backend, rng):
    layer = block()
    before = {place: np.array(a) for place, a in tensors([layer]).items()}
    layer.gradient(np.ones_like(layer.forward(rng.standard_normal(SHAPE))))
    layer.backward(0.1, 0.0)
    changed = {place for place, array in tensors([layer]).items() if (array != before[place]).any()}
    bias = {"0.body.0.bias"}  # of a convolution before BatchNorm: its gradient is 0, or what rounding leaves
    assert changed | bias == set(before)
    assert not any(gradient.any() for _, inner in walk([layer]) for gradient in inner.gradients().values())


def tensors(layers):
    return {f"{place}.{name}": a for place, layer in walk(layers) for name, a in tensors_of(layer).items()}


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files_hold_layers_inside_layers(tmp_path, rng, suffix):
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    outer = Residual([block(), Conv2D((4, 3, 3, 5), 2, 1)], Conv2D(SHAPE, 2, 2, 2))
    fc = FullyConnect(outer.output_shape, 3)
    model = Sequential([outer, fc, Softmax(fc.output_shape)])
    optimizer = Adam(model)
    for _ in range(2):
        model.accumulate(rng.standard_normal(SHAPE), np.arange(4) % 3)
        optimizer.step(4)
    path = tmp_path / f"m.{suffix}"
    model.save(path, optimizer=optimizer)
    loaded = Sequential.load(path)
    assert set(tensors(model.layers)) == set(tensors(loaded.layers)) >= {"0.body.0.body.1.moving_var", "1.weights"}
    for place, array in tensors(model.layers).items():
        np.testing.assert_array_equal(tensors(loaded.layers)[place], array, err_msg=place)
    twin = Adam(loaded)
    twin.load(path)
    x, y = rng.standard_normal(SHAPE), np.arange(4) % 3
    for each, rule in ((model, optimizer), (loaded, twin)):
        each.accumulate(x, y)
        rule.step(4)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def test_summary_counts_what_is_inside():
    layer = block()
    assert layer.parameter_count() == (9 * 3 * 5 + 5) + 10 + (3 * 5 + 5)
    assert layer.multiply_adds() == 3 * 3 * (9 * 3 * 5 + 3 * 5)
    assert repr(layer) == "Residual(body=[Conv2D, BatchNorm, Relu], shortcut=[Conv2D])"


class Bare:
    """A layer that says no shapes."""

    def forward(self, x):
        return x

    def gradient(self, eta):
        return eta


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Residual([]), ValueError, r"Residual: `body` must hold at least one layer. Received body=\[\]"),
        (lambda: Residual(5), TypeError, "Residual: `body` must be a list of layers. Received body=5"),
        (lambda: Residual([Relu]), TypeError, r"Residual: `body\[0\]` must be a layer, and not a class"),
        (lambda: Residual([Softmax((4, 3))]), ValueError, r"`body\[0\]` is a Softmax, which can only be the last"),
        (
            lambda: Residual([conv(channels=5)]),
            ValueError,
            r"`shortcut` must return \(batch, 6, 6, 5\), as `body` does. It would return \(batch, 6, 6, 3\)",
        ),
        (
            lambda: Residual([conv()], [conv((4, 5, 5, 3))]),
            ValueError,
            r"`shortcut` must take \(batch, 6, 6, 3\), as `body` does. It would take \(batch, 5, 5, 3\)",
        ),
        (lambda: Residual([conv(), MaxPooling((4, 5, 6, 3))]), ValueError, r"`body\[1\]` takes the shape"),
        (lambda: Residual([conv(dtype="float64"), Relu(SHAPE)]), ValueError, r"`body\[1\]` must be of the dtype of"),
        (
            lambda: Residual([conv(dtype="float64")], [conv()]),
            ValueError,
            "Residual: `shortcut` must be of the dtype float64, as `body` is. Received",
        ),
        (lambda: Residual([conv()], [Bare()]), TypeError, "`shortcut` must be a list of layers that say their shapes"),
    ],
)
def test_what_does_not_fit(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_one_layer_in_two_places():
    """It would keep the input of one of them: the gradient of the other would be wrong, and nobody would say so."""
    relu, once = Relu(SHAPE), conv()
    with pytest.raises(ValueError, match=r"Residual: `shortcut.0` must be another object than `body.0`. Received"):
        Residual([once], [once])
    inner = Residual([conv(), relu])
    with pytest.raises(ValueError, match=r"Residual: `body\[1\]` must be another object than `body\[0\].body.1`"):
        Residual([inner, relu])
    with pytest.raises(ValueError, match=r"Sequential: `layers\[1\].body.1` must be another object than `layers\[0\]`"):
        Sequential([relu, inner])


def test_gradient_before_forward():
    with pytest.raises(RuntimeError, match="Residual: `gradient` needs a call of `forward` first"):
        block().gradient(np.ones((4, 3, 3, 5)))


def test_resnet_small(data):
    model = zoo.resnet_small((20, 28, 28, 1), blocks=1, scale=1.0, rng=0)
    rate = schedules.cosine(0.01)  # at a constant one rounding alone makes the accuracy 0.63 to 0.95
    history = model.fit(*data, 8, 20, optimizer="adam", learning_rate=rate, seed=0, verbose=False)
    assert history["accuracy"][-1] > 0.9
    assert model.evaluate(*data).accuracy > 0.8
    with pytest.raises(ValueError, match=r"resnet_small: `blocks` must be an integer of at least 1. Received blocks=0"):
        zoo.resnet_small((1, 28, 28, 1), blocks=0)


@pytest.mark.parametrize("shortcut", [np.ones(3), np.array(None), 0, ""])
def test_a_shortcut_that_is_no_list_of_layers(shortcut):
    with pytest.raises((TypeError, ValueError), match="Residual: `shortcut"):
        Residual([Relu((2, 3))], shortcut)


@pytest.mark.parametrize("scale", [np.ones(3), "1", None])
def test_a_scale_that_is_no_number(scale):
    with pytest.raises(ValueError, match=r"zoo: `scale` must be a finite number. Received scale="):
        zoo.lenet((2, 28, 28, 1), scale=scale)


def test_more_blocks_than_a_network_has():
    with pytest.raises(ValueError, match=r"resnet_small: `blocks` must be an integer from 1 to 1000. Received"):
        zoo.resnet_small((2, 28, 28, 1), blocks=2**31)
