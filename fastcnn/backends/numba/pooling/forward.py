"""Max and average pooling, forward. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`."""

import functools
import math
from collections.abc import Callable

import numpy as np

from fastcnn.backends.numba.core.arithmetic import add, at_least, divide, fill, multiply
from fastcnn.backends.numba.core.copying import lowest
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.jit import MOVE, inline, serial, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part
from fastcnn.backends.numba.pooling.arguments import Axis, Held, Limits, Line, PoolWindow, Result
from fastcnn.backends.numba.pooling.select import store_integers, where_larger, where_passes
from fastcnn.backends.numba.pooling.spans import arguments_of, counted, span, whole_windows
from fastcnn.backends.numba.product.sums import LONGEST
from fastcnn.backends.offsets import pool_index_dtype, pool_no_index
from fastcnn.config import get_num_threads
from fastcnn.windows import Window

TOGETHER = 256  # pixels, and sums of them, that are added one after another in a window of more than `LONGEST`
MANY = 64  # pixels of a window whose maximum is that of several vectors at once
NO_INDEX = np.empty((0, 0, 0, 0), np.uint8)  # offsets, where means are asked for


@inline
def max_windows(line, number, held, limits, result):
    """The maxima of `number` windows, of what they hold, and their offsets."""
    source, at, to = line.image, line.first, result.first
    low = fill(source, limits.floor)
    for _ in range(number):
        for t in range(0, line.channels, lanes(source)):
            count, offset = line.channels - t, fill(source, held.offset)
            first = load_part(source, at + t, count)
            best = at_least(first, low)
            for i in range(held.rows):
                for j in range(held.columns):
                    if i + j > 0:
                        value = load_part(source, at + i * line.row + j * line.pixel + t, count)
                        offset = where_larger(value, best, fill(source, held.offset + i * held.ksize + j), offset)
                        best = where_larger(value, best, value, best)
            if limits.floor == 0:
                offset = where_passes(best, first, offset, fill(source, limits.nowhere))
            store_part(result.values, to + t, best, count)
            store_integers(result.offsets, to + t, offset, count)
        at += line.step
        to += line.channels


@inline
def larger(source, at, count, number, best, offset):
    """The larger of `best` and a pixel, and its offset."""
    value = load_part(source, at, count)
    return where_larger(value, best, value, best), where_larger(value, best, number, offset)


@serial
def max_of_many(line, held, limits, result):
    """The maximum of one window of many pixels, of four vectors of channels at once: each comparison waits for the one
    before, and a single vector took 2.5 times as long."""
    source, to, v = line.image, result.first, lanes(line.image)
    low, none = fill(source, limits.floor), fill(source, limits.nowhere)
    for t in range(0, line.channels, 4 * v):
        at, a = line.first + t, line.channels - t
        b, c, d = a - v, a - 2 * v, a - 3 * v
        first = (load_part(source, at, a), load_part(source, at + v, b))
        more = (load_part(source, at + 2 * v, c), load_part(source, at + 3 * v, d))
        p, q, r, s = at_least(first[0], low), at_least(first[1], low), at_least(more[0], low), at_least(more[1], low)
        i0 = fill(source, held.offset)
        i1, i2, i3 = i0, i0, i0
        for i in range(held.rows):
            for j in range(held.columns):
                place, number = at + i * line.row + j * line.pixel, fill(source, held.offset + i * held.ksize + j)
                p, i0 = larger(source, place, a, number, p, i0)
                q, i1 = larger(source, place + v, b, number, q, i1)
                r, i2 = larger(source, place + 2 * v, c, number, r, i2)
                s, i3 = larger(source, place + 3 * v, d, number, s, i3)
        if limits.floor == 0:
            i0, i1 = where_passes(p, first[0], i0, none), where_passes(q, first[1], i1, none)
            i2, i3 = where_passes(r, more[0], i2, none), where_passes(s, more[1], i3, none)
        for vector, place, count in ((p, 0, a), (q, 1, b), (r, 2, c), (s, 3, d)):
            store_part(result.values, to + t + place * v, vector, count)
        for vector, place, count in ((i0, 0, a), (i1, 1, b), (i2, 2, c), (i3, 3, d)):
            store_integers(result.offsets, to + t + place * v, vector, count)


@inline
def sum_of_row(source, at, columns, step, count):
    """The sum of `columns` vectors, `step` elements apart: no chain of more than `TOGETHER`, or of so many sums."""
    total = fill(source, 0)
    for first in range(0, columns, TOGETHER * TOGETHER):
        some = fill(source, 0)
        for start in range(first, min(columns, first + TOGETHER * TOGETHER), TOGETHER):
            few = fill(source, 0)
            for j in range(start, min(columns, start + TOGETHER)):
                few = add(few, load_part(source, at + j * step, count))
            some = add(some, few)
        total = add(total, some)
    return total


@inline
def sum_of_window(source, at, held, line, count):
    """The sum of a window's vectors: pixel by pixel, or where there are too many for that row by row."""
    total = fill(source, 0)
    if held.rows * held.columns <= LONGEST:
        for i in range(held.rows):
            for j in range(held.columns):
                total = add(total, load_part(source, at + i * line.row + j * line.pixel, count))
        return total
    for top in range(0, held.rows, TOGETHER):
        some = fill(source, 0)
        for i in range(top, min(held.rows, top + TOGETHER)):
            some = add(some, sum_of_row(source, at + i * line.row, held.columns, line.pixel, count))
        total = add(total, some)
    return total


@inline
def mean_windows(line, number, held, result, exact):
    """The means of `number` windows, over what they hold. `exact`: `held.divisor` is its reciprocal, and that exact."""
    source, at, to = line.image, line.first, result.first
    pixels = fill(source, held.divisor)
    for _ in range(number):
        for t in range(0, line.channels, lanes(source)):
            count = line.channels - t
            total = sum_of_window(source, at + t, held, line, count)
            store_part(result.values, to + t, multiply(total, pixels) if exact else divide(total, pixels), count)
        at += line.step
        to += line.channels


@inline
def pool_windows(line, number, held, limits, result, exact):
    if result.offsets.size:
        max_windows(line, number, held, limits, result)
    else:
        mean_windows(line, number, held, result, exact)


@serial
def pool_whole(line, number, held, limits, result):
    """`pool_windows` of pixels next to each other, which makes means a tenth faster."""
    near = Line(line.image, line.first, line.step, line.row, line.channels, line.channels)
    pool_windows(near, number, held, limits, result, False)


@serial
def pool_clipped_or_dilated(line, number, held, limits, result):
    pool_windows(line, number, held, limits, result, False)


@task_kernel
def pool_rows(task, x, window: PoolWindow, limits: Limits, out, index):
    """Some output rows, counted over all images: maxima, or means where `index` is empty."""
    (_, h, w, c), (_, rows, columns, _), block = x.shape, out.shape, window.block
    down, across, source, target, offsets = Axis(*window.down), Axis(*window.across), flat(x), flat(out), flat(index)
    (begin, end), k, step = whole_windows(across, columns, w), across.ksize, across.stride * c
    close, row_step, pixel = down.dilation == across.dilation == 1, down.dilation * w * c, across.dilation * c
    known = k if k == down.ksize and close and begin < end and window.divisor <= 1 else 0
    quarter, (first_whole, last_whole) = 1 / (window.divisor or 4), whole_windows(down, rows, h)
    for number in range(task * block, min(out.shape[0] * rows, (task + 1) * block)):
        row, to, column = number % rows, number * columns * c, np.int64(0)
        first = ((number // rows * h + down.start + row * down.stride) * w + across.start) * c
        top, bottom, high, done = np.int64(0), down.ksize, down.ksize, begin
        if not first_whole <= row < last_whole:  # asked for each row, calls took a tenth of a small image's time
            (top, bottom), high = span(down, row, 0, h), counted(down, row)
        if bottom - top == known:  # sizes that the compiler knows become code without loops
            line, result = (
                Line(source, first + begin * step, step, w * c, c, c),
                Result(target, offsets, to + begin * c),
            )
            if known == 2:
                pool_windows(line, end - begin, Held(2, 2, 0, 2, quarter), limits, result, True)
                done = end
            elif known == 3:
                pool_windows(line, end - begin, Held(3, 3, 0, 3, window.divisor or high * 3), limits, result, False)
                done = end
        while column < columns:  # other windows that are not clipped all at once, and those that are one by one
            if column == begin and done > begin:
                column = done
                continue
            some, left, right, count = np.int64(1), np.int64(0), k, window.divisor or high * k
            inside = begin <= column < end
            if inside:
                some = end - column
            else:
                (left, right), count = span(across, column, 0, w), window.divisor or high * counted(across, column)
            at = first + column * step + top * row_step + left * pixel
            line, result = Line(source, at, step, row_step, pixel, c), Result(target, offsets, to + column * c)
            held = Held(bottom - top, right - left, top * k + left, k, count)
            if offsets.size and (bottom - top) * (right - left) >= MANY and c > lanes(source):
                some = np.int64(1)
                max_of_many(line, held, limits, result)
            elif inside and close:
                pool_whole(line, some, held, limits, result)
            else:
                pool_clipped_or_dilated(line, some, held, limits, result)
            column += some


@functools.lru_cache(maxsize=256)
def plan(
    shape: Shape, window: Window, size: Pair, rectify: bool, mean: tuple[bool, int], dtype: np.dtype, most: int
) -> Callable:
    """The function of (x, whether maxima are asked for) that pools an array of that shape."""
    out_shape, work, offsets = (shape[0], *size, shape[3]), MOVE * math.prod(shape), pool_index_dtype(window.ksize)
    given = arguments_of(window, shape, dtype.itemsize, mean)
    limits = lowest(dtype, rectify), dtype.type(pool_no_index(window.ksize))
    tasks, threads = -(-shape[0] * size[0] // given[-1]), threads_for(work, most)

    def pool(x: Array, maxima: bool) -> tuple[Array, Array]:
        out, index = empty(out_shape, dtype), empty(out_shape, offsets) if maxima else NO_INDEX
        pool_rows(x, given, limits, out, index, tasks, work=work, threads=threads)
        return out, index

    return pool


def max_pool_forward(x: Array, window: Window, size: Pair, rectify: bool = False) -> tuple[Array, Array]:
    return plan(x.shape, window, size, rectify, (False, 0), x.dtype, get_num_threads())(x, True)


def avg_pool_forward(x: Array, window: Window, size: Pair, count_padding: bool = False, divisor: int = 0) -> Array:
    return plan(x.shape, window, size, False, (count_padding, divisor), x.dtype, get_num_threads())(x, False)[0]
