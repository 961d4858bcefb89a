"""Sums over the first axis of an array, and how long a sum may be. Requires numba.

An element is added up by one task in a fixed order, so that threads do not change the result. The error of a sum grows
with the number of terms that are added one after another: no such chain is longer than `LONGEST`. Parts are added up
`TOGETHER` at a time, and so are their sums.
"""

import numpy as np

from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import MOVE, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import chunk, chunks, task_kernel

SUM_ROWS = 1024  # rows of one partial sum of a matrix
LONGEST = 8192  # terms that anything here adds up one after another: more are cut, and the parts added
TOGETHER = 64  # parts that are added one after another


@serial
def add_part(parts, s, other, first, last):
    """parts[s] += parts[other], of the elements first:last."""
    for i in range(first, last):
        parts[s, np.uintp(i)] += parts[other, np.uintp(i)]


@task_kernel
def sum_parts(task, parts, total):
    """Add up a chunk of all parts, which this changes: `TOGETHER` that are next to each other, then their sums."""
    (first, last), (count, _), apart = chunk(task, total.size), parts.shape, 1
    while apart < count:
        for s in range(0, count, apart * TOGETHER):
            for other in range(s + apart, min(count, s + apart * TOGETHER), apart):
                add_part(parts, s, other, first, last)
        apart *= TOGETHER
    for i in range(first, last):
        total[np.uintp(i)] = parts[0, np.uintp(i)]


def add_up(parts: Array, shape: Shape, out: Array | None = None) -> Array:
    """The sum of parts (number, elements), as an array of `shape`; the parts are used up."""
    out = empty(shape, parts.dtype) if out is None else out
    sum_parts(parts, out.reshape(-1), chunks(out.size), work=MOVE * parts.size)
    return out


@task_kernel
def partial_sums(task, matrix, parts):
    """parts[task] = the sum of `SUM_ROWS` rows."""
    total = parts[task]
    for j in range(total.size):
        total[j] = 0
    for i in range(task * SUM_ROWS, min(matrix.shape[0], (task + 1) * SUM_ROWS)):
        for j in range(total.size):
            total[j] += matrix[i, j]


def sum_rows(matrix: Array) -> Array:
    """The sum of the rows, of which there may be none."""
    parts = empty((max(1, -(-len(matrix) // SUM_ROWS)), matrix.shape[1]), matrix.dtype)
    partial_sums(matrix, parts, len(parts), work=MOVE * matrix.size)
    return add_up(parts, matrix.shape[1:]) if len(parts) > 1 else parts[0]
