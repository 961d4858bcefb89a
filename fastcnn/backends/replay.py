"""What a function computes of an array, once more for other arrays, by the calls of kernels alone that it made.

Half of the time of a prediction of one image is Python between kernels: layers that check, plans that are looked up,
arrays that are made. All of that follows from shapes. A `Replay` makes the kernels' calls again, with the same arrays,
which it owns.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from fastcnn.config import get_backend, get_conv_algorithm, get_num_threads

Function = Callable[[np.ndarray], np.ndarray]

# Of each thread that records, the calls that it has made.
recorders: dict[int, list[partial[Any]]] = {}


@contextmanager
def recorded() -> Iterator[list[partial[Any]]]:
    """The calls of kernels that this thread makes in a ``with`` block, to be made again."""
    calls: list[partial[Any]] = []
    recorders[threading.get_ident()] = calls
    try:
        yield calls
    finally:
        del recorders[threading.get_ident()]


def settings() -> tuple[str, str, int]:
    """What calls of kernels follow from beside the shapes."""
    return get_backend(), get_conv_algorithm(), get_num_threads()


def flattened(values: Iterable[Any]) -> Iterator[np.ndarray]:
    """All arrays in nested tuples."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from flattened(value)


class Replay:
    """``function(x)``, whose kernels' calls are recorded, for other arrays like `x`: one at a time."""

    def __init__(self, function: Function, x: np.ndarray):
        self.x = x.copy()
        with recorded() as self.calls:
            self.out = function(self.x)
        held = [self.x, *(value for call in self.calls for value in flattened(call.args))]
        self.size = sum({array.ctypes.data: array.nbytes for array in held}.values())  # bytes of all arrays

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.x[...] = x
        for call in self.calls:
            call()
        return self.out.copy()


class Replayed:
    """A function of one array that always computes the same of it, as fast as kernels can be called one after another.

    For each shape of few elements, the second call records; then a `Replay` serves. What a function computes in Python
    itself would not be repeated: a replay must return, to the bit, what the function returns of another array, or it is
    the function that is called, always.
    """

    ELEMENTS = 1 << 16  # of an array: above, Python's share is small
    BYTES = 64 << 20  # of all arrays of all replays: more than Python's share is worth
    SHAPES = 8  # for which replays are kept
    IDLE = 4  # replays of one shape, as many as threads use at once

    def __init__(self, function: Function):
        self.function = function
        self.room = self.BYTES
        self.seen: dict[Any, list[Replay] | None] = {}  # idle replays by shape and settings; None where there are none

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if x.size > self.ELEMENTS:
            return self.function(x)
        key = x.shape, settings()
        if key not in self.seen:  # kernels are compiled now, and weights packed
            if len(self.seen) < self.SHAPES:
                self.seen[key] = [] if key[1][0] == "numba" else None
            return self.function(x)
        idle = self.seen[key]
        if idle is None:
            return self.function(x)
        try:
            replay = idle.pop()
        except IndexError:
            replay = Replay(self.function, x)
            self.room -= replay.size
            if self.room < 0 or not self.is_right(replay, x):
                self.seen[key] = None
                return self.function(x)
        out = replay(x)
        if len(idle) < self.IDLE:
            idle.append(replay)  # not where anything was raised: its arrays are half written
        else:
            self.room += replay.size
        return out

    def is_right(self, replay: Replay, x: np.ndarray) -> bool:
        other = (x[..., ::-1] * 0.75 + np.linspace(-0.5, 0.5, x.size, dtype=x.dtype).reshape(x.shape)).astype(x.dtype)
        return np.array_equal(replay(other), self.function(other), equal_nan=True)
