"""The transforms of Winograd's algorithm for the gradients of convolutions with stride 2. Requires numba.

Those of `tiles_stride2`, turned round. The gradient of the inputs makes of 5 values of eta
5 elements, which are multiplied with all 9 of the weights turned round, and these become 4 pixels between the 4 others:
the first is an odd one, whose only tap is w1. The gradient of the weights multiplies the 9 elements of the inputs with
the 5 of eta, A e, and G' makes 3 taps of them.
"""

from __future__ import annotations

from fastcnn.backends.numba.convolution.tiles_stride2 import input_line, output_line, store_five, store_four
from fastcnn.backends.numba.core.arithmetic import add, fill, fill_like, multiply, multiply_add, subtract
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.vectors import lanes, load, load_part, store, store_part


@serial
def eta_tile(source, at, row, column, channels, floor, target, to, step, work):
    """The same of 5 x 5 pixels of eta, whose 25 elements are as those of a stride of 1; `floor` is not for them."""
    v = lanes(source)
    for t in range(0, channels, v):
        for i in range(5):
            p = at + t + i * row
            d0, d1, d2 = load(source, p), load(source, p + column), load(source, p + 2 * column)
            d3, d4 = load(source, p + 3 * column), load(source, p + 4 * column)
            store_five(work, 5 * i * v, v, input_line(d0, d1, d2, d3, d4))
        for j in range(5):
            p = j * v
            d0, d1, d2 = load(work, p), load(work, p + 5 * v), load(work, p + 10 * v)
            d3, d4 = load(work, p + 15 * v), load(work, p + 20 * v)
            store_five(target, to + t + j * step, 5 * step, input_line(d0, d1, d2, d3, d4))


@inline
def load_products(source, at, step, j):
    """Column j of 9 x 9 elements, which are `step` apart by their numbers."""
    s, row = j % 5, 18 * step
    p = at + (4 * s + j // 5) * step
    q = p + (2 if s < 4 else 1) * step
    last = load(source, at + (72 + 2 * s + j // 5) * step)
    even = load(source, p), load(source, p + row), load(source, p + 2 * row), load(source, p + 3 * row), last
    return even, (load(source, q), load(source, q + row), load(source, q + 2 * row), load(source, q + 3 * row))


@inline
def odd_and_even(even, odd):
    """The 4 odd and the 4 even ones of 8 pixels of a line, from its elements."""
    m0, m1, m2, m3, m4 = even
    k0, k1, k2, k3 = odd
    return output_line(k0, k1, k2, k3, fill_like(k0, 0)), output_line(m0, m1, m2, m3, m4)


@serial
def pixel_tile(m, at, step, columns, out, to, row, column, rows_inside, columns_inside, work):
    """8 x 8 pixels of the gradient of an image from 81 elements: those rows and columns of them, (first, last), that
    are inside. The tile's first pixel would be at out[to]."""
    v = lanes(m)
    for t in range(0, columns, v):
        for j in range(9):
            even, odd = load_products(m, at + t, step, j)
            odd, even = odd_and_even(even, odd)
            store_four(work, j * v, 18 * v, odd)
            store_four(work, (9 + j) * v, 18 * v, even)
        count = columns - t
        for i in range(rows_inside[0], rows_inside[1]):
            p = 9 * i * v
            even = load(work, p), load(work, p + v), load(work, p + 2 * v), load(work, p + 3 * v), load(work, p + 4 * v)
            odd = load(work, p + 5 * v), load(work, p + 6 * v), load(work, p + 7 * v), load(work, p + 8 * v)
            odd, even = odd_and_even(even, odd)
            store_four(work, 72 * v, 2 * v, odd)
            store_four(work, 73 * v, 2 * v, even)
            z = to + t + i * row
            for k in range(columns_inside[0], columns_inside[1]):
                store_part(out, z + k * column, load(work, (72 + k) * v), count)


@inline
def gradient_line(e0, e1, e2, e3):
    """A e for one column."""
    two, four, eight = fill_like(e0, 2), fill_like(e0, 4), fill_like(e0, 8)
    a, b = add(e0, e2), add(e1, e3)
    last = multiply_add(four, e2, multiply_add(two, e1, multiply_add(eight, e3, e0)))
    return e0, add(a, b), subtract(a, b), last, e3


@serial
def gradient_tile(source, at, row, column, count, rows, columns, v, to, step, sums, j, work):
    """A e A' of one tile, of which rows x columns pixels are inside, and of `count` outputs; e is added to sums[j:]."""
    zero, total, lane = fill(source, 0), load(sums, j), lanes(source)
    for i in range(4):
        e0 = e1 = e2 = e3 = zero
        p = at + i * row
        if i < rows:
            e0 = load_part(source, p, count)
            if columns > 1:
                e1 = load_part(source, p + column, count)
            if columns > 2:
                e2 = load_part(source, p + 2 * column, count)
            if columns > 3:
                e3 = load_part(source, p + 3 * column, count)
        total = add(total, add(add(e0, e1), add(e2, e3)))
        store_five(work, 5 * i * lane, lane, gradient_line(e0, e1, e2, e3))
    store(sums, j, total)
    for i in range(5):
        e0, e1 = load(work, i * lane), load(work, (5 + i) * lane)
        e2, e3 = load(work, (10 + i) * lane), load(work, (15 + i) * lane)
        store_five(v, to + i * step, 5 * step, gradient_line(e0, e1, e2, e3))


@inline
def back_line(even, odd):
    """G' m for one column."""
    (m0, m1, m2, m3, m4), (k0, k1, k2, k3) = even, odd
    half, sixth, third = fill_like(m0, 0.5), fill_like(m0, 1 / 6), fill_like(m0, 1 / 3)
    first = multiply_add(half, subtract(m0, m1), multiply(sixth, subtract(m3, m2)))
    a = multiply_add(third, m3, multiply(sixth, m2))
    last = add(multiply_add(fill_like(m0, -0.5), m1, a), m4)
    return first, multiply_add(half, subtract(k0, k1), multiply(sixth, subtract(k3, k2))), last


@serial
def weight_tile(m, dw, to, size, count):
    """G' m G of 81 vectors that lie in `m` by their numbers: 9 of `count` elements each to dw[to + k * size :]."""
    v = lanes(m)
    for j in range(9):
        even, odd = load_products(m, 0, v, j)
        m0, m1, m2 = back_line(even, odd)
        k = (4 * (j % 5) + j // 5) * v
        store(m, k, m0), store(m, k + 18 * v, m1), store(m, k + 36 * v, m2)
    for i in range(3):
        k = 18 * i * v
        even = load(m, k), load(m, k + 4 * v), load(m, k + 8 * v), load(m, k + 12 * v), load(m, k + 16 * v)
        odd = load(m, k + v), load(m, k + 5 * v), load(m, k + 9 * v), load(m, k + 13 * v)
        m0, m1, m2 = back_line(even, odd)
        at = to + 3 * i * size
        store_part(dw, at, m0, count), store_part(dw, at + size, m1, count), store_part(dw, at + 2 * size, m2, count)
