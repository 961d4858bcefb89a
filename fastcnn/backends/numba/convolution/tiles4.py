"""The transforms of Winograd's F(4x4, 3x3): 36 multiplications for the 4 x 4 outputs of a tile. Requires numba.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), section 4.2; how they are used is in
:mod:`fastcnn.backends.numba.convolution.winograd`. X' is X transposed.

    B' = 4  0 -5  0  1  0    G = 1/4    0    0      A' = 1  1  1  1  1  0
         0 -4 -4  1  1  0       -1/6  -1/6  -1/6         0  1 -1  2 -2  0
         0  4 -4 -1  1  0       -1/6   1/6  -1/6         0  1  1  4  4  0
         0 -2 -1  2  1  0        1/24  1/12  1/6         0  1 -1  8 -8  1
         0  2 -1 -2  1  0        1/24 -1/12  1/6
         0  4  0 -5  0  1        0     0     1

36 vectors are more than there are registers: rows are transformed into `work`, memory for 36 vectors, then columns.
"""

from __future__ import annotations

from fastcnn.backends.numba.core.arithmetic import add, at_least, fill, fill_like, multiply, multiply_add, subtract
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.vectors import lanes, load, load_part, store, store_part


@inline
def load_line(source, at, step):
    """Six vectors `step` elements apart."""
    a, b, c = load(source, at), load(source, at + step), load(source, at + 2 * step)
    return a, b, c, load(source, at + 3 * step), load(source, at + 4 * step), load(source, at + 5 * step)


@inline
def store_line(target, at, step, line):
    """Six vectors to places `step` elements apart."""
    store(target, at, line[0]), store(target, at + step, line[1]), store(target, at + 2 * step, line[2])
    store(target, at + 3 * step, line[3]), store(target, at + 4 * step, line[4]), store(target, at + 5 * step, line[5])


@inline
def input_line(d0, d1, d2, d3, d4, d5):
    """B' d for one column."""
    two, four, minus_four, minus_five = fill_like(d0, 2), fill_like(d0, 4), fill_like(d0, -4), fill_like(d0, -5)
    a, b = multiply_add(minus_four, d2, d4), multiply_add(minus_four, d1, d3)
    c, e = subtract(d4, d2), multiply(two, subtract(d3, d1))
    first = multiply_add(four, d0, multiply_add(minus_five, d2, d4))
    last = multiply_add(four, d1, multiply_add(minus_five, d3, d5))
    return first, add(a, b), subtract(a, b), add(c, e), subtract(c, e), last


@serial
def input_tile(source, at, row, column, channels, floor, target, to, step, work):
    """B' d B of one tile, element g of it at target[to + g * step :]; `source` holds whole vectors of channels."""
    low, v = fill(source, floor), lanes(source)
    for t in range(0, channels, v):
        for i in range(6):
            d0, d1, d2, d3, d4, d5 = load_line(source, at + t + i * row, column)
            d0, d1, d2 = at_least(d0, low), at_least(d1, low), at_least(d2, low)
            d3, d4, d5 = at_least(d3, low), at_least(d4, low), at_least(d5, low)
            store_line(work, 6 * i * v, v, input_line(d0, d1, d2, d3, d4, d5))
        for j in range(6):
            d0, d1, d2, d3, d4, d5 = load_line(work, j * v, 6 * v)
            store_line(target, to + t + j * step, 6 * step, input_line(d0, d1, d2, d3, d4, d5))


@inline
def output_line(m0, m1, m2, m3, m4, m5):
    """A' m for one column."""
    two, four, eight = fill_like(m0, 2), fill_like(m0, 4), fill_like(m0, 8)
    a, b, c, d = add(m1, m2), subtract(m1, m2), add(m3, m4), subtract(m3, m4)
    return add(m0, add(a, c)), multiply_add(two, d, b), multiply_add(four, c, a), multiply_add(eight, d, add(b, m5))


@serial
def output_tile(m, at, step, bias, j, columns, out, to, row, column, inside, work):
    """A' m A of one tile and some columns, and the bias: inside[0] x inside[1] pixels of `out`."""
    v = lanes(m)
    for t in range(0, columns, v):
        for i in range(6):
            m0, m1, m2, m3, m4, m5 = load_line(m, at + t + i * step, 6 * step)
            m0, m1, m2, m3 = output_line(m0, m1, m2, m3, m4, m5)
            store(work, i * v, m0), store(work, (6 + i) * v, m1)
            store(work, (12 + i) * v, m2), store(work, (18 + i) * v, m3)
        b, count = load(bias, j + t), columns - t
        for i in range(inside[0]):
            m0, m1, m2, m3, m4, m5 = load_line(work, 6 * i * v, v)
            m0, m1, m2, m3 = output_line(m0, m1, m2, m3, m4, m5)
            z = to + t + i * row
            if inside[1] > 3 and count >= v:
                store(out, z, add(m0, b)), store(out, z + column, add(m1, b))
                store(out, z + 2 * column, add(m2, b)), store(out, z + 3 * column, add(m3, b))
                continue
            store_part(out, z, add(m0, b), count)
            if inside[1] > 1:
                store_part(out, z + column, add(m1, b), count)
            if inside[1] > 2:
                store_part(out, z + 2 * column, add(m2, b), count)
            if inside[1] > 3:
                store_part(out, z + 3 * column, add(m3, b), count)


@inline
def weight_line(g0, g1, g2):
    """G g for one column."""
    sixth, small = fill_like(g0, -1 / 6), fill_like(g0, 1 / 24)
    a, b = multiply(sixth, add(g0, g2)), multiply(sixth, g1)
    c, d = multiply(small, multiply_add(fill_like(g0, 4), g2, g0)), multiply(fill_like(g0, 1 / 12), g1)
    return multiply(fill_like(g0, 0.25), g0), add(a, b), subtract(a, b), add(c, d), subtract(c, d), g2


@serial
def weight_column(b, at, step, u, to, u_step):
    """G g G' of one vector of weights; tap k at b[at + k * step :], element g to u[to + g * u_step :]."""
    for i in range(3):
        g0, g1, g2 = load(b, at + i * step), load(b, at + (3 + i) * step), load(b, at + (6 + i) * step)
        store_line(u, to + i * u_step, 6 * u_step, weight_line(g0, g1, g2))
    for i in range(6):
        k = to + 6 * i * u_step
        g0, g1, g2 = load(u, k), load(u, k + u_step), load(u, k + 2 * u_step)
        store_line(u, k, u_step, weight_line(g0, g1, g2))


@inline
def gradient_line(e0, e1, e2, e3):
    """A e for one column."""
    two, four, eight = fill_like(e0, 2), fill_like(e0, 4), fill_like(e0, 8)
    a, b, c, d = add(e0, e2), add(e1, e3), multiply_add(four, e2, e0), multiply_add(eight, e3, multiply(two, e1))
    return e0, add(a, b), subtract(a, b), add(c, d), subtract(c, d), e3


@serial
def gradient_tile(source, at, row, column, count, rows, columns, v, to, step, sums, j, work):
    """A e A' of one tile, of which rows x columns pixels are inside, and of `count` outputs; e is added to sums[j:]."""
    zero, total, lane = fill(source, 0), load(sums, j), lanes(source)
    for i in range(4):
        e0 = e1 = e2 = e3 = zero
        p = at + i * row
        if i < rows and columns > 3 and count >= lane:
            e0, e1 = load(source, p), load(source, p + column)
            e2, e3 = load(source, p + 2 * column), load(source, p + 3 * column)
        elif i < rows:
            e0 = load_part(source, p, count)
            if columns > 1:
                e1 = load_part(source, p + column, count)
            if columns > 2:
                e2 = load_part(source, p + 2 * column, count)
            if columns > 3:
                e3 = load_part(source, p + 3 * column, count)
        total = add(total, add(add(e0, e1), add(e2, e3)))
        store_line(work, 6 * i * lane, lane, gradient_line(e0, e1, e2, e3))
    store(sums, j, total)
    for i in range(6):
        e0, e1 = load(work, i * lane), load(work, (6 + i) * lane)
        e2, e3 = load(work, (12 + i) * lane), load(work, (18 + i) * lane)
        store_line(v, to + i * step, 6 * step, gradient_line(e0, e1, e2, e3))


@inline
def back_line(m0, m1, m2, m3, m4, m5):
    """G' m for one column."""
    sixth, twelfth, small = fill_like(m0, 1 / 6), fill_like(m0, 1 / 12), fill_like(m0, 1 / 24)
    a, b, c, d = add(m1, m2), subtract(m2, m1), add(m3, m4), subtract(m3, m4)
    first = multiply_add(fill_like(m0, 0.25), m0, multiply_add(small, c, multiply(fill_like(m0, -1 / 6), a)))
    return first, multiply_add(twelfth, d, multiply(sixth, b)), multiply_add(sixth, subtract(c, a), m5)


@serial
def weight_tile(m, dw, to, size, count):
    """G' m G of 36 vectors that lie in `m` one after another: 9 of `count` elements each to dw[to + k * size :]."""
    v = lanes(m)
    for i in range(6):
        m0, m1, m2, m3, m4, m5 = load_line(m, i * v, 6 * v)
        m0, m1, m2 = back_line(m0, m1, m2, m3, m4, m5)
        store(m, i * v, m0), store(m, (6 + i) * v, m1), store(m, (12 + i) * v, m2)
    for i in range(3):
        m0, m1, m2, m3, m4, m5 = load_line(m, 6 * i * v, v)
        m0, m1, m2 = back_line(m0, m1, m2, m3, m4, m5)
        at = to + 3 * i * size
        store_part(dw, at, m0, count), store_part(dw, at + size, m1, count), store_part(dw, at + 2 * size, m2, count)
