"""3x3 convolution with stride 1 in fewer multiplications: Winograd's F(2x2, 3x3). Requires numba.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), section 4.1: the 2 x 2 outputs of a tile
need 36 multiplications for each pair of channels; transformed, they need 16. With d the 4 x 4 inputs and g the weights,

    Y = A' [(G g G') * (B' d B)] A,    B' = 1  0 -1  0    G = 1    0    0      A' = 1  1  1  0
                                            0  1  1  0        1/2  1/2  1/2         0  1 -1 -1
                                            0 -1  1  0        1/2 -1/2  1/2
                                            0  1  0 -1        0    0    1

where * multiplies element by element and X' is X transposed. Summed over channels, each of the 16 products is a
matrix product, of tiles x channels and channels x outputs. Error, measured: 1 to 3e-6 of the largest output in float32,
about twice that of a direct sum, as differences of neighbouring inputs are rounded.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.copying import lowest
from fastcnn.backends.numba.direct import close_gate, pack_weights
from fastcnn.backends.numba.gemm import (
    bias_row,
    even_share,
    multiply_rows,
    padded,
    panel_width,
    row_tables,
    vector_lanes,
)
from fastcnn.backends.numba.jit import inline, kernel, prange, serial, threads_for
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.simd import (
    add,
    at_least,
    fill,
    lanes,
    load,
    multiply,
    store,
    store_part,
    subtract,
)
from fastcnn.backends.numba.tasks import next_task
from fastcnn.shapes import conv_output_size

TILES = 48  # of one task; a multiple of the 6 rows of a register tile


@inline
def input_line(d0, d1, d2, d3):
    """B' d for one column."""
    return subtract(d0, d2), add(d1, d2), subtract(d2, d1), subtract(d1, d3)


@inline
def output_line(m0, m1, m2, m3):
    """A' m for one column."""
    return add(add(m0, m1), m2), subtract(subtract(m1, m2), m3)


@inline
def load_line(source, at, step):
    """Four vectors `step` elements apart."""
    return load(source, at), load(source, at + step), load(source, at + 2 * step), load(source, at + 3 * step)


@inline
def store_line(target, at, step, line):
    """Four vectors to places `step` elements apart."""
    store(target, at, line[0]), store(target, at + step, line[1])
    store(target, at + 2 * step, line[2]), store(target, at + 3 * step, line[3])


@serial
def patch(image, n, top, left, side, floor, target, channels, width):
    """Copy side x side pixels of image n to rows of `width` elements, with zeros outside the image and the `channels`,
    which are (first, number)."""
    _, h, w, c = image.shape
    source = image.reshape(-1)
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


@inline
def input_row(source, at, column, low):
    """One row of d B, its elements at least `low`."""
    d0, d1, d2, d3 = load_line(source, at, column)
    return input_line(at_least(d0, low), at_least(d1, low), at_least(d2, low), at_least(d3, low))


@serial
def input_tile(source, at, row, column, channels, floor, target, to, step):
    """B' d B of one tile, element g of it at target[to + g * step :]; `source` holds whole vectors of channels."""
    low = fill(source, floor)
    for t in range(0, channels, lanes(source)):
        p, k = at + t, to + t
        d00, d01, d02, d03 = input_row(source, p, column, low)
        d10, d11, d12, d13 = input_row(source, p + row, column, low)
        d20, d21, d22, d23 = input_row(source, p + 2 * row, column, low)
        d30, d31, d32, d33 = input_row(source, p + 3 * row, column, low)
        store_line(target, k, 4 * step, input_line(d00, d10, d20, d30))
        store_line(target, k + step, 4 * step, input_line(d01, d11, d21, d31))
        store_line(target, k + 2 * step, 4 * step, input_line(d02, d12, d22, d32))
        store_line(target, k + 3 * step, 4 * step, input_line(d03, d13, d23, d33))


@serial
def input_tiles(image, corner, grid, first, count, floor, channels, v, step, width, edge):
    """The transforms of `count` tiles from number `first` on: element g of tile t at v[g * step + t * width :].

    `corner` is (top, left) of the first tile, `grid` (tiles in a row, tiles of an image), `channels` (first, number).
    """
    (_, h, w, c), (top, left), (columns, tiles) = image.shape, corner, grid
    source = image.reshape(-1)
    whole = c % lanes(source) == 0
    for t in range(count):
        n, q = (first + t) // tiles, (first + t) % tiles
        y, x = top + 2 * (q // columns), left + 2 * (q % columns)
        if whole and y >= 0 and x >= 0 and y + 4 <= h and x + 4 <= w:
            at = ((n * h + y) * w + x) * c + channels[0]
            input_tile(source, at, w * c, c, channels[1], floor, v, t * width, step)
        else:
            patch(image, n, y, x, 4, floor, edge, channels, width)
            input_tile(edge, 0, 4 * width, width, channels[1], floor, v, t * width, step)


@serial
def output_tile(m, at, step, bias, j, columns, out, to, row, column, inside):
    """A' m A of one tile and some columns, and the bias: inside[0] x inside[1] pixels of `out`."""
    for t in range(0, columns, lanes(m)):
        m00, m01, m02, m03 = load_line(m, at + t, step)
        m10, m11, m12, m13 = load_line(m, at + t + 4 * step, step)
        m20, m21, m22, m23 = load_line(m, at + t + 8 * step, step)
        m30, m31, m32, m33 = load_line(m, at + t + 12 * step, step)
        m00, m10 = output_line(m00, m10, m20, m30)
        m01, m11 = output_line(m01, m11, m21, m31)
        m02, m12 = output_line(m02, m12, m22, m32)
        m03, m13 = output_line(m03, m13, m23, m33)
        m00, m01 = output_line(m00, m01, m02, m03)
        m10, m11 = output_line(m10, m11, m12, m13)
        count, z, b = columns - t, to + t, load(bias, j + t)
        if inside[0] > 1 and inside[1] > 1 and count >= lanes(m):
            store(out, z, add(m00, b)), store(out, z + column, add(m01, b))
            store(out, z + row, add(m10, b)), store(out, z + row + column, add(m11, b))
            continue
        store_part(out, z, add(m00, b), count)
        if inside[1] > 1:
            store_part(out, z + column, add(m01, b), count)
        if inside[0] > 1:
            store_part(out, z + row, add(m10, b), count)
        if inside[0] > 1 and inside[1] > 1:
            store_part(out, z + row + column, add(m11, b), count)


@serial
def tiles_block(image, corner, floor, u, bias, out, gate, grid, first, count, v, m, edge, table):
    """Convolve `count` tiles from number `first` on; `grid` is (tiles in a row, tiles of an image)."""
    channels, (_, oh, ow, outputs), lane, (columns, tiles) = image.shape[3], out.shape, lanes(v), grid
    width, step = (channels + lane - 1) // lane * lane, v.size // 16
    input_tiles(image, corner, grid, first, count, floor, (0, channels), v, step, width, edge)
    result, gates = out.reshape(-1), gate.reshape(-1)
    a_rows, c_rows, zeros = table[0, :count], table[1, :count], np.zeros(2 * lane, v.dtype)
    for j in range(0, outputs, 2 * lane):
        panel = panel_width(outputs, j, lane)
        n = min(panel, outputs - j)
        for i in range(count):
            a_rows[i], c_rows[i] = i * width, i * panel
        for g in range(16):
            q = (j * 16 + g * panel) * channels
            a, to = v[g * step :], g * count * panel
            multiply_rows(a, a_rows, (0, 1, 1, channels), u, q, 0, m, to, c_rows, n, zeros, False)
        for t in range(count):
            i, q = (first + t) // tiles, (first + t) % tiles
            y, x = 2 * (q // columns), 2 * (q % columns)
            to, inside = ((i * oh + y) * ow + x) * outputs + j, (min(2, oh - y), min(2, ow - x))
            output_tile(m, t * panel, count * panel, bias, j, n, result, to, ow * outputs, outputs, inside)
            if gate.size:
                close_gate(result, gates, to, inside[0], inside[1], ow * outputs, outputs, n)


@kernel
def convolve_tiles(image, corner, floor, u, bias, out, gate, grid, block, v, m, edge, tables):
    total, counter = out.shape[0] * grid[1], np.zeros(1, np.int64)
    for it in prange(v.shape[0]):
        i, first = np.int64(it), next_task(counter) * block
        while first < total:
            count = min(block, total - first)
            tiles_block(image, corner, floor, u, bias, out, gate, grid, first, count, v[i], m[i], edge[i], tables[i])
            first = next_task(counter) * block


@serial
def weight_column(b, at, step, u, to, u_step):
    """G g G' of one vector of weights; tap k at b[at + k * step :], element g to u[to + g * u_step :]."""
    half = fill(b, 0.5)
    for i in range(3):  # G g: in place of 3 taps of a column 4 values, kept in the first rows of u
        g0, g1, g2 = load(b, at + i * step), load(b, at + (3 + i) * step), load(b, at + (6 + i) * step)
        both = add(g0, g2)
        k = to + i * u_step
        store(u, k, g0)
        store(u, k + 4 * u_step, multiply(half, add(both, g1)))
        store(u, k + 8 * u_step, multiply(half, subtract(both, g1)))
        store(u, k + 12 * u_step, g2)
    for i in range(4):
        k = to + 4 * i * u_step
        g0, g1, g2 = load(u, k), load(u, k + u_step), load(u, k + 2 * u_step)
        both = add(g0, g2)
        store(u, k + u_step, multiply(half, add(both, g1)))
        store(u, k + 2 * u_step, multiply(half, subtract(both, g1)))
        store(u, k + 3 * u_step, g2)


@kernel
def transform_weights(packed, channels, n, u):
    """G g G' of packed weights, 9 taps to 16, panel by panel."""
    v = lanes(packed)
    for it in prange((n + 2 * v - 1) // (2 * v) * channels):
        j, c = np.int64(it) // channels * 2 * v, np.int64(it) % channels
        width = panel_width(n, j, v)
        for t in range(0, width, v):
            at = c * width + t
            weight_column(packed, j * 9 * channels + at, channels * width, u, j * 16 * channels + at, channels * width)


def convolve(image, weights, turned, bias, out, padding, floor, gate):
    """`out` = the convolution of `image`, zeros `padding` before it, with the weights or the weights turned round."""
    channels, outputs, dtype = image.shape[3], out.shape[3], image.dtype
    rows, columns = (-(-size // 2) for size in out.shape[1:3])
    total, lane = len(out) * rows * columns, vector_lanes(dtype)
    threads = threads_for(total * 16 * channels * outputs)
    packed = empty((9 * channels * padded(outputs, dtype),), dtype)
    pack_weights(weights, turned, (0, 0), 1, (3, 3), packed, threads=threads)
    u = empty((16 * channels * padded(outputs, dtype),), dtype)
    transform_weights(packed, channels, outputs, u, threads=threads)
    block, width = even_share(total, TILES, 4), -(-channels // lane) * lane
    v = empty((threads, 16 * (block * width + lane)), dtype)  # a line more: strides of 4096 bytes evict each other
    m, edge = empty((threads, 16 * block * 2 * lane), dtype), empty((threads, 16 * width), dtype)
    corner, grid, tables = (-padding, -padding), (columns, rows * columns), row_tables(block, threads)
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
