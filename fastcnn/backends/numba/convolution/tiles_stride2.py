"""The transforms of Winograd's algorithm for stride 2: 81 multiplications for 4 x 4 outputs of 3 x 3 taps, not 144.

In one dimension, outputs y[i] = w0 d[2i] + w1 d[2i+1] + w2 d[2i+2] are two convolutions with stride 1: of the even d
with (w0, w2), which F(4, 2) does with 5 products, and of the odd d with (w1, 0), which is the same filter, but for its
last product, which is 0. Both end in the same sum, A', so that their products are added before it:

    B' = 2 -1 -2  1  0    G =  1/2   0     A' = 1  1  1  1  0
         0 -2 -1  1  0        -1/2 -1/2         0  1 -1  2  0
         0  2 -3  1  0        -1/6  1/6         0  1  1  4  0
         0 -1  0  1  0         1/6  1/3         0  1 -1  8  1
         0  2 -1 -2  1          0    1

(Cook and Toom's algorithm with the points 0, 1, -1, 2 and infinity; Lavin and Gray, "Fast Algorithms for Convolutional
Neural Networks" (2015).) So a line of 9 inputs becomes 5 even elements and 4 odd ones, and 9 x 9 become 81. These are
numbered in the order of the 5 x 5 sums that they are added to: 4 (even, even rows and odd columns, odd rows, odd
ones), or 2 or 1 where the row or the column is the last. `winograd_tiles.products_of` knows which. The
transforms of the gradients are in :mod:`fastcnn.backends.numba.convolution.tiles_stride2_back`.
"""

from __future__ import annotations

from fastcnn.backends.numba.core.arithmetic import add, at_least, fill, fill_like, multiply, multiply_add, subtract
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.vectors import lanes, load, store, store_part


@inline
def store_five(target, at, step, line):
    """Five vectors to places `step` elements apart."""
    store(target, at, line[0]), store(target, at + step, line[1]), store(target, at + 2 * step, line[2])
    store(target, at + 3 * step, line[3]), store(target, at + 4 * step, line[4])


@inline
def store_four(target, at, step, line):
    """Four vectors to places `step` elements apart."""
    store(target, at, line[0]), store(target, at + step, line[1])
    store(target, at + 2 * step, line[2]), store(target, at + 3 * step, line[3])


@inline
def store_products(target, to, step, pad, j, even, odd):
    """Column j of 9 x 9 elements, which are `step` apart by their numbers, and `pad` more by their sums."""
    s, row = j % 5, 18 * step + 5 * pad
    at = to + (4 * s + j // 5) * step + s * pad
    store_four(target, at, row, even)
    store(target, to + (72 + 2 * s + j // 5) * step + (20 + s) * pad, even[4])
    store_four(target, at + (2 if s < 4 else 1) * step, row, odd)


@inline
def finite(d0, d1, d2, d3):
    """The first four of B' d."""
    two = fill_like(d0, 2)
    a, b = subtract(d3, d1), subtract(d2, d1)
    first = multiply_add(two, subtract(d0, d2), a)
    return first, subtract(subtract(d3, d2), multiply(two, d1)), subtract(subtract(d3, d2), multiply(two, b)), a


@inline
def input_line(d0, d1, d2, d3, d4):
    """B' d for one column."""
    first, second, third, fourth = finite(d0, d1, d2, d3)
    return first, second, third, fourth, multiply_add(fill_like(d0, 2), subtract(d1, d3), subtract(d4, d2))


@serial
def input_tile(source, at, row, column, channels, floor, target, to, step, work):
    """B' d B of 9 x 9 pixels, element g of it at target[to + g * step :]; `source` holds whole vectors of channels."""
    low, v = fill(source, floor), lanes(source)
    for t in range(0, channels, v):
        for i in range(9):
            p = at + t + i * row
            d0, d1 = at_least(load(source, p), low), at_least(load(source, p + 2 * column), low)
            d2, d3 = at_least(load(source, p + 4 * column), low), at_least(load(source, p + 6 * column), low)
            d4 = at_least(load(source, p + 8 * column), low)
            store_five(work, 9 * i * v, v, input_line(d0, d1, d2, d3, d4))
            d0, d1 = at_least(load(source, p + column), low), at_least(load(source, p + 3 * column), low)
            d2, d3 = at_least(load(source, p + 5 * column), low), at_least(load(source, p + 7 * column), low)
            store_four(work, (9 * i + 5) * v, v, finite(d0, d1, d2, d3))
        for j in range(9):
            p = j * v
            d0, d1, d2 = load(work, p), load(work, p + 18 * v), load(work, p + 36 * v)
            d3, d4 = load(work, p + 54 * v), load(work, p + 72 * v)
            even = input_line(d0, d1, d2, d3, d4)
            d0, d1 = load(work, p + 9 * v), load(work, p + 27 * v)
            d2, d3 = load(work, p + 45 * v), load(work, p + 63 * v)
            store_products(target, to + t, step, 0, j, even, finite(d0, d1, d2, d3))


@inline
def output_line(m0, m1, m2, m3, m4):
    """A' m for one column."""
    a, b = add(m1, m2), subtract(m1, m2)
    first, second = add(add(m0, a), m3), multiply_add(fill_like(m0, 2), m3, b)
    return first, second, multiply_add(fill_like(m0, 4), m3, a), multiply_add(fill_like(m0, 8), m3, add(b, m4))


@serial
def output_tile(m, at, step, bias, j, columns, out, to, row, column, inside, work):
    """A' m A of one tile and some columns, and the bias: inside[0] x inside[1] pixels of `out`."""
    v = lanes(m)
    for t in range(0, columns, v):
        for i in range(5):
            p = at + t + i * step
            m0, m1, m2 = load(m, p), load(m, p + 5 * step), load(m, p + 10 * step)
            m3, m4 = load(m, p + 15 * step), load(m, p + 20 * step)
            store_four(work, i * v, 5 * v, output_line(m0, m1, m2, m3, m4))
        b, count = load(bias, j + t), columns - t
        for i in range(inside[0]):
            p, z = 5 * i * v, to + t + i * row
            m0, m1, m2 = load(work, p), load(work, p + v), load(work, p + 2 * v)
            m3, m4 = load(work, p + 3 * v), load(work, p + 4 * v)
            m0, m1, m2, m3 = output_line(m0, m1, m2, m3, m4)
            store_part(out, z, add(m0, b), count)
            if inside[1] > 1:
                store_part(out, z + column, add(m1, b), count)
            if inside[1] > 2:
                store_part(out, z + 2 * column, add(m2, b), count)
            if inside[1] > 3:
                store_part(out, z + 3 * column, add(m3, b), count)


@inline
def weight_line(w0, w1, w2):
    """G w for one column: 5 even elements and 4 odd ones."""
    half, sixth = fill_like(w0, 0.5), fill_like(w0, 1 / 6)
    a, b, c = multiply(half, w0), multiply(half, w1), multiply(sixth, w1)
    minus_half, last = multiply(fill_like(w0, -0.5), add(w0, w2)), multiply(sixth, w0)
    even = a, minus_half, multiply(sixth, subtract(w2, w0)), multiply_add(fill_like(w0, 1 / 3), w2, last), w2
    return even, (b, subtract(fill_like(w0, 0), b), subtract(fill_like(w0, 0), c), c)


@serial
def weight_column(b, at, step, u, to, size):
    """G g G' of one vector of weights; tap k at b[at + k * step :]. Those of a sum lie `size` apart in u, one after
    another; sums, a vector further."""
    v = lanes(u)
    for i in range(3):
        p, k = at + 3 * i * step, to + 18 * i * size + 5 * i * v
        even, odd = weight_line(load(b, p), load(b, p + step), load(b, p + 2 * step))
        store_five(u, k, 4 * size + v, even)
        store_four(u, k + size, 4 * size + v, odd)
    for j in range(9):
        k, row = to + (4 * (j % 5) + j // 5) * size + j % 5 * v, 18 * size + 5 * v
        even, odd = weight_line(load(u, k), load(u, k + row), load(u, k + 2 * row))
        store_products(u, to, size, v, j, even, odd)
