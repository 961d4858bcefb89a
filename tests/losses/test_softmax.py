"""Softmax and cross-entropy against the oracle, and at the edges."""

import math

import numpy as np
import pytest

from fastcnn.layers import Softmax
from tests import naive


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
@pytest.mark.parametrize("column", [False, True])
def test_loss_and_gradient_agree_with_the_oracle(rng, dtype, column):
    logits, labels = rng.standard_normal((5, 7)), rng.integers(0, 7, 5)
    layer = Softmax((64, 7), dtype="float64")
    loss = layer.cal_loss(logits, labels.astype(dtype)[:, None] if column else labels.astype(dtype))
    expected_loss, expected_gradient = naive.softmax_cross_entropy(logits, labels)
    assert isinstance(loss, float) and loss == layer.loss
    assert math.isclose(loss, expected_loss, rel_tol=1e-14)
    np.testing.assert_allclose(layer.gradient(), expected_gradient, atol=1e-15)
    np.testing.assert_array_equal(layer.eta, layer.gradient())
    np.testing.assert_allclose(layer.softmax.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(layer.label, labels)
    np.testing.assert_array_equal(layer.prediction, logits)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_are_stable(dtype):
    layer = Softmax((3, 3), dtype=dtype)
    logits = [[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4]]
    assert math.isclose(layer.cal_loss(logits, [0, 1, 2]), 2 * math.log(3), rel_tol=1e-6)
    assert layer.cal_loss([[1e4, -1e4, 0]], [1]) == 2e4
    assert np.isfinite(layer.gradient()).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_logits_of_all(dtype):
    """Their differences overflow; the loss of the impossible class is the largest number instead."""
    layer, most = Softmax((1, 3), dtype=dtype), np.finfo(dtype).max
    logits = np.array([[most, -most, 0]], dtype)
    assert layer.cal_loss(logits, [0]) == 0 and layer.cal_loss(logits, [1]) == most
    np.testing.assert_array_equal(layer.gradient(), [[1, -1, 0]])


@pytest.mark.parametrize("logit", [np.inf, np.nan])
def test_logits_that_are_no_numbers_give_nan(logit):
    layer = Softmax((2, 2))
    assert math.isnan(layer.cal_loss([[logit, 0], [0, 0]], [0, 0]))
    assert np.isnan(layer.softmax[0]).all() and (layer.softmax[1] == 0.5).all()


def test_predict_leaves_its_argument_alone(rng):
    logits = rng.standard_normal((4, 3)).astype(np.float32)
    before = logits.copy()
    layer = Softmax((4, 3))
    probabilities = layer.predict(logits)
    np.testing.assert_array_equal(logits, before)
    np.testing.assert_array_equal(probabilities, layer.forward(logits))
    np.testing.assert_array_equal(layer.softmax, probabilities)


def test_assigned_probabilities_are_what_the_gradient_starts_from():
    layer = Softmax((1, 2))
    layer.cal_loss([[0, 0]], [1])
    layer.softmax = [[0.25, 0.75]]
    np.testing.assert_array_equal(layer.gradient(), [[0.25, -0.25]])


def test_an_assigned_label_has_the_weight_of_its_class(rng):
    logits = rng.standard_normal((4, 3))
    layer, wanted = Softmax((4, 3)), Softmax((4, 3))
    layer.cal_loss(logits, [0, 1, 2, 0], class_weights=[1, 2, 3])
    layer.label = [2, 2, 2, 2]
    wanted.cal_loss(logits, [2, 2, 2, 2], class_weights=[1, 2, 3])
    np.testing.assert_array_equal(layer.gradient(), wanted.gradient())


def test_labels_and_probabilities_of_two_batches():
    """One label for four images would be that of each."""
    layer = Softmax((4, 3))
    layer.cal_loss(np.zeros((4, 3)), [0, 1, 2, 0])
    layer.prediction = np.zeros((1, 3))
    layer.label = [2]
    with pytest.raises(RuntimeError, match="`softmax` has 4 images and `label` 1: call `cal_loss` with both"):
        layer.gradient()


def test_predicting_between_loss_and_gradient_does_no_harm(rng):
    layer = Softmax((4, 3))
    logits, labels = rng.standard_normal((4, 3)), np.array([0, 1, 2, 0])
    layer.cal_loss(logits, labels)
    wanted = layer.gradient()
    layer.predict(rng.standard_normal((2, 3)))
    np.testing.assert_array_equal(layer.gradient(), wanted)


@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        ([0, 3], ValueError, r"`label` must lie in 0 to 2 for 3 classes. Received label\[1\]=3 \(1 of 2"),
        ([0, -1], ValueError, r"Received label\[1\]=-1"),
        ([0], ValueError, r"shape \(2,\) or \(2, 1\), one label for each image. Received the shape \(1,\)"),
        ([[0, 1]], ValueError, r"Received the shape \(1, 2\)"),
        (
            [0.0, 1.0],
            TypeError,
            r"`label` must hold integers: a label is the number of a class. Received an array of dtype float64",
        ),
        (["a", "b"], TypeError, r"`label` must hold real numbers. Received an array of dtype <U1"),
    ],
)
def test_bad_labels(label, error, message):
    with pytest.raises(error, match=message):
        Softmax((2, 3)).cal_loss(np.zeros((2, 3)), label)


def test_gradient_before_loss():
    with pytest.raises(RuntimeError, match="`gradient` needs a call of `cal_loss` first"):
        Softmax((2, 3)).gradient()
