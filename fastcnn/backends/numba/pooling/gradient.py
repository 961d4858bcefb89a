"""Gradients of max and average pooling. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`.

A task is some rows of the image, which gather from every window that covers them: each element has one writer and a
fixed order of summation, also where windows overlap. Large images are written past the caches.
"""

from fastcnn.backends.numba.core.arithmetic import add, fill, multiply
from fastcnn.backends.numba.core.copying import MANY_WINDOWS, add_run, clear, stream, streams
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import MOVE, inline, serial, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel, task_rows
from fastcnn.backends.numba.core.vectors import flat, lanes, load, load_part, store_part
from fastcnn.backends.numba.pooling.arguments import Lines, Pixels, PoolWindow
from fastcnn.backends.numba.pooling.forward import NO_INDEX
from fastcnn.backends.numba.pooling.select import load_integers, where_equal


@inline
def put(target, to, vector, count, past):
    """Write a vector, past the caches or not."""
    if past:
        stream(target, to, vector)
    else:
        store_part(target, to, vector, count)


@inline
def shares_of_row(source, offsets, c, at, columns, place, ksize, pixels):
    """One row of the pixels under a row of windows of `c` channels, whose gradients begin at source[at]: each of its
    `columns` pixels gets the slope or nothing, or its share of the mean. `place` are (row in the window, windows)."""
    (i, number), to, scale = place, pixels.first, fill(source, 1 / (ksize * ksize))
    for _ in range(number):
        for t in range(0, c, lanes(source)):
            slope, count = load_part(source, at + t, c - t), c - t
            if offsets.size:
                maxima = load_integers(offsets, at + t, slope, count)
            for j in range(columns):
                share = where_equal(maxima, i * ksize + j, slope) if offsets.size else multiply(slope, scale)
                put(pixels.image, to + j * c + t, share, count, pixels.past)
        at += c
        to += pixels.step


@task_kernel
def apart_rows(task, eta, index, window: PoolWindow, past, image):
    """Some image rows, counted over all images, where windows do not overlap: each pixel has one at most, and none is
    clipped."""
    (_, rows, columns, c), (_, h, w, _), (k, stride, block) = eta.shape, image.shape, window
    source, offsets, target, step = flat(eta), flat(index), flat(image), stride * c
    for number in range(task * block, min(image.shape[0] * h, (task + 1) * block)):
        row, i, to = number % h // stride, number % h % stride, number * w * c
        end = to + w * c
        if row >= rows or i >= k:
            clear(target, to, end)
            continue
        at, pixels, place = (number // h * rows + row) * columns * c, Pixels(target, to, step, past), (i, columns)
        if k == stride == 2:  # sizes that the compiler knows become code without loops
            shares_of_row(source, offsets, c, at, 2, place, 2, pixels)
        else:
            shares_of_row(source, offsets, c, at, k, place, k, pixels)
            for window_start in range(to, to + columns * step if k < stride else to, step):
                clear(target, window_start + k * c, window_start + step)
        clear(target, to + columns * step, end)


@inline
def add_row_of_windows(eta, index, where, size, window, line, to):
    """Add to a row of an image what belongs to it of a row of windows: `where` are (image, row, row of windows)."""
    (_, oh_n, ow_n, c), (n, ih, oh), (h, w), (ksize, stride, _) = eta.shape, where, size, window
    source, offsets, v = flat(eta), flat(index), lanes(eta)
    first, rows = (ih - oh * stride) * ksize, min(ksize, h - oh * stride)
    for ow in range(ow_n):
        at, columns = ((n * oh_n + oh) * ow_n + ow) * c, min(ksize, w - ow * stride)
        scale = fill(source, 1 / (rows * columns))
        for t in range(0, c, v):
            slope, count = load_part(source, at + t, c - t), c - t
            place = to + ow * stride * c + t
            if index.size:
                maxima = load_integers(offsets, at + t, slope, count)
            for j in range(columns):
                share = where_equal(maxima, first + j, slope) if index.size else multiply(slope, scale)
                store_part(line, place, add(load_part(line, place, count), share), count)
                place += c


@inline
def overlapping_row(eta, index, where, size, window, line, to, few):
    """Row `where` (image, row) of images of `size` (rows, columns), from line[to] on, where windows overlap: the row is
    summed up in the cache.

    Each row of windows is summed up by itself in `few`, where that is not empty: many windows would be a long chain.
    """
    (_, oh_n, _, c), (n, ih), (_, w), (ksize, stride, _) = eta.shape, where, size, window
    clear(line, to, to + w * c)
    for oh in range(max(0, (ih - ksize) // stride + 1), min(oh_n, ih // stride + 1)):
        if few.size:
            clear(few, 0, w * c)
            add_row_of_windows(eta, index, (n, ih, oh), size, window, few, 0)
            add_run(line, to, few, 0, w * c)
        else:
            add_row_of_windows(eta, index, (n, ih, oh), size, window, line, to)


@serial
def row_of_3_by_2(eta, index, where, past, image, carry):
    """Row `where` (image, row) for windows of 3 x 3 pixels with stride 2: each pixel is written once.

    A window's third column is the next one's first: `carry` hands its sum on. Adding each window to a row in the cache
    took 1.6 times as long.
    """
    (_, oh_n, ow_n, c), (_, h, w, _), (n, ih), v = eta.shape, image.shape, where, lanes(eta)
    source, offsets, target, to = flat(eta), flat(index), flat(image), (n * h + ih) * w * c
    top, bottom = max(0, (ih - 1) // 2), min(oh_n, ih // 2 + 1)
    clear(carry, 0, c)
    for ow in range(ow_n):
        columns = min(3, w - ow * 2)
        for t in range(0, c, v):
            left, middle, right, count = load_part(carry, t, c - t), fill(source, 0), fill(source, 0), c - t
            for oh in range(top, bottom):
                at, first = ((n * oh_n + oh) * ow_n + ow) * c + t, (ih - oh * 2) * 3
                slope = load_part(source, at, count)
                if index.size:
                    maxima = load_integers(offsets, at, slope, count)
                    left = add(left, where_equal(maxima, first, slope))
                    middle = add(middle, where_equal(maxima, first + 1, slope))
                    right = add(right, where_equal(maxima, first + 2, slope))
                else:
                    share = multiply(slope, fill(source, 1 / (min(3, h - oh * 2) * columns)))
                    left, middle, right = add(left, share), add(middle, share), add(right, share)
            put(target, to + t, left, count, past)
            put(target, to + c + t, middle, count, past)
            store_part(carry, t, right, count)
        to += 2 * c
    if ow_n * 2 < w:
        for t in range(0, c, v):
            put(target, to + t, load_part(carry, t, c - t), c - t, past)


@task_kernel
def overlapping_rows(task, thread, eta, index, window: PoolWindow, past, image, memory: Lines):
    """Some image rows, counted over all images, where windows overlap."""
    (_, h, w, c), target, line, few = image.shape, flat(image), memory.lines[thread], memory.sums[thread]
    for number in range(task * window.block, min(image.shape[0] * h, (task + 1) * window.block)):
        where, first = (number // h, number % h), number * w * c
        if window.ksize == 3 and window.stride == 2:
            row_of_3_by_2(eta, index, where, past, image, line)
            continue
        overlapping_row(eta, index, where, (h, w), window, line if past else target, 0 if past else first, few)
        for t in range(0, w * c if past else 0, lanes(line)):
            stream(target, first + t, load(line, t))


def backward(eta: Array, index: Array, image_shape: Shape, ksize: int, stride: int) -> Array:
    """The gradient of a maximum, or of a mean where `index` is empty."""
    image, block = empty(image_shape, eta.dtype), task_rows(image_shape, eta.itemsize)
    b, h, w, c = image_shape
    work, past, tasks = MOVE * image.size, streams(image), -(-b * h // block)
    threads, window = threads_for(work), (ksize, stride, block)
    if ksize <= stride:
        apart_rows(eta, index, window, past, image, tasks, work=work, threads=threads)
    else:
        sizes = w * c, w * c * (ksize > MANY_WINDOWS * stride)
        memory = tuple(empty((threads, size), eta.dtype) for size in sizes)
        overlapping_rows(eta, index, window, past, image, memory, tasks, work=work, threads=threads)
    return image


def max_pool_backward(eta: Array, index: Array, image_shape: Shape, ksize: int, stride: int) -> Array:
    return backward(eta, index, image_shape, ksize, stride)


def avg_pool_backward(eta: Array, image_shape: Shape, ksize: int, stride: int) -> Array:
    return backward(eta, NO_INDEX, image_shape, ksize, stride)
