"""One matrix product for everything dense, from one loop over register tiles.

The blocking follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a tile of C
stays in registers, a panel of B in the L1 cache, the rows of A of one task in the L2 cache. A is read where it lies,
through a table of offsets (see :mod:`fastcnn.backends.numba.product.tile`), so only B is packed.

Results do not depend on the number of threads: tasks are cut by shape alone, each element of C is summed by one
task in a fixed order, and where the sum itself is long enough to be cut, the parts are added in a fixed order.
"""

from __future__ import annotations

import functools

import numpy as np

from fastcnn.backends.numba.core.arithmetic import add, fill, multiply
from fastcnn.backends.numba.core.jit import MOVE, inline, kernel, prange, serial, threads_for
from fastcnn.backends.numba.core.memory import ALIGNMENT, empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import next_task, task_counters
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, prefetch, store_part
from fastcnn.backends.numba.product.packing import bias_row, pack, padded, panel_width, vector_lanes
from fastcnn.backends.numba.product.tile import (
    HALF,
    HALVES,
    NARROW,
    WIDE,
    outer_add,
    row_offsets,
    tile_load,
    tile_of,
    tile_store,
)
from fastcnn.config import get_num_threads

SMALL_BYTES = 64 << 10  # a B that stays in the caches next to the core
CHUNK = 168  # rows of C that all columns of such a B are multiplied with at a time; a multiple of all tiles'
BLOCK_ROWS = 192  # rows of C in one task
DEPTH = 512  # rows of B in one packed chunk, and the shortest piece of a sum that is worth a task of its own
FEW_TASKS = 4  # fewer than that, and tasks are cut by columns as well
MAX_TASKS = 16  # pieces of a product that has few rows and a long sum: a weight gradient
SUM_TASK = 16384  # elements of a sum of parts in one task
THIN_ROWS = 3  # fewer rows than half a tile are multiplied without packing B
THIN_COLUMNS = 64  # of one task


@inline
def panel_product(count, halves, rows, a, b, c, start, soon):
    """Some rows of one panel of C, in tiles of `count` rows of `halves` half vectors.

    `rows` is (first, last), `a` (array, offsets of rows, of columns), `b` (array, first element, distance of rows), `c`
    (array, first element, offsets of rows, columns), `start` (bias, its first element), `soon` (array, first element,
    last element, elements for each tile): what is prefetched.
    """
    (first, last), (a_, a_rows, a_columns), (b_, q, step), (c_, at, c_rows, columns) = rows, a, b, c
    (bias, j), (soon_, line, end, each) = start, soon
    for i in range(first, last, count):
        for _ in range(0, min(each, end - line), ALIGNMENT // b_.itemsize):
            prefetch(soon_, line)
            line += ALIGNMENT // b_.itemsize
        a_tile, c_tile = row_offsets(a_rows, i, last, count), row_offsets(c_rows, i, last, count)
        tile = tile_of(bias, j, count, halves) if bias.size else tile_load(c_, at, c_tile, columns, halves)
        k = q
        for p in a_columns:
            tile = outer_add(tile, a_, a_tile, p, b_, k)
            k += step
        tile_store(tile, c_, at, c_tile, columns)


@serial
def multiply_rows(a, a_rows, a_columns, b, b0, ldb, c, c0, c_rows, n, bias, soon, soon0, soon1):
    """C = A @ B + bias, or C += A @ B where `bias` is empty, for n columns and rows that begin at the offsets given.

    The elements of a row of A lie `a_columns` from its beginning. B is packed where `ldb` is 0, or lies in rows `ldb`
    elements apart, from each of which whole panels are read: what lies beyond n is multiplied, and not stored. `bias`
    is as long as a packed row. Constants are passed as `np.int64(0)`: for a plain 0 numba would compile it once more.

    Meanwhile soon[soon0:soon1], what the next task is likely to read, comes to the L2 cache, some lines for each tile.
    Else memory waits for the product, and the next product for memory: the input gradient of a 1x1 convolution of 32
    images of 56 x 56 ran at 146 GFLOP/s instead of 169.
    """
    v, depth, rows = lanes(b), a_columns.size, a_rows.size
    share = (soon1 - soon0) // max(1, (n + 2 * v - 1) // (2 * v)) + 1  # of one panel's turn
    each = share * WIDE // max(1, rows) + ALIGNMENT // b.itemsize
    # A small B stays in the cache, and C is written row by row; of a large one, panel by panel does.
    chunk = CHUNK if 2 * v < n and depth * n * b.itemsize <= SMALL_BYTES else rows
    for i in range(0, rows, chunk):
        some, a_all = (i, min(rows, i + chunk)), (a, a_rows, a_columns)
        for j in range(0, n, 2 * v):
            left, half = n - j, HALVES and 0 < (n - j) % v <= v // 2
            panel = b, b0 + (j if ldb else j * depth), ldb if ldb else panel_width(n, j, v)
            to, start, line = (c, c0 + j, c_rows, min(2 * v, left)), (bias, j), soon0 + j // (2 * v) * share
            next_ = soon, line, min(soon1, line + share) if i == 0 else line, each
            if left > v:
                if half and left < 2 * v:
                    panel_product(WIDE, 3, some, a_all, panel, to, start, next_)
                else:
                    panel_product(WIDE, 4, some, a_all, panel, to, start, next_)
            elif half:
                panel_product(HALF, 1, some, a_all, panel, to, start, next_)
            else:
                panel_product(NARROW, 2, some, a_all, panel, to, start, next_)


@functools.lru_cache(maxsize=256)
def offset_tables(*grids: tuple[int, int, int, int]) -> np.ndarray:
    """Tables of offsets for `multiply_rows`, one for each grid (rows, columns, distance of rows, of columns).

    They follow from shapes alone and are kept: making them anew took a tenth of a small convolution.
    """
    tables = zeros((len(grids), max(rows * columns for rows, columns, _, _ in grids)), np.int64)
    for table, (rows, columns, row, column) in zip(tables, grids, strict=True):
        table[: rows * columns] = np.add.outer(np.arange(rows) * row, np.arange(columns) * column).reshape(-1)
    return tables


def even_share(total: int, largest: int, multiple: int = 1) -> int:
    """Items of one task, `largest` at most, such that tasks are nearly alike and their number a `multiple`."""
    tasks = -(-total // largest)
    tasks = -(-tasks // multiple) * multiple
    return max(1, -(-total // max(1, tasks)))


@inline
def block(a, a_row, a_col, b, packed_row, k0, k1, c, c0, rows, columns, bias, tables):
    """C[rows, columns] = A[rows, k0:k1] @ B[k0:k1, columns] + bias, chunk by chunk; `columns` are (first, number)."""
    below = min(a.size, rows * a_row)  # where A lies row after row, the next task's are those that follow
    last = min(a.size, 2 * rows * a_row) if a_col == 1 else below
    a_rows, c_rows, a_columns = tables[0, :rows], tables[1, :rows], tables[2]
    first, n = columns
    for k in range(k0, max(k1, k0 + 1), DEPTH):  # once even where there is nothing to sum
        depth = min(DEPTH, k1 - k)
        some, at, start = a[k * a_col :], k * packed_row + first * depth, bias[first:] if k == k0 else bias[:0]
        to, end = c0 + first, last if k == k0 else below
        multiply_rows(some, a_rows, a_columns[:depth], b, at, np.int64(0), c, to, c_rows, n, start, a, below, end)


@kernel
def multiply_blocks(a, a_row, a_col, panels, parts, m, n, k, cut, bias, tables, threads):
    """parts[s] = A[:, piece s of k] @ B[piece s of k, :] + bias, one task for each piece and cut[0] x cut[1] elements.

    B lies packed in `panels`, `DEPTH` rows at a time.
    """
    height, width = cut
    c, pieces, v = flat(parts), parts.shape[0], lanes(panels)
    packed_row, chunks = (n + 2 * v - 1) // (2 * v) * 2 * v, (k + DEPTH - 1) // DEPTH
    down, across = (m + height - 1) // height, (n + width - 1) // width
    total, counters = pieces * down * across, task_counters(threads)
    for it in prange(threads):
        thread = np.int64(it)
        task = next_task(counters, thread, total)
        while task < total:
            s, i0, first = task // (down * across), task // across % down * height, task % across * width
            k0, k1 = s * chunks // pieces * DEPTH, min(k, (s + 1) * chunks // pieces * DEPTH)
            start, to, columns = a[i0 * a_row :], (s * m + i0) * n, (first, min(width, n - first))
            block(start, a_row, a_col, panels, packed_row, k0, k1, c, to, min(height, m - i0), columns, bias, tables)
            task = next_task(counters, thread, total)


@kernel
def sum_parts(parts, total):
    """Add up the first axis, in order."""
    length = (total.size + SUM_TASK - 1) // SUM_TASK
    for it in prange(length):
        first = np.int64(it) * SUM_TASK
        last = min(total.size, first + SUM_TASK)
        add_parts(parts, first, last, total)


@serial
def add_parts(parts, first, last, total):
    for i in range(first, last):
        total[np.uintp(i)] = parts[0, np.uintp(i)]
    for s in range(1, parts.shape[0]):
        for i in range(first, last):
            total[np.uintp(i)] += parts[s, np.uintp(i)]


def add_up(parts: np.ndarray, shape: tuple[int, ...], out: np.ndarray | None = None) -> np.ndarray:
    """The sum over the first axis of parts (number, elements), in order, as an array of `shape`."""
    out = empty(shape, parts.dtype) if out is None else out
    sum_parts(parts, out.reshape(-1), work=MOVE * parts.size)
    return out


@serial
def thin_columns(a, a_col, b, ldb, first, last, k, bias, c):
    """c[first:last] = a @ B + bias for one row a: B is read once and not packed."""
    v = lanes(b)
    for j in range(first, last, v):
        count = min(v, last - j)
        even, odd = load_part(bias, j, count), fill(b, 0)  # two sums, as each waits for its last addition
        for i in range(0, k - 1, 2):
            even = add(even, multiply(fill(b, a[i * a_col]), load_part(b, i * ldb + j, count)))
            odd = add(odd, multiply(fill(b, a[(i + 1) * a_col]), load_part(b, (i + 1) * ldb + j, count)))
        if k % 2:
            even = add(even, multiply(fill(b, a[(k - 1) * a_col]), load_part(b, (k - 1) * ldb + j, count)))
        store_part(c, j, add(even, odd), count)


@kernel
def thin(a, a_row, a_col, b, ldb, n, k, bias, out):
    """out = A @ B + bias for few rows: a task is one row and `THIN_COLUMNS` columns."""
    parts, c = (n + THIN_COLUMNS - 1) // THIN_COLUMNS, flat(out)
    for it in prange(out.shape[0] * parts):
        i, j = np.int64(it) // parts, np.int64(it) % parts * THIN_COLUMNS
        thin_columns(a[i * a_row :], a_col, b, ldb, j, min(n, j + THIN_COLUMNS), k, bias, c[i * n : i * n + n])


def flat_matrix(matrix: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A C-contiguous matrix or the transpose of one, as a flat array and its row and column strides."""
    if matrix.flags.c_contiguous:
        return matrix.reshape(-1), matrix.shape[1], 1
    return matrix.T.reshape(-1), 1, matrix.shape[0]


@functools.lru_cache(maxsize=256)
def plan(m, n, k, a_row, a_col, dtype, most):
    """Multiply-adds and threads, rows and columns of one task, the arrays that the kernel needs (packed panels of B,
    and the pieces of a sum that is cut), a bias of zeros, and the tables of offsets."""
    row_blocks, rows, wide = max(1, -(-m // BLOCK_ROWS)), min(m, BLOCK_ROWS), padded(n, dtype)
    pieces = max(1, min(k // DEPTH, MAX_TASKS // row_blocks))
    columns = max(1, n) if pieces * row_blocks >= FEW_TASKS else 2 * vector_lanes(dtype)
    tables = offset_tables((rows, 1, a_row, 0), (rows, 1, n, 0), (DEPTH, 1, a_col, 0))
    arrays = layout(dtype, (k * wide,), *[(pieces, m, n)] * (pieces > 1))
    work = m * n * k
    return work, threads_for(work, most), (BLOCK_ROWS, columns), arrays, zeros((wide,), dtype), tables


def product(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """``a @ b + bias`` for matrices that are C-contiguous or transposes of such, written to `out` where given."""
    (m, k), n, dtype = a.shape, b.shape[1], a.dtype
    out = empty((m, n), dtype) if out is None else out
    if m <= THIN_ROWS and b.flags.c_contiguous:
        start = zeros((n,), dtype) if bias is None else bias
        thin(*flat_matrix(a), b.reshape(-1), n, n, k, start, out, work=m * n * k)
        return out
    left, shape = flat_matrix(a), (m, n, k)
    work, threads, cut, arrays, zero, tables = plan(*shape, *left[1:], dtype, get_num_threads())
    panels, *cut_sum = workspace(arrays)
    parts = cut_sum[0] if cut_sum else out[np.newaxis]
    start = zero if bias is None or cut_sum else bias_row(bias, zero.size)
    pack(*flat_matrix(b), k, n, DEPTH, panels)
    multiply_blocks(*left, panels, parts, *shape, cut, start, tables, threads, work=work, threads=threads)
    if cut_sum:
        add_up(parts.reshape(len(parts), -1), (m, n), out)
        if bias is not None:
            out += bias
    return out
