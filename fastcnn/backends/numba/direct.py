"""Convolution without a column matrix. Requires numba. Definition: :mod:`fastcnn.backends.numpy.conv`.

A convolution is a matrix product whose rows of A are the windows of the output pixels. In an NHWC image a window of k
rows is k runs of ``k * channels`` neighbours, so the product reads it where it lies (see `gemm.multiply_rows`). Where
windows reach over the border, a task first copies the part of the image under its windows, with zeros around it.

The input gradient is a convolution too: of `eta` with the weights turned round. With a stride s, the image pixels
fall into s x s classes, each of which sees its own weights (every s-th row and column of them) under stride 1.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.gemm import bias_row, multiply_rows, pack_panel, padded, panel_width, row_tables
from fastcnn.backends.numba.jit import MOVE, get_thread_id, inline, kernel, prange, serial
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.simd import lanes
from fastcnn.runtime import get_num_threads
from fastcnn.shapes import conv_output_size

PIXELS = 192  # output pixels of one task: A and C stay in the L2 cache while the weights pass by


@serial
def crop(image, n, top, left, rows, columns, rectify, target):
    """Copy a rectangle of image n, with zeros where it lies outside, and instead of negative values if `rectify`."""
    _, h, w, c = image.shape
    source = image.reshape(-1)
    length = columns * c
    first, last = min(columns, max(0, -left)) * c, max(0, min(columns, w - left)) * c
    for r in range(rows):
        to, at = r * length, ((n * h + top + r) * w + left) * c
        begin, end = (first, last) if 0 <= top + r < h and first < last else (length, length)
        for t in range(begin):
            target[np.uintp(to + t)] = 0
        if rectify:
            for t in range(begin, end):
                value = source[np.uintp(at + t)]
                target[np.uintp(to + t)] = image.dtype.type(0) if value < 0 else value
        else:
            for t in range(begin, end):
                target[np.uintp(to + t)] = source[np.uintp(at + t)]
        for t in range(end, length):
            target[np.uintp(to + t)] = 0


@inline
def windows(image, n, top, left, rows, columns, rectify, scratch):
    """(flat array, length of a row) of a rectangle of image n: in place, or copied to `scratch` if need be."""
    _, h, w, c = image.shape
    if top >= 0 and left >= 0 and top + rows <= h and left + columns <= w and not rectify:
        return image.reshape(-1)[((n * h + top) * w + left) * c :], w * c
    crop(image, n, top, left, rows, columns, rectify, scratch)
    return scratch, columns * c


@serial
def grid_offsets(rows, columns, row_step, column_step, table):
    """Offsets of a grid of pixels."""
    i = 0
    for r in range(rows):
        for c in range(columns):
            table[i] = r * row_step + c * column_step
            i += 1


@serial
def rows_of_windows(
    image,
    n,
    r0,
    rows,
    columns,
    top,
    left,
    stride,
    kh,
    kw,
    rectify,
    weights,
    ldb,
    bias,
    out,
    gate,
    to,
    row,
    column,
    scratch,
    tables,
):
    """`rows` rows of output pixels from r0 on, `columns` each, written `row` and `column` elements apart from `to`."""
    channels, pixels = image.shape[3], rows * columns
    a_rows, c_rows = tables[0, :pixels], tables[1, :pixels]
    height, width = (rows - 1) * stride + kh, (columns - 1) * stride + kw
    a, length = windows(image, n, r0 * stride + top, left, height, width, rectify, scratch)
    grid_offsets(rows, columns, stride * length, stride * channels, a_rows)
    grid_offsets(rows, columns, row, column, c_rows)
    c, gates = out.reshape(-1), gate.reshape(-1)
    run = kw * channels
    multiply_rows(a, a_rows, length, 1, kh, run, weights, 0, ldb, c, to, c_rows, out.shape[3], bias, False, gates)


@kernel
def convolve(
    image, top, left, stride, kh, kw, rectify, weights, ldb, bias, out, gate, first, step, size, block, scratch, tables
):
    """Windows of kh x kw that start at (top, left) and every `stride`: size[0] x size[1] of them for each image, written
    to out[:, first[0] :: step, first[1] :: step]. A task is `block` rows of windows."""
    _, oh, ow, channels = out.shape
    blocks = (size[0] + block - 1) // block
    for it in prange(image.shape[0] * blocks):
        n, r0 = np.int64(it) // blocks, np.int64(it) % blocks * block
        rows, thread = min(block, size[0] - r0), get_thread_id()
        to = ((n * oh + first[0] + r0 * step) * ow + first[1]) * channels
        rows_of_windows(
            image,
            n,
            r0,
            rows,
            size[1],
            top,
            left,
            stride,
            kh,
            kw,
            rectify,
            weights,
            ldb,
            bias,
            out,
            gate,
            to,
            step * ow * channels,
            step * channels,
            scratch[thread],
            tables[thread],
        )


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


def run(image, top, left, stride, taps, rectify, panels, ldb, bias, out, gate, first, step, size):
    """Launch `convolve` with its scratch memory."""
    rows, columns = size
    block = max(1, min(rows, -(-PIXELS // columns)))
    area = ((block - 1) * stride + taps[0]) * ((columns - 1) * stride + taps[1])
    scratch = empty((get_num_threads(), area * image.shape[3]), image.dtype)
    work = len(image) * rows * columns * taps[0] * taps[1] * image.shape[3] * out.shape[3]
    convolve(
        image,
        top,
        left,
        stride,
        *taps,
        rectify,
        panels,
        ldb,
        bias,
        out,
        gate,
        first,
        step,
        size,
        block,
        scratch,
        row_tables(block * columns),
        work=work,
    )


def conv_forward(x, weights, bias, stride, padding, rectify=False):
    k, _, inputs, outputs = weights.shape
    size = tuple(conv_output_size(length, k, stride, padding) for length in x.shape[1:3])
    out = empty((len(x), *size, outputs), x.dtype)
    panels = empty((k * k * inputs * padded(outputs, x.dtype),), x.dtype)
    pack_weights(weights, False, (0, 0), 1, (k, k), panels, work=MOVE * weights.size)
    start = bias_row(bias, outputs, x.dtype)
    run(x, -padding[0], -padding[0], stride, (k, k), rectify, panels, 0, start, out, out[:0], (0, 0), 1, size)
    return out


def conv_input_gradient(eta, weights, image_shape, stride, padding, gate=None):
    k, _, inputs, outputs = weights.shape
    image = empty(image_shape, eta.dtype)
    gate = image[:0] if gate is None else gate
    start = bias_row(None, inputs, eta.dtype)
    panels = empty((k * k * outputs * padded(inputs, eta.dtype),), eta.dtype)
    for p in range(stride):
        for q in range(stride):
            phase = (p, q)
            taps = tuple(-(-(k - f) // stride) if k > f else 0 for f in phase)
            first = tuple((f - padding[0]) % stride for f in phase)
            size = tuple(max(0, -(-(length - f) // stride)) for length, f in zip(image_shape[1:3], first, strict=True))
            if 0 in size:
                continue
            top, left = ((f + padding[0] - o) // stride - (t - 1) for f, t, o in zip(first, taps, phase, strict=True))
            pack_weights(weights, True, phase, stride, taps, panels, work=MOVE * weights.size)
            run(eta, top, left, 1, taps, False, panels, 0, start, image, gate, first, stride, size)
    return image
