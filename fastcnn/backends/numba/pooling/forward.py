"""Max and average pooling, forward. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`."""

import functools
import math
from collections.abc import Callable

import numpy as np

from fastcnn.backends.numba.core.arithmetic import add, at_least, divide, fill
from fastcnn.backends.numba.core.copying import lowest
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import MOVE, inline, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel, task_rows
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part
from fastcnn.backends.numba.pooling.arguments import Limits, Line, PoolWindow, Result
from fastcnn.backends.numba.pooling.select import store_integers, where_larger, where_passes
from fastcnn.backends.numba.product.sums import LONGEST
from fastcnn.backends.offsets import pool_index_dtype, pool_no_index
from fastcnn.config import get_num_threads

TOGETHER = 256  # pixels, and sums of them, that are added one after another in a window of more than `LONGEST`
NO_INDEX = np.empty((0, 0, 0, 0), np.uint8)  # offsets, where means are asked for


@inline
def max_windows(line, number, size, ksize, limits, result):
    """The maxima of `number` windows, `size` (rows, columns) large, and their offsets."""
    (rows, columns), source, at, to = size, line.image, line.first, result.first
    low = fill(source, limits.floor)
    for _ in range(number):
        for t in range(0, line.channels, lanes(source)):
            count, offset = line.channels - t, fill(source, 0)
            first = load_part(source, at + t, count)
            best = at_least(first, low)
            for i in range(rows):
                for j in range(columns):
                    if i + j > 0:
                        value = load_part(source, at + i * line.row + j * line.channels + t, count)
                        offset = where_larger(value, best, fill(source, i * ksize + j), offset)
                        best = where_larger(value, best, value, best)
            if limits.floor == 0:
                offset = where_passes(best, first, offset, fill(source, limits.nowhere))
            store_part(result.values, to + t, best, count)
            store_integers(result.offsets, to + t, offset, count)
        at += line.step
        to += line.channels


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
def sum_of_window(source, at, size, line, count):
    """The sum of a window's vectors: pixel by pixel, or where there are too many for that row by row."""
    total = fill(source, 0)
    if size[0] * size[1] <= LONGEST:
        for i in range(size[0]):
            for j in range(size[1]):
                total = add(total, load_part(source, at + i * line.row + j * line.channels, count))
        return total
    for top in range(0, size[0], TOGETHER):
        some = fill(source, 0)
        for i in range(top, min(size[0], top + TOGETHER)):
            some = add(some, sum_of_row(source, at + i * line.row, size[1], line.channels, count))
        total = add(total, some)
    return total


@inline
def mean_windows(line, number, size, result):
    """The means of `number` windows, `size` (rows, columns) large."""
    source, at, to = line.image, line.first, result.first
    pixels = fill(source, size[0] * size[1])
    for _ in range(number):
        for t in range(0, line.channels, lanes(source)):
            count = line.channels - t
            total = sum_of_window(source, at + t, size, line, count)
            store_part(result.values, to + t, divide(total, pixels), count)
        at += line.step
        to += line.channels


@inline
def pool_windows(line, number, size, ksize, limits, result):
    if result.offsets.size:
        max_windows(line, number, size, ksize, limits, result)
    else:
        mean_windows(line, number, size, result)


@task_kernel
def pool_rows(task, x, window: PoolWindow, limits: Limits, out, index):
    """Some output rows, counted over all images: maxima, or means where `index` is empty."""
    (_, h, w, c), (_, rows, columns, _), (k, stride, block) = x.shape, out.shape, window
    source, target, offsets, step = flat(x), flat(out), flat(index), stride * c
    for number in range(task * block, min(out.shape[0] * rows, (task + 1) * block)):
        row, first, to = number % rows, (number // rows * h + number % rows * stride) * w * c, number * columns * c
        line, result = Line(source, first, step, w * c, c), Result(target, offsets, to)
        whole = max(0, min(columns, (w - k) // stride + 1)) if row * stride + k <= h else 0  # windows, not clipped
        column = whole
        if k == 2:  # sizes that the compiler knows become code without loops
            pool_windows(line, whole, (2, 2), 2, limits, result)
        elif k == 3:
            pool_windows(line, whole, (3, 3), 3, limits, result)
        else:
            column = 0
        while column < columns:  # the others, and those that are clipped, one by one
            count, size = max(1, whole - column), (min(k, h - row * stride), min(k, w - column * stride))
            some, place = Line(source, first + column * step, step, w * c, c), Result(target, offsets, to + column * c)
            pool_windows(some, count, size, k, limits, place)
            column += count


@functools.lru_cache(maxsize=256)
def plan(shape: Shape, ksize: int, stride: int, rectify: bool, dtype: np.dtype, most: int) -> Callable:
    """The function of (x, whether maxima are asked for) that pools an array of that shape."""
    (b, h, w, c), block = shape, task_rows(shape, dtype.itemsize)
    out_shape, work, offsets = (b, h // stride, w // stride, c), MOVE * math.prod(shape), pool_index_dtype(ksize)
    window, limits = (ksize, stride, block), (lowest(dtype, rectify), dtype.type(pool_no_index(ksize)))
    tasks, threads = -(-b * out_shape[1] // block), threads_for(work, most)

    def pool(x: Array, maxima: bool) -> tuple[Array, Array]:
        out, index = empty(out_shape, dtype), empty(out_shape, offsets) if maxima else NO_INDEX
        pool_rows(x, window, limits, out, index, tasks, work=work, threads=threads)
        return out, index

    return pool


def max_pool_forward(x: Array, ksize: int, stride: int, rectify: bool = False) -> tuple[Array, Array]:
    return plan(x.shape, ksize, stride, rectify, x.dtype, get_num_threads())(x, True)


def avg_pool_forward(x: Array, ksize: int, stride: int) -> Array:
    return plan(x.shape, ksize, stride, False, x.dtype, get_num_threads())(x, False)[0]
