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
from fastcnn.backends.numba.pooling.arguments import Above, Axis, Held, Lines, Pixels, PoolWindow, Slopes
from fastcnn.backends.numba.pooling.forward import NO_INDEX
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
            shares_of_row(slopes, Held(1, k, i * k, k, count), pixels)
            for window_start in range(first + begin * step, first + end * step if k < across.stride else to, step):
                clear(target, window_start + k * c, min(last, window_start + step))
        clear(target, to, first + begin * step if begin < end else last)
        clear(target, first + end * step if begin < end else last, last)
        column = end if begin == 0 else 0
        while column < columns:  # windows that are clipped
            left, right = span(across, column, 0, w)
            some, place = Slopes(source, offsets, at + column * c, np.int64(1), c), first + column * step + left * c
            count = window.divisor or high * counted(across, column)
            shares_of_row(some, Held(1, right - left, i * k + left, k, count), Pixels(target, place, step, False))
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


@inline
def add_shares(slopes, at, offset, count, scale, sums, maxima):
    """Add to the `sums` of three neighbours what belongs to them of one window."""
    slope, (left, middle, right) = load_part(slopes.values, at, count), sums
    if maxima:
        places = load_integers(slopes.offsets, at, slope, count)
        left = add(left, where_equal(places, offset, slope))
        middle = add(middle, where_equal(places, offset + 1, slope))
        right = add(right, where_equal(places, offset + 2, slope))
    else:
        share = multiply(slope, scale)
        left, middle, right = add(left, share), add(middle, share), add(right, share)
    return left, middle, right


@inline
def column_of_3(slopes, above, place, pixels, carry, width, maxima, two):
    """Write the pixels of a row that one column of 3 x 3 windows with stride 2 covers, and later ones do not.

    `carry` holds what the column before adds to the pixel that both cover, and then the same for the next. `place` are
    (the column, its first pixel). Where `width` is not 0, pixels before or behind a row of so many are left out. `two`:
    of two rows of windows, else of one.
    """
    (column, start), source, c = place, slopes.values, slopes.channels
    at, row, to = slopes.first + column * c, slopes.number * c, pixels.first + start * c
    scale, below = fill(source, above.scale), fill(source, above.below)
    for t in range(0, c, lanes(source)):
        sums, count = (load_part(carry, t, c - t), fill(source, 0), fill(source, 0)), c - t
        sums = add_shares(slopes, at + t, above.offset, count, scale, sums, maxima)
        if two:
            sums = add_shares(slopes, at + row + t, above.offset - 6, count, below, sums, maxima)
        left, middle, right = sums
        if width == 0 or start >= 0:
            put(pixels.image, to + t, left, count, pixels.past)
        if width == 0 or 0 <= start + 1 < width:
            put(pixels.image, to + c + t, middle, count, pixels.past)
        store_part(carry, t, right, count)


@inline
def columns_of_3(slopes, above, run, pixels, carry, maxima, two):
    """Columns of windows that lie inside the image: the first, the one after the last, and the pixel that the first one
    of all begins at."""
    begin, end, start = run
    for column in range(begin, end):
        column_of_3(slopes, above, (column, start + column * 2), pixels, carry, 0, maxima, two)


@serial
def clipped_column(slopes, above, place, pixels, carry, width, maxima, two):
    column_of_3(slopes, above, place, pixels, carry, width, maxima, two)


@inline
def row_of_3_by_2(eta, index, where, window, past, image, carry):
    """Row `where` (image, row) for windows of 3 x 3 pixels with stride 2: each pixel is written once.

    A window's third column is the next one's first: `carry` hands its sum on. Adding each window to a row in the cache
    took 1.6 times as long.
    """
    (_, rows, columns, c), (_, h, w, _), (n, ih), maxima = eta.shape, image.shape, where, index.size > 0
    down, across, target, to = Axis(*window.down), Axis(*window.across), flat(image), (n * h + ih) * w * c
    y, (begin, end), start = ih - down.start, whole_windows(across, columns, w), across.start
    top, bottom = max(0, (y - 1) // 2), min(rows, y // 2 + 1)
    slopes = Slopes(flat(eta), flat(index), (n * rows + top) * columns * c, columns, c)
    pixels, two = Pixels(target, to, c, past), bottom - top == 2
    high, low = counted(down, top), counted(down, top + 1)
    run = begin, end, start
    clear(carry, 0, c)
    column = 0 if top < bottom else columns
    while column < columns:
        wide = counted(across, column)
        scale, below = 1 / (window.divisor or high * wide), 1 / (window.divisor or low * wide)
        above = Above((y - top * 2) * 3, scale, below)
        if column != begin or begin == end:
            clipped_column(slopes, above, (column, start + column * 2), pixels, carry, w, maxima, two)
            column += 1
            continue
        if maxima:
            columns_of_3(slopes, above, run, pixels, carry, True, two)
        else:
            columns_of_3(slopes, above, run, pixels, carry, False, two)
        column = end
    last, at = to + w * c, to + (start + columns * 2) * c if top < bottom else to
    if at < last:
        for t in range(0, c, lanes(carry)):
            put(target, at + t, load_part(carry, t, c - t), c - t, past)
        clear(target, at + c, last)


@task_kernel
def rows_of_3_by_2(task, thread, eta, index, window: PoolWindow, past, image, memory: Lines):
    """Some image rows, counted over all images, under windows of 3 x 3 pixels with stride 2. A kernel of its own: as a
    part of `overlapping_rows` it made that take four times as long to compile."""
    h, line = image.shape[1], memory.lines[thread]
    for number in range(task * window.block, min(image.shape[0] * h, (task + 1) * window.block)):
        row_of_3_by_2(eta, index, (number // h, number % h), window, past, image, line)


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
