"""The one allocator of this backend: buffers are used again once nothing refers to them.

A step that allocates its arrays anew pays for page faults: the C library gives freed memory back to the system and
gets it, zeroed page by page, again. On a LeNet step that was up to 2,300 faults and 3.5 ms of 7.

An array returned by :func:`empty` is a view of a pooled buffer, and so is every view made of it. Each holds a
reference to the buffer, so a buffer to which the pool alone refers is not in use: an array that a user
keeps is never overwritten.
"""

import ctypes
import math
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector; a vector that lies across two lines takes twice as long
POOLED = 64 << 10  # bytes; below, the C library keeps freed memory by itself
KEPT = 256 << 20  # bytes of idle buffers that stay, when a new one is made and at every TIDY-th allocation
TIDY = 256
BUFFERS = 32  # buffers of one size; a step needs a few, and a user who keeps thousands of results gets plain arrays


def idle(buffers: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Those of `buffers` that nothing but this list refers to.

    A new object in a list of its own is the yardstick, counted by the same line: interpreters differ in what they
    count, and may count less once a line is hot. New in each call: one that a kept traceback refers to would make
    buffers in use look idle. The loop variable holds a buffer before it is counted, so that a finaliser or a signal
    handler that allocates at this very moment does not find it idle too.
    """
    alone, lists = 0, cast(list[list[Any]], [[object()], buffers])
    for scanned in lists:
        for buffer in scanned:
            count = sys.getrefcount(buffer)
            if scanned is not buffers:
                alone = count
            elif count == alone:
                yield buffer


class Pool:
    """Buffers by size in bytes, and those of workspaces."""

    def __init__(self) -> None:
        self.buffers: dict[int, list[np.ndarray]] = {}
        self.spaces: list[np.ndarray] = []
        self.lock = threading.RLock()  # not Lock: see `idle` on who may come in between
        self.taken = 0

    def take(self, size: int) -> np.ndarray:
        """A buffer of `size` bytes that nothing else refers to."""
        with self.lock:
            self.taken += 1
            buffer = next(idle(self.buffers.get(size, [])), None)
            if (buffer is None or self.taken % TIDY == 0) and self.idle_bytes() > KEPT:
                self.drop_idle()
            if buffer is None:
                buffer = aligned(size)
                buffers = self.buffers.setdefault(size, [])
                if len(buffers) < BUFFERS:
                    buffers.append(buffer)
            return buffer

    def space(self, size: int) -> np.ndarray:
        """A buffer of `size` bytes or more that nothing else refers to: kernel after kernel works in the same one.

        It is in the caches. With one of each size, training steps of the VGG-style network took a twentieth to a tenth
        longer, and an eighth more memory.
        """
        with self.lock:
            buffer = next((space for space in idle(self.spaces) if space.size >= size), None)
            if buffer is None:
                self.drop_spaces()
                buffer = aligned(size)
                self.spaces.append(buffer)
            return buffer

    def idle_bytes(self) -> int:
        sized = sum(size * sum(1 for _ in idle(buffers)) for size, buffers in list(self.buffers.items()))
        return sized + sum(space.size for space in idle(self.spaces))

    def drop_spaces(self) -> None:
        unused = {id(space) for space in idle(self.spaces)}
        self.spaces = [space for space in self.spaces if id(space) not in unused]

    def drop_idle(self) -> None:
        """Give all idle buffers back."""
        self.drop_spaces()
        for size, buffers in list(self.buffers.items()):
            unused = {id(buffer) for buffer in idle(buffers)}
            self.buffers[size] = [buffer for buffer in buffers if id(buffer) not in unused]
            if not self.buffers[size]:
                del self.buffers[size]


POOL = Pool()


def after_fork() -> None:
    """A lock that another thread of the parent held would stay locked in the child."""
    POOL.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)


def aligned(size: int) -> np.ndarray:
    """A new buffer of `size` bytes that begins at a multiple of `ALIGNMENT`.

    Its memory is that of a ctypes array: a view of a view of NumPy memory would refer to the owner, and not to this
    buffer, whose references the pool counts.
    """
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    owner: Any = (ctypes.c_char * memory.size).from_buffer(cast(Any, memory))
    return np.ndarray((size,), np.uint8, owner, start)


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array, C-contiguous; from `POOLED` bytes on it begins at a multiple of `ALIGNMENT`."""
    size = math.prod(shape) * dtype.itemsize
    return np.empty(shape, dtype) if size < POOLED else np.ndarray(shape, dtype, POOL.take(size))


def copy_of(array: np.ndarray) -> np.ndarray:
    """A copy, C-contiguous."""
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


class Layout(NamedTuple):
    """Arrays that lie in one buffer: their dtype, the bytes of all, and the shape and first byte of each."""

    dtype: np.dtype
    size: int
    places: list[tuple[tuple[int, ...], int]]


def layout(dtype: np.dtype, *shapes: tuple[int, ...]) -> Layout:
    """Where arrays of these shapes lie: each begins at a multiple of `ALIGNMENT`. A plan makes it once per shape."""
    size, places = 0, []
    for shape in shapes:
        places.append((shape, size))
        size += -(-math.prod(shape) * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    return Layout(dtype, size, places)


def workspace(arrays: Layout) -> list[np.ndarray]:
    """What a kernel needs for itself: arrays as `empty` makes them, cut from one buffer, as asking for each costs 2 us.

    None of them may be returned to a user, for whom one would keep all of them.
    """
    dtype, size, places = arrays
    buffer = np.empty(size, np.uint8) if size < POOLED else POOL.space(size)
    return [np.ndarray(shape, dtype, buffer, start) for shape, start in places]


def zeros(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """A small array of zeros. Here, as `tests/helpers/fenced.py` puts all memory of this backend behind a fence."""
    return np.zeros(shape, dtype)
