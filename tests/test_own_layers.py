"""Inference and the layers and losses of a script's own, which keep of a batch what they like."""

import copy
import functools
import pickle
import re
import threading
import types

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.components.own import own_among
from fastcnn.layers import FullyConnect, Layer, Relu, Residual, Softmax

SHAPE = (2, 3)
X, Y = np.array([[1.0, -2, 3], [0, 1, -1]], np.float32), np.array([0, 2])
OTHER = np.array([[-3.0, 5, 1], [2, 2, 7]], np.float32)


def nothing(_):
    pass


class Scale:
    """``w * x * x``; `before` and `before_gradient` run in the midst of a pass, when x is kept."""

    def __init__(self):
        self.w, self.before, self.before_gradient = np.ones(3, np.float32), nothing, nothing

    def forward(self, x):
        self.x = x
        self.before(x)
        return self.w * self.x * self.x

    def gradient(self, eta):
        self.before_gradient(eta)
        return 2 * eta * self.w * self.x


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
        self.__x = x
        if x is not None and (x == OTHER).all():
            self.later = 1
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


class OwnModel(Sequential):
    pass


def residual(kind):
    return kind([FullyConnect(SHAPE, 3, rng=1), Scale(), Relu(SHAPE)])


class Space(types.SimpleNamespace):
    """Its `__dict__` is a member of a class in C."""

    def forward(self, x):
        self.x = x
        return x * x

    def gradient(self, eta):
        return 2 * eta * self.x


LAYERS = {
    "attributes": Scale,
    "a class in C": Space,
    "another model, of a class of its own": lambda: OwnModel([Scale(), FullyConnect(SHAPE, 3, rng=2)]),
    "another model": lambda: Sequential([Scale(), FullyConnect(SHAPE, 3, rng=2)]),
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
    kept = [[vars(layer)["x"] for layer in own_among(model.layers) if "x" in vars(layer)] for model in (used, called)]
    assert kept[0] or name == "slots"
    np.testing.assert_array_equal(*kept)


def test_a_slot_that_inference_fills_is_empty_again():
    model = make(Slots(SHAPE))
    pend(model, use)
    assert not hasattr(model.layers[0], "later")


@pytest.mark.parametrize("how", ["gradient", "a step"])
def test_after_the_gradient_nothing_waits(how):
    model = make(Scale())
    if how == "gradient":
        pend(model)
    else:
        model.train_on_batch(X, Y)
    model.predict(OTHER)
    np.testing.assert_array_equal(model.layers[0].x, OTHER)


def in_another_thread(function):
    """What it raises there, or None."""
    found = []

    def run():
        try:
            function()
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return found[0] if found else None


REFUSED = (
    r"Sequential: another thread trains this model, whose Scale is a script's own.*: both would be wrong\. model = "
)


@pytest.mark.parametrize("method", ["before", "before_gradient"])
def test_inference_in_the_midst_of_another_threads_pass(method):
    """It is refused, and the training is right."""
    model, found = make(Scale()), []
    setattr(model.layers[0], method, lambda _: found.append(in_another_thread(lambda: model.predict(OTHER))))
    np.testing.assert_array_equal(pend(model), pend(make(Scale())))
    assert [type(error) for error in found] == [RuntimeError] and re.match(REFUSED, str(found[0]))


@pytest.mark.parametrize("waits", [False, True])
def test_a_training_step_in_the_midst_of_another_threads_inference(waits):
    """The inference says that both may be wrong."""
    model, main, found = make(Scale()), threading.get_ident(), []
    if waits:
        model.logits(X, "train")

    def train(_):
        if threading.get_ident() == main and not found:
            found.append(in_another_thread(lambda: model.train_on_batch(X, Y)))

    model.layers[0].before = train
    with pytest.raises(RuntimeError, match=REFUSED):
        model.predict(OTHER)
    model.predict(OTHER)  # the training is over
    assert found == [None]


def test_a_gradient_that_begins_in_the_midst_of_inference():
    model = make(Scale())
    model.loss_layer.cal_loss(model.logits(X, "train"), Y)
    eta = model.loss_layer.gradient()

    def go_on(_):
        model.layers[0].before = nothing
        assert in_another_thread(lambda: model.gradient(eta)) is None

    model.layers[0].before = go_on
    with pytest.raises(RuntimeError, match=REFUSED):
        model.predict(OTHER)


def test_a_copy_is_for_another_thread():
    """As the message says; and so is a model whose training in another thread has a pause."""
    model, found = make(Scale()), []

    def use_a_copy(_):
        again = copy.deepcopy(model)
        again.layers[0].before = nothing
        found.append(in_another_thread(lambda: use(again)))

    model.layers[0].before = use_a_copy
    gradient = pend(model, lambda model: found.append(in_another_thread(lambda: use(model))))
    np.testing.assert_array_equal(gradient, pend(make(Scale())))
    assert found[0] is None


def test_threads_and_layers_of_this_package():
    """There they need no copies: 100 steps of a training beside a thread that uses the model."""
    model, wanted = (Sequential([FullyConnect(SHAPE, 3, rng=0), Relu(SHAPE), Softmax(SHAPE)]) for _ in range(2))
    stop, faults = threading.Event(), []

    def use_it():
        while not stop.is_set() and not faults:
            try:
                use(model)
            except BaseException as fault:
                faults.append(fault)

    thread = threading.Thread(target=use_it)
    thread.start()
    steps = [model.train_on_batch(X, Y, 0.01) for _ in range(100)]
    stop.set()
    thread.join()
    assert not faults and steps == [wanted.train_on_batch(X, Y, 0.01) for _ in range(100)]


def test_a_model_with_own_layers_can_be_copied():
    model = make(Scale())
    model.train_on_batch(X, Y)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_a_loss_is_put_back():
    """All that it has set and removed."""

    class Noted(Doubled):
        def cal_loss(self, prediction, label, **options):
            if hasattr(self, "note"):
                del self.note
            self.seen = label
            return super().cal_loss(prediction, label, **options)

    model = make(Scale(), Noted)
    loss = model.loss_layer
    loss.note = 1
    before = vars(loss).copy()
    model.evaluate(OTHER, Y)
    assert vars(loss) == before


def test_a_forward_pass_that_failed_waits_for_nothing():
    """What a layer draws when it sees its first batch would be put back after each."""

    class Late(Scale):
        def forward(self, x):
            self.made = getattr(self, "made", 0) + 1
            return super().forward(x)

    model = Sequential([FullyConnect(SHAPE, 3, rng=0), Late(), Softmax(SHAPE)])
    model.forward(X)
    with pytest.raises(ValueError, match="`x` must have the shape"):
        model.forward(np.ones((2, 7)))
    model.layers[1].made = 0
    model.predict(np.repeat(X, 2, axis=0), batch_size=2)
    assert model.layers[1].made == 2


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


def test_methods_of_an_object():
    """And of no class; what it calls `children` is none of ours."""

    class Wrapper:
        def __init__(self, inside):
            self.forward, self.gradient = inside.forward, inside.gradient

        def children(self, depth):
            return depth

    np.testing.assert_array_equal(make(Wrapper(Scale())).predict(X), make(Scale()).predict(X))
    np.testing.assert_array_equal(pend(make(Wrapper(Scale()))), pend(make(Scale())))
