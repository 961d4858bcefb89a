"""Weight gradient of 3x3 convolutions with stride 1 by Winograd's F(3x3, 2x2). Requires numba.

The adjoint of `winograd` with respect to the weights: with d the 4 x 4 inputs of a tile and e the gradient of its
2 x 2 outputs,

    dW = G' [sum over tiles of (A e A') * (B' d B)] G

and the sums are 16 matrix products, channels x tiles and tiles x outputs, in place of the 36 of a direct sum.
A's last row is taken with the sign turned, as is G's: that saves a subtraction for each tile.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.copying import clear, lowest
from fastcnn.backends.numba.gemm import multiply_rows, padded, panel_width, vector_lanes
from fastcnn.backends.numba.jit import inline, kernel, prange, serial, threads_for
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.simd import add, fill, lanes, load, load_part, multiply, store, store_part, subtract
from fastcnn.backends.numba.tasks import next_task
from fastcnn.backends.numba.winograd import input_tiles

TILES = 64  # of one block: each element of a sum is loaded and stored once for that many multiply-adds
MAX_TASKS = 8
CUT = 64  # input channels of one task, or a multiple
PART_BYTES = 1 << 20  # of the sums of one task: they stay in the L2 cache


@inline
def spread(e00, e01, e10, e11, v, to, step):
    """A e A' to 16 places `step` apart."""
    a0, a1 = add(e00, e10), add(e01, e11)
    b0, b1 = subtract(e00, e10), subtract(e01, e11)
    (
        store(v, to, e00),
        store(v, to + step, add(e00, e01)),
        store(v, to + 2 * step, subtract(e00, e01)),
        store(v, to + 3 * step, e01),
    )
    k = to + 4 * step
    (
        store(v, k, a0),
        store(v, k + step, add(a0, a1)),
        store(v, k + 2 * step, subtract(a0, a1)),
        store(v, k + 3 * step, a1),
    )
    k += 4 * step
    (
        store(v, k, b0),
        store(v, k + step, add(b0, b1)),
        store(v, k + 2 * step, subtract(b0, b1)),
        store(v, k + 3 * step, b1),
    )
    k += 4 * step
    (
        store(v, k, e10),
        store(v, k + step, add(e10, e11)),
        store(v, k + 2 * step, subtract(e10, e11)),
        store(v, k + 3 * step, e11),
    )


@serial
def gradient_tile(source, at, row, column, count, rows, columns, v, to, step, sums, j):
    """A e A' of one tile, of which rows x columns pixels are inside, and of `count` outputs; e is added to sums[j:]."""
    if rows > 1 and columns > 1 and count >= lanes(source):
        e00, e01 = load(source, at), load(source, at + column)
        e10, e11 = load(source, at + row), load(source, at + row + column)
    else:
        e00, e01, e10, e11 = load_part(source, at, count), fill(source, 0), fill(source, 0), fill(source, 0)
        if columns > 1:
            e01 = load_part(source, at + column, count)
        if rows > 1:
            e10 = load_part(source, at + row, count)
        if rows > 1 and columns > 1:
            e11 = load_part(source, at + row + column, count)
    store(sums, j, add(load(sums, j), add(add(e00, e01), add(e10, e11))))
    spread(e00, e01, e10, e11, v, to, step)


@serial
def gradient_tiles(eta, grid, first, count, e, step, sums):
    """The transforms of `count` tiles of eta, packed: panels of `count` rows, those of element g from g * step on."""
    (_, oh, ow, outputs), (columns, tiles) = eta.shape, grid
    source, lane = eta.reshape(-1), lanes(e)
    for t in range(count):
        n, q = (first + t) // tiles, (first + t) % tiles
        y, x = 2 * (q // columns), 2 * (q % columns)
        at = ((n * oh + y) * ow + x) * outputs
        for j in range(0, outputs, 2 * lane):
            width = panel_width(outputs, j, lane)
            for i in range(j, min(outputs, j + width), lane):
                to = j * count + t * width + i - j
                gradient_tile(source, at + i, ow * outputs, outputs, outputs - i, oh - y, ow - x, e, to, step, sums, i)


@serial
def add_tiles(x, eta, corner, floor, grid, first, count, channels, part, sums, v, e, edge, table):
    """Add what `count` tiles from number `first` on contribute to the weights of some input `channels`."""
    inputs, outputs, lane = x.shape[3], eta.shape[3], lanes(v)
    width = (channels[1] + lane - 1) // lane * lane
    v_step, e_step = v.size // 16, e.size // 16
    input_tiles(x, corner, grid, first, count, floor, channels, v, v_step, width, edge)
    gradient_tiles(eta, grid, first, count, e, e_step, sums)
    a_rows, c_rows, run = table[0, : channels[1]], table[1, : channels[1]], (0, 1, width, count)
    for g in range(16):
        a, to = v[g * v_step :], (g * inputs + channels[0]) * outputs
        multiply_rows(a, a_rows, run, e, g * e_step, 0, part, to, c_rows, outputs, sums, True)


@kernel
def add_all_tiles(x, eta, corner, floor, grid, block, cut, parts, sums, v, e, edge, table):
    """parts[s], sums[s] = the transformed weight gradient, and the bias gradient, of share s of all blocks of tiles.

    A task is a share and `cut` input channels.
    """
    total, shares, inputs, outputs = eta.shape[0] * grid[1], parts.shape[0], x.shape[3], eta.shape[3]
    blocks, cuts, counter = (total + block - 1) // block, (inputs + cut - 1) // cut, np.zeros(1, np.int64)
    for it in prange(v.shape[0]):
        i, task = np.int64(it), next_task(counter)
        while task < shares * cuts:
            s, c = task // cuts, task % cuts * cut
            channels, db = (c, min(cut, inputs - c)), sums[task]
            clear(db, 0, db.size)
            for g in range(16):
                at = (g * inputs + c) * outputs
                clear(parts[s], at, at + channels[1] * outputs)
            for k in range(s * blocks // shares, (s + 1) * blocks // shares):
                first = k * block
                count = min(block, total - first)
                add_tiles(x, eta, corner, floor, grid, first, count, channels, parts[s], db, v[i], e[i], edge[i], table)
            task = next_task(counter)


@inline
def weight_line(m0, m1, m2, m3, half):
    """G' m for one column, the sign of m3 turned."""
    return (
        add(m0, multiply(half, add(m1, m2))),
        multiply(half, subtract(m1, m2)),
        subtract(multiply(half, add(m1, m2)), m3),
    )


@serial
def weights_back(parts, size, t, dw, work):
    """The sum of all shares, and G' m G, for one vector of the `size` pairs of channels."""
    count, v = size - t, lanes(dw)
    half = fill(dw, 0.5)
    for g in range(16):
        total = load_part(parts, g * size + t, count)
        for s in range(1, parts.size // (16 * size)):
            total = add(total, load_part(parts, (s * 16 + g) * size + t, count))
        store(work, g * v, total)
    for i in range(4):
        m0, m1, m2 = weight_line(
            load(work, i * v), load(work, (4 + i) * v), load(work, (8 + i) * v), load(work, (12 + i) * v), half
        )
        store(work, i * v, m0), store(work, (4 + i) * v, m1), store(work, (8 + i) * v, m2)
    for i in range(3):
        k = 4 * i * v
        m0, m1, m2 = weight_line(load(work, k), load(work, k + v), load(work, k + 2 * v), load(work, k + 3 * v), half)
        at = 3 * i * size + t
        store_part(dw, at, m0, count), store_part(dw, at + size, m1, count), store_part(dw, at + 2 * size, m2, count)


@kernel
def all_weights_back(parts, size, dw, work):
    v, counter = lanes(dw), np.zeros(1, np.int64)
    for it in prange(work.shape[0]):
        memory, t = work[np.int64(it)], next_task(counter) * v
        while t < size:
            weights_back(parts, size, t, dw, memory)
            t = next_task(counter) * v


def conv_weight_gradient(x, eta, padding, rectify=False):
    (batch, oh, ow, outputs), inputs, dtype = eta.shape, x.shape[3], x.dtype
    size, lane, packed = inputs * outputs, vector_lanes(dtype), padded(outputs, dtype)
    rows, columns = -(-oh // 2), -(-ow // 2)
    total = batch * rows * columns
    threads, block = threads_for(total * 16 * size), max(1, min(TILES, total))
    cut = min(inputs, max(CUT, PART_BYTES // (16 * outputs * x.itemsize) // CUT * CUT))
    cuts, width = -(-inputs // cut), -(-cut // lane) * lane
    shares = max(1, min(-(-total // block), MAX_TASKS // cuts))
    parts, sums = empty((shares, 16 * size), dtype), empty((shares * cuts, packed), dtype)
    v, e = (empty((threads, 16 * (block * channels + lane)), dtype) for channels in (width, packed))
    edge, table = empty((threads, 16 * width), dtype), np.arange(cut) * np.array([[1], [outputs]])
    corner, grid, floor = (-padding[0], -padding[0]), (columns, rows * columns), lowest(x, rectify)
    add_all_tiles(x, eta, corner, floor, grid, block, cut, parts, sums, v, e, edge, table, threads=threads)
    dw, memory = empty((9 * size,), dtype), empty((threads, 16 * lane), dtype)
    all_weights_back(parts.reshape(-1), size, dw, memory, threads=threads)
    return dw.reshape(3, 3, inputs, outputs), sums[::cuts].sum(axis=0)[:outputs]
