"""The transforms of Winograd's F(2x2, 3x3): 16 multiplications for the 2 x 2 outputs of a tile. Requires numba.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), section 4.1; how they are used is in
:mod:`fastcnn.backends.numba.convolution.winograd`. X' is X transposed.

    B' = 1  0 -1  0    G = 1    0    0      A' = 1  1  1  0
         0  1  1  0        1/2  1/2  1/2         0  1 -1 -1
         0 -1  1  0        1/2 -1/2  1/2
         0  1  0 -1        0    0    1

In the weight gradient, the last row of A is taken with the sign turned, as is that of G: it saves a subtraction.
"""

from __future__ import annotations

from fastcnn.backends.numba.core.arithmetic import add, at_least, fill, multiply, subtract
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.vectors import lanes, load, load_part, store, store_part


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
    a0, a1, b0, b1 = add(e00, e10), add(e01, e11), subtract(e00, e10), subtract(e01, e11)
    store_line(v, to, step, (e00, add(e00, e01), subtract(e00, e01), e01))
    store_line(v, to + 4 * step, step, (a0, add(a0, a1), subtract(a0, a1), a1))
    store_line(v, to + 8 * step, step, (b0, add(b0, b1), subtract(b0, b1), b1))
    store_line(v, to + 12 * step, step, (e10, add(e10, e11), subtract(e10, e11), e11))


@inline
def weight_line(m0, m1, m2, m3, half):
    """G' m for one column, the sign of m3 turned."""
    return (
        add(m0, multiply(half, add(m1, m2))),
        multiply(half, subtract(m1, m2)),
        subtract(multiply(half, add(m1, m2)), m3),
    )


@serial
def weight_tile(m, dw, to, size, count):
    """G' m G of 16 vectors that lie in `m` one after another: 9 of `count` elements each to dw[to + k * size :]."""
    half, v = fill(m, 0.5), lanes(m)
    for i in range(4):
        m0, m1, m2, m3 = load_line(m, i * v, 4 * v)
        m0, m1, m2 = weight_line(m0, m1, m2, m3, half)
        store(m, i * v, m0), store(m, (4 + i) * v, m1), store(m, (8 + i) * v, m2)
    for i in range(3):
        m0, m1, m2, m3 = load_line(m, 4 * i * v, v)
        m0, m1, m2 = weight_line(m0, m1, m2, m3, half)
        at = to + 3 * i * size
        store_part(dw, at, m0, count), store_part(dw, at + size, m1, count), store_part(dw, at + 2 * size, m2, count)
