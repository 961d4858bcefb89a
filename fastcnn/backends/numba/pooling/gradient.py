"""Gradients of max and average pooling. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`.

A task is some rows of the image, which gather from every window that covers them: each element has one writer and a
fixed order of summation, also where windows overlap. Large images are written past the caches.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.core.arithmetic import add, fill, multiply
from fastcnn.backends.numba.core.copying import clear, streams
from fastcnn.backends.numba.core.jit import MOVE, inline, kernel, prange, serial, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import next_task, task_counters
from fastcnn.backends.numba.core.vectors import flat, lanes, load, load_part, store_part, stream
from fastcnn.backends.numba.pooling.forward import rows_of_task
from fastcnn.backends.numba.select import load_integers, where_equal

NO_INDEX = np.empty((0, 0, 0, 0), np.uint8)


@inline
def put(target, to, vector, count, past):
    """Write a vector, past the caches or not."""
    if past:
        stream(target, to, vector)
    else:
        store_part(target, to, vector, count)


@inline
def apart_windows(source, offsets, at, number, c, columns, scale, i, ksize, target, to, step, past):
    """Row i of `number` windows: each of its `columns` pixels gets the slope or nothing, or its share of the mean."""
    for _ in range(number):
        for t in range(0, c, lanes(source)):
            slope, count, place = load_part(source, at + t, c - t), c - t, to + t
            if offsets.size:
                maxima = load_integers(offsets, at + t, slope, count)
            for j in range(columns):
                share = where_equal(maxima, i * ksize + j, slope) if offsets.size else multiply(slope, scale)
                put(target, place + j * c, share, count, past)
        at += c
        to += step


@serial
def apart_rows(eta, index, rows, ksize, stride, past, image):
    """Image rows first:last, counted over all images, where windows do not overlap: each pixel has one at most, and
    none is clipped."""
    (_, oh_n, ow_n, c), (_, h, w, _), (first, last) = eta.shape, image.shape, rows
    source, offsets, target, step = flat(eta), flat(index), flat(image), stride * c
    scale = fill(source, 1 / (ksize * ksize))
    for row in range(first, last):
        n, ih, to = row // h, row % h, row * w * c
        oh, i, end = ih // stride, ih % stride, to + w * c
        if oh >= oh_n or i >= ksize:
            clear(target, to, end)
            continue
        at = (n * oh_n + oh) * ow_n * c
        if ksize == stride == 2:  # sizes that the compiler knows become code without loops
            apart_windows(source, offsets, at, ow_n, c, 2, scale, i, 2, target, to, step, past)
        else:
            apart_windows(source, offsets, at, ow_n, c, ksize, scale, i, ksize, target, to, step, past)
            for window in range(to, to + ow_n * step if ksize < stride else to, step):
                clear(target, window + ksize * c, window + step)
        clear(target, to + ow_n * step, end)


@serial
def overlapping_row(eta, index, n, ih, ksize, stride, h, w, line, to):
    """Row ih of image n, from line[to] on, where windows overlap: the row is summed up in the cache."""
    _, oh_n, ow_n, c = eta.shape
    source, offsets, v = flat(eta), flat(index), lanes(eta)
    clear(line, to, to + w * c)
    for oh in range(max(0, (ih - ksize) // stride + 1), min(oh_n, ih // stride + 1)):
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


@serial
def row_of_3_by_2(eta, index, n, ih, past, image, carry):
    """Row ih of image n for windows of 3 x 3 pixels with stride 2: each pixel is written once.

    A window's third column is the next one's first: `carry` hands its sum on. Adding each window to a row in the cache
    took 1.6 times as long.
    """
    (_, oh_n, ow_n, c), (_, h, w, _), v = eta.shape, image.shape, lanes(eta)
    source, offsets, target, to = flat(eta), flat(index), flat(image), (n * image.shape[1] + ih) * image.shape[2] * c
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


@inline
def overlapping_rows(eta, index, rows, ksize, stride, past, image, line):
    """Image rows first:last, counted over all images."""
    (_, h, w, c), (first, last), target = image.shape, rows, flat(image)
    for row in range(first, last):
        n, ih, length = row // h, row % h, w * c
        if ksize == 3 and stride == 2:
            row_of_3_by_2(eta, index, n, ih, past, image, line)
        elif past:
            overlapping_row(eta, index, n, ih, ksize, stride, h, w, line, np.int64(0))
            for t in range(0, length, lanes(line)):
                stream(target, row * length + t, load(line, t))
        else:
            overlapping_row(eta, index, n, ih, ksize, stride, h, w, target, row * length)


# Two kernels, as each is compiled only where it is needed.
@kernel
def apart_all(eta, index, ksize, stride, past, image, threads):
    rows, block = image.shape[0] * image.shape[1], rows_of_task(image)
    count, counters = (rows + block - 1) // block, task_counters(threads)
    for it in prange(threads):
        thread = np.int64(it)
        task = next_task(counters, thread, count)
        while task < count:
            apart_rows(eta, index, (task * block, min(rows, (task + 1) * block)), ksize, stride, past, image)
            task = next_task(counters, thread, count)


@kernel
def overlapping_all(eta, index, ksize, stride, past, image, lines):
    rows, block = image.shape[0] * image.shape[1], rows_of_task(image)
    count, counters = (rows + block - 1) // block, task_counters(lines.shape[0])
    for it in prange(lines.shape[0]):
        thread = np.int64(it)
        task = next_task(counters, thread, count)
        while task < count:
            some = task * block, min(rows, (task + 1) * block)
            overlapping_rows(eta, index, some, ksize, stride, past, image, lines[thread])
            task = next_task(counters, thread, count)


def backward(eta, index, image_shape, ksize, stride):
    """The gradient of a maximum, or of a mean where `index` is empty."""
    image = empty(image_shape, eta.dtype)
    work, past = MOVE * image.size, streams(image)
    threads = threads_for(work)
    if ksize <= stride:
        apart_all(eta, index, ksize, stride, past, image, threads, work=work, threads=threads)
    else:
        lines = empty((threads, image_shape[2] * image_shape[3]), eta.dtype)
        overlapping_all(eta, index, ksize, stride, past, image, lines, work=work, threads=threads)
    return image


def max_pool_backward(
    eta: np.ndarray, index: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int
) -> np.ndarray:
    return backward(eta, index, image_shape, ksize, stride)


def avg_pool_backward(eta: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int) -> np.ndarray:
    return backward(eta, NO_INDEX, image_shape, ksize, stride)
