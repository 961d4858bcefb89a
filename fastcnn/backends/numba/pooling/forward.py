"""Max and average pooling, forward. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.core.calls import call
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.jit import MOVE, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.pooling.arguments import Axis, PoolWindow
from fastcnn.backends.numba.pooling.lines import Facts, address_of, of_many_maxima, of_maxima, of_means
from fastcnn.backends.numba.pooling.spans import arguments_of, axis_of, counted, span, whole_windows
from fastcnn.backends.numba.product.packing import vector_lanes
from fastcnn.backends.offsets import pool_index_dtype, pool_no_index
from fastcnn.config import get_num_threads
from fastcnn.windows import Window

MANY = 64  # pixels of a window whose maximum is that of several vectors at once
NO_INDEX = np.empty((0, 0, 0, 0), np.uint8)  # offsets, where means are asked for


class Functions(NamedTuple):
    """The addresses of functions of `pooling.lines`: of whole windows 2 or 3 pixels wide and high, whose `side` this
    is, else 0; of all others; of those with many pixels, or 0."""

    side: int
    known: int
    others: int
    many: int


@task_kernel
def pool_rows(task, x, window: PoolWindow, facts, functions: Functions, out, index):
    """Some output rows, counted over all images: maxima, or means where `index` is empty. `facts` are those of
    `pooling.lines.Facts`."""
    (_, h, w, c), (_, rows, columns, _), block, step, row_step = x.shape, out.shape, window.block, facts[0], facts[1]
    down, across, source, target, offsets = Axis(*window.down), Axis(*window.across), flat(x), flat(out), flat(index)
    (begin, end), (first_whole, last_whole) = whole_windows(across, columns, w), whole_windows(down, rows, h)
    k, pixel, side = across.ksize, facts[2], functions.side
    for number in range(task * block, min(out.shape[0] * rows, (task + 1) * block)):
        row, to, column = number % rows, number * columns * c, np.int64(0)
        first = ((number // rows * h + down.start + row * down.stride) * w + across.start) * c
        top, bottom, high = np.int64(0), down.ksize, down.ksize
        if not first_whole <= row < last_whole:  # asked for each row, calls took a tenth of a small image's time
            (top, bottom), high = span(down, row, 0, h), counted(down, row)
        while column < columns:  # windows that are not clipped all at once, and those that are one by one
            some, left, right, count = np.int64(1), np.int64(0), k, window.divisor or high * k
            if begin <= column < end:
                some = end - column
            else:
                (left, right), count = span(across, column, 0, w), window.divisor or high * counted(across, column)
            high_held, wide_held, function = bottom - top, right - left, functions.others
            if high_held == wide_held == side:
                function = functions.known
            elif functions.many and high_held * wide_held >= MANY:
                some, function = np.int64(1), functions.many
            at, place = first + column * step + top * row_step + left * pixel, to + column * c
            places = (source, at), (target, place), (offsets, place), (facts, 0)
            call(function, places, (some, high_held, wide_held, top * k + left, count))
            column += some


def functions_of(
    window: Window, shape: Shape, size: Pair, mean: tuple[bool, int] | None, dtype: np.dtype
) -> tuple[int, ...]:
    """The fields of `Functions`, for `size` windows of each of the images of a `shape`; the others as in `plan`."""
    (k, _), square, close = window.ksize, window.ksize[0] == window.ksize[1], window.dilation == (1, 1)
    make, kind = (of_maxima, pool_index_dtype(window.ksize)) if mean is None else (of_means, NO_INDEX.dtype)
    side = k if square and k in (2, 3) and close and (mean is None or mean[1] <= 1) else 0
    axes = [Axis(*axis_of(window, axis, shape[axis + 1], False)) for axis in (0, 1)]
    spans = [whole_windows.py_func(*facts) for facts in zip(axes, size, shape[1:3], strict=True)]
    whole = [end - begin for begin, end in spans]
    many = mean is None and math.prod(window.ksize) >= MANY and shape[3] > vector_lanes(dtype)
    return (
        side,
        address_of(make, (side, True), dtype, kind) if side and all(whole) else 0,
        0 if side and whole == [*size] else address_of(make, (0, close), dtype, kind),
        address_of(of_many_maxima, (), dtype, kind) if many else 0,
    )


@functools.lru_cache(maxsize=256)
def plan(
    shape: Shape, window: Window, size: Pair, rectify: bool, mean: tuple[bool, int] | None, dtype: np.dtype, most: int
) -> Callable:
    """The function of x that pools an array of that shape: its maxima and their offsets, or the `mean` (whether padding
    is counted, the divisor or 0) and nothing."""
    out_shape, work = (shape[0], *size, shape[3]), MOVE * math.prod(shape)
    kind = pool_index_dtype(window.ksize) if mean is None else None
    given = arguments_of(window, shape, dtype.itemsize, mean or (False, 0))
    (_, _, w, c), (_, k), (_, stride), (dh, dw) = shape, *window[:3]
    facts = Facts(stride * c, dh * w * c, dw * c, c, k, int(rectify), int(pool_no_index(window.ksize)))
    table, functions = np.array(facts, np.int64), functions_of(window, shape, size, mean, dtype)
    tasks, threads = -(-shape[0] * size[0] // given[-1]), threads_for(work, most)

    def pool(x: Array) -> tuple[Array, Array]:
        out, index = empty(out_shape, dtype), NO_INDEX if kind is None else empty(out_shape, kind)
        pool_rows(x, given, table, functions, out, index, tasks, work=work, threads=threads)
        return out, index

    return pool


def max_pool_forward(x: Array, window: Window, size: Pair, rectify: bool = False) -> tuple[Array, Array]:
    return plan(x.shape, window, size, rectify, None, x.dtype, get_num_threads())(x)


def avg_pool_forward(x: Array, window: Window, size: Pair, count_padding: bool = False, divisor: int = 0) -> Array:
    return plan(x.shape, window, size, False, (count_padding, divisor), x.dtype, get_num_threads())(x)[0]
