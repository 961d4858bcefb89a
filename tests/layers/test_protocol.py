"""What layers offer, and that nothing but the protocol decides it: fastcnn's own, and a script's with no base class."""

import copy
import gc
import weakref

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential, layers
from fastcnn.components import Component
from fastcnn.components.attributes import CLASSES
from fastcnn.layers import (
    BatchNorm,
    Conv2D,
    Dropout,
    Flatten,
    FullyConnect,
    Layer,
    MaxPooling,
    Relu,
    Residual,
    Softmax,
    protocol,
)
from fastcnn.layers.chain import absorbs_relu, forward_through, gradient_through, is_absorbable, is_fused
from fastcnn.losses import Loss

SHAPE = (2, 6, 6, 3)


def test_classes_that_are_made_again_and_again_are_not_kept():
    """As a notebook's cell or a function does that defines a layer's class."""

    def step():
        class Own(Relu):
            pass

        with fastcnn.use_backend("numpy"):
            Sequential([Own(SHAPE), Flatten(SHAPE), Softmax((2, 108))]).train_on_batch(np.ones(SHAPE), [0, 1])
        return weakref.ref(Own)

    first = step()
    assert first() is not None
    for _ in range(CLASSES):
        step()
    gc.collect()
    assert first() is None


class Bare:
    """What a layer must have, and nothing else."""

    def forward(self, x):
        return x

    def gradient(self, eta):
        return eta


class Scale(Bare):
    """A script's own that every optimizer can train, that can be saved, and knows nothing of fastcnn."""

    def __init__(self, factor=1.0):
        self.factor, self.change = np.full(1, factor), np.zeros(1)

    def parameters(self):
        return {"factor": self.factor}

    def gradients(self):
        return {"factor": self.change}

    def config(self):
        return {}

    def children(self):  # means nothing here: only components have layers inside
        return [1, 2]


def test_a_layer_that_says_nothing():
    bare = Bare()
    assert protocol.is_layer(bare) and not protocol.is_half_made(bare)
    assert not protocol.learns(bare) and not protocol.has_gradients(bare) and not protocol.has_own_backward(bare)
    assert not protocol.can_be_saved(bare) and not protocol.builds_itself(Bare)
    assert protocol.tensors_of(bare) == protocol.gradients_of(bare) == protocol.state_of(bare) == {}
    assert protocol.random_numbers_of(bare) == {} and protocol.shard_names_of(bare) == ()
    assert protocol.input_shape_of(bare) is protocol.output_shape_of(bare) is protocol.dtype_of(bare) is None
    assert protocol.parameter_count_of(bare) == protocol.multiply_adds_of(bare) == 0
    assert protocol.needs_in_config(bare, {"a"}) == set()
    protocol.draw_seed(bare)
    protocol.clear_gradients(bare)
    protocol.update(bare, 0.1, 0.1)
    assert list(protocol.walk([bare])) == [("0", bare)]


def test_a_layer_of_a_script():
    scale = Scale()
    assert protocol.learns(scale) and protocol.has_gradients(scale) and protocol.can_be_saved(scale)
    assert list(protocol.tensors_of(scale)) == ["factor"] and list(protocol.walk([scale])) == [("0", scale)]
    assert protocol.config_of(scale) == {"class": "Scale", "config": {}}
    scale.change += 3
    protocol.clear_gradients(scale)
    assert scale.change == 0


@pytest.mark.parametrize("thing", [None, "relu", 5, object()])
def test_what_is_no_layer(thing):
    assert not protocol.is_layer(thing)


def test_asking_for_gradients_makes_none():
    fc = FullyConnect((1, 3), 2)
    assert protocol.has_gradients(fc) and protocol.learns(fc)
    assert "w_gradient" not in vars(fc) and "b_gradient" not in vars(fc)


def test_a_layer_whose_gradients_have_no_names():
    class Own(Layer):
        def gradients(self):
            return {"factor": np.zeros(1)}

    assert protocol.has_gradients(Own((1, 2))) and not protocol.has_gradients(Relu((1, 2)))


def test_backward_with_and_without_a_decay():
    called = []

    class One(Bare):
        def backward(self, alpha):
            called.append((alpha,))

    class Two(Bare):
        def backward(self, alpha, weight_decay):
            called.append((alpha, weight_decay))

    for kind in (One, Two):
        protocol.update(kind(), 0.5, 0.25)
        assert protocol.has_own_backward(kind()) and not protocol.has_own_backward(FullyConnect((1, 2)))
    assert called == [(0.5,), (0.5, 0.25)]


def test_state_and_random_numbers():
    norm, drop = BatchNorm(SHAPE), Dropout(SHAPE, rng=0)
    assert list(protocol.state_of(norm)) == ["moving_mean", "moving_var"]
    assert protocol.random_numbers_of(drop) == {"seed": None, "calls": 0, "first_image": 0}
    protocol.draw_seed(drop)
    assert protocol.random_numbers_of(drop)["seed"] is not None
    assert protocol.shard_names_of(norm) == ("total",) and protocol.shard_names_of(drop) == ("first_image",)
    for layer in (norm, drop):
        for name in protocol.shard_names_of(layer):
            setattr(layer, name, getattr(layer, name))


def test_layers_inside_layers():
    inner = Conv2D(SHAPE, 3, 1)
    layer = Residual([inner, Residual(BatchNorm(SHAPE))])
    assert [place for place, _ in protocol.walk([Bare(), layer])] == [
        "0", "1", "1.body.0", "1.body.1", "1.body.1.body.0",
    ]  # fmt: skip
    assert protocol.parameter_count_of(layer) == 12 + 6
    Sequential([Residual([inner, Bare(), Relu(SHAPE)])]).summary(lambda line: None)  # of which one says nothing


def test_every_component_offers_what_files_need():
    classes = [value for value in vars(layers).values() if isinstance(value, type) and issubclass(value, Component)]
    assert Softmax in classes and Layer in classes
    for kind in classes:
        assert all(callable(getattr(kind, name)) for name in ("config", "parameters", "tensors", "gradients"))


# Losses


def test_a_loss_is_no_layer():
    softmax = Softmax((2, 3))
    assert isinstance(softmax, Loss) and not isinstance(softmax, Layer)
    assert layers.softmax.Softmax is Softmax is layers.Softmax
    assert softmax.parameters() == softmax.gradients() == softmax.tensors() == softmax.children() == {}
    assert (softmax.parameter_count(), softmax.multiply_adds(), softmax.output_shape) == (0, 0, (2, 3))


class Scaled(Softmax):
    """A script's own loss: the cross-entropy, twice."""

    def cal_loss(self, prediction, label, **options):
        self.loss = 2 * super().cal_loss(prediction, label, **options)
        return self.loss

    def gradient(self):
        return 2 * super().gradient()


def test_a_loss_of_ones_own_trains(data):
    images, labels = data[0][:40], data[1][:40]
    np.random.seed(0)
    fc = FullyConnect((20, *images.shape[1:]), 10)
    plain = Sequential([copy.deepcopy(fc), Softmax(fc.output_shape)])
    model = Sequential([fc, Scaled(fc.output_shape)])
    found, wanted = (each.fit(images, labels, 2, 20, seed=0, verbose=False, learning_rate=rate)
                     for each, rate in ((model, 0.05), (plain, 0.1)))  # fmt: skip
    np.testing.assert_allclose(found["loss"], 2 * np.array(wanted["loss"]), rtol=1e-5)
    with pytest.raises(ValueError, match=r"`layers\[0\]` is a Scaled, which can only be the last layer of a model"):
        Sequential([Scaled((1, 4)), Relu((1, 4))])


@pytest.mark.parametrize("method", ["cal_loss", "predict", "forward", "gradient"])
def test_what_a_loss_must_define(method):
    arguments = {"cal_loss": ([[0, 0]], [0]), "gradient": ()}.get(method, ([[0, 0]],))
    with pytest.raises(NotImplementedError, match="Loss defines no "):
        getattr(Loss((1, 2)), method)(*arguments)


# Fusion


def test_exactly_the_classes_that_declare_it_are_fused(rng):
    class Own(Relu):
        pass

    class OwnPooling(MaxPooling):
        pass

    assert is_absorbable(Relu) and not is_absorbable(Own) and not is_absorbable(Bare)
    assert [kind for kind in vars(layers).values() if isinstance(kind, type) and absorbs_relu(kind)] == [
        Conv2D, MaxPooling,
    ]  # fmt: skip
    x = rng.standard_normal(SHAPE).astype(np.float32)
    results = []
    for relu, pool in ((Relu, MaxPooling), (Own, MaxPooling), (Relu, OwnPooling)):
        row = [relu(SHAPE), pool(SHAPE)]
        fused = is_absorbable(relu) and is_fused(row, 0)
        assert fused == (relu is Relu and pool is MaxPooling)
        out = forward_through(row, x, "train")
        assert row[1].rectified == fused
        results.append((out, gradient_through(row, np.ones_like(out)), row[0].x, row[0].eta))
    for other in results[1:]:
        for array, wanted in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(array, wanted)
    assert not is_fused([Relu(SHAPE), MaxPooling(SHAPE, dtype="float64")], 0) and not is_fused([Relu(SHAPE)], 0)
