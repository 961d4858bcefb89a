"""Class weights and label smoothing: the loss written out, and its gradient by finite differences."""

import math

import numpy as np
import pytest

from fastcnn.layers import Softmax
from tests.helpers.models import small
from tests.layers.test_gradients import numeric_gradient

WEIGHTS = [0.5, 2.0, 0.0, 3.0]


def textbook(logits, labels, weights=None, smoothing=0.0):
    """The sum over the batch of ``-weight * sum(target * log(softmax))``, number by number."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_sum = math.log(math.fsum(math.exp(z) for z in row))
        target = [smoothing / len(row) + (1 - smoothing) * (k == label) for k in range(len(row))]
        loss = -math.fsum(t * (z - log_sum) for t, z in zip(target, row, strict=True))
        total += loss * (1 if weights is None else weights[label])
    return total


OPTIONS = [
    {},
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.99},
    {"class_weights": WEIGHTS},
    {"class_weights": WEIGHTS, "label_smoothing": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_loss_and_gradient(backend, rng, options):
    logits, labels = 3 * rng.standard_normal((8, 4)), np.array([0, 1, 2, 3, 3, 1, 0, 2])
    layer = Softmax((8, 4), dtype="float64")
    wanted = textbook(logits, labels, options.get("class_weights"), options.get("label_smoothing", 0))
    assert layer.cal_loss(logits, labels, **options) == pytest.approx(wanted, rel=1e-13) == layer.loss
    gradient = layer.gradient()
    np.testing.assert_array_equal(layer.eta, gradient)
    np.testing.assert_array_equal(layer.softmax, Softmax((8, 4), dtype="float64").predict(logits))
    numeric = numeric_gradient(lambda: layer.cal_loss(logits, labels, **options), logits)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


def test_float32(backend, rng):
    logits, labels = rng.standard_normal((6, 4)).astype(np.float32), np.array([0, 1, 2, 3, 3, 1])
    layer = Softmax((6, 4))
    wanted = textbook(logits, labels, WEIGHTS, 0.2)
    assert layer.cal_loss(logits, labels, class_weights=WEIGHTS, label_smoothing=0.2) == pytest.approx(wanted, rel=1e-6)
    assert layer.gradient().dtype == np.float32


def test_options_hold_for_one_call(rng):
    """The next loss is a plain one again; a prediction between loss and gradient does no harm."""
    logits, labels = rng.standard_normal((4, 4)), np.arange(4)
    layer, plain = Softmax((4, 4), dtype="float64"), Softmax((4, 4), dtype="float64")
    plain.cal_loss(logits, labels)
    layer.cal_loss(logits, labels, class_weights=WEIGHTS, label_smoothing=0.5)
    weighted = layer.gradient()
    layer.predict(logits * 2)
    np.testing.assert_array_equal(layer.gradient(), weighted)
    layer.cal_loss(logits, labels)
    np.testing.assert_array_equal(layer.gradient(), plain.gradient())
    assert (weighted != plain.gradient()).any()


def test_the_smoothed_loss_is_least_where_the_probabilities_are_the_target():
    """And its gradient is 0 there."""
    target = np.array([[0.1 / 3, 1 - 0.2 / 3, 0.1 / 3]])
    layer = Softmax((1, 3), dtype="float64")
    layer.cal_loss(np.log(target), [1], label_smoothing=0.1)
    np.testing.assert_allclose(layer.gradient(), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1}, "Softmax: `label_smoothing` must be a number from 0 to below 1. Received label_smoot"),
        ({"label_smoothing": -0.1}, "Softmax: `label_smoothing` must be a finite number of at least 0. Received"),
        ({"label_smoothing": np.nan}, "Softmax: `label_smoothing` must be a finite number of at least 0. Received"),
        ({"label_smoothing": None}, "Softmax: `label_smoothing` must be a finite number of at least 0. Received"),
        ({"class_weights": [1, 2]}, r"Softmax: `class_weights` must have the shape \(3,\). Received the shape \(2,\)"),
        ({"class_weights": 2.0}, r"Softmax: `class_weights` must have the shape \(3,\). Received the shape \(\)"),
    ],
)
def test_bad_options(options, message):
    layer = Softmax((1, 3))
    before = layer.cal_loss([[1, 2, 3]], [0])
    with pytest.raises(ValueError, match=message):
        layer.cal_loss([[0, 0, 0]], [1], **options)
    assert layer.loss == before and layer.label == [0]
    with pytest.raises(TypeError, match="Softmax: `class_weights` must hold real numbers"):
        layer.cal_loss([[0, 0, 0]], [1], class_weights=["a", "b", "c"])


# In `fit`


def first_loss(data, rate=0.0, **options):
    """The mean loss over a data set of a model that does not learn, and the model."""
    model = small(dtype="float64")
    history = model.fit(*data, 1, 32, learning_rate=rate, shuffle=False, verbose=False, **options)
    return history["loss"][0], model


@pytest.fixture
def lopsided(data):
    """20 images of 0, 10 of 1, 10 of 4: the other classes do not occur."""
    order = [np.flatnonzero(data[1] == label)[:count] for label, count in ((0, 20), (1, 10), (4, 10))]
    index = np.concatenate(order)
    return data[0][index], data[1][index].astype(np.int64)


def weights_for(name):
    """What `fit` takes, and the ten weights that it stands for."""
    by_class = {0: 40 / (3 * 20), 1: 40 / (3 * 10), 4: 40 / (3 * 10)}
    uneven = np.arange(10) / 4
    return {
        "balanced": ("balanced", np.array([by_class.get(i, 1.0) for i in range(10)])),
        "dict": ({1: 5, np.int64(4): 0.5}, np.array([1, 5, 1, 1, 0.5, 1, 1, 1, 1, 1])),
        "list": (uneven.tolist(), uneven),
        "array": (uneven.astype(np.float32), uneven),
    }[name]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", ["balanced", "dict", "list", "array"])
def test_class_weights_of_fit(lopsided, name, smoothing):
    x, y = lopsided
    given, weights = weights_for(name)
    loss, model = first_loss(lopsided, class_weight=given, label_smoothing=smoothing)
    assert loss == pytest.approx(textbook(model.logits(x), y, weights, smoothing) / 40, rel=1e-12)


def test_balanced_classes_have_the_same_share(lopsided):
    x, y = lopsided
    _, weights = weights_for("balanced")
    shares = [weights[label] * np.count_nonzero(y == label) for label in (0, 1, 4)]
    assert shares == pytest.approx([40 / 3] * 3)
    plain, _ = first_loss((x[10:], y[10:]))  # 10 of each: all weights are 1
    assert first_loss((x[10:], y[10:]), class_weight="balanced")[0] == pytest.approx(plain, rel=1e-14)


def test_fit_trains_on_the_weighted_and_smoothed_loss(lopsided):
    """One step by hand, on the mean over the images and not over their weights."""
    x, y = lopsided
    given, weights = weights_for("dict")
    fitted = small(dtype="float64")
    fitted.fit(x, y, 1, 40, learning_rate=0.1, class_weight=given, label_smoothing=0.2, shuffle=False, verbose=False)
    stepped = small(dtype="float64")
    stepped.loss_layer.cal_loss(stepped.logits(x), y, class_weights=weights, label_smoothing=0.2)
    stepped.gradient(stepped.loss_layer.gradient())
    stepped.backward(0.1 / 40)
    np.testing.assert_allclose(fitted.layers[3].weights, stepped.layers[3].weights, rtol=1e-13, atol=1e-15)


def test_a_class_without_weight_teaches_nothing(lopsided):
    x, y = lopsided
    _, without = first_loss((x[:30], y[:30]), 0.1, class_weight={0: 0, 1: 0})
    np.testing.assert_array_equal(without.layers[3].weights, small(dtype="float64").layers[3].weights)


def test_the_validation_loss_is_the_plain_one(lopsided):
    model = small()
    history = model.fit(
        *lopsided, validation_data=lopsided, class_weight="balanced", label_smoothing=0.5, verbose=False
    )
    assert history["val_loss"] == [model.evaluate(*lopsided).loss]


WANTED = r"fit: `class_weight` must be a dict of class: weight, 10 weights, or 'balanced'. Received"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("even", f"{WANTED} class_weight='even'"),
        ([1, 2], r"fit: `class_weight` must have the shape \(10,\). Received the shape \(2,\)"),
        (3, r"fit: `class_weight` must have the shape \(10,\). Received the shape \(\)"),
        (
            [-1] + [1] * 9,
            r"fit: `class_weight` must be finite weights of at least 0, and not all 0. Received .*=\[-1, 1",
        ),
        ([0] * 10, "fit: `class_weight` must be finite weights of at least 0, and not all 0. Received"),
        ([np.inf] * 10, "fit: `class_weight` must be finite weights of at least 0, and not all 0. Received"),
        ({10: 1}, "fit: `a key of class_weight` must be an integer from 0 to 9. Received a key of class_weight=10"),
        ({"0": 1}, "fit: `a key of class_weight` must be an integer from 0 to 9. Received a key of class_weight='0'"),
        ({0: -1}, r"fit: `class_weight\[0\]` must be a finite number of at least 0. Received class_weight\[0\]=-1"),
        ({0: "a"}, r"fit: `class_weight\[0\]` must be a finite number of at least 0. Received class_weight\[0\]='a'"),
        ({0: np.nan}, r"fit: `class_weight\[0\]` must be a finite number of at least 0. Received"),
    ],
)
def test_bad_class_weights_of_fit(data, value, message):
    with pytest.raises(ValueError, match=message):
        small().fit(*data, class_weight=value, verbose=False)


@pytest.mark.parametrize("value", [1, 1.5, -0.1, np.nan, "a", None, [0.1]], ids=repr)
def test_bad_smoothing_of_fit(data, value):
    model, before = small(), small().layers[0].weights
    with pytest.raises(ValueError, match=r"Softmax: `label_smoothing` must be a .* Received label_smoothing="):
        model.fit(*data, label_smoothing=value, verbose=False)
    assert (model.layers[0].weights == before).all()
