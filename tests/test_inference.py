"""A model on many images: the result is one array, of its own."""

import tracemalloc

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential
from fastcnn.layers import Dropout, FullyConnect, Relu, Softmax


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
