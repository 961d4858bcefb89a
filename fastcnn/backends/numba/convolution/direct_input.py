"""Input gradient of a convolution without a column matrix. Requires numba. Definition: `backends.numpy.conv`.

The column matrix of the gradient is ``eta @ weights'``: a few rows of pixels at a time it is computed into the cache,
and added from there to the windows that it belongs to. Any stride, no multiplication by zeros, and no more of the
weights' columns than there are, where a convolution of `eta` with the weights turned round has all of these.

A task is an image, or a band of its rows, and some of its channels: each element has one writer and a fixed order of
summation. Bands that share windows compute them twice.
"""

from __future__ import annotations

import math

import numpy as np

from fastcnn.backends.numba.convolution.im2col import run_of
from fastcnn.backends.numba.core.arithmetic import add
from fastcnn.backends.numba.core.copying import clear, close_gate
from fastcnn.backends.numba.core.jit import inline, kernel, prange, serial, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import next_task, task_counters
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part
from fastcnn.backends.numba.pointwise.activation import relu_backward
from fastcnn.backends.numba.product.gemm import even_share, multiply_rows, offset_tables, product
from fastcnn.backends.numba.product.packing import pack, vector_lanes

COLUMNS = 640  # of a task's product, as nearly as whole vectors of channels allow
BLOCK_BYTES = 192 << 10  # of its column matrix, which stays in the L2 cache
PIXELS = 192  # rows of that matrix at most
MIN_TASKS = 16  # fewer images than that are cut into bands
BAND = 16  # rows of the image at least


@serial
def add_run(target, to, source, at, count):
    """target[to : to + count] += source[at : at + count]."""
    for t in range(0, count, lanes(target)):
        total = add(load_part(target, to + t, count - t), load_part(source, at + t, count - t))
        store_part(target, to + t, total, count - t)


@serial
def add_windows(cols, length, n, r0, rows, ow, window, band, channels, image):
    """Add the rows of `cols`, `length` apart, to the rows `band` of image n: of `rows` rows of pixels from r0 on."""
    (_, h, w, c), (k, stride, before), (low, high), (first, width) = image.shape, window, band, channels
    target, at = flat(image), 0
    for r in range(r0, r0 + rows):
        top = r * stride - before
        for q in range(ow):
            left = q * stride - before
            for i in range(max(0, low - top), min(k, high - top)):
                to, line = ((n * h + top + i) * w + left) * c + first, at + i * k * width
                if width == c:
                    begin, end = run_of(left, k, w, c)
                    add_run(target, to + begin, cols, line + begin, end - begin)
                else:
                    for j in range(max(0, -left), min(k, w - left)):
                        add_run(target, to + j * c, cols, line + j * width, width)
            at += length


@serial
def clear_rows(image, n, first_row, last_row, channels):
    """Set rows first_row:last_row of image n to 0, or `channels` (first, number) of them."""
    (_, h, w, c), (first, width), target = image.shape, channels, flat(image)
    start, end = (n * h + first_row) * w * c, (n * h + max(first_row, last_row)) * w * c
    if width == c:
        clear(target, start, end)
        return
    for at in range(start + first, end, c):
        clear(target, at, at + width)


@inline
def band_of_image(eta, n, window, band, channels, panels, q, block, image, gate, cols, length, start, tables):
    """The rows `band` of image n, and its `channels` (first, number), whose weights begin at panels[q].

    Rows are cleared just before the first windows reach them, and gated once the last have: they stay in the cache.
    """
    (_, oh, ow, outputs), (_, h, w, c), (k, stride, before) = eta.shape, image.shape, window
    (low, high), (first, width), source = band, channels, flat(eta)
    zero, r0, last = np.int64(0), max(0, (low + before - k) // stride + 1), min(oh, (high - 1 + before) // stride + 1)
    cleared = done = low
    while r0 < last:
        rows = min(block, last - r0)
        end = min(high, (r0 + rows - 1) * stride - before + k)
        clear_rows(image, n, cleared, end, channels)
        cleared = max(cleared, end)
        a, pixels = source[(n * oh + r0) * ow * outputs :], rows * ow
        a_rows, a_columns, c_rows = tables[0, :pixels], tables[1, :outputs], tables[2, :pixels]
        here, columns = pixels * outputs, k * k * width
        soon = min(a.size, 2 * here)
        multiply_rows(a, a_rows, a_columns, panels, q, zero, cols, zero, c_rows, columns, start, a, here, soon)
        add_windows(cols, length, n, r0, rows, ow, window, band, channels, image)
        r0 += rows
        end = min(cleared, r0 * stride - before) if r0 < last else cleared
        if gate.size and end > done:
            close_gate(flat(image), flat(gate), (n * h + done) * w * c + first, end - done, w, w * c, c, width)
            done = end
    clear_rows(image, n, cleared, high, channels)


@kernel
def input_gradient(eta, panels, window, cut, block, image, gate, cols, start, tables):
    """The gradient, in tasks of cut[0] rows of an image and cut[1] of its channels, whose weights lie in `panels`."""
    height, part = cut
    _, h, _, c = image.shape
    bands, parts, length = (h + height - 1) // height, (c + part - 1) // part, start.size
    step, count, counters = panels.size // parts, image.shape[0] * bands * parts, task_counters(cols.shape[0])
    for it in prange(cols.shape[0]):
        thread = np.int64(it)
        memory, task = cols[thread], next_task(counters, thread, count)
        while task < count:
            n, low, first = task // (bands * parts), task // parts % bands * height, task % parts * part
            band, channels = (low, min(h, low + height)), (first, min(part, c - first))
            band_of_image(
                eta,
                n,
                window,
                band,
                channels,
                panels,
                task % parts * step,
                block,
                image,
                gate,
                memory,
                length,
                start,
                tables,
            )
            task = next_task(counters, thread, count)


def input_gradient_plan(eta_shape, weights_shape, image_shape, stride, padding, dtype, most):
    """The function of (eta, weights, gate) that computes it for arrays of these shapes, by `most` threads at most."""
    (batch, oh, ow, outputs), (_, h, _, c), k, lane = eta_shape, image_shape, weights_shape[0], vector_lanes(dtype)
    if k == stride == 1 and padding == (0, 0):
        return by_pixels
    part = min(c, max(1, COLUMNS // (k * k * lane)) * lane)
    tasks, length = batch * -(-c // part), -(-k * k * part // (2 * lane)) * 2 * lane
    band = even_share(h, max(BAND, -(-h * tasks // MIN_TASKS)))
    block = even_share(oh, max(1, min(PIXELS, BLOCK_BYTES // (length * dtype.itemsize)) // max(1, ow)))
    pixels, work = (block * ow, 1), math.prod(eta_shape) * k * k * c
    threads = threads_for(work, most)
    tables = offset_tables((*pixels, outputs, 0), (1, outputs, 0, 1), (*pixels, length, 0))
    arrays = layout(dtype, (-(-c // part) * length * outputs,), (threads, block * ow * length))
    window, cut, start = (k, stride, padding[0]), (band, part), zeros((length,), dtype)

    def gradient(eta, weights, gate):
        image, (panels, cols) = empty(image_shape, dtype), workspace(arrays)
        gate = image[:0] if gate is None else gate
        for first in range(0, c, part):
            some = weights if part == c else copy_of(weights[:, :, first : first + part])
            columns, to = some.size // outputs, first // part * length * outputs
            pack(some.reshape(-1), 1, outputs, outputs, columns, outputs, panels[to:])
        input_gradient(eta, panels, window, cut, block, image, gate, cols, start, tables, work=work, threads=threads)
        return image

    return gradient


def copy_of(array):
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def by_pixels(eta, weights, gate):
    """The same for kernels of one pixel: a product of matrices."""
    (*pixels, outputs), inputs = eta.shape, weights.shape[2]
    image = product(eta.reshape(-1, outputs), weights.reshape(inputs, outputs).T).reshape(*pixels, inputs)
    return image if gate is None else relu_backward(gate, image)
