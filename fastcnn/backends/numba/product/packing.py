"""Matrices as the register tiles of a product read them: in panels, and rows filled up to whole tiles. Requires numba.

A panel is the columns of one tile, row after row, so that a product reads it from one end to the other.
"""

import numpy as np

from fastcnn.backends.numba.core.arithmetic import add, fill
from fastcnn.backends.numba.core.hints import Array, Pair, Strided
from fastcnn.backends.numba.core.jit import MOVE, inline, serial
from fastcnn.backends.numba.core.memory import zeros
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.transpose import transpose
from fastcnn.backends.numba.core.vectors import lanes, load, store
from fastcnn.backends.numba.core.width import VECTOR_BYTES
from fastcnn.backends.numba.product.arguments import Matrix


@inline
def panel_width(n, j, v):
    """Columns of the packed panel that begins at column j: two vectors, or one where that holds what is left."""
    return 2 * v if n - j > v else v


@inline
def packed_row(n, v):
    """Elements of a row of `n` columns in all of its panels."""
    last = (n - 1) // (2 * v) * 2 * v
    return last + panel_width(n, last, v)


@serial
def pack_panel(b, first, depth, columns, width, panels, to):
    """Copy depth x columns of a `Matrix`, from b.array[first] on, into rows of `width`; zeros fill them up."""
    source, v, rows, done = b.array, lanes(b.array), 0, 0
    if b.row == 1:  # the transpose of a matrix whose rows are contiguous: whole squares of it at once
        rows, done = depth // v * v, columns // v * v
        for k in range(0, rows, v):
            for i in range(0, done, v):
                transpose(source, first + k + i * b.column, b.column, panels, to + k * width + i, width)
    for k in range(depth):
        at, target = first + k * b.row, to + k * width
        for i in range(done if k < rows else 0, columns):
            panels[np.uintp(target + i)] = source[np.uintp(at + i * b.column)]
        for i in range(columns, width):
            panels[np.uintp(target + i)] = 0


@task_kernel
def pack_panels(task, b: Matrix, shape, chunk, apart, panels):
    """Pack one panel of a chunk of one matrix B."""
    (k, n), v = shape, lanes(panels)
    count, chunks = (n + 2 * v - 1) // (2 * v), (k + chunk - 1) // chunk
    q, k0, j = task // (chunks * count), task // count % chunks * chunk, task % count * 2 * v
    depth, width = min(chunk, k - k0), panel_width(n, j, v)
    first, to = q * apart + k0 * b.row + j * b.column, (q * k + k0) * count * 2 * v + j * depth
    pack_panel(b, first, depth, min(width, n - j), width, panels, to)


def pack(b: Strided, shape: Pair, chunk: int, panels: Array, matrices: int = 1, apart: int = 0) -> None:
    """Pack the `Matrix` b of `shape` (rows, columns), `chunk` rows at a time, each of them panel after panel; or so
    many `matrices`, one after another, whose first elements are `apart`.

    Not in the kernel that reads it: two threads would wait for each other longer than one of them packs a small matrix.
    """
    (k, n), chunk = shape, max(1, chunk)
    tasks = matrices * -(-k // chunk) * -(-n // (2 * vector_lanes(panels.dtype)))
    pack_panels(b, shape, chunk, apart, panels, tasks, work=MOVE * k * n * matrices)


@serial
def pack_rows(b, b0, ldb, depth, n, panels, sums):
    """Pack B[depth, n], whose rows are contiguous, from panels[0] on, and add its rows to `sums`.

    Whole vectors are copied: what a row of a panel holds beyond column n is multiplied, but never stored.
    """
    v = lanes(b)
    for j in range(0, n, 2 * v):
        width = panel_width(n, j, v)
        for t in range(j, min(n, j + width), v):
            target, at, total = j * depth + t - j, b0 + t, load(sums, t)
            for _ in range(depth):
                if at + v <= b.size:
                    row = load(b, at)
                    store(panels, target, row)
                    total = add(total, row)
                else:  # the end of the array
                    store(sums, t, total)
                    for i in range(n - t):
                        panels[np.uintp(target + i)] = b[np.uintp(at + i)]
                        sums[np.uintp(t + i)] += b[np.uintp(at + i)]
                    total = load(sums, t)
                target += width
                at += ldb
            store(sums, t, total)


@serial
def add_up_rows(b, b0, ldb, depth, n, sums):
    """Add B[depth, n], whose rows are `ldb` elements apart and followed by a tile's width of something, to `sums`."""
    v = lanes(b)
    for t in range(0, n, v):
        even, odd, at = load(sums, t), fill(b, 0), b0 + t  # two sums, as each waits for its last addition
        for _ in range(depth // 2):
            even, odd = add(even, load(b, at)), add(odd, load(b, at + ldb))
            at += 2 * ldb
        if depth % 2:
            even = add(even, load(b, at))
        store(sums, t, add(even, odd))


def vector_lanes(dtype: np.dtype) -> int:
    return max(1, VECTOR_BYTES // dtype.itemsize)


def padded(n: int, dtype: np.dtype) -> int:
    """n rounded up to whole tiles: the length of a bias, and of a packed row."""
    width = 2 * vector_lanes(dtype)
    return -(-n // width) * width


def bias_row(bias: Array, wide: int) -> Array:
    """`bias`, as long as a packed row of `wide` elements."""
    if bias.size == wide:
        return bias
    row = zeros((wide,), bias.dtype)
    row[: bias.size] = bias
    return row
