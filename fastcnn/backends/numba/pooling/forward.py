"""Max and average pooling, forward. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`.

A task is some rows of outputs.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from fastcnn.backends import pool_index_dtype, pool_no_index
from fastcnn.backends.numba.core.arithmetic import add, at_least, divide, fill
from fastcnn.backends.numba.core.copying import lowest
from fastcnn.backends.numba.core.jit import MOVE, inline, kernel, prange, serial, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import next_task, task_counters
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part
from fastcnn.backends.numba.select import store_integers, where_larger, where_passes
from fastcnn.config import get_num_threads

TASK_BYTES = 32 << 10  # of the image: some 2 us


@inline
def rows_of_task(image):
    """Rows that make a task of `TASK_BYTES`."""
    return max(1, TASK_BYTES // (max(1, image.shape[2] * image.shape[3]) * image.itemsize))


@inline
def max_windows(source, corner, step, w, c, number, size, ksize, floor, nowhere, target, offsets, to):
    """Some windows of a row, `number` of them, `size` (rows, columns) large and `step` apart from `corner` on."""
    (rows, columns), low = size, fill(source, floor)
    for _ in range(number):
        for t in range(0, c, lanes(source)):
            count, offset = c - t, fill(source, 0)
            first = load_part(source, corner + t, count)
            best = at_least(first, low)
            for i in range(rows):
                for j in range(columns):
                    if i + j > 0:
                        value = load_part(source, corner + (i * w + j) * c + t, count)
                        offset = where_larger(value, best, fill(source, i * ksize + j), offset)
                        best = where_larger(value, best, value, best)
            if floor == 0:
                offset = where_passes(best, first, offset, fill(source, nowhere))
            store_part(target, to + t, best, count)
            store_integers(offsets, to + t, offset, count)
        corner += step
        to += c


@inline
def row_of_windows(x_shape, out_shape, row, ksize, stride):
    """Of an output row, counted over all images: its place in its image, the first element of its first window, its
    own first element, and how many of its windows, from the first on, are not clipped."""
    (_, h, w, c), (_, oh_n, ow_n, _) = x_shape, out_shape
    oh = row % oh_n
    whole = max(0, min(ow_n, (w - ksize) // stride + 1)) if oh * stride + ksize <= h else 0
    return oh, (row // oh_n * h + oh * stride) * w * c, row * ow_n * c, whole


@serial
def max_rows(x, rows, ksize, stride, floor, nowhere, out, index):
    """Output rows first:last, counted over all images."""
    (_, h, w, c), ow_n, (first, last) = x.shape, out.shape[2], rows
    source, target, offsets, step = flat(x), flat(out), flat(index), stride * c
    for row in range(first, last):
        oh, corner, to, whole = row_of_windows(x.shape, out.shape, row, ksize, stride)
        # Sizes that the compiler knows become code without loops.
        if ksize == 2:
            max_windows(source, corner, step, w, c, whole, (2, 2), 2, floor, nowhere, target, offsets, to)
        elif ksize == 3:
            max_windows(source, corner, step, w, c, whole, (3, 3), 3, floor, nowhere, target, offsets, to)
        else:
            whole = 0
        for ow in range(whole, ow_n):
            size, at = (min(ksize, h - oh * stride), min(ksize, w - ow * stride)), corner + ow * step
            max_windows(source, at, step, w, c, 1, size, ksize, floor, nowhere, target, offsets, to + ow * c)


@kernel
def max_all(x, ksize, stride, floor, nowhere, out, index, threads):
    rows, block = out.shape[0] * out.shape[1], rows_of_task(x)
    count, counters = (rows + block - 1) // block, task_counters(threads)
    for it in prange(threads):
        thread = np.int64(it)
        task = next_task(counters, thread, count)
        while task < count:
            some = task * block, min(rows, (task + 1) * block)
            max_rows(x, some, ksize, stride, floor, nowhere, out, index)
            task = next_task(counters, thread, count)


@functools.lru_cache(maxsize=256)
def plan(shape, ksize, stride, rectify, dtype, most):
    """Multiply-adds, threads, the output's shape, the dtype of offsets, that of no pixel, and the least maximum."""
    (b, h, w, c), nowhere = shape, pool_no_index(ksize)
    work, out_shape = MOVE * math.prod(shape), (b, h // stride, w // stride, c)
    return (
        work,
        threads_for(work, most),
        out_shape,
        pool_index_dtype(ksize),
        dtype.type(nowhere),
        lowest(dtype, rectify),
    )


def max_pool_forward(x: np.ndarray, ksize: int, stride: int, rectify: bool = False) -> tuple[np.ndarray, np.ndarray]:
    work, threads, shape, offsets, nowhere, floor = plan(x.shape, ksize, stride, rectify, x.dtype, get_num_threads())
    out, index = empty(shape, x.dtype), empty(shape, offsets)
    max_all(x, ksize, stride, floor, nowhere, out, index, threads, work=work, threads=threads)
    return out, index


@inline
def mean_windows(source, corner, step, w, c, number, size, target, to):
    """Some windows of a row, `number` of them, `size` (rows, columns) large and `step` apart from `corner` on."""
    (rows, columns), pixels = size, fill(source, size[0] * size[1])
    for _ in range(number):
        for t in range(0, c, lanes(source)):
            total = fill(source, 0)
            for i in range(rows):
                for j in range(columns):
                    total = add(total, load_part(source, corner + (i * w + j) * c + t, c - t))
            store_part(target, to + t, divide(total, pixels), c - t)
        corner += step
        to += c


@serial
def mean_rows(x, rows, ksize, stride, out):
    """Output rows first:last, counted over all images."""
    (_, h, w, c), ow_n, (first, last) = x.shape, out.shape[2], rows
    source, target, step = flat(x), flat(out), stride * c
    for row in range(first, last):
        oh, corner, to, whole = row_of_windows(x.shape, out.shape, row, ksize, stride)
        if ksize == 2:
            mean_windows(source, corner, step, w, c, whole, (2, 2), target, to)
        elif ksize == 3:
            mean_windows(source, corner, step, w, c, whole, (3, 3), target, to)
        else:
            whole = 0
        for ow in range(whole, ow_n):
            size = min(ksize, h - oh * stride), min(ksize, w - ow * stride)
            mean_windows(source, corner + ow * step, step, w, c, 1, size, target, to + ow * c)


@kernel
def mean_all(x, ksize, stride, out, threads):
    rows, block = out.shape[0] * out.shape[1], rows_of_task(x)
    count, counters = (rows + block - 1) // block, task_counters(threads)
    for it in prange(threads):
        thread = np.int64(it)
        task = next_task(counters, thread, count)
        while task < count:
            mean_rows(x, (task * block, min(rows, (task + 1) * block)), ksize, stride, out)
            task = next_task(counters, thread, count)


def avg_pool_forward(x: np.ndarray, ksize: int, stride: int) -> np.ndarray:
    work, threads, shape, *_ = plan(x.shape, ksize, stride, False, x.dtype, get_num_threads())
    out = empty(shape, x.dtype)
    mean_all(x, ksize, stride, out, threads, work=work, threads=threads)
    return out
