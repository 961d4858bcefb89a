"""One matrix product for everything dense, from one micro-kernel.

``product`` multiplies matrices given as flat arrays and strides, so a transposed matrix costs nothing to pass. The
blocking follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), with one level
less, as only B is packed: a tile of C stays in registers, a packed panel of B in the L1 cache.

Results do not depend on the number of threads: tasks are cut by shape alone, each element of C is summed by one
task in a fixed order, and where the sum itself is long enough to be cut, the parts are added in a fixed order.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.jit import inline, kernel, prange, serial
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.simd import lanes, load, multiply_add, splat, store

TILE_ROWS = 6  # 6 rows of 2 vectors: 12 of AVX2's 16 registers accumulate, the others hold A and B
PANEL_DEPTH = 256  # a panel of B, 256 x 16 float32, fills half of a 32 KiB L1 cache
BLOCK_ROWS = 192  # rows of C in one task: packing B costs 1/192 of its arithmetic
SUM_LENGTH = 512  # shortest piece of a sum that is worth a task of its own
MAX_TASKS = 16  # pieces of a product that has few rows and a long sum: a weight gradient


@inline
def tile(a, a0, a_row, a_col, rows, b, depth, c, c0, c_row, start, accumulate):
    """C[rows, 2 vectors] = A[rows, depth] @ B[depth, 2 vectors], B packed, plus C itself or the row `start`.

    At most 6 rows. Rows past the end repeat the last one: they compute and store the same values once more, which
    costs no branch.
    """
    v = lanes(b)
    r1 = min(1, rows - 1)
    r2 = min(2, rows - 1)
    r3 = min(3, rows - 1)
    r4 = min(4, rows - 1)
    r5 = min(5, rows - 1)
    c1, c2, c3, c4, c5 = c0 + r1 * c_row, c0 + r2 * c_row, c0 + r3 * c_row, c0 + r4 * c_row, c0 + r5 * c_row
    if accumulate:
        x0, y0 = load(c, c0), load(c, c0 + v)
        x1, y1 = load(c, c1), load(c, c1 + v)
        x2, y2 = load(c, c2), load(c, c2 + v)
        x3, y3 = load(c, c3), load(c, c3 + v)
        x4, y4 = load(c, c4), load(c, c4 + v)
        x5, y5 = load(c, c5), load(c, c5 + v)
    else:
        x0 = x1 = x2 = x3 = x4 = x5 = load(start, 0)
        y0 = y1 = y2 = y3 = y4 = y5 = load(start, v)
    a1, a2, a3, a4, a5 = r1 * a_row, r2 * a_row, r3 * a_row, r4 * a_row, r5 * a_row
    p, q = a0, 0
    for _ in range(depth):
        x, y = load(b, q), load(b, q + v)
        s = splat(a, p)
        x0, y0 = multiply_add(s, x, x0), multiply_add(s, y, y0)
        s = splat(a, p + a1)
        x1, y1 = multiply_add(s, x, x1), multiply_add(s, y, y1)
        s = splat(a, p + a2)
        x2, y2 = multiply_add(s, x, x2), multiply_add(s, y, y2)
        s = splat(a, p + a3)
        x3, y3 = multiply_add(s, x, x3), multiply_add(s, y, y3)
        s = splat(a, p + a4)
        x4, y4 = multiply_add(s, x, x4), multiply_add(s, y, y4)
        s = splat(a, p + a5)
        x5, y5 = multiply_add(s, x, x5), multiply_add(s, y, y5)
        p += a_col
        q += 2 * v
    store(c, c0, x0), store(c, c0 + v, y0)
    store(c, c1, x1), store(c, c1 + v, y1)
    store(c, c2, x2), store(c, c2 + v, y2)
    store(c, c3, x3), store(c, c3 + v, y3)
    store(c, c4, x4), store(c, c4 + v, y4)
    store(c, c5, x5), store(c, c5 + v, y5)


@serial
def pack(b, b0, b_row, b_col, depth, columns, width, panel):
    """Copy B[depth, columns] into rows of `width`, the columns past the end zero."""
    for k in range(depth):
        source, target = b0 + k * b_row, k * width
        for j in range(columns):
            panel[np.uintp(target + j)] = b[np.uintp(source + j * b_col)]
        for j in range(columns, width):
            panel[np.uintp(target + j)] = 0


@serial
def block(a, a0, a_row, a_col, b, b_row, b_col, c, c0, rows, n, k0, k1, bias):
    """C[rows, n] = A[rows, k0:k1] @ B[k0:k1, n] + bias, C with rows of n elements; an empty `bias` adds nothing.

    A tile that sticks out of C to the right may write into the rows below, as those are written later: panels run
    from right to left, rows from top to bottom. Where that does not hold, at the end of the block and where C is
    summed up from several panels, the tile is computed beside C and copied.
    """
    width = 2 * lanes(b)
    panel = np.empty(PANEL_DEPTH * width, b.dtype)
    edge = np.empty(TILE_ROWS * width, b.dtype)
    start = np.zeros(width, b.dtype)
    for j0 in range((n - 1) // width * width, -1, -width):
        columns = min(width, n - j0)
        if bias.size:
            start[:columns] = bias[j0 : j0 + columns]
        for p0 in range(k0, max(k1, k0 + 1), PANEL_DEPTH):  # once even where there is nothing to sum
            depth = min(PANEL_DEPTH, k1 - p0)
            pack(b, p0 * b_row + j0 * b_col, b_row, b_col, depth, columns, width, panel)
            for i0 in range(0, rows, TILE_ROWS):
                height = min(TILE_ROWS, rows - i0)
                at = a0 + i0 * a_row + p0 * a_col
                corner = c0 + i0 * n + j0
                stays_inside = (i0 + TILE_ROWS - 1) * n + j0 + width <= rows * n
                if columns == width or (stays_inside and k1 - k0 <= PANEL_DEPTH):
                    tile(a, at, a_row, a_col, height, panel, depth, c, corner, n, start, p0 > k0)
                    continue
                for i in range(height if p0 > k0 else 0):
                    for j in range(columns):
                        edge[i * width + j] = c[corner + i * n + j]
                tile(a, at, a_row, a_col, height, panel, depth, edge, 0, width, start, p0 > k0)
                for i in range(height):
                    for j in range(columns):
                        c[corner + i * n + j] = edge[i * width + j]
        start[:] = 0


@kernel
def blocks(a, a_row, a_col, b, b_row, b_col, parts, m, n, k, length, bias):
    """parts[s] = A[:, piece s of k] @ B[piece s of k, :], one task for each piece and block of rows."""
    c = parts.reshape(-1)
    row_blocks = (m + BLOCK_ROWS - 1) // BLOCK_ROWS
    for it in prange(parts.shape[0] * row_blocks):
        task = np.int64(it)
        s, i0 = task // row_blocks, (task % row_blocks) * BLOCK_ROWS
        rows = min(BLOCK_ROWS, m - i0)
        k1 = min(k, (s + 1) * length)
        block(a, i0 * a_row, a_row, a_col, b, b_row, b_col, c, (s * m + i0) * n, rows, n, s * length, k1, bias)


def flat(matrix: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A C-contiguous matrix or the transpose of one, as a flat array and its row and column strides."""
    if matrix.flags.c_contiguous:
        return matrix.reshape(-1), matrix.shape[1], 1
    return matrix.T.reshape(-1), 1, matrix.shape[0]


def product(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """``a @ b + bias`` for matrices that are C-contiguous or transposes of such, written to `out` where given."""
    (m, k), n = a.shape, b.shape[1]
    row_blocks = max(1, -(-m // BLOCK_ROWS))
    pieces = max(1, min(k // SUM_LENGTH, MAX_TASKS // row_blocks))
    out = empty((m, n), a.dtype) if out is None else out
    parts = out[np.newaxis] if pieces == 1 else empty((pieces, m, n), a.dtype)
    start = np.empty(0, a.dtype) if bias is None or pieces > 1 else bias
    blocks(*flat(a), *flat(b), parts, m, n, k, -(-k // pieces), start)
    if pieces > 1:
        parts.sum(axis=0, out=out)
        if bias is not None:
            out += bias
    return out
