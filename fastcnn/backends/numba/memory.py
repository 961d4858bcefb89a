"""The one allocator of this backend: buffers are used again once nothing refers to them.

A step that allocates its arrays anew pays for page faults: the C library gives freed memory back to the system and
gets it, zeroed page by page, again. On a LeNet step that was up to 2,300 faults and 3.5 ms of 7.

An array returned by :func:`empty` is a view of a pooled buffer, and so is every view made of it. Each holds a
reference to the buffer, so a buffer without references but the pool's can be seen by nobody: an array that a user
keeps is never overwritten.
"""

from __future__ import annotations

import math
import sys
import threading

import numpy as np

POOLED = 64 << 10  # bytes; below, the C library keeps freed memory by itself
KEPT = 256 << 20  # bytes of idle buffers that stay; when more are idle, a new allocation drops them


def references(buffers: list[np.ndarray], position: int) -> int:
    return sys.getrefcount(buffers[position])


def idle(buffers: list[np.ndarray], position: int) -> bool:
    """Whether only its list refers to a buffer.

    The yardstick is counted anew beside it, by the same line: interpreters differ in what they count, and may count
    less once a line is hot.
    """
    return references(buffers, position) == references(UNUSED, 0)


UNUSED = [np.empty(0)]


class Pool:
    """Buffers by size in bytes."""

    def __init__(self) -> None:
        self.buffers: dict[int, list[np.ndarray]] = {}
        self.lock = threading.Lock()

    def take(self, size: int) -> np.ndarray:
        """A buffer of `size` bytes that nothing else refers to."""
        with self.lock:
            buffers = self.buffers.setdefault(size, [])
            for position in range(len(buffers)):
                if idle(buffers, position):
                    return buffers[position]
            if self.idle_bytes() > KEPT:
                self.drop_idle()
                buffers = self.buffers.setdefault(size, [])
            buffers.append(np.empty(size, np.uint8))
            return buffers[-1]

    def idle_bytes(self) -> int:
        return sum(size * sum(idle(buffers, i) for i in range(len(buffers))) for size, buffers in self.buffers.items())

    def drop_idle(self) -> None:
        """Give all idle buffers back."""
        for size, buffers in list(self.buffers.items()):
            used = [i for i in range(len(buffers)) if not idle(buffers, i)]
            self.buffers[size] = [buffers[i] for i in used]
            if not used:
                del self.buffers[size]


POOL = Pool()


def empty(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An uninitialised array, C-contiguous and aligned."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < POOLED:
        return np.empty(shape, dtype)
    return POOL.take(size).view(dtype).reshape(shape)
