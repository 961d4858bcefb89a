"""3x3 convolution with stride 1 in fewer multiplications: Winograd's minimal filtering. Requires numba.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). With d the inputs of a tile, g the weights,
and A, B and G as in `tiles2` (2 x 2 outputs of a tile) and `tiles4` (4 x 4 outputs),

    Y = A' [(G g G') * (B' d B)] A

where * multiplies element by element and X' is X transposed. Summed over channels, each element is a matrix product, of
tiles x channels and channels x outputs: 16 products where a direct sum takes 36, or 36 where it takes 144.

The error is that of sums whose terms are larger than the result. Measured on normal numbers and 64 channels, relative
to the largest output, in float32: 4e-7 with small tiles, as of a direct sum, and 6e-6 with large ones.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba import tiles2, tiles4
from fastcnn.backends.numba.copying import close_gate, lowest
from fastcnn.backends.numba.gemm import even_share, multiply_rows, offset_tables
from fastcnn.backends.numba.jit import kernel, prange, serial, threads_for
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.packing import bias_row, pack_panel, padded, panel_width, vector_lanes
from fastcnn.backends.numba.simd import flat, lanes
from fastcnn.backends.numba.tasks import next_task, task_counters
from fastcnn.shapes import conv_output_size

TILES = {2: 48, 4: 24}  # of one task, by their side: multiples of the 6 rows of a register tile
input_tile2, output_tile2, weight_column2 = tiles2.input_tile, tiles2.output_tile, tiles2.weight_column
input_tile4, output_tile4, weight_column4 = tiles4.input_tile, tiles4.output_tile, tiles4.weight_column


def choose_side(rows: int, columns: int) -> int:
    """Outputs on a side of a tile for images of rows x columns outputs: 4, unless too many would lie outside."""
    products = {side: (side + 2) ** 2 * -(-rows // side) * -(-columns // side) for side in (2, 4)}
    return 4 if products[4] < 0.9 * products[2] else 2


@serial
def patch(image, n, top, left, side, floor, target, channels, width):
    """Copy side x side pixels of image n to rows of `width` elements, with zeros outside the image and the `channels`,
    which are (first, number)."""
    _, h, w, c = image.shape
    source = flat(image)
    for i in range(side):
        for j in range(side):
            y, x, to = top + i, left + j, (i * side + j) * width
            inside = 0 <= y < h and 0 <= x < w
            at, count = ((n * h + y) * w + x) * c + channels[0], channels[1] if inside else 0
            for t in range(count):
                value = source[np.uintp(at + t)]
                target[np.uintp(to + t)] = floor if value < floor else value
            for t in range(count, width):
                target[np.uintp(to + t)] = 0


@serial
def input_tiles(image, corner, grid, first, count, floor, channels, v, step, width, edge):
    """The transforms of `count` tiles from number `first` on: element g of tile t at v[g * step + t * width :].

    `corner` is (top, left) of the first tile, `grid` (side, tiles in a row, tiles of an image), `channels` (first,
    number); `edge` is memory for a tile.
    """
    (_, h, w, c), (top, left), (side, columns, tiles) = image.shape, corner, grid
    source, size = flat(image), side + 2
    whole, work = c % lanes(source) == 0, edge[size * size * width :]
    for t in range(count):
        n, q = (first + t) // tiles, (first + t) % tiles
        y, x = top + side * (q // columns), left + side * (q % columns)
        if whole and y >= 0 and x >= 0 and y + size <= h and x + size <= w:
            a, at, row, column, low = source, ((n * h + y) * w + x) * c + channels[0], w * c, c, floor
        else:
            patch(image, n, y, x, size, floor, edge, channels, width)
            a, at, row, column, low = edge, 0, size * width, width, floor
        if side == 4:
            input_tile4(a, at, row, column, channels[1], low, v, t * width, step, work)
        else:
            input_tile2(a, at, row, column, channels[1], low, v, t * width, step)


@serial
def tiles_block(image, corner, floor, u, bias, out, gate, grid, first, count, v, m, edge, tables):
    """Convolve `count` tiles from number `first` on; `grid` is (side, tiles in a row, tiles of an image)."""
    channels, (_, oh, ow, outputs), lane, (side, columns, tiles) = image.shape[3], out.shape, lanes(v), grid
    elements, width = (side + 2) ** 2, (channels + lane - 1) // lane * lane
    step, work = v.size // elements, edge[elements * width :]
    input_tiles(image, corner, grid, first, count, floor, (0, channels), v, step, width, edge)
    result, gates = flat(out), flat(gate)
    a_rows, a_columns, zeros = tables[0, :count], tables[1, :channels], np.zeros(2 * lane, v.dtype)
    for j in range(0, outputs, 2 * lane):
        panel = panel_width(outputs, j, lane)
        n = min(panel, outputs - j)
        c_rows = tables[2 if panel > lane else 3, :count]
        for g in range(elements):
            q = (j * elements + g * panel) * channels
            a, to = v[g * step :], g * count * panel
            multiply_rows(a, a_rows, a_columns, u, q, 0, m, to, c_rows, n, zeros, False)
        for t in range(count):
            i, q = (first + t) // tiles, (first + t) % tiles
            y, x = side * (q // columns), side * (q % columns)
            to, inside = ((i * oh + y) * ow + x) * outputs + j, (min(side, oh - y), min(side, ow - x))
            if side == 4:
                output_tile4(m, t * panel, count * panel, bias, j, n, result, to, ow * outputs, outputs, inside, work)
            else:
                output_tile2(m, t * panel, count * panel, bias, j, n, result, to, ow * outputs, outputs, inside)
            if gate.size:
                close_gate(result, gates, to, inside[0], inside[1], ow * outputs, outputs, n)


@kernel
def convolve_tiles(image, corner, floor, u, bias, out, gate, grid, block, v, m, edge, tables):
    total = out.shape[0] * grid[2]
    tasks, counters = (total + block - 1) // block, task_counters(v.shape[0])
    for it in prange(v.shape[0]):
        i = np.int64(it)
        task = next_task(counters, i, tasks)
        while task < tasks:
            first = task * block
            count = min(block, total - first)
            tiles_block(image, corner, floor, u, bias, out, gate, grid, first, count, v[i], m[i], edge[i], tables)
            task = next_task(counters, i, tasks)


@kernel
def pack_weights(weights, turned, panels):
    """Pack 3x3 weights as `gemm.multiply_rows` reads them.

    Rows run over taps and input channels, columns over output channels. `turned`: the taps in reverse order, and the
    channels exchanged.
    """
    _, _, inputs, outputs = weights.shape
    b, v = flat(weights), lanes(panels)
    rows, n = (outputs, inputs) if turned else (inputs, outputs)
    b_row, b_col = (1, outputs) if turned else (outputs, 1)
    count = (n + 2 * v - 1) // (2 * v)
    for it in prange(9 * count):
        tap, j = np.int64(it) // count, np.int64(it) % count * 2 * v
        at, width = (8 - tap if turned else tap) * inputs * outputs, panel_width(n, j, v)
        pack_panel(
            b, at + j * b_col, b_row, b_col, rows, min(width, n - j), width, panels, (j * 9 + tap * width) * rows
        )


@kernel
def transform_weights(packed, channels, n, side, u):
    """G g G' of packed weights, panel by panel."""
    v, elements = lanes(packed), (side + 2) ** 2
    for it in prange((n + 2 * v - 1) // (2 * v) * channels):
        j, c = np.int64(it) // channels * 2 * v, np.int64(it) % channels
        width = panel_width(n, j, v)
        for t in range(0, width, v):
            at, step = c * width + t, channels * width
            if side == 4:
                weight_column4(packed, j * 9 * channels + at, step, u, j * elements * channels + at, step)
            else:
                weight_column2(packed, j * 9 * channels + at, step, u, j * elements * channels + at, step)


def convolve(image, weights, turned, bias, out, padding, floor, gate):
    """`out` = the convolution of `image`, zeros `padding` before it, with the weights or the weights turned round."""
    channels, outputs, dtype = image.shape[3], out.shape[3], image.dtype
    side = choose_side(*out.shape[1:3])
    rows, columns = (-(-size // side) for size in out.shape[1:3])
    total, lane, elements = len(out) * rows * columns, vector_lanes(dtype), (side + 2) ** 2
    threads = threads_for(total * elements * channels * outputs)
    packed = empty((9 * channels * padded(outputs, dtype),), dtype)
    pack_weights(weights, turned, packed, threads=threads)
    u = empty((elements * channels * padded(outputs, dtype),), dtype)
    transform_weights(packed, channels, outputs, side, u, threads=threads)
    block, width = even_share(total, TILES[side], 4), -(-channels // lane) * lane
    v = empty((threads, elements * (block * width + lane)), dtype)  # strides of 4096 bytes would evict each other
    m, edge = empty((threads, elements * block * 2 * lane), dtype), empty((threads, elements * (width + lane)), dtype)
    corner, grid = (-padding, -padding), (side, columns, rows * columns)
    tables = offset_tables((block, 1, width, 0), (1, channels, 0, 1), (block, 1, 2 * lane, 0), (block, 1, lane, 0))
    convolve_tiles(image, corner, floor, u, bias, out, gate, grid, block, v, m, edge, tables, threads=threads)


def conv_forward(x, weights, bias, padding, rectify=False):
    size = (conv_output_size(length, 3, 1, padding) for length in x.shape[1:3])
    out = empty((len(x), *size, weights.shape[3]), x.dtype)
    floor, start = lowest(x, rectify), bias_row(bias, weights.shape[3])
    convolve(x, weights, False, start, out, padding[0], floor, out[:0])
    return out


def conv_input_gradient(eta, weights, image_shape, padding, gate=None):
    image = empty(image_shape, eta.dtype)
    gate = image[:0] if gate is None else gate
    zeros = np.zeros(padded(image_shape[3], eta.dtype), eta.dtype)
    convolve(eta, weights, True, zeros, image, 2 - padding[0], lowest(eta, False), gate)
    return image
