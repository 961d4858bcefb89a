"""Gradients of max and average pooling. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`.

A task is some rows of the image, which gather from every window that covers them: each element has one writer and a
fixed order of summation, also where windows overlap. Large images are written past the caches.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from fastcnn.backends.numba.core.arithmetic import add, fill, multiply
from fastcnn.backends.numba.core.copying import MANY_WINDOWS, add_run, clear, put, stream, streams
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import MOVE, inline, serial, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load, load_part, store_part
from fastcnn.backends.numba.pooling.arguments import Axis, Held, Lines, Pixels, PoolWindow, Slopes
from fastcnn.backends.numba.pooling.forward import NO_INDEX
from fastcnn.backends.numba.pooling.gradient_3_by_2 import rows_of_3_by_2
from fastcnn.backends.numba.pooling.select import load_integers, where_equal
from fastcnn.backends.numba.pooling.spans import arguments_of, counted, span, whole_windows
from fastcnn.backends.numba.product.sums import LONGEST
from fastcnn.config import get_num_threads
from fastcnn.windows import Window


@inline
def shares_of_row(slopes, held, pixels):
    """One row of the pixels under windows in a row: each of those that the windows hold gets the slope or nothing, or
    its share of the mean."""
    source, at, to, c = slopes.values, slopes.first, pixels.first, slopes.channels
    scale = fill(source, 1 / held.divisor)
    for _ in range(slopes.number):
        for t in range(0, c, lanes(source)):
            slope, count = load_part(source, at + t, c - t), c - t
            if slopes.offsets.size:
                maxima = load_integers(slopes.offsets, at + t, slope, count)
            for j in range(held.columns):
                choose = slopes.offsets.size
                share = where_equal(maxima, held.offset + j, slope) if choose else multiply(slope, scale)
                put(pixels.image, to + j * c + t, share, count, pixels.past)
        at += c
        to += pixels.step


@serial
def shares_of_any(slopes, held, pixels):
    """`shares_of_row` of windows of any size: its code once, wherever it is called."""
    shares_of_row(slopes, held, pixels)


@task_kernel
def apart_rows(task, eta, index, window: PoolWindow, past, image):
    """Some image rows, counted over all images, where windows do not overlap: each pixel has one at most."""
    (_, rows, columns, c), (_, h, w, _), block = eta.shape, image.shape, window.block
    down, across = Axis(*window.down), Axis(*window.across)
    source, offsets, target, k, step = flat(eta), flat(index), flat(image), across.ksize, across.stride * c
    (begin, end), (first_whole, last_whole) = whole_windows(across, columns, w), whole_windows(down, rows, h)
    for number in range(task * block, min(image.shape[0] * h, (task + 1) * block)):
        y, to = number % h - down.start, number * w * c
        (row, i), last, first = (y // down.stride, y % down.stride), to + w * c, to + across.start * c
        if row >= rows or i >= down.ksize:
            clear(target, to, last)
            continue
        at, high = (number // h * rows + row) * columns * c, down.ksize
        if not first_whole <= row < last_whole:
            high = counted(down, row)
        slopes = Slopes(source, offsets, at + begin * c, end - begin, c)
        pixels, count = Pixels(target, first + begin * step, step, past), window.divisor or high * k
        if k == 2 and across.stride == 2:  # sizes that the compiler knows become code without loops
            shares_of_row(slopes, Held(1, 2, i * 2, 2, count), pixels)
        else:
            shares_of_any(slopes, Held(np.int64(1), k, i * k, k, count), pixels)
            for window_start in range(first + begin * step, first + end * step if k < across.stride else to, step):
                clear(target, window_start + k * c, min(last, window_start + step))
        clear(target, to, first + begin * step if begin < end else last)
        clear(target, first + end * step if begin < end else last, last)
        column = end if begin == 0 else 0
        while column < columns:  # windows that are clipped
            left, right = span(across, column, 0, w)
            some, place = Slopes(source, offsets, at + column * c, np.int64(1), c), first + column * step + left * c
            count = window.divisor or high * counted(across, column)
            held = Held(np.int64(1), right - left, i * k + left, k, count)
            shares_of_any(some, held, Pixels(target, place, step, past))
            column = end if column + 1 == begin else column + 1


@inline
def add_windows(slopes, held, line, to, step, pixel):
    """Add to a row of pixels, from line[to] on, what belongs to it of windows in a row that hold the same: `step`
    elements from one window to the next, `pixel` from one of its pixels to the next."""
    source, at, c, scale = slopes.values, slopes.first, slopes.channels, fill(slopes.values, 1 / held.divisor)
    for _ in range(slopes.number):
        for t in range(0, c, lanes(source)):
            slope, count, place = load_part(source, at + t, c - t), c - t, to + t
            if slopes.offsets.size:
                maxima = load_integers(slopes.offsets, at + t, slope, count)
            for j in range(held.columns):
                choose = slopes.offsets.size
                share = where_equal(maxima, held.offset + j, slope) if choose else multiply(slope, scale)
                store_part(line, place, add(load_part(line, place, count), share), count)
                place += pixel
        at += c
        to += step


@serial
def add_clipped_or_dilated(slopes, held, line, to, step, pixel):
    add_windows(slopes, held, line, to, step, pixel)


@inline
def add_row_of_windows(slopes, window, place, width, line, to):
    """Add to a row of an image `width` pixels wide what belongs to it of a row of windows. `place` are (the offset of
    the row's first pixel in a window, the rows of windows that a mean counts, the first window, those that are not
    clipped)."""
    (offset, high, column, begin, end), across, c = place, Axis(*window.across), slopes.channels
    (k, step, pixel), stop = (across.ksize, across.stride * c, across.dilation * c), column + slopes.number
    while column < stop:
        number, left, right, count = np.int64(1), np.int64(0), k, window.divisor or high * k
        if begin <= column < end:
            number = min(stop, end) - column
        else:
            (left, right), count = span(across, column, 0, width), window.divisor or high * counted(across, column)
        some = Slopes(slopes.values, slopes.offsets, slopes.first + column * c, number, c)
        held, start = (
            Held(1, right - left, offset + left, k, count),
            to + across.start * c + column * step + left * pixel,
        )
        if right - left == k and pixel == c:
            add_windows(some, held, line, start, step, c)
        else:
            add_clipped_or_dilated(some, held, line, start, step, pixel)
        column += number


@inline
def overlapping_row(eta, index, where, window, width, line, to, few):
    """Row `where` (image, row) of images, from line[to] on, where windows overlap: the row is summed up in the cache.

    Each row of windows is summed up by itself in `few`, where that is not empty: many windows would be a long chain.
    Where `LONGEST` of a row would be one, so are parts of the row.
    """
    (_, rows, columns, c), (n, ih), down, across = eta.shape, where, Axis(*window.down), Axis(*window.across)
    y, apart, some = ih - down.start, down.dilation, columns
    if few.size and across.ksize * across.dilation > LONGEST * across.stride:
        some = LONGEST
    clear(line, to, to + width * c)
    begin, end = whole_windows(across, columns, width)
    for row in range(max(0, (y - (down.ksize - 1) * apart - 1) // down.stride + 1), min(rows, y // down.stride + 1)):
        i = y - row * down.stride
        if apart > 1:
            if i % apart > 0:
                continue
            i //= apart
        for first in range(0, columns, some):
            place = (i * across.ksize, counted(down, row), first, begin, end)
            slopes = Slopes(flat(eta), flat(index), (n * rows + row) * columns * c, min(some, columns - first), c)
            if few.size:
                clear(few, 0, width * c)
            add_row_of_windows(slopes, window, place, width, few if few.size else line, 0 if few.size else to)
            if few.size:
                add_run(line, to, few, 0, width * c)


@task_kernel
def overlapping_rows(task, thread, eta, index, window: PoolWindow, past, image, memory: Lines):
    """Some image rows, counted over all images, where windows overlap."""
    (_, h, w, c), target, line, few = image.shape, flat(image), memory.lines[thread], memory.sums[thread]
    for number in range(task * window.block, min(image.shape[0] * h, (task + 1) * window.block)):
        where, first = (number // h, number % h), number * w * c
        overlapping_row(eta, index, where, window, w, line if past else target, 0 if past else first, few)
        for t in range(0, w * c if past else 0, lanes(line)):
            stream(target, first + t, load(line, t))


def over_a_pixel(window: Window) -> float:
    """Windows over a pixel, some."""
    axes = zip(window.ksize, window.stride, window.dilation, strict=True)
    return math.prod(ksize * math.gcd(stride, dilation) / stride for ksize, stride, dilation in axes)


@functools.lru_cache(maxsize=256)
def plan(
    image_shape: Shape, window: Window, mean: tuple[bool, int], dtype: np.dtype, most: int
) -> Callable[[Array, Array], Array]:
    """The function of (eta, offsets or nothing) that is the gradient with respect to images of that shape."""
    (b, h, w, c), given = image_shape, arguments_of(window, image_shape, dtype.itemsize, mean)
    work, tasks = MOVE * math.prod(image_shape), -(-b * h // given[-1])
    threads, sides = threads_for(work, most), zip(window.ksize, window.stride, strict=True)
    apart = window.dilation == (1, 1) and all(ksize <= stride for ksize, stride in sides)
    kernel = rows_of_3_by_2 if window[:3] == ((3, 3), (2, 2), (1, 1)) else overlapping_rows
    sizes = w * c, w * c * (over_a_pixel(window) > MANY_WINDOWS**2)

    def back(eta: Array, index: Array) -> Array:
        image = empty(image_shape, dtype)
        past = streams(image)
        if apart:
            apart_rows(eta, index, given, past, image, tasks, work=work, threads=threads)
        else:
            memory = tuple(empty((threads, size), dtype) for size in sizes)
            kernel(eta, index, given, past, image, memory, tasks, work=work, threads=threads)
        return image

    return back


def max_pool_backward(eta: Array, index: Array, image_shape: Shape, window: Window) -> Array:
    return plan(image_shape, window, (False, 0), eta.dtype, get_num_threads())(eta, index)


def avg_pool_backward(
    eta: Array, image_shape: Shape, window: Window, count_padding: bool = False, divisor: int = 0
) -> Array:
    return plan(image_shape, window, (count_padding, divisor), eta.dtype, get_num_threads())(eta, NO_INDEX)
