"""What products in compiled code take: arrays and the numbers that say how they lie. Requires numba.

Offsets and distances are in elements. A launch hands over plain tuples, which the loop over tasks names (see
`tasks.task_kernel`). A constant is `np.int64(0)`: for a plain 0, numba would compile the function once more.
"""

from typing import NamedTuple

from fastcnn.backends.numba.core.hints import Array, Index


class Matrix(NamedTuple):
    """A matrix of any strides: the flat array, and the distances of its rows and of its columns."""

    array: Array
    row: int
    column: int


class Rows(NamedTuple):
    """The left operand A: element k of row i is ``array[rows[i] + columns[k]]``, so rows may begin anywhere."""

    array: Array
    rows: Array
    columns: Array


class Panels(NamedTuple):
    """The right operand B, from array[first] on: packed in panels where `step` is 0, else rows `step` elements apart,
    from each of which whole panels are read. What lies beyond the result's columns is multiplied and not stored."""

    array: Array
    first: Index
    step: Index


class Target(NamedTuple):
    """The result C: row i begins at ``array[first + rows[i]]`` and has so many `columns`."""

    array: Array
    first: Index
    rows: Array
    columns: Index


class Prefetch(NamedTuple):
    """array[first:last], what the next task is likely to read: it comes to the L2 cache meanwhile, some lines for each
    tile. Else memory waits for the product, and the next product for memory: the input gradient of a 1x1 convolution of
    32 images of 56 x 56 ran at 146 GFLOP/s instead of 169."""

    array: Array
    first: Index
    last: Index


class Lines(NamedTuple):
    """What one panel prefetches of a `Prefetch`, `each` elements for every tile."""

    array: Array
    first: Index
    last: Index
    each: Index
