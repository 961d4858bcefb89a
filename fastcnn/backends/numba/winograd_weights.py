"""Weight gradient of 3x3 convolutions with stride 1 by Winograd's minimal filtering. Requires numba.

The adjoint of :mod:`fastcnn.backends.numba.winograd` with respect to the weights: with d the inputs of a tile and e the
gradient of its outputs,

    dW = G' [sum over tiles of (A e A') * (B' d B)] G

and the sums are matrix products, channels x tiles and tiles x outputs: 16 of them, F(3x3, 2x2), or 36, F(3x3, 4x4).
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba import tiles2, tiles4
from fastcnn.backends.numba.arithmetic import add
from fastcnn.backends.numba.copying import clear, lowest
from fastcnn.backends.numba.gemm import multiply_rows, offset_tables
from fastcnn.backends.numba.jit import kernel, prange, serial, threads_for
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.packing import padded, panel_width, vector_lanes
from fastcnn.backends.numba.simd import flat, lanes, load_part, store
from fastcnn.backends.numba.tasks import next_task, task_counters
from fastcnn.backends.numba.winograd_tiles import choose_side, input_tiles

TILES = {2: 64, 4: 48}  # of one block: each element of a sum is loaded and stored once for so many multiply-adds
MAX_TASKS = 8
CUT = 64  # input channels of one task, or a multiple
PART_BYTES = 1 << 20  # of the sums of one task: they stay in the L2 cache
gradient_tile2, weight_tile2 = tiles2.gradient_tile, tiles2.weight_tile
gradient_tile4, weight_tile4 = tiles4.gradient_tile, tiles4.weight_tile


@serial
def gradient_tiles(eta, grid, first, count, panel, e, step, sums, work):
    """The transforms of `count` tiles of the outputs `panel` (first, number) of eta, packed: panels of `count` rows,
    those of element g from g * step on."""
    (_, oh, ow, outputs), (side, columns, tiles), (start, number) = eta.shape, grid, panel
    source, lane = flat(eta), lanes(e)
    for t in range(count):
        n, q = (first + t) // tiles, (first + t) % tiles
        y, x = side * (q // columns), side * (q % columns)
        at = ((n * oh + y) * ow + x) * outputs + start
        for j in range(0, number, 2 * lane):
            width = panel_width(number, j, lane)
            for i in range(j, min(number, j + width), lane):
                to = j * count + t * width + i - j
                row, left = ow * outputs, number - i
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
    gradient_tiles(eta, grid, first, count, (0, outputs), e, e_step, sums, work)
    a_rows, c_rows, a_columns = tables[0, : channels[1]], tables[1, : channels[1]], tables[2, :count]
    for g in range(elements):
        a, to = v[g * v_step :], (g * inputs + channels[0]) * outputs
        multiply_rows(a, a_rows, a_columns, e, g * e_step, np.int64(0), part, to, c_rows, outputs, sums[:0])


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


@serial
def weights_of_block(x, eta, corner, floor, grid, total, channels, panel, dw, sums, part, v, width, e, edge, tables):
    """The gradient of the weights between some input `channels` and outputs `panel`, both (first, number), where all
    tiles are one block: products and transforms stay in the cache."""
    size, lane, side, elements = x.shape[3] * eta.shape[3], lanes(v), grid[0], (grid[0] + 2) ** 2
    v_step, e_step, work = v.size // elements, e.size // elements, edge[elements * width :]
    zeros = np.zeros((panel[1] // (2 * lane) + 1) * 2 * lane, v.dtype)
    input_tiles(x, corner, grid, 0, total, floor, channels, v, v_step, width, edge)
    gradient_tiles(eta, grid, 0, total, panel, e, e_step, sums, work)
    a_rows, c_rows, a_columns = tables[0, : channels[1]], tables[1, : channels[1]], tables[2, :total]
    step = part.size // elements
    for g in range(elements):
        a, n = v[g * v_step :], panel[1]
        multiply_rows(a, a_rows, a_columns, e, g * e_step, np.int64(0), part, g * step, c_rows, n, zeros)
    for i in range(channels[1]):
        for t in range(0, panel[1], lane):
            count, to = panel[1] - t, (channels[0] + i) * eta.shape[3] + panel[0] + t
            for g in range(elements):
                store(work, g * lane, load_part(part, g * step + c_rows[i] + t, count))
            if side == 4:
                weight_tile4(work, dw, to, size, count)
            else:
                weight_tile2(work, dw, to, size, count)


@kernel
def weights_of_few(x, eta, corner, floor, grid, cut, dw, sums, parts, v, width, e, edge, tables):
    """`weights_of_block` for all pairs of `cut` inputs and `cut` outputs; sums[i] = the bias gradient of inputs i."""
    inputs, outputs, total = x.shape[3], eta.shape[3], eta.shape[0] * grid[2]
    down, across = (inputs + cut - 1) // cut, (outputs + cut - 1) // cut
    tasks, counters = down * across, task_counters(v.shape[0])
    for it in prange(v.shape[0]):
        i = np.int64(it)
        task = next_task(counters, i, tasks)
        while task < tasks:
            c, j = task // across * cut, task % across * cut
            channels, panel, db = (c, min(cut, inputs - c)), (j, min(cut, outputs - j)), sums[task // across, j:]
            clear(db, 0, panel[1])
            weights_of_block(
                x,
                eta,
                corner,
                floor,
                grid,
                total,
                channels,
                panel,
                dw,
                db,
                parts[i],
                v[i],
                width,
                e[i],
                edge[i],
                tables,
            )
            task = next_task(counters, i, tasks)


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
    corner, grid, floor = (-padding[0], -padding[0]), (side, columns, rows * columns), lowest(x, rectify)
    few = total <= block
    cut = min(inputs, CUT if few else max(CUT, PART_BYTES // (elements * outputs * x.itemsize) // CUT * CUT))
    cuts, width, e_width = (
        -(-inputs // cut),
        -(-cut // lane) * lane,
        padded(min(outputs, CUT), dtype) if few else packed,
    )
    v, e = (empty((threads, elements * (block * channels + lane)), dtype) for channels in (width, e_width))
    edge, dw = empty((threads, elements * (width + lane)), dtype), empty((9 * size,), dtype)
    tables = offset_tables((1, cut, 0, 1), (cut, 1, CUT if few else outputs, 0), (block, 1, width, 0))
    if few:
        parts, sums = empty((threads, elements * CUT * cut), dtype), empty((cuts, packed), dtype)
        weights_of_few(x, eta, corner, floor, grid, CUT, dw, sums, parts, v, width, e, edge, tables, threads=threads)
        return dw.reshape(3, 3, inputs, outputs), sums[0, :outputs]
    shares = max(1, min(-(-total // block), MAX_TASKS // cuts))
    parts, sums = empty((shares, elements * size), dtype), empty((shares * cuts, packed), dtype)
    add_all_tiles(x, eta, corner, floor, grid, block, cut, parts, sums, v, width, e, edge, tables, threads=threads)
    memory = empty((threads, elements * lane), dtype)
    all_weights_back(parts.reshape(-1), size, side, dw, memory, threads=threads)
    return dw.reshape(3, 3, inputs, outputs), sums[::cuts].sum(axis=0)[:outputs]
