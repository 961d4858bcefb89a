"""Input gradient of a convolution without a column matrix. Requires numba. Definition: `backends.numpy.conv`.

The column matrix of the gradient is ``eta @ weights'``: a few rows of pixels at a time it is computed into the cache,
and added from there to the windows that it belongs to. Any stride, no multiplication by zeros, and no more of the
weights' columns than there are, where a convolution of `eta` with the flipped weights has all of these.

A task is an image, or a band of its rows, and some of its channels: each element has one writer and a fixed order of
summation. Bands that share windows compute them twice. Each group of channels is a product of its own; groups of a few
channels are one task, as two threads should not write to one cache line.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Cut, Gated, Geometry, GroupedWindow
from fastcnn.backends.numba.core.copying import add_run, clear, close_gate, run_of
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import serial, threads_for
from fastcnn.backends.numba.core.memory import copy_of, empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.pointwise.activation import relu_backward
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows, offset_tables, product
from fastcnn.backends.numba.product.packing import pack, vector_lanes
from fastcnn.windows import Window, reach_of

COLUMNS = 640  # of a task's product, as nearly as whole vectors of channels allow
BLOCK_BYTES = 192 << 10  # of its column matrix, which stays in the L2 cache
PIXELS = 192  # rows of that matrix at most
MIN_TASKS = 16  # fewer images than that are cut into bands
BAND = 16  # rows of the image at least, and twice what a window reaches over
LINE_CHANNELS = 16  # of a group whose channels make a task


class Part(NamedTuple):
    """A part of image n: rows low:high, and `width` channels from `first` on."""

    n: int
    low: int
    high: int
    first: int
    width: int


class Columns(NamedTuple):
    """A column matrix for each thread, a bias as long as its rows, which is 0, and what the image begins with or
    nothing; and tables of offsets."""

    cols: Array
    zeros: Array
    bias: Array
    tables: Array


@serial
def add_windows(cols, length, rows, columns, window, part, image):
    """Add the rows of `cols`, `length` apart, to a `Part`: those of the pixels in `rows` (first, number)."""
    (_, h, w, c), (kh, kw), (sh, sw), target, at = image.shape, window.ksize, window.stride, flat(image), 0
    (dh, dw), ((before, _), (start, _)) = window.dilation, window.padding
    for row in range(rows[0], rows[0] + rows[1]):
        top = row * sh - before
        for column in range(columns):
            left = column * sw - start
            for i in range(max(0, (part.low - top + dh - 1) // dh), min(kh, (part.high - top + dh - 1) // dh)):
                to, line = ((part.n * h + top + i * dh) * w + left) * c + part.first, at + i * kw * part.width
                if part.width == c and dw == 1:
                    begin, end = run_of(left, kw, w, c)
                    add_run(target, to + begin, cols, line + begin, end - begin)
                else:
                    for j in range(max(0, (dw - 1 - left) // dw), min(kw, (w - left + dw - 1) // dw)):
                        add_run(target, to + j * dw * c, cols, line + j * part.width, part.width)
            at += length


@serial
def begin_rows(image, bias, part, low, high):
    """Set rows low:high of a `Part` to its channels' bias, or to 0 where that is empty."""
    (_, h, w, c), target = image.shape, flat(image)
    start, end = (part.n * h + low) * w * c, (part.n * h + max(low, high)) * w * c
    if part.width == c and not bias.size:
        clear(target, start, end)
        return
    for at in range(start + part.first, end, c):
        if bias.size:
            for t in range(part.width):
                target[np.uintp(at + t)] = bias[np.uintp(part.first + t)]
        else:
            clear(target, at, at + part.width)


@task_kernel
def input_gradient(task, thread, eta, weights, window: GroupedWindow, cut: Cut, result: Gated, memory: Columns):
    """`cut` rows of an image, `cut` of its groups and channels of each, whose weights lie packed one after another.

    Rows are begun just before the first windows reach them, and gated once the last have: they stay in the cache.
    """
    image, cols, tables, (stride, _) = result.image, memory.cols[thread], memory.tables, window.stride
    (_, oh, ow, outputs), (_, h, w, c), length, ((before, _), _) = (
        eta.shape,
        image.shape,
        memory.zeros.size,
        window.padding,
    )
    taps, reach = window.ksize[0] * window.ksize[1], (window.ksize[0] - 1) * window.dilation[0] + 1
    groups = window.groups
    inputs, each = c // groups, outputs // groups
    bands, across = (h + cut.rows - 1) // cut.rows, (inputs + cut.channels - 1) // cut.channels
    parts = groups // cut.groups * across
    n, low, group = task // (bands * parts), task // parts % bands * cut.rows, task % parts // across * cut.groups
    high, begin = min(h, low + cut.rows), task % across * cut.channels
    width, first = min(cut.channels, inputs - begin), group * inputs + begin
    part, source, zero = Part(n, low, high, first, cut.groups * width), flat(eta), np.int64(0)
    row, last = max(0, (low + before - reach) // stride + 1), min(oh, (high - 1 + before) // stride + 1)
    size, cleared, done = weights.size // (groups * across), low, low
    while row < last:
        rows = min(cut.block, last - row)
        end = min(high, (row + rows - 1) * stride - before + reach)
        begin_rows(image, memory.bias, part, cleared, end)
        cleared = max(cleared, end)
        a, pixels = source[(n * oh + row) * ow * outputs :], rows * ow
        here = pixels * outputs
        target = Target(cols, zero, tables[2, :pixels], taps * width)
        ahead = Prefetch(a, here, min(a.size, 2 * here))
        for g in range(group, group + cut.groups):
            some = Rows(a[g * each :], tables[0, :pixels], tables[1, :each])
            panels = Panels(weights, (g * across + task % across) * size, zero)
            multiply_rows(some, panels, target, memory.zeros, ahead)
            own = Part(n, low, high, g * inputs + begin, width)
            add_windows(cols, length, (row, rows), ow, window, own, image)
        row += rows
        end = min(cleared, row * stride - before) if row < last else cleared
        if result.gate.size and end > done:
            at = (n * h + done) * w * c + first
            close_gate(flat(image), flat(result.gate), at, end - done, w, w * c, c, part.width)
            done = end
    begin_rows(image, memory.bias, part, cleared, high)


def input_gradient_plan(image_shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (eta, weights, gate, bias) that computes it for arrays of these shapes, by `most` threads at
    most."""
    (batch, oh, ow, outputs), (_, h, _, c), (window, groups, _, dtype) = eta_shape, image_shape, geometry
    inputs, each, taps, lane = c // groups, outputs // groups, math.prod(window.ksize), vector_lanes(dtype)
    if groups == 1 and window == Window((1, 1)):
        return by_pixels
    part = min(inputs, max(1, COLUMNS // (taps * lane)) * lane)
    across, length = -(-inputs // part), -(-taps * part // (2 * lane)) * 2 * lane
    together = groups if inputs < LINE_CHANNELS and across == 1 else 1  # else their channels are no neighbours
    parts, reach = groups // together * across, reach_of(window.ksize[0], window.dilation[0])
    band = even_share(h, max(BAND, 2 * reach, -(-h * batch * parts // MIN_TASKS)))
    block = even_share(oh, max(1, min(PIXELS, BLOCK_BYTES // (length * dtype.itemsize)) // max(1, ow)))
    pixels, work, tasks = (block * ow, 1), math.prod(eta_shape) * taps * inputs, batch * -(-h // band) * parts
    threads = threads_for(work, most)
    tables = offset_tables((*pixels, outputs, 0), (1, each, 0, 1), (*pixels, length, 0))
    arrays = layout(dtype, (groups * across * length * each,), (threads, block * ow * length))
    cut, start = (band, together, part, block), zeros((length,), dtype)

    def gradient(eta: Array, weights: Array, gate: Array | None, bias: Array | None = None) -> Array:
        image, (panels, cols) = empty(image_shape, dtype), workspace(arrays)
        for number in range(groups * across if across > 1 else 0):
            g, first = number // across, number % across * part
            some = copy_of(weights[:, :, first : first + part, g * each : (g + 1) * each])
            columns, to = some.size // each, number * length * each
            pack((some.reshape(-1), 1, each), (each, columns), each, panels[to : to + length * each])
        if across == 1:
            pack((weights.reshape(-1), 1, outputs), (each, taps * inputs), each, panels, groups, each)
        result, memory = (
            (image, image[:0] if gate is None else gate),
            (cols, start, start[:0] if bias is None else bias, tables),
        )
        given = eta, panels, (*window, groups), cut, result, memory
        input_gradient(*given, tasks, work=work, threads=threads)
        return image

    return gradient


def by_pixels(eta: Array, weights: Array, gate: Array | None, bias: Array | None = None) -> Array:
    """The same for kernels of one pixel: a product of matrices."""
    (*pixels, outputs), inputs = eta.shape, weights.shape[2]
    image = product(eta.reshape(-1, outputs), weights.reshape(inputs, outputs).T, bias).reshape(*pixels, inputs)
    return image if gate is None else relu_backward(gate, image)
