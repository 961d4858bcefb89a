"""Collective operations, without MPI: a communicator that stands for two ranks of which the other has the same."""

import pickle

import numpy as np
import pytest

from fastcnn.distributed import group as group_module
from fastcnn.distributed.group import Group
from fastcnn.errors import FileFormatError


class Echo:
    """A communicator of two ranks that send the same."""

    def __init__(self):
        self.freed = 0

    def Iallgather(self, piece, into):  # noqa: N802 - mpi4py's name
        assert piece.dtype == into.dtype == np.int64
        into[:] = piece[0]

    def Iallgatherv(self, piece, into):  # noqa: N802
        gathered, sizes = into
        assert piece.dtype == gathered.dtype == np.uint8 and sizes.dtype == np.int64
        gathered[:] = np.concatenate([piece, piece])

    def Free(self):  # noqa: N802
        self.freed += 1


@pytest.fixture
def pair(monkeypatch):
    """A group of two ranks, of which this is the first."""
    group = Group()
    group.size, group.comm, group.failing = 2, Echo(), Echo()
    monkeypatch.setattr(group, "wait", lambda *requests: None)
    group.limit = group_module.contextlib.ExitStack()
    return group


class Windows:
    """NumPy as it is on Windows before version 2: its default integer has 32 bits."""

    def __getattr__(self, name):
        return getattr(np, name)

    def array(self, values, dtype=None):
        found = np.array(values, dtype)
        return found.astype(np.int32) if dtype is None and found.dtype.kind == "i" else found

    def cumsum(self, values, dtype=None):
        return np.cumsum(values, dtype=dtype or np.int32)


@pytest.mark.parametrize("numpy", [np, Windows()], ids=["here", "Windows"])
def test_lengths_have_64_bits(pair, monkeypatch, numpy):
    monkeypatch.setattr(group_module, "np", numpy)
    assert pair.all_gather({"a": [1, "two"]}) == [{"a": [1, "two"]}] * 2
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(pair.all_gather_rows(rows), np.concatenate([rows, rows]))
    assert pair.all_gather_rows(rows).dtype == np.float32
    assert pair.all_gather_rows(rows[:0]).shape == (0, 2)


def test_rows_of_one_rank_are_not_copied():
    rows = np.ones((3, 2))
    assert Group().all_gather_rows(rows) is rows


@pytest.mark.parametrize("error", [ValueError("no"), FileFormatError("no")])
def test_an_error_of_all_ranks_is_left_as_it_is(pair, error):
    """It is known by identity: nothing is written into an exception that somebody else has made."""
    before = dict(vars(error))

    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        pair.together(fail)
    assert caught.value is error and vars(error) == before
    comm = pair.comm
    pair.__exit__(type(error), error, None)
    assert comm.freed == 1 and pair.common_error is None, "the ranks part in peace"


def test_an_error_of_one_rank_aborts_the_others(pair, monkeypatch):
    """Another one than the error that all have raised, and have handled."""
    ended = []
    monkeypatch.setattr(group_module, "all_fail", lambda comm: False)
    monkeypatch.setattr(pair, "abort", lambda text, status, trace="": ended.append((text, status)))
    with pytest.raises(ValueError, match="no"):
        pair.raise_any(ValueError("no"))
    alone = ValueError("no")
    pair.__exit__(ValueError, alone, None)
    assert ended == [("ValueError: no", 1)]


def test_objects_are_what_pickle_makes_of_them(pair):
    value = {"array": np.arange(3), "text": "é" * 1000}
    for found in pair.all_gather(value):
        assert pickle.dumps(found) == pickle.dumps(pickle.loads(pickle.dumps(value)))
