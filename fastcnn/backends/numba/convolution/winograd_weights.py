"""Weight gradient of 3x3 convolutions with stride 1 or 2 by Winograd's minimal filtering. Requires numba.

The adjoint of `convolution.winograd` with respect to the weights: with d the inputs of a tile and e the
gradient of its outputs,

    dW = G' [sum over tiles of (A e A') * (B' d B)] G

and the sums are matrix products, channels x tiles and tiles x outputs: 16 of them, F(3x3, 2x2), or 36, F(3x3, 4x4);
with stride 2, 81 (see `tiles_stride2`).
"""

from __future__ import annotations

import math

import numpy as np

from fastcnn.backends.numba.convolution import tiles2, tiles4, tiles_stride2_back
from fastcnn.backends.numba.convolution.winograd_tiles import (
    APART,
    KINDS,
    LARGE,
    MADE,
    PRODUCTS,
    SMALL,
    SUMS,
    WORK,
    input_tiles,
    products_of,
    rows_under,
    tiles_of,
)
from fastcnn.backends.numba.core.copying import clear, lowest
from fastcnn.backends.numba.core.jit import kernel, prange, serial, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, next_task, task_counters
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows, offset_tables
from fastcnn.backends.numba.product.packing import padded, panel_width, vector_lanes
from fastcnn.backends.numba.product.sums import add_up

TILES = 64  # of one block: multiply-adds for each load and store of a sum
CUT = 64, 128  # input and output channels of one task, whose sums are loaded and stored once for each block
MAX_TASKS = 8
SHARE = 192  # tiles, so that transforming their sum back takes little of the time
ONLY_SHARE = 64  # the same where there is nothing else to do for a second thread
gradient_tile2, weight_tile2 = tiles2.gradient_tile, tiles2.weight_tile
gradient_tile4, weight_tile4 = tiles4.gradient_tile, tiles4.weight_tile
gradient_tile_stride2, weight_tile_stride2 = tiles_stride2_back.gradient_tile, tiles_stride2_back.weight_tile


@serial
def gradient_tiles(eta, grid, first, count, panel, e, step, sums, work):
    """The transforms of `count` tiles of the outputs `panel` (first, number) of eta, packed: panels of `count` rows,
    those of element g from g * step on."""
    (_, oh, ow, outputs), (kind, columns, tiles, _), (start, number) = eta.shape, grid, panel
    source, lane, side = flat(eta), lanes(e), MADE[kind]
    for t in range(count):
        n, q = (first + t) // tiles, (first + t) % tiles
        y, x = side * (q // columns), side * (q % columns)
        at = ((n * oh + y) * ow + x) * outputs + start
        for j in range(0, number, 2 * lane):
            width = panel_width(number, j, lane)
            for i in range(j, min(number, j + width), lane):
                to = j * count + t * width + i - j
                row, left = ow * outputs, number - i
                if kind == LARGE:
                    gradient_tile4(source, at + i, row, outputs, left, oh - y, ow - x, e, to, step, sums, i, work)
                elif kind == SMALL:
                    gradient_tile2(source, at + i, row, outputs, left, oh - y, ow - x, e, to, step, sums, i)
                else:
                    gradient_tile_stride2(
                        source, at + i, row, outputs, left, oh - y, ow - x, e, to, step, sums, i, work
                    )


@serial
def add_block(image, eta, grid, tiles, channels, panel, start, sums, width, memory, tables, x_soon, eta_soon):
    """Add the transformed gradient that `tiles` contribute to the weights between input `channels` and outputs `panel`,
    all three (first, number), to `part`, or store it there where `start` holds zeros instead of nothing.

    `image` is (x, corner, floor) and `memory` (v, e, edge, part). Meanwhile the elements (first, last) of x and of eta
    come to the L2 cache.
    """
    (x, corner, floor), (v, e, edge, part), (first, count), kind = image, memory, tiles, grid[0]
    products = PRODUCTS[kind]
    v_step, e_step, step = v.size // products, e.size // SUMS[kind], part.size // products
    work, half, pixels = edge[products * width :], products // 2, flat(x)
    input_tiles(x, corner, grid, first, count, floor, channels, v, v_step, width, edge)
    gradient_tiles(eta, grid, first, count, panel, e, e_step, sums, work)
    a_rows, c_rows, a_columns = tables[0, : channels[1]], tables[1, : channels[1]], tables[2, :count]
    s0, s1 = x_soon
    for g in range(SUMS[kind]):
        k, last = products_of(kind, g)
        for p in range(k, last):
            if p == half:
                pixels, (s0, s1) = flat(eta), eta_soon
            a, n, zero, s2 = v[p * v_step :], panel[1], np.int64(0), min(s1, s0 + (s1 - s0) // (half - p % half) + 1)
            rows, panels, sum_ = (
                Rows(a, a_rows, a_columns),
                Panels(e, g * e_step, zero),
                Target(part, p * step, c_rows, n),
            )
            multiply_rows(rows, panels, sum_, start, Prefetch(pixels, s0, s2))
            s0 = s2


@serial
def weights_back(part, wide, kind, channels, panel, outputs, dw, work):
    """dw = G' m G for the transformed gradient m of these pairs of channels, in rows of `wide`."""
    products, lane, size = PRODUCTS[kind], lanes(dw), dw.size // 9
    step = part.size // products
    for i in range(channels[1]):
        for t in range(0, panel[1], lane):
            count, to = panel[1] - t, (channels[0] + i) * outputs + panel[0] + t
            for g in range(products):
                store(work, g * lane, load_part(part, g * step + i * wide + t, count))
            if kind == LARGE:
                weight_tile4(work, dw, to, size, count)
            elif kind == SMALL:
                weight_tile2(work, dw, to, size, count)
            else:
                weight_tile_stride2(work, dw, to, size, count)


@kernel
def add_all_tiles(x, eta, corner, floor, grid, block, cut, start, dw, sums, parts, v, width, e, edge, tables):
    """dw[s] = the weight gradient of share s of all blocks of tiles; sums[s, c] = the bias gradient, whatever c.

    A task is a share and `cut` (input, output) channels: it transforms their tiles, and the sum of the products back.
    """
    inputs, outputs, total, shares = x.shape[3], eta.shape[3], eta.shape[0] * grid[2], dw.shape[0]
    blocks, down = (total + block - 1) // block, (inputs + cut[0] - 1) // cut[0]
    across, counters = (outputs + cut[1] - 1) // cut[1], task_counters(v.shape[0])
    tasks = shares * down * across
    for it in prange(v.shape[0]):
        i = np.int64(it)
        image, memory, task = (x, corner, floor), (v[i], e[i], edge[i], parts[i]), next_task(counters, i, tasks)
        while task < tasks:
            s, c, j = task // (down * across), task // across % down, task % across * cut[1]
            channels, panel = (c * cut[0], min(cut[0], inputs - c * cut[0])), (j, min(cut[1], outputs - j))
            db, first, last = sums[s, c, j:], s * blocks // shares, (s + 1) * blocks // shares
            clear(db, 0, panel[1])
            for k in range(first, max(last, first + 1)):  # once even where there is no tile at all
                tiles = k * block, min(block, total - k * block)
                some, after = start if k == first else start[:0], (k + 1) * block
                x_soon = rows_under(x, corner[0], APART[grid[0]], grid, after, block if cut[0] >= inputs else 0)
                eta_soon = rows_under(eta, 0, MADE[grid[0]], grid, after, block if cut[1] >= outputs else 0)
                add_block(image, eta, grid, tiles, channels, panel, some, db, width, memory, tables, x_soon, eta_soon)
            weights_back(parts[i], cut[1], grid[0], channels, panel, outputs, dw[s], edge[i])
            task = next_task(counters, i, tasks)


def shares_of(total, inputs, outputs, dtype):
    """Shares of `total` tiles, and the input and output channels of a task, the latter whole panels."""
    down, across, shares = min(inputs, CUT[0]), padded(min(outputs, CUT[1]), dtype), 1
    pairs = -(-inputs // down) * -(-outputs // across)
    while 2 * shares * pairs <= MAX_TASKS and total >= 2 * shares * (SHARE if shares * pairs > 1 else ONLY_SHARE):
        shares *= 2
    if shares * pairs == 1:
        across = padded(-(-across // 2), dtype)
    return shares, (down, across)


def weight_gradient_plan(transform, image_shape, eta_shape, geometry, most):
    """The function of (x, eta) that computes both gradients for arrays of these shapes, by `most` threads at most."""
    (batch, oh, ow, outputs), (_, _, padding, rectify, dtype), inputs = eta_shape, geometry, image_shape[3]
    kind, lane = KINDS[transform], vector_lanes(dtype)
    rows, columns, products = tiles_of(oh, kind), tiles_of(ow, kind), PRODUCTS[kind]
    total = batch * rows * columns
    shares, cut = shares_of(total, inputs, outputs, dtype)
    work, block = total * products * inputs * outputs, even_share(total, TILES, shares)
    threads = threads_for(work, most)
    corner, grid, row = (-padding[0],) * 2, (kind, columns, rows * columns, 0), -(-cut[0] // lane) * lane
    arrays = layout(
        dtype,
        (threads, products * cut[0] * cut[1]),  # sums of products
        (threads, products * (block * row + lane)),  # tiles of x
        (threads, SUMS[kind] * (block * cut[1] + lane)),  # tiles of eta
        (threads, products * row + WORK * lane),  # a tile at the border
        (shares, -(-inputs // cut[0]), padded(outputs, dtype)),  # sums of eta
    )
    tables = offset_tables((1, cut[0], 0, 1), (cut[0], 1, cut[1], 0), (block, 1, row, 0))
    floor, start, shape = lowest(dtype, rectify), zeros((cut[1],), dtype), (3, 3, inputs, outputs)

    def weight_gradient(x, eta):
        (parts, v, e, edge, sums), dw = workspace(arrays), empty((shares, math.prod(shape)), dtype)
        source, memory = (x, eta, corner, floor, grid, block, cut, start), (parts, v, row, e, edge)
        add_all_tiles(*source, dw, sums, *memory, tables, work=work, threads=threads)
        if shares == 1:
            return dw.reshape(shape), sums[0, 0, :outputs].copy()
        return add_up(dw, shape), add_up(sums.reshape(shares, -1), sums.shape[1:])[0, :outputs]

    return weight_gradient
