"""A model on many images: the result is one array, of its own."""

import concurrent.futures
import functools
import itertools
import tracemalloc

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential
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
    Leaky_Relu,
    MaxPooling,
    PReLU,
    Relu,
    Rescaling,
    Residual,
    Sigmoid,
    Softmax,
    Tanh,
)


def test_a_prediction_is_allocated_once():
    """Beside it there is memory for a batch, and not for all batches a second and a third time."""
    model, x = Sequential([Relu((1, 64))]), np.ones((60_000, 64), np.float32)
    with fastcnn.use_backend("numpy"):
        model.predict(x[:10])
        tracemalloc.start()
        try:
            predicted = model.predict(x)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (predicted == 1).all() and peak < 1.5 * predicted.nbytes


@pytest.mark.parametrize("batch_size", [1, 3, 10, 256])
def test_a_prediction_of_any_number_of_batches(batch_size, rng):
    fc = FullyConnect((1, 4), 3)
    model, x = Sequential([fc, Softmax((1, 3))]), rng.standard_normal((10, 4)).astype(np.float32)
    predicted = model.predict(x, batch_size)
    np.testing.assert_allclose(predicted, model.layers[-1].predict(fc.forward(x)), rtol=1e-6)
    predicted[...] = 7  # the caller's own
    assert (model.layers[-1].softmax != 7).all() and (model.predict(x, batch_size) != 7).all()


def test_a_prediction_is_never_a_view_of_the_images(rng):
    model, x = Sequential([Dropout((1, 4), 0.5)]), rng.standard_normal((10, 4)).astype(np.float32)
    before = x.copy()
    model.predict(x)[...] = 7
    np.testing.assert_array_equal(x, before)


IMAGE = (4, 6, 6, 2)
MAKERS = {
    "Conv2D": lambda: Conv2D(IMAGE, 3, rng=0),
    "DepthwiseConv2D": lambda: DepthwiseConv2D(IMAGE, 3, 2, "SAME", 2, rng=0),
    "Conv2DTranspose": lambda: Conv2DTranspose(IMAGE, 3, 4, 2, padding=1, bias=False, rng=0),
    "Relu and grouped Conv2D": lambda: [Relu(IMAGE), Conv2D(IMAGE, 4, 2, groups=2, dilation=2, rng=0)],
    "Relu and Conv2D": lambda: [Relu(IMAGE), Conv2D(IMAGE, 3, method="SAME", rng=0)],
    "MaxPooling": lambda: MaxPooling(IMAGE),
    "Relu and MaxPooling": lambda: [Relu(IMAGE), MaxPooling(IMAGE)],
    "padded MaxPooling": lambda: MaxPooling(IMAGE, 3, 2, padding=1),
    "AvgPooling": lambda: AvgPooling(IMAGE),
    "GlobalAvgPooling": lambda: GlobalAvgPooling(IMAGE),
    "BatchNorm": lambda: BatchNorm(IMAGE),
    "Dropout": lambda: Dropout(IMAGE, rng=0),
    "Residual": lambda: Residual([BatchNorm(IMAGE), Relu(IMAGE)], [Dropout(IMAGE, rng=0)]),
    "PReLU": lambda: PReLU(IMAGE),
    "Rescaling": lambda: Rescaling(IMAGE, 0.5),
    "Flatten": lambda: Flatten(IMAGE),
    "FullyConnect": lambda: FullyConnect(IMAGE, 3, rng=0),
} | {made.__name__: functools.partial(made, IMAGE) for made in (Relu, Leaky_Relu, ELU, Sigmoid, Tanh)}


class Keeper:
    """A script's own layer."""

    def forward(self, x):
        self.x = x
        return 2 * x

    def gradient(self, eta):
        return eta * np.sign(self.x)


def make(name):
    layers = Keeper() if name == "Keeper" else MAKERS[name]()
    layers = layers if isinstance(layers, list) else [layers]
    fc = FullyConnect(getattr(layers[-1], "output_shape", IMAGE), 3, rng=1)
    return Sequential([*layers, fc, Softmax(fc.output_shape)])


def step(model, x, y, between=lambda: None, by_hand=False):
    """The gradients of a training step, and what the loss layer shows after it."""
    out, loss = x, model.layers[-1]
    if by_hand:
        for layer in model.body:
            out = (
                layer.forward(out, "train") if isinstance(layer, BatchNorm | Dropout | Residual) else layer.forward(out)
            )
    else:
        out = model.logits(x, "train")
    loss.cal_loss(out, y)
    between()
    eta = loss.gradient()
    if by_hand:
        for layer in reversed(model.body):
            eta = layer.gradient(eta)
    else:
        eta = model.gradient(eta)
    found = [gradient for layer in model.body for gradient in getattr(layer, "gradients", dict)().values()]
    return [eta, *found, loss.label, loss.prediction, np.array(loss.loss)]


@pytest.mark.parametrize(("name", "by_hand"), [("Keeper", False), *itertools.product(MAKERS, (False, True))])
def test_inference_leaves_a_pending_gradient_alone(backend, name, by_hand, rng):
    """Between the forward pass and the gradient of a training step a model may be used for whatever else.

    What a script's own layer keeps is its own, where the script calls it by hand.
    """
    x, y = rng.standard_normal(IMAGE).astype(np.float32), np.arange(4) % 3
    others, labels = rng.standard_normal((7, *IMAGE[1:])).astype(np.float32), np.arange(7) % 3
    alone = step(make(name), x, y, by_hand=by_hand)
    model = make(name)

    def use():
        model.predict(others, batch_size=3)
        model.evaluate(others, labels)
        model.report(others, labels)

    for one, other in zip(alone, step(model, x, y, use, by_hand), strict=True):
        np.testing.assert_array_equal(one, other)


def test_inference_keeps_no_batch(rng):
    """The memory of the last batch is free again, and a `gradient` has nothing that it could belong to."""
    model = make("Relu and Conv2D")
    model.predict(rng.standard_normal(IMAGE))
    model.evaluate(rng.standard_normal(IMAGE), np.zeros(4, int))
    assert not any("x" in vars(layer) for layer in model.body)
    with pytest.raises(RuntimeError, match="`gradient` needs a call of `forward` first"):
        model.gradient(np.zeros((4, 3)))


def test_a_layer_of_a_script_keeps_what_it_likes_otherwise(rng):
    model, x = make("Keeper"), rng.standard_normal(IMAGE).astype(np.float32)
    model.predict(x)
    np.testing.assert_array_equal(model.layers[0].x, x)


class Doubled(Softmax):
    """A loss of a script's own."""

    def cal_loss(self, prediction, label, **options):
        self.loss = 2 * super().cal_loss(prediction, label, **options)
        return self.loss


def test_a_loss_of_a_script_is_measured_by_its_own_rule(rng):
    fc, x, y = FullyConnect((4, 5), 3, rng=0), rng.standard_normal((4, 5)), np.arange(4) % 3
    plain, own = (Sequential([fc, loss((4, 3))]) for loss in (Softmax, Doubled))
    assert own.evaluate(x, y).loss == pytest.approx(2 * plain.evaluate(x, y).loss, rel=1e-6)
    assert own.layers[-1].loss == 0 and own.layers[-1].label is None


def test_two_threads_evaluate_one_model(rng):
    model = make("Relu and Conv2D")
    data = [(rng.standard_normal((40, *IMAGE[1:])), np.arange(40) % 3) for _ in range(4)]
    alone = [model.evaluate(*some, batch_size=2) for some in data]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(lambda some: model.evaluate(*some, batch_size=2), data)) == alone
