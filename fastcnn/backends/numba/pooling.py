"""Max and average pooling. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`.

Forward, a task is one row of outputs. Backward, it is one row of the image, which gathers from every window that
covers it: each element has one writer and a fixed order of summation, also where windows overlap. The row is summed up
in the cache and, where the image is large, written past the caches (see `stream_row`).
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends import pool_index_dtype, pool_no_index
from fastcnn.backends.numba.copying import clear, lowest, streams
from fastcnn.backends.numba.jit import MOVE, inline, kernel, prange, serial, threads_for
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.select import load_integers, store_integers, where_equal, where_larger, where_passes
from fastcnn.backends.numba.simd import (
    add,
    divide,
    fill,
    lanes,
    load,
    load_part,
    multiply,
    store_part,
    stream,
)
from fastcnn.backends.numba.tasks import next_task, task_counters

TASK_BYTES = 32 << 10  # of the image: some 2 us
NO_INDEX = np.empty((0, 0, 0, 0), np.uint8)


@inline
def rows_of_task(image):
    """Rows that make a task of `TASK_BYTES`."""
    return max(1, TASK_BYTES // (max(1, image.shape[2] * image.shape[3]) * image.itemsize))


@inline
def max_windows(x, n, oh, windows, size, ksize, stride, floor, nowhere, out, index):
    """Windows first:last of an output row, each `size` (rows, columns) large."""
    (_, h, w, c), (first, last), (rows, columns) = x.shape, windows, size
    source, target, offsets = x.reshape(-1), out.reshape(-1), index.reshape(-1)
    low = fill(source, floor)
    for ow in range(first, last):
        corner = ((n * h + oh * stride) * w + ow * stride) * c
        to = ((n * out.shape[1] + oh) * out.shape[2] + ow) * c
        for t in range(0, c, lanes(source)):
            best, offset, count = low, fill(source, 0), c - t
            for i in range(rows):
                for j in range(columns):
                    value = load_part(source, corner + (i * w + j) * c + t, count)
                    offset = where_larger(value, best, fill(source, i * ksize + j), offset)
                    best = where_larger(value, best, value, best)
            if floor == 0:
                offset = where_passes(best, load_part(source, corner + t, count), offset, fill(source, nowhere))
            store_part(target, to + t, best, count)
            store_integers(offsets, to + t, offset, count)


@inline
def whole_windows(shape, oh, ksize, stride, last):
    """Windows of an output row, from the first on, that are not clipped."""
    return min(last, (shape[2] - ksize) // stride + 1) if oh * stride + ksize <= shape[1] else 0


@serial
def max_row(x, n, oh, ksize, stride, floor, nowhere, out, index):
    last = out.shape[2]
    whole = whole_windows(x.shape, oh, ksize, stride, last)
    # Sizes that the compiler knows become code without loops.
    if ksize == 2:
        max_windows(x, n, oh, (0, whole), (2, 2), 2, stride, floor, nowhere, out, index)
    elif ksize == 3:
        max_windows(x, n, oh, (0, whole), (3, 3), 3, stride, floor, nowhere, out, index)
    else:
        whole = 0
    for ow in range(whole, last):
        size = min(ksize, x.shape[1] - oh * stride), min(ksize, x.shape[2] - ow * stride)
        max_windows(x, n, oh, (ow, ow + 1), size, ksize, stride, floor, nowhere, out, index)


@kernel
def max_rows(x, ksize, stride, floor, nowhere, out, index, threads):
    oh_n = out.shape[1]
    rows, block = out.shape[0] * oh_n, rows_of_task(x)
    count, counters = (rows + block - 1) // block, task_counters(threads)
    for it in prange(threads):
        thread = np.int64(it)
        task = next_task(counters, thread, count)
        while task < count:
            for row in range(task * block, min(rows, (task + 1) * block)):
                max_row(x, row // oh_n, row % oh_n, ksize, stride, floor, nowhere, out, index)
            task = next_task(counters, thread, count)


def max_pool_forward(x: np.ndarray, ksize: int, stride: int, rectify: bool = False) -> tuple[np.ndarray, np.ndarray]:
    b, h, w, c = x.shape
    out = empty((b, h // stride, w // stride, c), x.dtype)
    index = empty(out.shape, pool_index_dtype(ksize))
    threads = threads_for(MOVE * x.size)
    max_rows(x, ksize, stride, lowest(x, rectify), pool_no_index(ksize), out, index, threads, threads=threads)
    return out, index


@serial
def apart_row(eta, index, n, ih, ksize, stride, past, image):
    """Row ih of image n where windows do not overlap: each pixel has one window at most."""
    (_, oh_n, ow_n, c), (_, h, w, _) = eta.shape, image.shape
    source, offsets, target, v = eta.reshape(-1), index.reshape(-1), image.reshape(-1), lanes(eta)
    oh, i, row = ih // stride, ih % stride, (n * h + ih) * w * c
    if oh >= oh_n or i >= ksize:
        clear(target, row, row + w * c)
        return
    for ow in range(ow_n):
        at, place = ((n * oh_n + oh) * ow_n + ow) * c, row + ow * stride * c
        columns = min(ksize, w - ow * stride)
        if not index.size:
            scale = fill(source, 1 / (min(ksize, h - oh * stride) * columns))
        for t in range(0, c, v):
            slope, count, to = load_part(source, at + t, c - t), c - t, place + t
            if index.size:
                maxima = load_integers(offsets, at + t, slope, count)
            for j in range(columns):
                share = where_equal(maxima, i * ksize + j, slope) if index.size else multiply(slope, scale)
                if past:
                    stream(target, to, share)
                else:
                    store_part(target, to, share, count)
                to += c
        if columns < stride:
            clear(target, place + columns * c, place + min(stride, w - ow * stride) * c)
    clear(target, row + ow_n * stride * c, row + w * c)


@serial
def overlapping_row(eta, index, n, ih, ksize, stride, h, w, line, to):
    """Row ih of image n, from line[to] on, where windows overlap: the row is summed up in the cache."""
    _, oh_n, ow_n, c = eta.shape
    source, offsets, v = eta.reshape(-1), index.reshape(-1), lanes(eta)
    clear(line, to, to + w * c)
    for oh in range(max(0, (ih - ksize) // stride + 1), min(oh_n, ih // stride + 1)):
        first, rows = (ih - oh * stride) * ksize, min(ksize, h - oh * stride)
        for ow in range(ow_n):
            at, columns = ((n * oh_n + oh) * ow_n + ow) * c, min(ksize, w - ow * stride)
            if not index.size:
                scale = fill(source, 1 / (rows * columns))
            for t in range(0, c, v):
                slope, count = load_part(source, at + t, c - t), c - t
                place = to + ow * stride * c + t
                if index.size:
                    maxima = load_integers(offsets, at + t, slope, count)
                    for j in range(columns):
                        share = where_equal(maxima, first + j, slope)
                        store_part(line, place, add(load_part(line, place, count), share), count)
                        place += c
                else:
                    share = multiply(slope, scale)
                    for _ in range(columns):
                        store_part(line, place, add(load_part(line, place, count), share), count)
                        place += c


@kernel
def gradient_rows(eta, index, ksize, stride, past, image, lines):
    _, h, w, c = image.shape
    flat, length = image.reshape(-1), w * c
    rows, block = image.shape[0] * h, rows_of_task(image)
    count, counters = (rows + block - 1) // block, task_counters(lines.shape[0])
    for it in prange(lines.shape[0]):
        thread = np.int64(it)
        line, task = lines[thread], next_task(counters, thread, count)
        while task < count:
            for row in range(task * block, min(rows, (task + 1) * block)):
                if ksize <= stride:
                    apart_row(eta, index, row // h, row % h, ksize, stride, past, image)
                elif past:
                    overlapping_row(eta, index, row // h, row % h, ksize, stride, h, w, line, 0)
                    for t in range(0, length, lanes(line)):
                        stream(flat, row * length + t, load(line, t))
                else:
                    overlapping_row(eta, index, row // h, row % h, ksize, stride, h, w, flat, row * length)
            task = next_task(counters, thread, count)


def backward(eta, index, image_shape, ksize, stride):
    """The gradient of a maximum, or of a mean where `index` is empty."""
    image = empty(image_shape, eta.dtype)
    past = streams(image)
    threads = threads_for(MOVE * image.size)
    lines = empty((threads, image_shape[2] * image_shape[3] if past and ksize > stride else 0), eta.dtype)
    gradient_rows(eta, index, ksize, stride, past, image, lines, threads=threads)
    return image


def max_pool_backward(
    eta: np.ndarray, index: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int
) -> np.ndarray:
    return backward(eta, index, image_shape, ksize, stride)


@inline
def mean_windows(x, n, oh, windows, size, stride, out):
    """Windows first:last of an output row, each `size` (rows, columns) large."""
    (_, h, w, c), (first, last), (rows, columns) = x.shape, windows, size
    source, target = x.reshape(-1), out.reshape(-1)
    number = fill(source, rows * columns)
    for ow in range(first, last):
        corner = ((n * h + oh * stride) * w + ow * stride) * c
        to = ((n * out.shape[1] + oh) * out.shape[2] + ow) * c
        for t in range(0, c, lanes(source)):
            total = fill(source, 0)
            for i in range(rows):
                for j in range(columns):
                    total = add(total, load_part(source, corner + (i * w + j) * c + t, c - t))
            store_part(target, to + t, divide(total, number), c - t)


@serial
def mean_row(x, n, oh, ksize, stride, out):
    last = out.shape[2]
    whole = whole_windows(x.shape, oh, ksize, stride, last)
    if ksize == 2:
        mean_windows(x, n, oh, (0, whole), (2, 2), stride, out)
    elif ksize == 3:
        mean_windows(x, n, oh, (0, whole), (3, 3), stride, out)
    else:
        whole = 0
    for ow in range(whole, last):
        size = min(ksize, x.shape[1] - oh * stride), min(ksize, x.shape[2] - ow * stride)
        mean_windows(x, n, oh, (ow, ow + 1), size, stride, out)


@kernel
def mean_rows(x, ksize, stride, out, threads):
    oh_n = out.shape[1]
    rows, block = out.shape[0] * oh_n, rows_of_task(x)
    count, counters = (rows + block - 1) // block, task_counters(threads)
    for it in prange(threads):
        thread = np.int64(it)
        task = next_task(counters, thread, count)
        while task < count:
            for row in range(task * block, min(rows, (task + 1) * block)):
                mean_row(x, row // oh_n, row % oh_n, ksize, stride, out)
            task = next_task(counters, thread, count)


def avg_pool_forward(x: np.ndarray, ksize: int, stride: int) -> np.ndarray:
    b, h, w, c = x.shape
    out = empty((b, h // stride, w // stride, c), x.dtype)
    threads = threads_for(MOVE * x.size)
    mean_rows(x, ksize, stride, out, threads, threads=threads)
    return out


def avg_pool_backward(eta: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int) -> np.ndarray:
    return backward(eta, NO_INDEX, image_shape, ksize, stride)
