"""im2col and its adjoint. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.im2col`."""

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Window
from fastcnn.backends.numba.core.copying import clear, run_of
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.jit import MOVE, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import TASK_BYTES, even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load, store
from fastcnn.shapes import conv_output_size

BLOCK_BYTES = 256 << 10  # of the image rows that a task of col2im adds to: they stay in the L2 cache


@serial
def gather_row(image, n, row, window, cols):
    """The windows of one output row: each row of a window is one contiguous run of the image.

    Inside the image runs are copied in whole vectors. The last one writes past its run, which the next run, written
    later, repairs. A run is often shorter than a vector (5 elements for a 5x5 kernel on grey images): one load and
    store where a loop over elements took 3 times as long.
    """
    (_, h, w, c), (_, rows, columns, size), ksize = image.shape, cols.shape, window.ksize
    source, target = flat(image), flat(cols)
    v, length, top = lanes(source), ksize * c, row * window.stride - window.before
    to = (n * rows + row) * columns * size
    task_end = to + columns * size
    for column in range(columns):
        left = column * window.stride - window.before
        at = ((n * h + top) * w + left) * c
        inside = 0 <= top <= h - ksize and 0 <= left <= w - ksize
        if inside and to + size + v <= task_end and at + (ksize - 1) * w * c + length + v <= source.size:
            for _ in range(ksize):
                for t in range(0, length, v):
                    store(target, to + t, load(source, at + t))
                to += length
                at += w * c
            continue
        first, last = run_of(left, ksize, w, c)
        for i in range(ksize):
            begin, end = (first, last) if 0 <= top + i < h else (length, length)
            for t in range(begin):
                target[np.uintp(to + t)] = 0
            for t in range(begin, end):
                target[np.uintp(to + t)] = source[np.uintp(at + i * w * c + t)]
            for t in range(end, length):
                target[np.uintp(to + t)] = 0
            to += length


@task_kernel
def gather_rows(task, image, window: Window, block, cols):
    """`block` output rows, counted over all images."""
    rows = cols.shape[1]
    for row in range(task * block, min(cols.shape[0] * rows, (task + 1) * block)):
        gather_row(image, row // rows, row % rows, window, cols)


def im2col(image: Array, ksize: int, stride: int, padding: Pair) -> Array:
    b, h, w, c = image.shape
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in (h, w))
    cols = empty((b, oh, ow, ksize * ksize * c), image.dtype)
    block = max(1, TASK_BYTES // max(1, ow * ksize * ksize * c * image.itemsize))
    gather_rows(image, (ksize, stride, padding[0]), block, cols, -(-b * oh // block), work=MOVE * cols.size)
    return cols.reshape(b * oh * ow, ksize * ksize * c)


@task_kernel
def collect_rows(task, cols, window: Window, block, image):
    """`block` rows of an image as the sum of all column entries copied from them: one writer, in a fixed order.

    Columns are read one after another, and the few rows that they add to stay in the cache.
    """
    (_, h, w, c), (_, rows, columns, size), (ksize, stride, before) = image.shape, cols.shape, window
    blocks = (h + block - 1) // block
    n, first = task // blocks, task % blocks * block
    source, target, last = flat(cols), flat(image), min(h, first + block)
    clear(target, (n * h + first) * w * c, (n * h + last) * w * c)
    for row in range(max(0, (first + before - ksize) // stride + 1), min(rows, (last - 1 + before) // stride + 1)):
        top = row * stride - before
        for column in range(columns):
            left = column * stride - before
            begin, end = run_of(left, ksize, w, c)
            at, to = ((n * rows + row) * columns + column) * size, ((n * h + top) * w + left) * c
            for i in range(max(0, first - top), min(ksize, last - top)):
                for t in range(begin, end):
                    target[np.uintp(to + i * w * c + t)] += source[np.uintp(at + i * ksize * c + t)]


def col2im(cols: Array, image_shape: Shape, ksize: int, stride: int, padding: Pair) -> Array:
    b, h, w, c = image_shape
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in (h, w))
    image, columns = empty(image_shape, cols.dtype), cols.reshape(b, oh, ow, ksize * ksize * c)
    block = even_share(h, max(ksize, BLOCK_BYTES // (w * c * image.itemsize)))
    collect_rows(columns, (ksize, stride, padding[0]), block, image, b * -(-h // block), work=MOVE * cols.size)
    return image
