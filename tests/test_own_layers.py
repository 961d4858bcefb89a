"""Inference and the layers and losses of a script's own, which keep of a batch what they like."""

import copy
import functools
import os
import pickle
import signal
import sys
import threading
import time

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.components import turn_of
from fastcnn.layers import FullyConnect, Layer, Relu, Residual, Softmax
from fastcnn.layers.protocol import walk

SHAPE = (2, 3)
X, Y = np.array([[1.0, -2, 3], [0, 1, -1]], np.float32), np.array([0, 2])
OTHER = np.array([[-3.0, 5, 1], [2, 2, 7]], np.float32)


def nothing(_):
    pass


class Scale:
    """``w * x``, and w is another array after each update. Its attributes of that name run in the midst of a pass."""

    def __init__(self):
        self.w, self.before, self.before_gradient = np.ones(3, np.float32), nothing, nothing

    def forward(self, x):
        self.before(x)
        self.x = x
        return self.w * x

    def gradient(self, eta):
        self.before_gradient(eta)
        self.g = (eta * self.x).sum(axis=0)
        return eta * self.w

    def backward(self, alpha, weight_decay):
        self.w = self.w - alpha * self.g


class Doubled(Softmax):
    def cal_loss(self, prediction, label, **options):
        self.loss = 2 * super().cal_loss(prediction, label, **options)
        return self.loss


def make(layer, loss=Softmax):
    return Sequential([layer, FullyConnect(SHAPE, 3, rng=0), loss(SHAPE)])


def pend(model, between=lambda model: None):
    """The gradient of a training step, and what happens before it is asked for."""
    model.loss_layer.cal_loss(model.logits(X, "train"), Y)
    between(model)
    return model.gradient(model.loss_layer.gradient())


def use(model):
    model.predict(OTHER)
    model.evaluate(OTHER, Y)
    model.report(OTHER, Y)


class Bound(Scale):
    """Which holds its own method."""

    def __init__(self):
        super().__init__()
        self.scaled = super().forward

    def forward(self, x):
        return self.scaled(x)


def timed():
    """An object whose method is wrapped."""
    layer = Scale()
    layer.forward = functools.partial(layer.forward)
    return layer


class Slots(Layer):
    __slots__ = ("__x", "later")

    def forward(self, x):
        self.__x, self.later = x, 1
        return x * x

    def gradient(self, eta):
        return 2 * eta * self.__x


class NoCopies(Scale):
    def __new__(cls, size):
        return super().__new__(cls)

    def __init__(self, size):
        super().__init__()
        self.lock = threading.Lock()

    def __getstate__(self):
        raise TypeError("cannot be pickled")


class Block(Layer):
    """A container of a script's own: it calls the layers inside by itself, and remembers which."""

    def __init__(self, shape):
        super().__init__(shape)
        self.ways = [[Scale()], [Scale()]]

    def children(self):
        return {"0": self.ways[0][0], "1": self.ways[1][0]}

    def forward(self, x):
        self.used = self.ways[1][0]
        return self.used.forward(self.ways[0][0].forward(x))

    def gradient(self, eta):
        assert self.used is self.ways[1][0]
        return self.ways[0][0].gradient(self.used.gradient(eta))


class OwnResidual(Residual):
    pass


def residual(kind):
    return kind([FullyConnect(SHAPE, 3, rng=1), Scale(), Relu(SHAPE)])


LAYERS = {
    "attributes": Scale,
    "its own method": Bound,
    "a wrapped method": timed,
    "slots": lambda: Slots(SHAPE),
    "no copies": lambda: NoCopies(3),
    "a container": lambda: Block(SHAPE),
    "Residual": lambda: residual(Residual),
    "its own Residual": lambda: residual(OwnResidual),
}


@pytest.mark.parametrize("name", LAYERS)
def test_inference_between_a_forward_pass_and_its_gradient(name):
    gradients = [pend(make(LAYERS[name]()), between) for between in (lambda model: None, use)]
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_keeps_what_it_likes_where_nothing_waits(name):
    """As where a script calls its `forward`."""
    used, called = make(LAYERS[name]()), make(LAYERS[name]())
    use(used)
    called.layers[0].forward(OTHER)
    kept = [[layer.x for _, layer in walk(model.layers) if isinstance(layer, Scale)] for model in (used, called)]
    np.testing.assert_array_equal(*kept)


class Beside:
    """Another thread that does something with a model, from the midst of a pass in this one."""

    def __init__(self, work):
        self.work, self.here, self.thread = work, threading.get_ident(), None

    def begin(self, _):
        if threading.get_ident() == self.here and self.thread is None:
            self.thread = threading.Thread(target=self.work)
            self.thread.start()
            time.sleep(0.05)  # it could go on, were there no turns


@pytest.mark.parametrize("midst", ["before", "before_gradient"])
def test_inference_waits_for_a_pass_of_the_training(midst):
    model, wanted = make(Scale()), make(Scale())
    beside = Beside(lambda: [use(model) for _ in range(3)])
    setattr(model.layers[0], midst, beside.begin)
    found = pend(model)
    model.backward(0.5)
    beside.thread.join()
    np.testing.assert_array_equal(found, pend(wanted))
    wanted.backward(0.5)
    np.testing.assert_array_equal(model.layers[0].w, wanted.layers[0].w)
    assert (wanted.layers[0].w != 1).any()


def test_a_training_step_waits_for_inference():
    """A prediction began before the step, while a gradient was pending, whose attributes are put back."""
    model, wanted = make(Scale(), Doubled), make(Scale(), Doubled)
    losses = []
    beside = Beside(lambda: losses.append(model.train_on_batch(X, Y)))
    for one in (model, wanted):
        one.logits(X, "train")
    model.layers[0].before = beside.begin
    np.testing.assert_array_equal(model.predict(OTHER), wanted.predict(OTHER))
    beside.thread.join()
    assert losses == [wanted.train_on_batch(X, Y)]
    np.testing.assert_array_equal(model.layers[0].w, wanted.layers[0].w)


def test_threads_that_train_and_use_a_model():
    """With a loss of a script's own too, whose attributes are whole at any moment."""
    model, wanted = make(Scale(), Doubled), make(Scale(), Doubled)
    stop, faults = threading.Event(), []

    def use_it():
        try:
            while not stop.is_set():
                use(model)
        except BaseException as fault:
            faults.append(fault)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=use_it) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        steps = [model.train_on_batch(X, Y, 0.01) for _ in range(30)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert not faults and steps == [wanted.train_on_batch(X, Y, 0.01) for _ in range(30)]


def test_a_model_with_own_layers_can_be_copied():
    """Its threads have taken turns."""
    model = make(Scale())
    model.train_on_batch(X, Y)
    model.predict(OTHER)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert turn_of(again) is not turn_of(model)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_that_is_forked_in_the_midst_of_a_pass():
    """The thread whose turn it was is not in the child."""
    model = make(Scale())
    inside, go_on = threading.Event(), threading.Event()
    model.layers[0].before = lambda x: (inside.set(), go_on.wait(60)) if threading.current_thread() is thread else None
    thread = threading.Thread(target=lambda: pend(model))
    thread.start()
    assert inside.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(0 if model.predict(X).shape == (2, 3) else 1)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


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


def test_the_last_probabilities_are_those_of_the_training():
    model = make(Scale())
    model.loss_layer.cal_loss(model.logits(X, "train"), Y)
    before = model.loss_layer.softmax
    model.predict(OTHER)
    assert model.loss_layer.softmax is before
