"""Input gradient of a convolution without a column matrix. Requires numba. Definition: `backends.numpy.conv`.

The column matrix of the gradient is ``eta @ weights'``: a few rows of pixels at a time it is computed into the cache,
and added from there to the windows that it belongs to. Any stride, no multiplication by zeros, and no more of the
weights' columns than there are, where a convolution of `eta` with the flipped weights has all of these.

A task is an image, or a band of its rows, and some of its channels: each element has one writer and a fixed order of
summation. Bands that share windows compute them twice.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Cut, Gated, Geometry, Window
from fastcnn.backends.numba.core.copying import add_run, clear, close_gate, run_of
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import serial, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.pointwise.activation import relu_backward
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows, offset_tables, product
from fastcnn.backends.numba.product.packing import pack, vector_lanes

COLUMNS = 640  # of a task's product, as nearly as whole vectors of channels allow
BLOCK_BYTES = 192 << 10  # of its column matrix, which stays in the L2 cache
PIXELS = 192  # rows of that matrix at most
MIN_TASKS = 16  # fewer images than that are cut into bands
BAND = 16  # rows of the image at least


class Part(NamedTuple):
    """A part of image n: rows low:high, and `width` channels from `first` on."""

    n: int
    low: int
    high: int
    first: int
    width: int


class Columns(NamedTuple):
    """A column matrix for each thread, a bias of zeros as long as its rows, and tables of offsets."""

    cols: Array
    zeros: Array
    tables: Array


@serial
def add_windows(cols, length, rows, columns, window, part, image):
    """Add the rows of `cols`, `length` apart, to a `Part`: those of the pixels in `rows` (first, number)."""
    (_, h, w, c), (k, stride, before), target, at = image.shape, window, flat(image), 0
    for row in range(rows[0], rows[0] + rows[1]):
        top = row * stride - before
        for column in range(columns):
            left = column * stride - before
            for i in range(max(0, part.low - top), min(k, part.high - top)):
                to, line = ((part.n * h + top + i) * w + left) * c + part.first, at + i * k * part.width
                if part.width == c:
                    begin, end = run_of(left, k, w, c)
                    add_run(target, to + begin, cols, line + begin, end - begin)
                else:
                    for j in range(max(0, -left), min(k, w - left)):
                        add_run(target, to + j * c, cols, line + j * part.width, part.width)
            at += length


@serial
def clear_rows(image, part, low, high):
    """Set rows low:high of a `Part` to 0."""
    (_, h, w, c), target = image.shape, flat(image)
    start, end = (part.n * h + low) * w * c, (part.n * h + max(low, high)) * w * c
    if part.width == c:
        clear(target, start, end)
        return
    for at in range(start + part.first, end, c):
        clear(target, at, at + part.width)


@task_kernel
def input_gradient(task, thread, eta, weights, window: Window, cut: Cut, result: Gated, memory: Columns):
    """`cut` rows of an image and `cut` of its channels, whose weights lie packed one after another.

    Rows are cleared just before the first windows reach them, and gated once the last have: they stay in the cache.
    """
    image, (k, stride, before), cols, tables = result.image, window, memory.cols[thread], memory.tables
    (_, oh, ow, outputs), (_, h, w, c), length = eta.shape, image.shape, memory.zeros.size
    bands, parts = (h + cut.rows - 1) // cut.rows, (c + cut.channels - 1) // cut.channels
    n, low, first = task // (bands * parts), task // parts % bands * cut.rows, task % parts * cut.channels
    high, width = min(h, low + cut.rows), min(cut.channels, c - first)
    part, source, zero = Part(n, low, high, first, width), flat(eta), np.int64(0)
    row, last = max(0, (low + before - k) // stride + 1), min(oh, (high - 1 + before) // stride + 1)
    panels, cleared, done = Panels(weights, task % parts * (weights.size // parts), zero), low, low
    while row < last:
        rows = min(cut.block, last - row)
        end = min(high, (row + rows - 1) * stride - before + k)
        clear_rows(image, part, cleared, end)
        cleared = max(cleared, end)
        a, pixels = source[(n * oh + row) * ow * outputs :], rows * ow
        here = pixels * outputs
        target = Target(cols, zero, tables[2, :pixels], k * k * width)
        some, ahead = Rows(a, tables[0, :pixels], tables[1, :outputs]), Prefetch(a, here, min(a.size, 2 * here))
        multiply_rows(some, panels, target, memory.zeros, ahead)
        add_windows(cols, length, (row, rows), ow, window, part, image)
        row += rows
        end = min(cleared, row * stride - before) if row < last else cleared
        if result.gate.size and end > done:
            at = (n * h + done) * w * c + first
            close_gate(flat(image), flat(result.gate), at, end - done, w, w * c, c, width)
            done = end
    clear_rows(image, part, cleared, high)


def input_gradient_plan(image_shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (eta, weights, gate) that computes it for arrays of these shapes, by `most` threads at most."""
    (batch, oh, ow, outputs), (_, h, _, c), (k, stride, padding, _, dtype) = eta_shape, image_shape, geometry
    if k == stride == 1 and padding == (0, 0):
        return by_pixels
    lane = vector_lanes(dtype)
    part = min(c, max(1, COLUMNS // (k * k * lane)) * lane)
    parts, length = -(-c // part), -(-k * k * part // (2 * lane)) * 2 * lane
    band = even_share(h, max(BAND, -(-h * batch * parts // MIN_TASKS)))
    block = even_share(oh, max(1, min(PIXELS, BLOCK_BYTES // (length * dtype.itemsize)) // max(1, ow)))
    pixels, work, tasks = (block * ow, 1), math.prod(eta_shape) * k * k * c, batch * -(-h // band) * parts
    threads = threads_for(work, most)
    tables = offset_tables((*pixels, outputs, 0), (1, outputs, 0, 1), (*pixels, length, 0))
    arrays = layout(dtype, (parts * length * outputs,), (threads, block * ow * length))
    window, cut, start = (k, stride, padding[0]), (band, part, block), zeros((length,), dtype)

    def gradient(eta: Array, weights: Array, gate: Array | None) -> Array:
        image, (panels, cols) = empty(image_shape, dtype), workspace(arrays)
        for first in range(0, c, part):
            some = weights if part == c else copy_of(weights[:, :, first : first + part])
            columns, to = some.size // outputs, first // part * length * outputs
            pack((some.reshape(-1), 1, outputs), (outputs, columns), outputs, panels[to:])
        result = image, image[:0] if gate is None else gate
        input_gradient(eta, panels, window, cut, result, (cols, start, tables), tasks, work=work, threads=threads)
        return image

    return gradient


def copy_of(array: Array) -> Array:
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def by_pixels(eta: Array, weights: Array, gate: Array | None) -> Array:
    """The same for kernels of one pixel: a product of matrices."""
    (*pixels, outputs), inputs = eta.shape, weights.shape[2]
    image = product(eta.reshape(-1, outputs), weights.reshape(inputs, outputs).T).reshape(*pixels, inputs)
    return image if gate is None else relu_backward(gate, image)
