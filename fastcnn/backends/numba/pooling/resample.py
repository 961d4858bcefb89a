"""Images of another size. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.resample`.

A task is some rows of the result: each pixel has one writer and a fixed order of summation, also where it is that of a
gradient. Large results are written past the caches.
"""

from fastcnn.backends.numba.core.arithmetic import add, fill, multiply
from fastcnn.backends.numba.core.copying import put, streams
from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import MOVE, inline
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel, task_rows
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part
from fastcnn.backends.numba.pooling.arguments import Held, Line, Pixels, Weights

TOGETHER = 256  # pixels, and sums of them, that are added one after another


@inline
def weighted_row(source, at, held, weights, pixel, count):
    """The weighted sum of vectors that are `pixel` elements apart: no chain of more than `TOGETHER`, or of so many."""
    total = fill(source, 0)
    for start in range(0, held.columns, TOGETHER):
        some = fill(source, 0)
        for j in range(start, min(held.columns, start + TOGETHER)):
            weight = fill(source, weights.across[weights.column, j])
            some = add(some, multiply(weight, load_part(source, at + j * pixel, count)))
        total = add(total, some)
    return total


@inline
def weighted_sums(line, held, weights, pixels):
    """One pixel of the result: the weighted sum of the pixels that it is made of, row by row."""
    source = line.image
    for t in range(0, line.channels, lanes(source)):
        count, total = line.channels - t, fill(source, 0)
        for start in range(0, held.rows, TOGETHER):
            some = fill(source, 0)
            for i in range(start, min(held.rows, start + TOGETHER)):
                weight = fill(source, weights.down[weights.row, i])
                row = weighted_row(source, line.first + i * line.row + t, held, weights, line.channels, count)
                some = add(some, multiply(weight, row))
            total = add(total, some)
        put(pixels.image, pixels.first + t, total, count, pixels.past)


@inline
def sum_of_two(source, at, step, factors, count):
    first, second = load_part(source, at, count), load_part(source, at + step, count)
    return add(multiply(factors[0], first), multiply(factors[1], second))


@inline
def sum_of_four(source, at, step, factors, count):
    first = sum_of_two(source, at, step, (factors[0], factors[1]), count)
    return add(first, sum_of_two(source, at + 2 * step, step, (factors[2], factors[3]), count))


@inline
def two_by_two(line, weights, pixels):
    """`weighted_sums` of 2 x 2 pixels, as between the pixels of an image; the weights stay in registers."""
    source, c, row, column = line.image, line.channels, weights.row, weights.column
    top, bottom = fill(source, weights.down[row, 0]), fill(source, weights.down[row, 1])
    factors = fill(source, weights.across[column, 0]), fill(source, weights.across[column, 1])
    for t in range(0, c, lanes(source)):
        at, count = line.first + t, c - t
        high = multiply(top, sum_of_two(source, at, c, factors, count))
        low = multiply(bottom, sum_of_two(source, at + line.row, c, factors, count))
        put(pixels.image, pixels.first + t, add(high, low), count, pixels.past)


@inline
def four_by_four(line, weights, pixels):
    """`weighted_sums` of 4 x 4 pixels: the gradient of an image that is twice as large."""
    source, c, row = line.image, line.channels, line.row
    w, h = weights.across[weights.column], weights.down[weights.row]
    factors = fill(source, w[0]), fill(source, w[1]), fill(source, w[2]), fill(source, w[3])
    first, second, third, fourth = fill(source, h[0]), fill(source, h[1]), fill(source, h[2]), fill(source, h[3])
    for t in range(0, c, lanes(source)):
        at, count = line.first + t, c - t
        total = multiply(first, sum_of_four(source, at, c, factors, count))
        total = add(total, multiply(second, sum_of_four(source, at + row, c, factors, count)))
        total = add(total, multiply(third, sum_of_four(source, at + 2 * row, c, factors, count)))
        total = add(total, multiply(fourth, sum_of_four(source, at + 3 * row, c, factors, count)))
        put(pixels.image, pixels.first + t, total, count, pixels.past)


@task_kernel
def resample_rows(task, x, rows, down, columns, across, past, out):
    """Some rows of the result, counted over all images. `past`: whether they are written past the caches, and the rows
    of a task."""
    (_, h, w, c), (b, oh_n, ow_n, _) = x.shape, out.shape
    source, target, block = flat(x), flat(out), past[1]
    for number in range(task * block, min(b * oh_n, (task + 1) * block)):
        n, oh, to = number // oh_n, number % oh_n, number * ow_n * c
        top, high = rows[oh, 0], rows[oh, 1] - rows[oh, 0]
        for ow in range(ow_n):
            left, wide = columns[ow, 0], columns[ow, 1] - columns[ow, 0]
            line = Line(source, ((n * h + top) * w + left) * c, 0, w * c, c, c)
            weights, pixels = Weights(down, across, oh, ow), Pixels(target, to + ow * c, 0, past[0])
            if high == 2 and wide == 2:
                two_by_two(line, weights, pixels)
            elif high == 4 and wide == 4:
                four_by_four(line, weights, pixels)
            else:
                weighted_sums(line, Held(high, wide, 0, 0, 0), weights, pixels)


def resample(x: Array, rows: Array, down: Array, columns: Array, across: Array) -> Array:
    out = empty((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype)
    block, work = task_rows(out.shape, out.itemsize), MOVE * (x.size + out.size)
    past = streams(out), block
    resample_rows(x, rows, down, columns, across, past, out, -(-out.shape[0] * len(rows) // block), work=work)
    return out
