"""Dropout. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.dropout`.

Whether an element is kept follows from its number, so threads need no generator each, and the gradient no mask.
"""

import numpy as np

from fastcnn import splitmix
from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import MOVE
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import chunk, chunks, task_kernel

# Unsigned throughout: numba makes float64 of a signed and an unsigned number.
GAMMA, FIRST_FACTOR, SECOND_FACTOR = map(np.uint64, (splitmix.GAMMA, splitmix.FIRST_FACTOR, splitmix.SECOND_FACTOR))
S27, S30, S31, S32 = map(np.uint64, (27, 30, 31, 32))


@task_kernel
def dropout_chunk(task, x, keep, threshold, start, out):
    """`start` is what the hash of element 0 is made of."""
    zero, (first, last) = x.dtype.type(0), chunk(task, x.size)
    for i in range(first, last):
        at = np.uintp(i)
        z = start + at * GAMMA
        z = (z ^ (z >> S30)) * FIRST_FACTOR
        z = (z ^ (z >> S27)) * SECOND_FACTOR
        z ^= z >> S31
        out[at] = x[at] / keep if (z >> S32) < threshold else zero


def dropout(x: Array, keep: float, seed: int, first: int) -> Array:
    out, start = empty(x.shape, x.dtype), (seed + (first + 1) * splitmix.GAMMA) & splitmix.MASK
    numbers = x.dtype.type(keep), np.uint64(round(keep * 2**32)), np.uint64(start)
    dropout_chunk(x.reshape(-1), *numbers, out.reshape(-1), chunks(x.size), work=MOVE * x.size)
    return out
