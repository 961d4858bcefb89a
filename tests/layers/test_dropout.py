"""Dropout: what is kept, on every backend and number of threads, and how its random numbers go on."""

import copy
import pickle

import numpy as np
import pytest

import fastcnn
from fastcnn import splitmix
from fastcnn.backends import numba as fast
from fastcnn.backends import numpy as reference
from fastcnn.backends.numpy.dropout import hashes
from fastcnn.layers import Dropout
from tests import naive
from tests.helpers.switches import BACKENDS, threads

KERNELS = {"numba": fast, "numpy": reference}
SHAPE = (16, 9, 7, 5)
ONES = np.ones(SHAPE, np.float32)


def test_the_numbers_are_those_of_splitmix64():
    """The first three of state 1234567, which tests of other implementations have too."""
    state, gamma = 1234567, splitmix.GAMMA
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [splitmix.mix(state, number) for number in range(3)] == published
    assert [naive.splitmix64((state + number * gamma) % 2**64) for number in range(3)] == published
    np.testing.assert_array_equal(hashes(3, state, 0), np.array(published, np.uint64))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("module", BACKENDS)
def test_the_share_that_is_kept(module, keep):
    out = KERNELS[module].dropout(np.ones((1000, 1000), np.float32), keep, 5, 0)
    deviation = np.sqrt(keep * (1 - keep) / out.size)
    assert abs((out != 0).mean() - keep) < 4 * deviation
    assert abs(out.mean(dtype=np.float64) - 1) < 4 * deviation / keep
    np.testing.assert_array_equal(out[out != 0], np.float32(1) / np.float32(keep))
    for axis in (0, 1):  # neither rows nor columns are treated alike
        assert (out != 0).mean(axis=axis).std() < 1.2 * np.sqrt(keep * (1 - keep) / 1000)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_on_backends_and_threads(dtype, rng):
    x = rng.standard_normal(100_003).astype(dtype)
    wanted = reference.dropout(x, 0.3, 2**64 - 1, 2**63)
    for count in (1, 2):
        with threads(count):
            np.testing.assert_array_equal(fast.dropout(x, 0.3, 2**64 - 1, 2**63), wanted)
    parts = [fast.dropout(x[first : first + 33_333], 0.3, 2**64 - 1, 2**63 + first) for first in (0, 33_333, 66_666)]
    np.testing.assert_array_equal(np.concatenate(parts), wanted[:99_999])


@pytest.mark.parametrize("module", BACKENDS)
def test_what_is_dropped_is_zero(module):
    """Whatever it was: NaN times 0 would be NaN."""
    out = KERNELS[module].dropout(np.full(1000, np.nan, np.float32), 0.5, 0, 0)
    assert 400 < np.isnan(out).sum() < 600 and (out[~np.isnan(out)] == 0).all()


def test_the_gradient_has_the_mask_of_the_forward(backend, rng):
    layer = Dropout(SHAPE, 0.7, rng=1)
    for _ in range(2):
        out = layer.forward(ONES)
        np.testing.assert_array_equal(layer.gradient(ONES), out)
        np.testing.assert_array_equal(layer.gradient(ONES), out)  # as often as one likes
    eta = rng.standard_normal(SHAPE).astype(np.float32)
    assert not np.array_equal(layer.forward(ONES), out)
    np.testing.assert_array_equal(layer.forward(ONES, phase="test"), ONES)
    np.testing.assert_array_equal(layer.gradient(eta), eta)
    assert layer.calls == 3


def test_all_is_kept(backend, rng):
    x = rng.standard_normal(SHAPE).astype(np.float32)
    layer = Dropout(SHAPE, 1)
    np.testing.assert_array_equal(layer.forward(x), x)
    np.testing.assert_array_equal(layer.gradient(x), x)


def test_nothing_is_overwritten(backend, rng):
    layer, kept = Dropout(SHAPE, 0.5), []
    x = rng.standard_normal(SHAPE).astype(np.float32)
    before = x.copy()
    for phase in ("train", "test", "train"):
        out = layer.forward(x, phase)
        back = layer.gradient(x)
        kept += [(out, out.copy()), (back, back.copy())]
    for array, copied in [*kept, (x, before)]:
        np.testing.assert_array_equal(array, copied)


def test_where_the_seed_comes_from():
    """Nothing is drawn before the first training forward."""
    np.random.seed(3)
    wanted = np.random.random(2)
    np.random.seed(3)
    layer = Dropout(SHAPE)
    layer.forward(ONES, "test")
    assert np.random.random() == wanted[0] and layer.seed is None and layer.calls == 0
    layer.forward(ONES)
    assert layer.seed is not None and np.random.random() != wanted[1]
    seeds = []
    for source in (7, np.random.default_rng(7), np.random.RandomState(7), np.random.RandomState(7)):
        layer = Dropout(SHAPE, rng=source)
        layer.forward(ONES)
        seeds.append(layer.seed)
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]
    with pytest.raises(TypeError, match="Dropout: `rng` must be a NumPy generator or a seed"):
        Dropout(SHAPE, rng="seed")


def test_two_layers_drop_different_elements(backend):
    np.random.seed(0)
    first, second = Dropout(SHAPE), Dropout(SHAPE)
    assert not np.array_equal(first.forward(ONES), second.forward(ONES))


def test_training_goes_on_from_two_numbers(backend):
    layer = Dropout(SHAPE, rng=5)
    layer.forward(ONES)
    kept = {name: getattr(layer, name) for name in layer.random_names}
    wanted = [layer.forward(ONES) for _ in range(2)]
    other = Dropout(SHAPE, rng=6)
    for name, value in kept.items():
        setattr(other, name, value)
    for out in wanted:
        np.testing.assert_array_equal(other.forward(ONES), out)


def test_parts_of_a_batch_draw_what_the_whole_would(backend):
    layers = [Dropout(SHAPE, rng=5) for _ in range(3)]
    whole = layers[0].forward(ONES)
    for layer, first, last in ((layers[1], 0, 6), (layers[2], 6, 16)):
        layer.first_image = first
        np.testing.assert_array_equal(layer.forward(ONES[first:last]), whole[first:last])
        np.testing.assert_array_equal(layer.gradient(ONES[first:last]), whole[first:last])


@pytest.mark.parametrize("source", [None, 4, np.random.default_rng(4), np.random.RandomState(4)])
def test_copies_go_on_alike(source, backend):
    """Before the seed is drawn, in the middle of a step, and after."""
    layer, wanted = Dropout(SHAPE, rng=source), None
    for steps in range(3):
        for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
            assert twin.__dict__.keys() == layer.__dict__.keys() and twin.seed == layer.seed and twin.calls == steps
            if steps:
                np.testing.assert_array_equal(twin.gradient(ONES), wanted)
        wanted = layer.forward(ONES)
    assert layer.config() == {"shape": list(SHAPE), "dtype": "float32", "prob": 0.5}


def test_the_check_backend_compares():
    with fastcnn.use_backend("check"):
        layer = Dropout(SHAPE, 0.3)
        assert (layer.forward(ONES) == layer.gradient(ONES)).all()
