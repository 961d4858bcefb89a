"""Convolution without a column matrix. Requires numba. Definition: :mod:`fastcnn.backends.numpy.conv`.

A convolution is a matrix product whose rows of A are the windows of the output pixels. In an NHWC image a window of k
rows is k runs of ``k * channels`` neighbours, so the product reads it where it lies (see `gemm.multiply_rows`). Where
windows reach over the border, a task first copies the part of the image under its windows, with zeros around it.

The input gradient is a convolution too: of `eta` with the weights turned round. With a stride s, the image pixels
fall into s x s classes, each of which sees its own weights (every s-th row and column of them) under stride 1.
"""

from __future__ import annotations

import itertools

import numpy as np

from fastcnn.backends.numba.copying import lowest, windows
from fastcnn.backends.numba.gemm import (
    bias_row,
    even_share,
    multiply_rows,
    pack_panel,
    padded,
    panel_width,
    row_tables,
    vector_lanes,
)
from fastcnn.backends.numba.jit import MOVE, SMALL_WORK, kernel, prange, serial, threads_for
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.simd import lanes
from fastcnn.backends.numba.tasks import next_task
from fastcnn.shapes import conv_output_size

PIXELS = 192  # output pixels of one task: A and C stay in the L2 cache while the weights pass by
MIN_TASKS = 16  # fewer than that, and tasks are cut by output channels as well
FEW_PIXELS = 1024  # with so few output pixels, packing the weights costs more than it saves


@serial
def grid_offsets(rows, columns, row_step, column_step, table):
    """Offsets of a grid of pixels."""
    i = 0
    for r in range(rows):
        for c in range(columns):
            table[i] = r * row_step + c * column_step
            i += 1


@serial
def close_gate(out, gate, to, rows, columns, row, column, channels):
    """Set a grid of pixels to 0 wherever `gate`, an array like `out`, is not 0 or larger."""
    for r in range(rows):
        for c in range(columns):
            at = to + r * row + c * column
            for t in range(channels):
                if not gate[np.uintp(at + t)] >= 0:
                    out[np.uintp(at + t)] = 0


@serial
def rows_of_windows(image, n, r0, rows, columns, window, floor, weights, panel, bias, out, gate, grid, scratch, tables):
    """`rows` rows of output pixels from r0 on, `columns` each, written grid[1] and grid[2] elements apart from grid[0].

    `window` is (top, left) of the first window, the stride, and the height and width of a window; `panel` the first of
    the output channels, their number, and the distance of rows of the weights, 0 if they are packed.
    """
    (top, left, stride, kh, kw), (first, outputs, ldb), (to, row, column) = window, panel, grid
    channels, pixels = image.shape[3], rows * columns
    a_rows, c_rows = tables[0, :pixels], tables[1, :pixels]
    height, width = (rows - 1) * stride + kh, (columns - 1) * stride + kw
    a, length = windows(image, n, r0 * stride + top, left, height, width, floor, scratch)
    grid_offsets(rows, columns, stride * length, stride * channels, a_rows)
    grid_offsets(rows, columns, row, column, c_rows)
    target, q = out.reshape(-1), first if ldb else first * kh * kw * channels
    run, to = (length, kh, 1, kw * channels), to + first
    multiply_rows(a, a_rows, run, weights, q, ldb, target, to, c_rows, outputs, bias[first:], False)
    if gate.size:
        close_gate(target, gate.reshape(-1), to, rows, columns, row, column, outputs)


@kernel
def convolve(image, size, window, floor, weights, ldb, bias, out, gate, place, cut, scratch, tables):
    """size[0] x size[1] windows of each image, written to out[:, place[0] :: place[2], place[1] :: place[2]].

    A task is cut[0] rows of windows and cut[1] output channels.
    """
    (rows, columns), (y, x, step), (block, width) = size, place, cut
    _, oh, ow, outputs = out.shape
    blocks, parts = (rows + block - 1) // block, (outputs + width - 1) // width
    count, counter = image.shape[0] * blocks * parts, np.zeros(1, np.int64)
    for it in prange(scratch.shape[0]):
        memory, table, task = scratch[np.int64(it)], tables[np.int64(it)], next_task(counter)
        while task < count:
            n, r0, first = task // (blocks * parts), task // parts % blocks * block, task % parts * width
            some, panel = min(block, rows - r0), (first, min(width, outputs - first), ldb)
            grid = ((n * oh + y + r0 * step) * ow + x) * outputs, step * ow * outputs, step * outputs
            rows_of_windows(
                image, n, r0, some, columns, window, floor, weights, panel, bias, out, gate, grid, memory, table
            )
            task = next_task(counter)


@kernel
def pack_weights(weights, turned, first, step, taps, panels):
    """Pack the weights of a convolution as `gemm.multiply_rows` reads them.

    Rows run over taps[0] x taps[1] taps and input channels, columns over output channels. `turned`: taps first[i],
    first[i] + step, ... in reverse order, and the channels exchanged.
    """
    k, _, inputs, outputs = weights.shape
    b, v = weights.reshape(-1), lanes(panels)
    rows, n = (outputs, inputs) if turned else (inputs, outputs)
    count, depth = (n + 2 * v - 1) // (2 * v), taps[0] * taps[1] * rows
    for it in prange(taps[0] * taps[1] * count):
        tap, j = np.int64(it) // count, np.int64(it) % count * 2 * v
        i0, i1 = tap // taps[1], tap % taps[1]
        if turned:
            i0, i1 = first[0] + step * (taps[0] - 1 - i0), first[1] + step * (taps[1] - 1 - i1)
        at = (i0 * k + i1) * inputs * outputs
        b_row, b_col = (1, outputs) if turned else (outputs, 1)
        width = panel_width(n, j, v)
        to = j * depth + tap * rows * width
        pack_panel(b, at + j * b_col, b_row, b_col, rows, min(width, n - j), width, panels, to)


def run(image, size, window, floor, weights, ldb, bias, out, gate, place):
    """Launch `convolve` with its scratch memory."""
    (rows, columns), (_, _, stride, kh, kw), (batch, _, _, channels) = size, window, image.shape
    work = batch * rows * columns * kh * kw * channels * out.shape[3]
    threads, block = threads_for(work), even_share(rows, max(1, PIXELS // columns))
    few = batch * -(-rows // block) < MIN_TASKS
    cut = block, 2 * vector_lanes(image.dtype) if few and work >= SMALL_WORK else max(1, out.shape[3])
    area = ((block - 1) * stride + kh) * ((columns - 1) * stride + kw)
    scratch = empty((threads, area * channels), image.dtype)
    tables = row_tables(block * columns, threads)
    convolve(image, size, window, floor, weights, ldb, bias, out, gate, place, cut, scratch, tables, threads=threads)


def conv_forward(x, weights, bias, stride, padding, rectify=False):
    k, _, inputs, outputs = weights.shape
    size = tuple(conv_output_size(length, k, stride, padding) for length in x.shape[1:3])
    out = empty((len(x), *size, outputs), x.dtype)
    if outputs % (2 * vector_lanes(x.dtype)) == 0 and len(x) * size[0] * size[1] <= FEW_PIXELS:
        panels, ldb, start = weights.reshape(-1), outputs, bias
    else:
        panels, ldb, start = empty((k * k * inputs * padded(outputs, x.dtype),), x.dtype), 0, bias_row(bias, outputs)
        pack_weights(weights, False, (0, 0), 1, (k, k), panels, work=MOVE * weights.size)
    window = -padding[0], -padding[0], stride, k, k
    run(x, size, window, lowest(x, rectify), panels, ldb, start, out, out[:0], (0, 0, 1))
    return out


def conv_input_gradient(eta, weights, image_shape, stride, padding, gate=None):
    k, _, inputs, outputs = weights.shape
    image = empty(image_shape, eta.dtype)
    gate = image[:0] if gate is None else gate
    bias = np.zeros(padded(inputs, eta.dtype), eta.dtype)
    panels = empty((k * k * outputs * padded(inputs, eta.dtype),), eta.dtype)
    for phase in itertools.product(range(stride), repeat=2):
        # The pixels of this class are first, first + stride, ...; they see the taps phase, phase + stride, ...
        first = tuple((f - padding[0]) % stride for f in phase)
        size = tuple(max(0, -(-(length - f) // stride)) for length, f in zip(image_shape[1:3], first, strict=True))
        taps = tuple(max(0, -(-(k - f) // stride)) for f in phase)
        top, left = ((o + padding[0] - f) // stride - t + 1 for o, f, t in zip(first, phase, taps, strict=True))
        if 0 in size:
            continue
        pack_weights(weights, True, phase, stride, taps, panels, work=MOVE * weights.size)
        run(eta, size, (top, left, 1, *taps), lowest(eta, False), panels, 0, bias, image, gate, (*first, stride))
    return image
