"""im2col and its adjoint. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.im2col`."""

import numpy as np

from fastcnn.backends.numba.core.copying import MANY_WINDOWS, add_run, clear, run_of
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import MOVE, inline, serial, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import TASK_BYTES, even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load, store
from fastcnn.windows import Window, reach_of

BLOCK_BYTES = 256 << 10  # of the image rows that a task of col2im adds to: they stay in the L2 cache


@inline
def runs_of(window, c):
    """The runs of neighbours that a row of a window of c channels is: how many, and the pixels of each."""
    (_, kw), (_, dw) = window.ksize, window.dilation
    return (1, kw) if dw == 1 else (kw, 1)


@serial
def gather_row(image, n, row, window, cols):
    """The windows of one output row: each row of a window is one contiguous run of the image, or one a pixel.

    Inside the image runs are copied in whole vectors. The last one writes past its run, which the next run, written
    later, repairs. A run is often shorter than a vector (5 elements for a 5x5 kernel on grey images): one load and
    store where a loop over elements took 3 times as long.
    """
    (_, h, w, c), (_, rows, columns, size), (kh, kw) = image.shape, cols.shape, window.ksize
    (sh, sw), (dh, dw), ((before, _), (start, _)) = window.stride, window.dilation, window.padding
    source, target, reach = flat(image), flat(cols), ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
    (runs, pixels), v, top = runs_of(window, c), lanes(source), row * sh - before
    length, to = pixels * c, (n * rows + row) * columns * size
    task_end = to + columns * size
    for column in range(columns):
        left = column * sw - start
        at = ((n * h + top) * w + left) * c
        inside = 0 <= top <= h - reach[0] and 0 <= left <= w - reach[1]
        if inside and to + size + v <= task_end and at + ((reach[0] - 1) * w + reach[1]) * c + v <= source.size:
            for _ in range(kh):
                for r in range(runs):
                    for t in range(0, length, v):
                        store(target, to + t, load(source, at + r * dw * c + t))
                    to += length
                at += dh * w * c
            continue
        for i in range(kh):
            y = top + i * dh
            for r in range(runs):
                place = at + (i * dh * w + r * dw) * c
                first, last = run_of(left + r * dw, pixels, w, c)
                begin, end = (first, last) if 0 <= y < h else (length, length)
                for t in range(begin):
                    target[np.uintp(to + t)] = 0
                for t in range(begin, end):
                    target[np.uintp(to + t)] = source[np.uintp(place + t)]
                for t in range(end, length):
                    target[np.uintp(to + t)] = 0
                to += length


@task_kernel
def gather_rows(task, image, window: Window, block, cols):
    """`block` output rows, counted over all images."""
    rows = cols.shape[1]
    for row in range(task * block, min(cols.shape[0] * rows, (task + 1) * block)):
        gather_row(image, row // rows, row % rows, window, cols)


def im2col(image: Array, window: Window) -> Array:
    (b, h, w, c), (kh, kw) = image.shape, window.ksize
    oh, ow = window.positions(h, w)
    cols = empty((b, oh, ow, kh * kw * c), image.dtype)
    block = max(1, TASK_BYTES // max(1, ow * kh * kw * c * image.itemsize))
    gather_rows(image, tuple(window), block, cols, -(-b * oh // block), work=MOVE * cols.size)
    return cols.reshape(b * oh * ow, kh * kw * c)


@serial
def add_row_of_windows(cols, n, row, window, size, span, target, to):
    """Add the column entries of an output row of image n, those of the rows `span` (first, last) of its windows.

    Row 0 of these begins at target[to], and `size` (width, channels) is that of an image row.
    """
    (_, rows, columns, length), (_, kw), (_, sw), (dh, dw) = cols.shape, window.ksize, window.stride, window.dilation
    (w, c), source, (_, (start, _)), (runs, pixels) = size, flat(cols), window.padding, runs_of(window, size[1])
    for column in range(columns):
        left = column * sw - start
        for r in range(runs):
            begin, end = run_of(left + r * dw, pixels, w, c)
            at, place = ((n * rows + row) * columns + column) * length + r * c, to + (left + r * dw) * c
            for i in range(span[0], span[1]):
                for t in range(begin, end):
                    target[np.uintp(place + i * dh * w * c + t)] += source[np.uintp(at + i * kw * c + t)]


@task_kernel
def collect_rows(task, thread, cols, window: Window, block, image, sums):
    """`block` rows of an image as the sum of all column entries copied from them: one writer, in a fixed order.

    Columns are read one after another, and the few rows that they add to stay in the cache. Each output row is summed
    up by itself in `sums`, where that is not empty: many windows over a pixel would be a long chain.
    """
    (_, h, w, c), (_, rows, _, _), few = image.shape, cols.shape, sums[thread]
    (kh, _), (stride, _), (dh, _), ((before, _), _) = window.ksize, window.stride, window.dilation, window.padding
    blocks, row, reach = (h + block - 1) // block, w * c, (kh - 1) * dh + 1
    n, first = task // blocks, task % blocks * block
    target, last = flat(image), min(h, first + block)
    clear(target, (n * h + first) * row, (n * h + last) * row)
    for oh in range(max(0, (first + before - reach) // stride + 1), min(rows, (last - 1 + before) // stride + 1)):
        top = oh * stride - before
        span = max(0, (first - top + dh - 1) // dh), min(kh, (last - top + dh - 1) // dh)
        if few.size and span[0] < span[1]:
            begin, end = span[0] * dh * row, ((span[1] - 1) * dh + 1) * row
            clear(few, begin, end)
            add_row_of_windows(cols, n, oh, window, (w, c), span, few, 0)
            add_run(target, (n * h + top) * row + begin, few, begin, end - begin)
        else:
            add_row_of_windows(cols, n, oh, window, (w, c), span, target, (n * h + top) * row)


def col2im(cols: Array, image_shape: Shape, window: Window) -> Array:
    (b, h, w, c), (kh, kw), (sh, sw) = image_shape, window.ksize, window.stride
    oh, ow = window.positions(h, w)
    image, columns = empty(image_shape, cols.dtype), cols.reshape(b, oh, ow, kh * kw * c)
    reach, work = reach_of(kh, window.dilation[0]), MOVE * cols.size
    block = even_share(h, max(reach, BLOCK_BYTES // (w * c * image.itemsize)))
    threads, many = threads_for(work), max(-(-kh // sh), -(-kw // sw)) > MANY_WINDOWS
    sums = empty((threads, reach * w * c * many), image.dtype)
    given = columns, tuple(window), block, image, sums
    collect_rows(*given, b * -(-h // block), work=work, threads=threads)
    return image
