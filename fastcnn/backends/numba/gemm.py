"""One matrix product for everything dense, from one loop over register tiles.

The blocking follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a tile of C
stays in registers, a panel of B in the L1 cache, the rows of A of one task in the L2 cache. A is read where it lies,
through a table of row offsets (see :mod:`fastcnn.backends.numba.tile`), so nothing but B is ever packed.

Results do not depend on the number of threads: tasks are cut by shape alone, each element of C is summed by one
task in a fixed order, and where the sum itself is long enough to be cut, the parts are added in a fixed order.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.jit import inline, kernel, prange, serial, threads_for
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.simd import VECTOR_BYTES, add, fill, lanes, load, load_part, multiply, store, store_part
from fastcnn.backends.numba.tasks import next_task
from fastcnn.backends.numba.tile import HALVES, NARROW, WIDE, outer_add, row_offsets, tile_load, tile_of, tile_store

SMALL_BYTES = 64 << 10  # a B that stays in the caches next to the core
CHUNK = 12  # rows of C that all columns of such a B are multiplied with at a time; a multiple of both tiles'
BLOCK_ROWS = 192  # rows of C in one task
DEPTH = 512  # rows of B in one packed chunk, and the shortest piece of a sum that is worth a task of its own
MAX_TASKS = 16  # pieces of a product that has few rows and a long sum: a weight gradient
SUM_TASK = 16384  # elements of a sum of parts in one task
THIN_ROWS = 3  # fewer rows than half a tile are multiplied without packing B
THIN_COLUMNS = 64  # of one task


@inline
def panel_product(count, halves, rows, a, sum_over, b, c, start):
    """Some rows of one panel of C, in tiles of `count` rows of `halves` half vectors.

    `rows` is (first, last), `a` (array, offsets of rows), `b` (array, first element, distance of rows), `c` (array,
    first element, offsets of rows, columns), and `start` (bias, its first element, whether to add to C instead).
    """
    (first, last), (a_, a_rows), (b_, q, step), (c_, at, c_rows, columns), (bias, j, accumulate) = rows, a, b, c, start
    a_outer, outer, a_inner, inner = sum_over
    for i in range(first, last, count):
        a_tile, c_tile = row_offsets(a_rows, i, last, count), row_offsets(c_rows, i, last, count)
        tile = tile_load(c_, at, c_tile, columns, halves) if accumulate else tile_of(bias, j, count, halves)
        k = q
        for s in range(outer):
            p = s * a_outer
            for _ in range(inner):
                tile = outer_add(tile, a_, a_tile, p, b_, k)
                p += a_inner
                k += step
        tile_store(tile, c_, at, c_tile, columns)


@serial
def multiply_rows(a, a_rows, sum_over, b, b0, ldb, c, c0, c_rows, n, bias, accumulate):
    """C = A @ B + bias, or C += A @ B, for n columns and for the rows of A and C that begin at the offsets given.

    `sum_over` is (a_outer, outer, a_inner, inner): the elements of a row of A are `outer` runs, a_outer apart, of
    `inner` elements, a_inner apart. B lies in rows of `ldb` elements, n whole panels wide, or is packed (see
    `pack_rows`) where `ldb` is 0. `bias` is as long as a packed row.
    """
    v, depth, rows = lanes(b), sum_over[1] * sum_over[3], a_rows.size
    # A small B stays in the cache, and C is written row by row; of a large one, panel by panel does.
    chunk = CHUNK if 2 * v < n and depth * n * b.itemsize <= SMALL_BYTES else rows
    for i in range(0, rows, chunk):
        some, a_all = (i, min(rows, i + chunk)), (a, a_rows)
        for j in range(0, n, 2 * v):
            left, half = n - j, HALVES and 0 < (n - j) % v <= v // 2
            panel = b, b0 + (j if ldb else j * depth), ldb if ldb else panel_width(n, j, v)
            to, start = (c, c0 + j, c_rows, min(2 * v, left)), (bias, j, accumulate)
            if left > v:
                if half and left < 2 * v:
                    panel_product(WIDE, 3, some, a_all, sum_over, panel, to, start)
                else:
                    panel_product(WIDE, 4, some, a_all, sum_over, panel, to, start)
            elif half:
                panel_product(NARROW, 1, some, a_all, sum_over, panel, to, start)
            else:
                panel_product(NARROW, 2, some, a_all, sum_over, panel, to, start)


@inline
def panel_width(n, j, v):
    """Columns of the packed panel that begins at column j: two vectors, or one where that holds what is left."""
    return 2 * v if n - j > v else v


@serial
def pack_panel(b, b0, b_row, b_col, depth, columns, width, panels, q):
    """Copy B[depth, columns], with any strides, into rows of `width`; zeros fill them up."""
    for k in range(depth):
        source, target = b0 + k * b_row, q + k * width
        for i in range(columns):
            panels[np.uintp(target + i)] = b[np.uintp(source + i * b_col)]
        for i in range(columns, width):
            panels[np.uintp(target + i)] = 0


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


def vector_lanes(dtype: np.dtype) -> int:
    return max(1, VECTOR_BYTES // dtype.itemsize)


def padded(n: int, dtype: np.dtype) -> int:
    """n rounded up to whole tiles: the length of a bias, and of a packed row."""
    width = 2 * vector_lanes(dtype)
    return -(-n // width) * width


def bias_row(bias: np.ndarray, n: int) -> np.ndarray:
    """`bias`, as long as a packed row."""
    if n == padded(n, bias.dtype):
        return bias
    row = np.zeros(padded(n, bias.dtype), bias.dtype)
    row[:n] = bias
    return row


def even_share(total: int, largest: int, multiple: int = 1) -> int:
    """Items of one task, `largest` at most, such that tasks are nearly alike and their number a `multiple`."""
    tasks = -(-total // largest)
    tasks = -(-tasks // multiple) * multiple
    return max(1, -(-total // max(1, tasks)))


@kernel
def pack_chunks(b, b_row, b_col, k, n, panels):
    """Pack B, DEPTH rows at a time."""
    v = lanes(b)
    count = (n + 2 * v - 1) // (2 * v)
    for it in prange((k + DEPTH - 1) // DEPTH * count):
        k0, j = np.int64(it) // count * DEPTH, np.int64(it) % count * 2 * v
        depth, width = min(DEPTH, k - k0), panel_width(n, j, v)
        to = k0 * count * 2 * v + j * depth
        pack_panel(b, k0 * b_row + j * b_col, b_row, b_col, depth, min(width, n - j), width, panels, to)


@serial
def block(a, a_row, a_col, b, packed_row, k0, k1, c, c0, rows, n, bias, tables):
    """C[rows, n] = A[rows, k0:k1] @ B[k0:k1, n] + bias, chunk by chunk."""
    a_rows, c_rows = tables[0, :rows], tables[1, :rows]
    for i in range(rows):
        a_rows[i], c_rows[i] = i * a_row, i * n
    for k in range(k0, max(k1, k0 + 1), DEPTH):  # once even where there is nothing to sum
        depth = min(DEPTH, k1 - k)
        run = 0, 1, a_col, depth
        multiply_rows(a[k * a_col :], a_rows, run, b, k * packed_row, 0, c, c0, c_rows, n, bias, k > k0)


@kernel
def blocks(a, a_row, a_col, b, packed_row, parts, m, n, k, bias, tables):
    """parts[s] = A[:, piece s of k] @ B[piece s of k, :] + bias, one task for each piece and block of rows."""
    c, pieces = parts.reshape(-1), parts.shape[0]
    row_blocks, chunks = (m + BLOCK_ROWS - 1) // BLOCK_ROWS, (k + DEPTH - 1) // DEPTH
    counter = np.zeros(1, np.int64)
    for it in prange(tables.shape[0]):
        table, task = tables[np.int64(it)], next_task(counter)
        while task < pieces * row_blocks:
            s, i0 = task // row_blocks, task % row_blocks * BLOCK_ROWS
            k0, k1 = s * chunks // pieces * DEPTH, (s + 1) * chunks // pieces * DEPTH
            start, to, rows = a[i0 * a_row :], (s * m + i0) * n, min(BLOCK_ROWS, m - i0)
            block(start, a_row, a_col, b, packed_row, k0, min(k, k1), c, to, rows, n, bias, table)
            task = next_task(counter)


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
    parts, c = (n + THIN_COLUMNS - 1) // THIN_COLUMNS, out.reshape(-1)
    for it in prange(out.shape[0] * parts):
        i, j = np.int64(it) // parts, np.int64(it) % parts * THIN_COLUMNS
        thin_columns(a[i * a_row :], a_col, b, ldb, j, min(n, j + THIN_COLUMNS), k, bias, c[i * n : i * n + n])


def row_tables(rows: int, threads: int) -> np.ndarray:
    """Two tables of row offsets for each thread."""
    return empty((threads, 2, rows), np.int64)


def flat(matrix: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A C-contiguous matrix or the transpose of one, as a flat array and its row and column strides."""
    if matrix.flags.c_contiguous:
        return matrix.reshape(-1), matrix.shape[1], 1
    return matrix.T.reshape(-1), 1, matrix.shape[0]


def product(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """``a @ b + bias`` for matrices that are C-contiguous or transposes of such, written to `out` where given."""
    (m, k), n, dtype = a.shape, b.shape[1], a.dtype
    work = m * n * k
    out = empty((m, n), dtype) if out is None else out
    if m <= THIN_ROWS and b.flags.c_contiguous:
        thin(*flat(a), b.reshape(-1), n, n, k, np.zeros(n, dtype) if bias is None else bias, out, work=work)
        return out
    row_blocks = max(1, -(-m // BLOCK_ROWS))
    pieces = max(1, min(k // DEPTH, MAX_TASKS // row_blocks))
    threads = threads_for(work)
    parts = out[np.newaxis] if pieces == 1 else empty((pieces, m, n), dtype)
    panels = empty((k * padded(n, dtype),), dtype)
    pack_chunks(*flat(b), k, n, panels, threads=threads)
    start = np.zeros(padded(n, dtype), dtype) if bias is None or pieces > 1 else bias_row(bias, n)
    tables = row_tables(min(m, BLOCK_ROWS), threads)
    blocks(*flat(a), panels, padded(n, dtype), parts, m, n, k, start, tables, threads=threads)
    if pieces > 1:
        sum_parts(parts.reshape(pieces, -1), out.reshape(-1), threads=threads)
        if bias is not None:
            out += bias
    return out
