"""3x3 convolution with stride 1 or 2 in fewer multiplications: Winograd's minimal filtering. Requires numba.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). With d the inputs of a tile, g the weights,
and A, B and G as in `tiles2` (2 x 2 outputs of a tile) and `tiles4` (4 x 4 outputs),

    Y = A' [(G g G') * (B' d B)] A

where * multiplies element by element and X' is X transposed. Summed over channels, each element is a matrix product, of
tiles x channels and channels x outputs: 16 products where a direct sum takes 36, or 36 where it takes 144. With stride
2 they are 81 of 144, which are added up four by four: see `tiles_stride2`.

The error is that of sums whose terms are larger than the result. Measured on normal numbers and 64 channels, relative
to the largest output, in float32: 4e-7 with small tiles, as of a direct sum, and 6e-6 with large ones and
with stride 2.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.convolution import tiles2, tiles4, tiles_stride2, tiles_stride2_back
from fastcnn.backends.numba.convolution.winograd_tiles import (
    APART,
    KINDS,
    LARGE,
    MADE,
    PRODUCTS,
    SMALL,
    STRIDED,
    SUMS,
    TAKEN,
    UNSTRIDED,
    WORK,
    input_tiles,
    products_of,
    rows_under,
    tiles_of,
)
from fastcnn.backends.numba.core.copying import close_gate, lowest
from fastcnn.backends.numba.core.jit import kernel, prange, serial, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, next_task, task_counters
from fastcnn.backends.numba.core.vectors import flat, lanes
from fastcnn.backends.numba.product.arguments import Matrix, Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows, offset_tables
from fastcnn.backends.numba.product.packing import bias_row, pack_panel, padded, panel_width, vector_lanes

OWN_BYTES = 1 << 20  # of transformed weights that each thread makes for itself; fetching them would take longer
TILES = 48, 24, 24, 24  # of one task, by their kind: multiples of the 6 rows of a register tile
output_tile2, weight_column2 = tiles2.output_tile, tiles2.weight_column
output_tile4, weight_column4 = tiles4.output_tile, tiles4.weight_column
output_tile_stride2, weight_column_stride2 = tiles_stride2.output_tile, tiles_stride2.weight_column
pixel_tile_stride2 = tiles_stride2_back.pixel_tile


@serial
def panel_weights(weights, turned, j, width, kind, packed, u, q):
    """G g G' of the weights of outputs j : j + width, packed as `gemm.multiply_rows` reads them, from u[q] on (see
    `panel_outputs`).

    `turned`: the taps in reverse order, and the channels exchanged.
    """
    _, _, inputs, outputs = weights.shape
    source, v = flat(weights), lanes(u)
    rows, n = (outputs, inputs) if turned else (inputs, outputs)
    b_row, b_col = (1, outputs) if turned else (outputs, 1)
    size, taps, at, row, tap = rows * width, packed, 0, width, rows * width
    if turned or j + width > n:
        for k in range(9):
            start = (8 - k if turned else k) * inputs * outputs + j * b_col
            matrix = Matrix(source, b_row, b_col)
            pack_panel(matrix, start, rows, min(width, n - j), width, packed, k * size)
    else:  # as they lie: packing took longer than the transform
        taps, at, row, tap = source, j, outputs, inputs * outputs
    for i in range(rows):
        for t in range(0, width, v):
            start, to = at + i * row + t, q + i * width + t
            if kind == LARGE:
                weight_column4(taps, start, tap, u, to, size + v)
            elif kind == SMALL:
                weight_column2(taps, start, tap, u, to, size + v)
            else:
                weight_column_stride2(taps, start, tap, u, to, size)


@serial
def panel_outputs(tiles, weights, panel, channels, result, grid, some, m, work, tables, soon):
    """The outputs of `panel` (first, number) of the tiles `some` (first, number).

    `tiles` is (v, distance of its elements) from the first tile on, `weights` (u, first element), `result` (bias, a row
    of zeros, out, gate), and `grid` as in `input_tiles`. Weights of one sum follow each other in u; sums lie a vector
    further apart, as they would evict each other 4096 bytes apart. `soon` is (array, first element, last): meanwhile
    they come to the L2 cache.
    """
    (v, v_step), (u, q), (bias, start, out, gate), (image, s0, s1) = tiles, weights, result, soon
    (_, oh, ow, outputs), (kind, columns, number, ahead), (first, count), (j, width) = out.shape, grid, some, panel
    side, n, target, gates, zero = MADE[kind], min(width, outputs - j), flat(out), flat(gate), np.int64(0)
    size, a_rows, c_rows = channels * width, tables[0, :count], tables[2 if width > lanes(v) else 3, :count]
    each = (s1 - s0) // SUMS[kind] + 1
    for g in range(SUMS[kind]):
        k, last = products_of(kind, g)
        together = last - k if kind == STRIDED else 1  # a product that is deep instead of several that are added up
        a_columns = tables[1, : together * channels]
        for p in range(k, last, together):
            taken, made = (p, g) if kind == STRIDED else (g, p)
            a, b, to = v[taken * v_step :], q + p * size + g * lanes(v), made * count * width
            s2 = min(s1, s0 + each)
            rows, panels, products = Rows(a, a_rows, a_columns), Panels(u, b, zero), Target(m, to, c_rows, n)
            multiply_rows(rows, panels, products, start, Prefetch(image, s0, s2))
            s0 = s2
    for t in range(count):
        i, at = (first + t) // number, (first + t) % number
        y, x = side * (at // columns) - ahead, side * (at % columns) - ahead
        to, inside = ((i * oh + y) * ow + x) * outputs + j, (min(side, oh - y), min(side, ow - x))
        p, step, row, above, left = t * width, count * width, ow * outputs, max(0, -y), max(0, -x)
        if kind == LARGE:
            output_tile4(m, p, step, bias, j, n, target, to, row, outputs, inside, work)
        elif kind == SMALL:
            output_tile2(m, p, step, bias, j, n, target, to, row, outputs, inside)
        elif kind == STRIDED:
            output_tile_stride2(m, p, step, bias, j, n, target, to, row, outputs, inside, work)
        else:
            pixel_tile_stride2(m, p, step, n, target, to, row, outputs, (above, inside[0]), (left, inside[1]), work)
        if gate.size:
            to += above * row + left * outputs
            close_gate(target, gates, to, inside[0] - above, inside[1] - left, row, outputs, n)


@kernel
def convolve_tiles(
    image, corner, floor, weights, turned, bias, start, out, gate, grid, cut, packed, u, v, m, edge, tables
):
    """A task is `cut`'s block of tiles, transformed to the thread's part of v. Weights are transformed before: by each
    thread for itself (`own`), or together."""
    (block, width, own), channels, outputs, lane, kind = cut, image.shape[3], out.shape[3], lanes(v), grid[0]
    panels, wide, total = (outputs + width - 1) // width, (channels + lane - 1) // lane * lane, out.shape[0] * grid[2]
    size, v_step = PRODUCTS[kind] * channels * width + SUMS[kind] * lane, block * wide + lane
    if not own:
        for it in prange(panels):
            p = np.int64(it)
            columns = panel_width(outputs, p * width, lane)
            panel_weights(weights, turned, p * width, columns, kind, packed[p], u[0], p * size)
    tasks, counters = (total + block - 1) // block, task_counters(v.shape[0])
    for it in prange(v.shape[0]):
        i = np.int64(it)
        transformed, result, task = u[i if own else 0], (bias, start, out, gate), next_task(counters, i, tasks)
        if own and task < tasks:
            for p in range(panels):
                columns = panel_width(outputs, p * width, lane)
                panel_weights(weights, turned, p * width, columns, kind, packed[i], transformed, p * size)
        while task < tasks:
            some = task * block, min(block, total - task * block)
            input_tiles(image, corner, grid, some[0], some[1], floor, (0, channels), v[i], v_step, wide, edge[i])
            s0, s1 = rows_under(image, corner[0], APART[kind], grid, some[0] + some[1], block)
            share = (s1 - s0) // panels + 1
            for p in range(panels):
                panel = p * width, panel_width(outputs, p * width, lane)
                tiles, ready = (v[i], v_step), (transformed, p * size)
                soon = flat(image), s0 + p * share, min(s1, s0 + (p + 1) * share)
                panel_outputs(tiles, ready, panel, channels, result, grid, some, m[i], edge[i], tables, soon)
            task = next_task(counters, i, tasks)


@kernel
def convolve_panels(
    image, corner, floor, weights, turned, bias, start, out, gate, grid, cut, packed, u, v, m, edge, tables
):
    """For few tiles: a task is a panel of outputs, whose weights are transformed to the thread's part of u, as weights
    that are used so little should not leave the core's own caches. Each thread transforms all tiles for itself."""
    (block, width, _), channels, outputs, lane = cut, image.shape[3], out.shape[3], lanes(v)
    panels, wide, total = (outputs + width - 1) // width, (channels + lane - 1) // lane * lane, out.shape[0] * grid[2]
    v_step, counters = total * wide + lane, task_counters(v.shape[0])
    for it in prange(v.shape[0]):
        i = np.int64(it)
        result, task = (bias, start, out, gate), next_task(counters, i, panels)
        if task < panels:
            input_tiles(image, corner, grid, 0, total, floor, (0, channels), v[i], v_step, wide, edge[i])
        while task < panels:
            panel = task * width, min(width, panel_width(outputs, task * width, lane))
            panel_weights(weights, turned, panel[0], panel[1], grid[0], packed[i], u[i], 0)
            for first in range(0, total, block):
                some, tiles = (first, min(block, total - first)), (v[i, first * wide :], v_step)
                soon = flat(image), np.int64(0), np.int64(0)
                panel_outputs(tiles, (u[i], 0), panel, channels, result, grid, some, m[i], edge[i], tables, soon)
            task = next_task(counters, i, panels)


def plan(channels, out_shape, kind, corner, ahead, turned, rectify, dtype, most):
    """The function of (image, weights, bias, gate) that convolves an image, whose first tile begins at `corner` and
    makes pixels from `-ahead` on, with the weights or, for the gradient, with the weights `turned` round. `bias` and
    `gate` may be None."""
    (batch, oh, ow, outputs), lane, products, taken = out_shape, vector_lanes(dtype), PRODUCTS[kind], TAKEN[kind] ** 2
    rows, columns, row = tiles_of(oh + ahead, kind), tiles_of(ow + ahead, kind), -(-channels // lane) * lane
    total, wide = batch * rows * columns, padded(outputs, dtype)
    few, work = total < outputs, total * products * channels * outputs
    threads = threads_for(work, most)
    block = even_share(total, TILES[kind], 1 if few else 4)
    width = lane if few and outputs <= 2 * lane else 2 * lane
    panels, panel = -(-outputs // width), products * channels * width + SUMS[kind] * lane
    shared = 0 if few or panels * panel * dtype.itemsize <= OWN_BYTES else panels
    v_step = (total if few else block) * row + lane
    arrays = layout(
        dtype,
        (shared or threads, 9 * channels * width),  # packed weights
        (1 if shared else threads, panel if few else panel * panels),  # u, these transformed
        # v, tiles: the elements of one lie a vector further apart, as they would evict each other 4096 bytes apart
        (threads, taken * v_step),
        (threads, (SUMS[kind] if kind == STRIDED else products) * block * width),  # m, the products
        (threads, taken * row + WORK * lane),  # a tile at the border
    )
    deep = (4 if kind == STRIDED else 1), channels, v_step, 1
    tables = offset_tables((block, 1, row, 0), deep, (block, 1, 2 * lane, 0), (block, 1, lane, 0))
    corner, grid, cut = (corner, corner), (kind, columns, rows * columns, ahead), (block, width, not shared)
    zero, floor, launch = zeros((wide,), dtype), lowest(dtype, rectify), convolve_panels if few else convolve_tiles

    def convolve(image, weights, bias, gate):
        out, memory, bias = empty(out_shape, dtype), workspace(arrays), zero if bias is None else bias_row(bias, wide)
        source, result = (image, corner, floor, weights, turned), (bias, zero, out, out[:0] if gate is None else gate)
        launch(*source, *result, grid, cut, *memory, tables, work=work, threads=threads)
        return out

    return convolve


def forward_plan(transform, shape, out_shape, geometry, most):
    """The function of (x, weights, bias) that convolves arrays of these shapes, by `most` threads at most."""
    _, _, padding, rectify, dtype = geometry
    convolve = plan(shape[3], out_shape, KINDS[transform], -padding[0], 0, False, rectify, dtype, most)
    return lambda x, weights, bias: convolve(x, weights, bias, None)


def input_gradient_plan(transform, image_shape, eta_shape, geometry, most):
    """The function of (eta, weights, gate) that computes it for arrays of these shapes."""
    _, stride, padding, _, dtype = geometry
    if stride == 2:  # a tile begins with a pixel under the middle of windows
        kind, corner, ahead = UNSTRIDED, padding[0] - 1, 1 - padding[0]
    else:
        kind, corner, ahead = KINDS[transform], padding[0] - 2, 0
    convolve = plan(eta_shape[3], image_shape, kind, corner, ahead, True, False, dtype, most)
    return lambda eta, weights, gate: convolve(eta, weights, None, gate)
