"""Weight gradient of 3x3 convolutions with stride 1 by Winograd's minimal filtering. Requires numba.

The adjoint of :mod:`fastcnn.backends.numba.winograd` with respect to the weights: with d the inputs of a tile and e the
gradient of its outputs,

    dW = G' [sum over tiles of (A e A') * (B' d B)] G

and the sums are matrix products, channels x tiles and tiles x outputs: 16 of them, F(3x3, 2x2), or 36, F(3x3, 4x4).
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba import tiles2, tiles4
from fastcnn.backends.numba.copying import clear, lowest
from fastcnn.backends.numba.gemm import multiply_rows, offset_tables
from fastcnn.backends.numba.jit import kernel, prange, serial, threads_for
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.packing import padded, panel_width, vector_lanes
from fastcnn.backends.numba.simd import add, flat, lanes, load_part, store
from fastcnn.backends.numba.tasks import next_task, task_counters
from fastcnn.backends.numba.winograd import choose_side, input_tiles

TILES = {2: 64, 4: 48}  # of one block: each element of a sum is loaded and stored once for so many multiply-adds
MAX_TASKS = 8
CUT = 64  # input channels of one task, or a multiple
PART_BYTES = 1 << 20  # of the sums of one task: they stay in the L2 cache
gradient_tile2, weight_tile2 = tiles2.gradient_tile, tiles2.weight_tile
gradient_tile4, weight_tile4 = tiles4.gradient_tile, tiles4.weight_tile


@serial
def gradient_tiles(eta, grid, first, count, e, step, sums, work):
    """The transforms of `count` tiles of eta, packed: panels of `count` rows, those of element g from g * step on."""
    (_, oh, ow, outputs), (side, columns, tiles) = eta.shape, grid
    source, lane = flat(eta), lanes(e)
    for t in range(count):
        n, q = (first + t) // tiles, (first + t) % tiles
        y, x = side * (q // columns), side * (q % columns)
        at = ((n * oh + y) * ow + x) * outputs
        for j in range(0, outputs, 2 * lane):
            width = panel_width(outputs, j, lane)
            for i in range(j, min(outputs, j + width), lane):
                to = j * count + t * width + i - j
                row, left = ow * outputs, outputs - i
                if side == 4:
                    gradient_tile4(source, at + i, row, outputs, left, oh - y, ow - x, e, to, step, sums, i, work)
                else:
                    gradient_tile2(source, at + i, row, outputs, left, oh - y, ow - x, e, to, step, sums, i)


@serial
def add_tiles(x, eta, corner, floor, grid, first, count, channels, part, sums, v, width, e, edge, tables):
    """Add what `count` tiles from number `first` on contribute to the weights of some input `channels`."""
    inputs, outputs, elements = x.shape[3], eta.shape[3], (grid[0] + 2) ** 2
    v_step, e_step, work = v.size // elements, e.size // elements, edge[elements * width :]
    input_tiles(x, corner, grid, first, count, floor, channels, v, v_step, width, edge)
    gradient_tiles(eta, grid, first, count, e, e_step, sums, work)
    a_rows, c_rows, a_columns = tables[0, : channels[1]], tables[1, : channels[1]], tables[2, :count]
    for g in range(elements):
        a, to = v[g * v_step :], (g * inputs + channels[0]) * outputs
        multiply_rows(a, a_rows, a_columns, e, g * e_step, 0, part, to, c_rows, outputs, sums, True)


@kernel
def add_all_tiles(x, eta, corner, floor, grid, block, cut, parts, sums, v, width, e, edge, tables):
    """parts[s], sums[s] = the transformed weight gradient, and the bias gradient, of share s of all blocks of tiles.

    A task is a share and `cut` input channels.
    """
    total, shares, inputs, outputs = eta.shape[0] * grid[2], parts.shape[0], x.shape[3], eta.shape[3]
    blocks, cuts = (total + block - 1) // block, (inputs + cut - 1) // cut
    tasks, counters = shares * cuts, task_counters(v.shape[0])
    for it in prange(v.shape[0]):
        i = np.int64(it)
        task = next_task(counters, i, tasks)
        while task < tasks:
            s, c = task // cuts, task % cuts * cut
            channels, part, db = (c, min(cut, inputs - c)), parts[s], sums[task]
            clear(db, 0, db.size)
            for g in range((grid[0] + 2) ** 2):
                at = (g * inputs + c) * outputs
                clear(part, at, at + channels[1] * outputs)
            for k in range(s * blocks // shares, (s + 1) * blocks // shares):
                first = k * block
                count = min(block, total - first)
                add_tiles(
                    x, eta, corner, floor, grid, first, count, channels, part, db, v[i], width, e[i], edge[i], tables
                )
            task = next_task(counters, i, tasks)


@serial
def weights_back(parts, size, side, t, dw, work):
    """The sum of all shares, and G' m G, for one vector of the `size` pairs of channels."""
    count, v, elements = size - t, lanes(dw), (side + 2) ** 2
    for g in range(elements):
        total = load_part(parts, g * size + t, count)
        for s in range(1, parts.size // (elements * size)):
            total = add(total, load_part(parts, (s * elements + g) * size + t, count))
        store(work, g * v, total)
    if side == 4:
        weight_tile4(work, dw, t, size, count)
    else:
        weight_tile2(work, dw, t, size, count)


@kernel
def all_weights_back(parts, size, side, dw, work):
    v = lanes(dw)
    tasks, counters = (size + v - 1) // v, task_counters(work.shape[0])
    for it in prange(work.shape[0]):
        i = np.int64(it)
        task = next_task(counters, i, tasks)
        while task < tasks:
            weights_back(parts, size, side, task * v, dw, work[i])
            task = next_task(counters, i, tasks)


def conv_weight_gradient(x, eta, padding, rectify=False):
    (batch, oh, ow, outputs), inputs, dtype = eta.shape, x.shape[3], x.dtype
    size, lane, packed, side = inputs * outputs, vector_lanes(dtype), padded(outputs, dtype), choose_side(oh, ow)
    rows, columns, elements = -(-oh // side), -(-ow // side), (side + 2) ** 2
    total = batch * rows * columns
    threads, block = threads_for(total * elements * size), max(1, min(TILES[side], total))
    cut = min(inputs, max(CUT, PART_BYTES // (elements * outputs * x.itemsize) // CUT * CUT))
    cuts, width = -(-inputs // cut), -(-cut // lane) * lane
    shares = max(1, min(-(-total // block), MAX_TASKS // cuts))
    parts, sums = empty((shares, elements * size), dtype), empty((shares * cuts, packed), dtype)
    v, e = (empty((threads, elements * (block * channels + lane)), dtype) for channels in (width, packed))
    edge = empty((threads, elements * (width + lane)), dtype)
    tables = offset_tables((1, cut, 0, 1), (cut, 1, outputs, 0), (block, 1, width, 0))
    corner, grid, floor = (-padding[0], -padding[0]), (side, columns, rows * columns), lowest(x, rectify)
    add_all_tiles(x, eta, corner, floor, grid, block, cut, parts, sums, v, width, e, edge, tables, threads=threads)
    dw, memory = empty((9 * size,), dtype), empty((threads, elements * lane), dtype)
    all_weights_back(parts.reshape(-1), size, side, dw, memory, threads=threads)
    return dw.reshape(3, 3, inputs, outputs), sums[::cuts].sum(axis=0)[:outputs]
