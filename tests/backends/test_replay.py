"""Predictions that repeat the calls of kernels: to the bit what layers compute, or not at all."""

import copy
import pickle
import threading

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential, zoo
from fastcnn.backends import replay
from fastcnn.backends.replay import Replay, Replayed
from fastcnn.layers import Relu
from tests.helpers.later import later_layers
from tests.helpers.switches import on_threads


def replays_of(predictor):
    """Whether replays serve, by shape."""
    return {key[0]: idle is not None and len(idle) for key, idle in predictor._model._replayed.seen.items()}


@pytest.mark.parametrize("make", [zoo.lenet, zoo.vgg_small])
@pytest.mark.parametrize("on_all", [False, True])
def test_replays_have_the_bits_of_the_layers(make, on_all, rng):
    shape = {zoo.lenet: (28, 28, 1), zoo.vgg_small: (32, 32, 3)}[make]
    model = make((2, *shape), rng=0)
    predictor = model.frozen()
    with on_threads() if on_all else fastcnn.using(threads=1):
        for batch in (1, 3):
            for k in range(5):
                x = (rng.standard_normal((batch, *shape)) * 10.0**k).astype(np.float32)
                before = x.copy()
                np.testing.assert_array_equal(predictor.forward(x), model.forward(x))
                np.testing.assert_array_equal(predictor.predict(x), model.predict(x))
                assert np.array_equal(x, before)
    assert replays_of(predictor) == {(1, *shape): 1, (3, *shape): 1}


def test_networks_of_every_later_layer(rng):
    """Replayed or not, to the bit what the model computes where no BatchNorm is folded."""
    model = Sequential(later_layers((2, 12, 12, 6)))
    predictor = model.frozen()
    wanted = Sequential(predictor._model.layers)  # with the same BatchNorms folded
    for _ in range(4):
        x = rng.standard_normal((2, 12, 12, 6)).astype(np.float32)
        np.testing.assert_array_equal(predictor.forward(x), wanted.forward(x))


def test_results_are_the_callers_own(rng):
    predictor = zoo.lenet((1, 28, 28, 1), rng=0).frozen()
    images = rng.standard_normal((6, 1, 28, 28, 1)).astype(np.float32)
    kept = [predictor.forward(x) for x in images]
    for x, out in zip(images, kept, strict=True):
        np.testing.assert_array_equal(predictor.forward(x), out)
        out[...] = 7  # may be written to, and reaches nobody
    np.testing.assert_array_equal(predictor.forward(images[0]), predictor.forward(images[0]))
    assert not (predictor.forward(images[0]) == 7).any()


def test_special_numbers_go_through(rng):
    """What no check has seen: NaN, infinities, and a batch of zeros."""
    model = zoo.lenet((1, 28, 28, 1), rng=0)
    predictor = model.frozen()
    for value in (0, 1, np.nan, np.inf, -np.inf, 3e38):
        x = np.full((1, 28, 28, 1), value, np.float32)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(predictor.forward(x), model.forward(x))


def test_settings_and_other_inputs_take_the_way_of_the_layers(rng):
    model = zoo.lenet((1, 28, 28, 1), rng=0)
    predictor, x = model.frozen(), rng.standard_normal((1, 28, 28, 1)).astype(np.float32)
    for _ in range(3):
        predictor.forward(x)
    for settings in ({"backend": "numpy"}, {"conv": "im2col"}, {"threads": 1}):
        with fastcnn.using(**settings):
            for _ in range(3):
                np.testing.assert_array_equal(predictor.forward(x), model.forward(x))
    np.testing.assert_array_equal(predictor.forward(x.astype(np.float64)), model.forward(x))
    np.testing.assert_array_equal(predictor.forward(x.tolist()), model.forward(x))
    with pytest.raises(ValueError, match="`x` must have the shape"):
        predictor.forward(x[:, :27])


class Halved(Relu):
    """A script's own layer: NumPy, which no replay would repeat."""

    def forward(self, x):
        return x * np.float32(0.5)


def test_a_scripts_own_layer_is_never_replayed(rng):
    model = Sequential([Relu((2, 5)), Halved((2, 5))])
    predictor = model.frozen()
    for _ in range(4):
        x = rng.standard_normal((2, 5)).astype(np.float32)
        np.testing.assert_array_equal(predictor.forward(x), np.maximum(x, 0) / 2)
    assert predictor._model._replayed is None


def test_what_python_computes_is_found_out():
    counted = []

    def half_in_python(x):
        counted.append(1)
        return fastcnn.backend.active().relu_forward(x) + x.sum()

    function = Replayed(half_in_python)
    for k in range(6):
        x = np.full((3, 4), k - 2, np.float32)
        np.testing.assert_array_equal(function(x), np.maximum(x, 0) + x.sum())
    assert len(counted) == 5 + 3  # the second call recorded, and compared


def test_large_batches_and_many_shapes_are_not_held(monkeypatch):
    function = Replayed(lambda x: fastcnn.backend.active().relu_forward(x))
    for size in range(1, 12):
        for _ in range(3):
            function(np.ones((1, size), np.float32))
    assert len(function.seen) == Replayed.SHAPES
    large = np.ones((1, Replayed.ELEMENTS + 1), np.float32)
    for _ in range(2):
        assert function(large).shape == large.shape and (large.shape, replay.settings()) not in function.seen
    monkeypatch.setattr(Replayed, "BYTES", 100)
    function = Replayed(lambda x: fastcnn.backend.active().relu_forward(x))
    for _ in range(3):
        function(np.ones((1, 100), np.float32))
    assert list(function.seen.values()) == [None]


def test_threads_predict_at_once(rng):
    model = zoo.lenet((1, 28, 28, 1), rng=0)
    predictor = model.frozen()
    images = rng.standard_normal((8, 1, 28, 28, 1)).astype(np.float32)
    wanted = [model.forward(x) for x in images]
    wrong = []

    def work(k):
        for _ in range(200):
            if not np.array_equal(predictor.forward(images[k]), wanted[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and replays_of(predictor)[1, 28, 28, 1] <= Replayed.IDLE


def test_an_interrupted_replay_is_dropped():
    x = np.ones((1, 4), np.float32)
    function = Replayed(lambda x: fastcnn.backend.active().relu_forward(x))
    for _ in range(3):
        function(x)
    ((key, idle),) = function.seen.items()
    idle[0].calls.append(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        function(x)
    assert function.seen[key] == []
    np.testing.assert_array_equal(function(x), x)


def test_copies_and_pickles_start_anew(rng):
    predictor = zoo.lenet((1, 28, 28, 1), rng=0).frozen()
    x = rng.standard_normal((1, 28, 28, 1)).astype(np.float32)
    wanted = predictor.forward(x)
    for twin in (copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        assert replays_of(twin) == {}
        for _ in range(3):
            np.testing.assert_array_equal(twin.forward(x), wanted)


def test_recording_is_of_one_thread():
    """Another thread's calls are not recorded."""
    x, more = np.ones((1, 4), np.float32), np.ones((1, 9), np.float32)

    def function(x):
        other = threading.Thread(target=fastcnn.backend.active().relu_forward, args=(more,))
        other.start()
        other.join()
        return fastcnn.backend.active().relu_forward(x)

    assert len(Replay(function, x).calls) == 1 and not replay.recorders
