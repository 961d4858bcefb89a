"""Inference and the layers and losses of a script's own, which keep of a batch what they like: copies stand in."""

import threading

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.layers import FullyConnect, Layer, Relu, Residual, Softmax

SHAPE = (2, 3)
X, Y = np.array([[1.0, -2, 3], [0, 1, -1]], np.float32), np.array([0, 2])
OTHER = np.array([[-3.0, 5, 1], [2, 2, 7]], np.float32)


class Scale:
    """``w * x``, and w is another array after each update. `before` runs in the midst of a forward pass."""

    def __init__(self):
        self.w, self.before = np.ones(3, np.float32), lambda x: None

    def forward(self, x):
        self.before(x)
        self.x = x
        return self.w * x

    def gradient(self, eta):
        self.g = (eta * self.x).sum(axis=0)
        return eta * self.w

    def backward(self, alpha, weight_decay):
        self.w = self.w - alpha * self.g


class Block(Layer):
    """A container of a script's own, which calls the layer inside by itself."""

    def __init__(self, shape):
        super().__init__(shape)
        self.inside = [Scale()]

    def children(self):
        return {"inside.0": self.inside[0]}

    def forward(self, x):
        return self.inside[0].forward(x)

    def gradient(self, eta):
        return self.inside[0].gradient(eta)


class Doubled(Softmax):
    def cal_loss(self, prediction, label, **options):
        self.loss = 2 * super().cal_loss(prediction, label, **options)
        return self.loss


def make(layer, loss=Softmax):
    return Sequential([layer, FullyConnect(SHAPE, 3, rng=0), loss(SHAPE)])


class Held:
    """Inference in another thread, which waits in the midst of `layer`'s forward pass of `OTHER`."""

    def __init__(self, model, layer):
        self.inside, self.go_on, self.found = threading.Event(), threading.Event(), []
        layer.before = self.wait
        self.thread = threading.Thread(target=lambda: self.found.append(model.predict(OTHER)))
        self.thread.start()
        assert self.inside.wait(60)

    def wait(self, x):
        if threading.current_thread() is self.thread:
            self.inside.set()
            assert self.go_on.wait(60)

    def end(self):
        self.go_on.set()
        self.thread.join()
        return self.found[0]


def test_an_update_during_a_prediction_stays(rng):
    """The prediction began while a gradient was pending, and ends after the update."""
    layer, alone = Scale(), Scale()
    for model in (make(layer), make(alone)):
        model.loss_layer.cal_loss(model.logits(X, "train"), Y)
        held = Held(model, layer) if model.layers[0] is layer else None
        model.gradient(model.loss_layer.gradient())
        model.backward(0.5)
        if held:
            held.end()
    assert (layer.w != 1).any()
    np.testing.assert_array_equal(layer.w, alone.w)


def test_a_prediction_around_a_forward_pass(rng):
    """It began before the forward pass, and ends before the gradient."""
    layer, alone = Scale(), Scale()
    expected = make(alone).predict(OTHER)
    found = []
    for model in (make(layer), make(alone)):
        held = Held(model, layer) if model.layers[0] is layer else None
        model.loss_layer.cal_loss(model.logits(X, "train"), Y)
        if held:
            np.testing.assert_array_equal(held.end(), expected)
        found.append(model.gradient(model.loss_layer.gradient()))
    np.testing.assert_array_equal(layer.x, X)
    np.testing.assert_array_equal(layer.g, alone.g)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "container", [Block, lambda shape: Residual([FullyConnect(shape, 3, rng=1), Scale(), Relu(shape)])]
)
def test_a_layer_inside_another(container):
    gradients = []
    for between in (lambda model: None, lambda model: (model.predict(OTHER), model.evaluate(OTHER, Y))):
        model = make(container(SHAPE))
        model.loss_layer.cal_loss(model.logits(X, "train"), Y)
        between(model)
        gradients.append(model.gradient(model.loss_layer.gradient()))
    np.testing.assert_array_equal(*gradients)


def test_what_is_made_in_the_first_pass_stays():
    """Weights that a layer draws when it sees its first batch: the next batches, and the training, have the same."""

    class Late:
        w, made = None, 0

        def forward(self, x):
            if self.w is None:
                self.w, self.made = np.full(x.shape[1], 3, np.float32), self.made + 1
                self.passing = True
            elif hasattr(self, "passing"):
                del self.passing
            return self.w * x

        def gradient(self, eta):
            return eta * self.w

    model = make(Late())
    model.predict(np.repeat(X, 3, axis=0), batch_size=2)
    assert model.layers[0].made == 1 and (model.layers[0].w == 3).all() and not hasattr(model.layers[0], "passing")
    model.predict(X)
    assert model.layers[0].made == 1


def test_a_copy_has_all_attributes():
    """Those too that the class leaves out of its pickles."""

    class Locked(Scale):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

        def __getstate__(self):
            return {name: value for name, value in vars(self).items() if name not in ("lock", "before")}

        def forward(self, x):
            with self.lock:
                return super().forward(x)

    np.testing.assert_array_equal(make(Locked()).predict(X), make(Scale()).predict(X))


def test_a_loss_that_is_measured_during_a_training_step():
    """Its attributes are those of the training step at any moment."""
    model = make(Scale(), Doubled)
    loss = model.loss_layer
    logits = model.logits(X, "train")
    inside, go_on = threading.Event(), threading.Event()

    class Waiting(type(loss)):
        def cal_loss(self, prediction, label, **options):
            if threading.current_thread() is thread:
                inside.set()
                assert go_on.wait(60)
            return super().cal_loss(prediction, label, **options)

    loss.__class__ = Waiting
    thread = threading.Thread(target=lambda: model.evaluate(OTHER, Y))
    thread.start()
    assert inside.wait(60)
    value = loss.cal_loss(logits, Y)
    go_on.set()
    thread.join()
    assert loss.loss == value
    wanted = Softmax(SHAPE)
    wanted.cal_loss(logits, Y)
    np.testing.assert_array_equal(loss.gradient(), wanted.gradient())


def test_the_last_probabilities_are_those_of_the_training():
    model = make(Scale())
    model.loss_layer.cal_loss(model.logits(X, "train"), Y)
    before = model.loss_layer.softmax
    model.predict(OTHER)
    assert model.loss_layer.softmax is before
