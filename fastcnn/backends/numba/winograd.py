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

from fastcnn.backends.numba.direct import pack_weights
from fastcnn.backends.numba.gemm import bias_row, multiply_rows, padded, panel_width, vector_lanes
from fastcnn.backends.numba.jit import get_thread_id, inline, kernel, prange, serial
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.simd import (
    add,
    fill,
    gated,
    lanes,
    load,
    load_part,
    multiply,
    positive,
    store,
    store_part,
    subtract,
)
from fastcnn.runtime import get_num_threads
from fastcnn.shapes import conv_output_size

TILES = 56  # of one task


@inline
def input_line(d0, d1, d2, d3):
    """B' d for one column."""
    return subtract(d0, d2), add(d1, d2), subtract(d2, d1), subtract(d1, d3)


@inline
def output_line(m0, m1, m2, m3):
    """A' m for one column."""
    return add(add(m0, m1), m2), subtract(subtract(m1, m2), m3)


@serial
def patch(image, n, top, left, side, rectify, target, width):
    """Copy side x side pixels of image n to rows of `width` channels, with zeros outside the image and beyond C."""
    _, h, w, c = image.shape
    source = image.reshape(-1)
    for i in range(side):
        for j in range(side):
            y, x, to = top + i, left + j, (i * side + j) * width
            inside = 0 <= y < h and 0 <= x < w
            at = ((n * h + y) * w + x) * c
            for t in range(c if inside else 0):
                value = source[np.uintp(at + t)]
                target[np.uintp(to + t)] = image.dtype.type(0) if rectify and value < 0 else value
            for t in range(c if inside else 0, width):
                target[np.uintp(to + t)] = 0


@serial
def input_tile(source, at, row, column, channels, rectify, target, to, step):
    """B' d B of one tile, element g of it at target[to + g * step :]; `source` holds whole vectors of channels."""
    for t in range(0, channels, lanes(source)):
        p = at + t
        q = p + row
        r = q + row
        s = r + row
        d00, d01, d02, d03 = (
            load(source, p),
            load(source, p + column),
            load(source, p + 2 * column),
            load(source, p + 3 * column),
        )
        d10, d11, d12, d13 = (
            load(source, q),
            load(source, q + column),
            load(source, q + 2 * column),
            load(source, q + 3 * column),
        )
        d20, d21, d22, d23 = (
            load(source, r),
            load(source, r + column),
            load(source, r + 2 * column),
            load(source, r + 3 * column),
        )
        d30, d31, d32, d33 = (
            load(source, s),
            load(source, s + column),
            load(source, s + 2 * column),
            load(source, s + 3 * column),
        )
        if rectify:
            d00, d01, d02, d03 = positive(d00), positive(d01), positive(d02), positive(d03)
            d10, d11, d12, d13 = positive(d10), positive(d11), positive(d12), positive(d13)
            d20, d21, d22, d23 = positive(d20), positive(d21), positive(d22), positive(d23)
            d30, d31, d32, d33 = positive(d30), positive(d31), positive(d32), positive(d33)
        d00, d10, d20, d30 = input_line(d00, d10, d20, d30)
        d01, d11, d21, d31 = input_line(d01, d11, d21, d31)
        d02, d12, d22, d32 = input_line(d02, d12, d22, d32)
        d03, d13, d23, d33 = input_line(d03, d13, d23, d33)
        d00, d01, d02, d03 = input_line(d00, d01, d02, d03)
        d10, d11, d12, d13 = input_line(d10, d11, d12, d13)
        d20, d21, d22, d23 = input_line(d20, d21, d22, d23)
        d30, d31, d32, d33 = input_line(d30, d31, d32, d33)
        k = to + t
        (
            store(target, k, d00),
            store(target, k + step, d01),
            store(target, k + 2 * step, d02),
            store(target, k + 3 * step, d03),
        )
        k += 4 * step
        (
            store(target, k, d10),
            store(target, k + step, d11),
            store(target, k + 2 * step, d12),
            store(target, k + 3 * step, d13),
        )
        k += 4 * step
        (
            store(target, k, d20),
            store(target, k + step, d21),
            store(target, k + 2 * step, d22),
            store(target, k + 3 * step, d23),
        )
        k += 4 * step
        (
            store(target, k, d30),
            store(target, k + step, d31),
            store(target, k + 2 * step, d32),
            store(target, k + 3 * step, d33),
        )


@serial
def input_tiles(image, top, left, columns, tiles, first, count, rectify, v, step, width, edge):
    """The transforms of `count` tiles from number `first` on: element g of tile t at v[g * step + t * width :]."""
    _, h, w, c = image.shape
    source = image.reshape(-1)
    whole = c % lanes(source) == 0
    for t in range(count):
        n, q = (first + t) // tiles, (first + t) % tiles
        y, x = top + 2 * (q // columns), left + 2 * (q % columns)
        if whole and y >= 0 and x >= 0 and y + 4 <= h and x + 4 <= w:
            input_tile(source, ((n * h + y) * w + x) * c, w * c, c, c, rectify, v, t * width, step)
        else:
            patch(image, n, y, x, 4, rectify, edge, width)
            input_tile(edge, 0, 4 * width, width, c, False, v, t * width, step)


@inline
def finish(value, bias, j, out, gate, at, count):
    """Add the bias, close the gate where there is one, and store the first `count` lanes."""
    value = add(value, load(bias, j))
    if gate.size:
        value = gated(value, load_part(gate, at, count))
    store_part(out, at, value, count)


@serial
def output_tile(m, at, step, bias, j, columns, out, gate, to, row, column, rows_inside, columns_inside):
    """A' m A of one tile and some columns: 2 x 2 pixels of `out`, as far as they are inside."""
    for t in range(0, columns, lanes(m)):
        k = at + t
        m00, m01, m02, m03 = load(m, k), load(m, k + step), load(m, k + 2 * step), load(m, k + 3 * step)
        k += 4 * step
        m10, m11, m12, m13 = load(m, k), load(m, k + step), load(m, k + 2 * step), load(m, k + 3 * step)
        k += 4 * step
        m20, m21, m22, m23 = load(m, k), load(m, k + step), load(m, k + 2 * step), load(m, k + 3 * step)
        k += 4 * step
        m30, m31, m32, m33 = load(m, k), load(m, k + step), load(m, k + 2 * step), load(m, k + 3 * step)
        m00, m10 = output_line(m00, m10, m20, m30)
        m01, m11 = output_line(m01, m11, m21, m31)
        m02, m12 = output_line(m02, m12, m22, m32)
        m03, m13 = output_line(m03, m13, m23, m33)
        m00, m01 = output_line(m00, m01, m02, m03)
        m10, m11 = output_line(m10, m11, m12, m13)
        count, z = columns - t, to + j + t
        finish(m00, bias, j + t, out, gate, z, count)
        if columns_inside > 1:
            finish(m01, bias, j + t, out, gate, z + column, count)
        if rows_inside > 1:
            finish(m10, bias, j + t, out, gate, z + row, count)
            if columns_inside > 1:
                finish(m11, bias, j + t, out, gate, z + row + column, count)


@serial
def tiles_block(image, top, left, rectify, u, bias, out, gate, first, count, columns, tiles, v, m, edge, table):
    """Convolve `count` tiles from number `first` on."""
    channels, (_, oh, ow, outputs) = image.shape[3], out.shape
    lane = lanes(v)
    width = (channels + lane - 1) // lane * lane
    step = v.size // 16
    input_tiles(image, top, left, columns, tiles, first, count, rectify, v, step, width, edge)
    result, gates = out.reshape(-1), gate.reshape(-1)
    a_rows, c_rows, zeros = table[0, :count], table[1, :count], np.zeros(2 * lane, v.dtype)
    for i in range(count):
        a_rows[i] = i * width
    for j in range(0, outputs, 2 * lane):
        panel = panel_width(outputs, j, lane)
        n = min(panel, outputs - j)
        for i in range(count):
            c_rows[i] = i * panel
        for g in range(16):
            q = j * 16 * channels + g * channels * panel
            multiply_rows(
                v[g * step :],
                a_rows,
                0,
                1,
                1,
                channels,
                u,
                q,
                0,
                m,
                g * count * panel,
                c_rows,
                n,
                zeros,
                False,
                zeros[:0],
            )
        for t in range(count):
            i, q = (first + t) // tiles, (first + t) % tiles
            y, x = 2 * (q // columns), 2 * (q % columns)
            to = ((i * oh + y) * ow + x) * outputs
            output_tile(
                m, t * panel, count * panel, bias, j, n, result, gates, to, ow * outputs, outputs, oh - y, ow - x
            )


@kernel
def convolve_tiles(image, top, left, rectify, u, bias, out, gate, columns, tiles, block, v, m, edge, tables):
    total = out.shape[0] * tiles
    for it in prange((total + block - 1) // block):
        first, thread = np.int64(it) * block, get_thread_id()
        count = min(block, total - first)
        tiles_block(
            image,
            top,
            left,
            rectify,
            u,
            bias,
            out,
            gate,
            first,
            count,
            columns,
            tiles,
            v[thread],
            m[thread],
            edge[thread],
            tables[thread],
        )


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


def convolve(image, weights, turned, bias, out, padding, rectify, gate):
    """`out` = the convolution of `image`, zeros `padding` before it, with the weights or the weights turned round."""
    channels, outputs, dtype = image.shape[3], out.shape[3], image.dtype
    packed = empty((9 * channels * padded(outputs, dtype),), dtype)
    pack_weights(weights, turned, (0, 0), 1, (3, 3), packed, work=16 * weights.size)
    u = empty((16 * channels * padded(outputs, dtype),), dtype)
    transform_weights(packed, channels, outputs, u, work=64 * weights.size)
    rows, columns = (-(-size // 2) for size in out.shape[1:3])
    tiles, threads = rows * columns, get_num_threads()
    block = even_share(len(out) * tiles, TILES)
    lane = vector_lanes(dtype)
    width = -(-channels // lane) * lane
    v = empty((threads, 16 * (block * width + lane)), dtype)
    m = empty((threads, 16 * block * 2 * lane), dtype)
    edge = empty((threads, 16 * width), dtype)
    tables = empty((threads, 2, block), np.int64)
    work = len(out) * tiles * 16 * channels * outputs
    convolve_tiles(
        image, -padding, -padding, rectify, u, bias, out, gate, columns, tiles, block, v, m, edge, tables, work=work
    )


def even_share(total: int, largest: int) -> int:
    """Items of one task, `largest` at most, such that an even number of tasks (8 if need be) is nearly alike."""
    tasks = -(-total // largest)
    tasks = -(-tasks // 4) * 4
    return max(1, -(-total // tasks))


def conv_forward(x, weights, bias, padding, rectify=False):
    size = (conv_output_size(length, 3, 1, padding) for length in x.shape[1:3])
    out = empty((len(x), *size, weights.shape[3]), x.dtype)
    convolve(x, weights, False, bias_row(bias, weights.shape[3], x.dtype), out, padding[0], rectify, out[:0])
    return out


def conv_input_gradient(eta, weights, image_shape, padding, gate=None):
    image = empty(image_shape, eta.dtype)
    convolve(
        eta,
        weights,
        True,
        bias_row(None, image_shape[3], eta.dtype),
        image,
        2 - padding[0],
        False,
        image[:0] if gate is None else gate,
    )
    return image
