"""One matrix product for everything dense, from one loop over register tiles.

The blocking follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a tile of C
stays in registers, a panel of B in the L1 cache, the rows of A of one task in the L2 cache. A is read where it lies,
through a table of offsets (see :mod:`fastcnn.backends.numba.product.tile`), so only B is packed.

Results do not depend on the number of threads: tasks are cut by shape alone, each element of C is summed by one
task in a fixed order, and where the sum itself is long enough to be cut, the parts are added in a fixed order;
above `LONGEST` terms it always is.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.constants import made_of, once
from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import inline, linked, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, line_elements, prefetch
from fastcnn.backends.numba.product.arguments import Lines, Matrix, Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.packing import bias_row, pack, padded, panel_width, vector_lanes
from fastcnn.backends.numba.product.sums import LONGEST, add_up
from fastcnn.backends.numba.product.thin import THIN_ROWS, thin_product
from fastcnn.backends.numba.product.tile import (
    HALF,
    HALVES,
    NARROW,
    WIDE,
    outer_add,
    row_offsets,
    tile_add,
    tile_load,
    tile_of,
    tile_of_zeros,
    tile_store,
)
from fastcnn.config import get_num_threads

PANEL_BYTES = 24 << 10  # of a panel that stays in the L1 cache, of 32 KiB and more, beside the rows of A
SMALL_BYTES = 64 << 10  # a B that stays in the caches next to the core
CHUNK = 168  # rows of C that all columns of such a B are multiplied with at a time; a multiple of all tiles'
BLOCK_ROWS = 192  # rows of C in one task
DEPTH = 512  # rows of B in one packed chunk, and the shortest piece of a sum that is worth a task of its own
FEW_TASKS = 4  # fewer than that, and tasks are cut by columns as well
UNPACKED_ROWS = 64  # of C: with fewer, packing B takes longer than it saves: a seventh of 64, a third of 16
THIN_BYTES = 16 << 20  # a larger B is packed rather than read once for each row: 25088 x 1000 then takes half the time
MAX_TASKS = 16  # pieces of a product that has few rows and a long sum: a weight gradient


@inline
def panel_product(count, halves, part, a, b, c, start, lines):
    """A `part` of one panel of C, some rows and of their sums some terms, both (first, last), in tiles of `count` rows
    of `halves` half vectors.

    `start` is (bias, its first element, whether instead the sums are added to C), and `lines` a `Lines`.
    """
    ((first, last), terms), (bias, j, adds), line = part, start, lines.first
    for i in range(first, last, count):
        stop = min(lines.last, line + lines.each)
        while line < stop:
            prefetch(lines.array, line)
            line += line_elements(b.array)
        a_tile = row_offsets(a.rows, i, last, count)
        tile = tile_of_zeros(b.array, count, halves) if adds else tile_of(bias, j, count, halves)
        k = b.first + terms[0] * b.step
        for p in range(terms[0], terms[1]):
            tile = outer_add(tile, a.array, a_tile, a.columns[np.uintp(p)], b.array, k)
            k += b.step
        c_tile = row_offsets(c.rows, i, last, count)
        if adds:
            tile = tile_add(tile, tile_load(c.array, c.first, c_tile, c.columns, halves))
        tile_store(tile, c.array, c.first, c_tile, c.columns)


@linked
def multiply_rows(a, b, c, bias, ahead):
    """C = A @ B + bias, or C += A @ B where `bias` is empty, which is as long as a packed row.

    A is a `Rows`, B a `Panels`, C a `Target`, and `ahead` a `Prefetch`. Sums of many terms are cut: a piece is added up
    by itself, from 0, while its part of the panel stays in the L1 cache.
    """
    v, depth, rows, n = lanes(b.array), a.columns.size, a.rows.size, c.columns
    share = each = 0  # of one panel's turn, and of one tile's
    if ahead.first < ahead.last:  # a division takes as long as a tile's row of products
        share = (ahead.last - ahead.first) // max(1, (n + 2 * v - 1) // (2 * v)) + 1
        each = share * WIDE // max(1, rows) + line_elements(b.array)
    # A small B stays in the cache, and C is written row by row; of a large one, panel by panel does.
    chunk = CHUNK if 2 * v < n and depth * n * b.array.itemsize <= SMALL_BYTES else rows
    short = 5 * ((rows + HALF - 1) // HALF * HALF) < 4 * ((rows + NARROW - 1) // NARROW * NARROW)  # 16 rows, not 28
    pieces = max(1, (depth * 2 * v * b.array.itemsize + PANEL_BYTES // 2) // PANEL_BYTES)
    for i in range(0, rows, chunk):
        span = i, min(rows, i + chunk)
        for j in range(0, n, 2 * v):
            left, half = n - j, HALVES and 0 < (n - j) % v <= v // 2
            first, step = b.first + (j if b.step else j * depth), b.step if b.step else panel_width(n, j, v)
            panel, to = Panels(b.array, first, step), Target(c.array, c.first + j, c.rows, min(2 * v, left))
            line = ahead.first + j // (2 * v) * share
            for piece in range(pieces):
                part = span, (piece * depth // pieces, (piece + 1) * depth // pieces)
                start = bias, j, bias.size == 0 or piece > 0
                lines = Lines(ahead.array, line, min(ahead.last, line + share) if i + piece == 0 else line, each)
                if left > v:
                    if half and left < 2 * v:
                        panel_product(WIDE, 3, part, a, panel, to, start, lines)
                    else:
                        panel_product(WIDE, 4, part, a, panel, to, start, lines)
                elif half:
                    panel_product(HALF, 1, part, a, panel, to, start, lines)
                elif short:
                    panel_product(HALF, 2, part, a, panel, to, start, lines)
                else:
                    panel_product(NARROW, 2, part, a, panel, to, start, lines)


@functools.lru_cache(maxsize=256)
def offset_tables(*grids: tuple[int, int, int, int]) -> Array:
    """Tables of offsets for `multiply_rows`, one for each grid (rows, columns, distance of rows, of columns).

    They follow from shapes alone and are kept: making them anew took a tenth of a small convolution.
    """
    tables = zeros((len(grids), max(rows * columns for rows, columns, _, _ in grids)), np.int64)
    for table, (rows, columns, row, column) in zip(tables, grids, strict=True):
        table[: rows * columns] = np.add.outer(np.arange(rows) * row, np.arange(columns) * column).reshape(-1)
    return tables


class Cut(NamedTuple):
    """How a product is cut into tasks: the depth of the sum, the rows and the columns of one task; and `step` of the
    `Panels` that B is."""

    depth: int
    height: int
    width: int
    step: int


@inline
def block(a, panels, lie, pieces, c, columns, bias, tables):
    """C[rows, columns] = A[rows, k0:k1] @ B[k0:k1, columns] + bias, chunk by chunk.

    B lies as `lie` (elements of a packed row, `step` of a `Panels`) says, `pieces` are (rows, k0, k1), `c` is (array,
    first element), and `columns` are (first, number).
    """
    (rows, k0, k1), (out, to), (first, n), (packed_row, step), size = pieces, c, columns, lie, a.array.size
    below = min(size, rows * a.row)  # where A lies row after row, the next task's are those that follow
    last = min(size, 2 * rows * a.row) if a.column == 1 else below
    for k in range(k0, max(k1, k0 + 1), DEPTH):  # once even where there is nothing to sum
        depth = min(DEPTH, k1 - k)
        some = Rows(a.array[k * a.column :], tables[0, :rows], tables[2, :depth])
        panel = Panels(panels, k * packed_row + (first if step else first * depth), step)
        start = bias[first:] if k == k0 else bias[:0]
        target = Target(out, to + first, tables[1, :rows], n)
        multiply_rows(some, panel, target, start, Prefetch(a.array, below, last if k == k0 else below))


@task_kernel
def multiply_blocks(task, a: Matrix, panels, parts, cut: Cut, bias, tables):
    """parts[s] = A[:, piece s of k] @ B[piece s of k, :] + bias, one task for each piece and height x width elements.

    B lies packed in `panels`, `DEPTH` rows at a time, or as it is.
    """
    (pieces, m, n), k, v = parts.shape, cut.depth, lanes(panels)
    packed_row, chunks = (n + 2 * v - 1) // (2 * v) * 2 * v, (k + DEPTH - 1) // DEPTH
    down, across = (m + cut.height - 1) // cut.height, (n + cut.width - 1) // cut.width
    s, i0, first = task // (down * across), task // across % down * cut.height, task % across * cut.width
    k0, k1, rows = s * chunks // pieces * DEPTH, min(k, (s + 1) * chunks // pieces * DEPTH), min(cut.height, m - i0)
    start, to = Matrix(a.array[i0 * a.row :], a.row, a.column), (s * m + i0) * n
    columns = first, min(cut.width, n - first)
    block(start, panels, (packed_row, cut.step), (rows, k0, k1), (flat(parts), to), columns, bias, tables)


def flat_matrix(matrix: Array) -> tuple[Array, int, int]:
    """The `Matrix` of a C-contiguous array or of the transpose of one."""
    if matrix.flags.c_contiguous:
        return matrix.reshape(-1), matrix.shape[1], 1
    return matrix.T.reshape(-1), 1, matrix.shape[0]


@functools.lru_cache(maxsize=256)
def plan(
    shape: tuple[int, int, int], strides: tuple[int, int], contiguous: bool, dtype: np.dtype, most: int
) -> Callable:
    """The function of (a, b, bias, out) that computes ``out = a @ b + bias``, for a `Matrix` a of such `strides`, and a
    b that is C-contiguous or the transpose of such a matrix."""
    (m, n, k), (a_row, a_column) = shape, strides
    row_blocks, rows, wide = max(1, -(-m // BLOCK_ROWS)), min(m, BLOCK_ROWS), padded(n, dtype)
    pieces = max(1, min(k // DEPTH, MAX_TASKS // row_blocks), -(-k // LONGEST))
    columns = max(1, n) if pieces * row_blocks >= FEW_TASKS else 2 * vector_lanes(dtype)
    tables = offset_tables((rows, 1, a_row, 0), (rows, 1, n, 0), (DEPTH, 1, a_column, 0))
    step = n if contiguous and n == wide and m <= UNPACKED_ROWS else 0
    parts_of = [(pieces, m, n)] * (pieces > 1)
    arrays, rest = (layout(dtype, (size,), *parts_of) for size in (0 if step else k * wide, 0))
    tasks, work, zero = pieces * -(-m // BLOCK_ROWS) * -(-n // columns), m * n * k, zeros((wide,), dtype)
    threads, cut = threads_for(work, most), (k, BLOCK_ROWS, columns)

    def packed(b: Array, panels: Array) -> Array:
        pack(flat_matrix(b), (k, n), DEPTH, panels)
        return panels

    def multiply(a: tuple, b: Array, bias: Array | None, out: Array) -> None:
        kept = made_of(b) if contiguous else None
        panels, *cut_sum = workspace(arrays if kept is None else rest)
        parts = cut_sum[0] if cut_sum else out[np.newaxis]
        start = zero if bias is None or cut_sum else bias_row(bias, wide)
        if kept is not None:
            panels = once(kept, "product", lambda: packed(b, empty((k * wide,), dtype)))
        elif step:
            panels = b.reshape(-1)
        else:
            packed(b, panels)
        multiply_blocks(
            a, panels, parts, (*cut, 0 if kept is not None else step), start, tables, tasks, work=work, threads=threads
        )
        if cut_sum:
            add_up(parts.reshape(pieces, -1), (m, n), out)
            if bias is not None:
                out += bias

    return multiply


def long_thin_product(a: Array, b: Array, bias: Array, out: Array) -> None:
    """``out = a @ b + bias`` of few rows, in pieces. B is not packed: that took 13 times as long, of 12,288 x 10."""
    (m, k), n, dtype = a.shape, b.shape[1], a.dtype
    count, zero = -(-k // LONGEST), zeros((n,), dtype)
    parts = empty((count, m, n), dtype)
    for i, part in enumerate(parts):
        rows = slice(i * k // count, (i + 1) * k // count)
        thin_product(flat_matrix(np.ascontiguousarray(a[:, rows])), b[rows], zero, part)
    add_up(parts.reshape(count, -1), (m, n), out)
    out += bias


def product(a: Array, b: Array, bias: Array | None = None, out: Array | None = None) -> Array:
    """``a @ b + bias`` for matrices that are C-contiguous or transposes of such, written to `out` where given."""
    (m, k), n, dtype, left = a.shape, b.shape[1], a.dtype, flat_matrix(a)
    out = empty((m, n), dtype) if out is None else out
    if m <= THIN_ROWS and k <= LONGEST and b.flags.c_contiguous:
        thin_product(left, b, zeros((n,), dtype) if bias is None else bias, out)
    elif m <= THIN_ROWS and b.flags.c_contiguous and (m == 1 or b.nbytes <= THIN_BYTES):
        long_thin_product(a, b, zeros((n,), dtype) if bias is None else bias, out)
    else:
        plan((m, n, k), left[1:], b.flags.c_contiguous, dtype, get_num_threads())(left, b, bias, out)
    return out
