"""im2col and its adjoint. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.im2col`."""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.core.copying import clear
from fastcnn.backends.numba.core.jit import MOVE, inline, kernel, prange, serial, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import next_task, task_counters
from fastcnn.backends.numba.core.vectors import flat, lanes, load, store
from fastcnn.backends.numba.product.gemm import even_share
from fastcnn.shapes import conv_output_size

BLOCK_BYTES = 256 << 10  # of the image rows that a task of col2im adds to: they stay in the L2 cache


@inline
def run_of(left, ksize, w, c):
    """The part of a window row of ``ksize * c`` elements that lies inside the image."""
    return max(0, -left) * c, max(0, min(ksize, w - left)) * c


@serial
def gather_row(image, n, oh, stride, before, ksize, oh_n, ow_n, cols):
    """The windows of one output row: each row of a window is one contiguous run of the image.

    Inside the image runs are copied in whole vectors. The last one writes past its run, which the next run, written
    later, repairs. A run is often shorter than a vector (5 elements for a 5x5 kernel on grey images): one load and
    store where a loop over elements took 3 times as long.
    """
    _, h, w, c = image.shape
    source, target = flat(image), flat(cols)
    v, length = lanes(source), ksize * c
    top = oh * stride - before
    to = (n * oh_n + oh) * ow_n * ksize * length
    task_end = to + ow_n * ksize * length
    for ow in range(ow_n):
        left = ow * stride - before
        at = ((n * h + top) * w + left) * c
        inside = 0 <= top <= h - ksize and 0 <= left <= w - ksize
        if inside and to + ksize * length + v <= task_end and at + (ksize - 1) * w * c + length + v <= source.size:
            for _ in range(ksize):
                for t in range(0, length, v):
                    store(target, to + t, load(source, at + t))
                to += length
                at += w * c
            continue
        first, last = run_of(left, ksize, w, c)
        for i in range(ksize):
            begin, end = (first, last) if 0 <= top + i < h else (length, length)
            for t in range(min(begin, length)):
                target[np.uintp(to + t)] = 0
            for t in range(begin, end):
                target[np.uintp(to + t)] = source[np.uintp(at + i * w * c + t)]
            for t in range(end, length):
                target[np.uintp(to + t)] = 0
            to += length


@kernel
def im2col_rows(image, ksize, stride, before, oh_n, ow_n, cols):
    for it in prange(image.shape[0] * oh_n):
        row = np.int64(it)
        gather_row(image, row // oh_n, row % oh_n, stride, before, ksize, oh_n, ow_n, cols)


def im2col(image: np.ndarray, ksize: int, stride: int, padding: tuple[int, int]) -> np.ndarray:
    b, h, w, c = image.shape
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in (h, w))
    cols = empty((b * oh * ow, ksize * ksize * c), image.dtype)
    im2col_rows(image, ksize, stride, padding[0], oh, ow, cols, work=MOVE * cols.size)
    return cols


@serial
def collect_rows(cols, n, first, last, stride, before, ksize, oh_n, ow_n, image):
    """Image rows first:last as the sum of all column entries copied from them: one writer, in a fixed order.

    Columns are read one after another, and the few rows that they add to stay in the cache.
    """
    _, h, w, c = image.shape
    source, target, length = flat(cols), flat(image), ksize * c
    clear(target, (n * h + first) * w * c, (n * h + last) * w * c)
    oh0, oh1 = max(0, (first + before - ksize) // stride + 1), min(oh_n, (last - 1 + before) // stride + 1)
    for oh in range(oh0, oh1):
        top = oh * stride - before
        for ow in range(ow_n):
            left = ow * stride - before
            begin, end = run_of(left, ksize, w, c)
            at, to = ((n * oh_n + oh) * ow_n + ow) * ksize * length, ((n * h + top) * w + left) * c
            for i in range(max(0, first - top), min(ksize, last - top)):
                for t in range(begin, end):
                    target[np.uintp(to + i * w * c + t)] += source[np.uintp(at + i * length + t)]


@kernel
def col2im_rows(cols, ksize, stride, before, oh_n, ow_n, block, image, threads):
    h = image.shape[1]
    blocks = (h + block - 1) // block
    count, counters = image.shape[0] * blocks, task_counters(threads)
    for it in prange(threads):
        thread = np.int64(it)
        task = next_task(counters, thread, count)
        while task < count:
            n, first = task // blocks, task % blocks * block
            collect_rows(cols, n, first, min(h, first + block), stride, before, ksize, oh_n, ow_n, image)
            task = next_task(counters, thread, count)


def col2im(
    cols: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int, padding: tuple[int, int]
) -> np.ndarray:
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in image_shape[1:3])
    image = empty(image_shape, cols.dtype)
    _, h, w, c = image_shape
    block, work = even_share(h, max(ksize, BLOCK_BYTES // (w * c * image.itemsize))), MOVE * cols.size
    threads = threads_for(work)
    col2im_rows(cols, ksize, stride, padding[0], oh, ow, block, image, threads, work=work, threads=threads)
    return image
