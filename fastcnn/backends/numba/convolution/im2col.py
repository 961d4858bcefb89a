"""im2col and its adjoint. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.im2col`."""

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Window
from fastcnn.backends.numba.core.copying import MANY_WINDOWS, add_run, clear, run_of
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.jit import MOVE, serial, threads_for
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


@serial
def add_row_of_windows(cols, n, row, window, size, span, target, to):
    """Add the column entries of an output row of image n, those of the rows `span` (first, last) of its windows.

    Row 0 of these begins at target[to], and `size` (width, channels) is that of an image row.
    """
    (_, rows, columns, length), (ksize, stride, before), (w, c), source = cols.shape, window, size, flat(cols)
    for column in range(columns):
        left = column * stride - before
        begin, end = run_of(left, ksize, w, c)
        at, place = ((n * rows + row) * columns + column) * length, to + left * c
        for i in range(span[0], span[1]):
            for t in range(begin, end):
                target[np.uintp(place + i * w * c + t)] += source[np.uintp(at + i * ksize * c + t)]


@task_kernel
def collect_rows(task, thread, cols, window: Window, block, image, sums):
    """`block` rows of an image as the sum of all column entries copied from them: one writer, in a fixed order.

    Columns are read one after another, and the few rows that they add to stay in the cache. Each output row is summed
    up by itself in `sums`, where that is not empty: many windows over a pixel would be a long chain.
    """
    (_, h, w, c), (_, rows, _, _), (ksize, stride, before) = image.shape, cols.shape, window
    blocks, row, few = (h + block - 1) // block, w * c, sums[thread]
    n, first = task // blocks, task % blocks * block
    target, last = flat(image), min(h, first + block)
    clear(target, (n * h + first) * row, (n * h + last) * row)
    for oh in range(max(0, (first + before - ksize) // stride + 1), min(rows, (last - 1 + before) // stride + 1)):
        top = oh * stride - before
        span = max(0, first - top), min(ksize, last - top)
        if few.size:
            clear(few, span[0] * row, span[1] * row)
            add_row_of_windows(cols, n, oh, window, (w, c), span, few, 0)
            add_run(target, (n * h + top + span[0]) * row, few, span[0] * row, (span[1] - span[0]) * row)
        else:
            add_row_of_windows(cols, n, oh, window, (w, c), span, target, (n * h + top) * row)


def col2im(cols: Array, image_shape: Shape, ksize: int, stride: int, padding: Pair) -> Array:
    b, h, w, c = image_shape
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in (h, w))
    image, columns = empty(image_shape, cols.dtype), cols.reshape(b, oh, ow, ksize * ksize * c)
    block, work = even_share(h, max(ksize, BLOCK_BYTES // (w * c * image.itemsize))), MOVE * cols.size
    threads = threads_for(work)
    sums = empty((threads, ksize * w * c * (ksize > MANY_WINDOWS * stride)), image.dtype)
    given = columns, (ksize, stride, padding[0]), block, image, sums
    collect_rows(*given, b * -(-h // block), work=work, threads=threads)
    return image
