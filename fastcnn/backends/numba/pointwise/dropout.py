"""Dropout. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.dropout`.

Whether an element is kept follows from its number, so threads need no generator each, and the gradient no mask.
"""

from __future__ import annotations

import numpy as np

from fastcnn import splitmix
from fastcnn.backends.numba.core.jit import MOVE, kernel, prange, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.pointwise.activation import CHUNK

# Unsigned throughout: numba makes float64 of a signed and an unsigned number.
GAMMA, FIRST_FACTOR, SECOND_FACTOR = map(np.uint64, (splitmix.GAMMA, splitmix.FIRST_FACTOR, splitmix.SECOND_FACTOR))
S27, S30, S31, S32 = map(np.uint64, (27, 30, 31, 32))


@serial
def dropout_chunk(x, keep, threshold, start, out):
    """`start` is what the hash of the first element is made of."""
    zero = x.dtype.type(0)
    for i in range(x.size):
        z = start + np.uint64(i) * GAMMA
        z = (z ^ (z >> S30)) * FIRST_FACTOR
        z = (z ^ (z >> S27)) * SECOND_FACTOR
        z ^= z >> S31
        out[i] = x[i] / keep if (z >> S32) < threshold else zero


@kernel
def dropout_chunks(x, keep, threshold, start, out):
    for it in prange((x.size + CHUNK - 1) // CHUNK):
        first = np.int64(it) * CHUNK
        last = min(x.size, first + CHUNK)
        dropout_chunk(x[first:last], keep, threshold, start + np.uint64(first) * GAMMA, out[first:last])


def dropout(x: np.ndarray, keep: float, seed: int, first: int) -> np.ndarray:
    out, start = empty(x.shape, x.dtype), (seed + (first + 1) * splitmix.GAMMA) & splitmix.MASK
    numbers = x.dtype.type(keep), np.uint64(round(keep * 2**32)), np.uint64(start)
    dropout_chunks(x.reshape(-1), *numbers, out.reshape(-1), work=MOVE * x.size)
    return out
