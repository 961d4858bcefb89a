"""Convolution without a column matrix. Requires numba. Definition: :mod:`fastcnn.backends.numpy.conv`.

A convolution is a matrix product whose rows of A are the windows of the output pixels. In an NHWC image a window of k
rows is k runs of ``k * channels`` neighbours, so the product reads it where it lies (see `gemm.multiply_rows`). Where
windows reach over the border, a task first copies the part of the image under its windows, with zeros around it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.core.copying import crop, lowest
from fastcnn.backends.numba.core.jit import SMALL_WORK, inline, kernel, prange, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace
from fastcnn.backends.numba.core.tasks import next_task, task_counters
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.product.gemm import even_share, multiply_rows, offset_tables
from fastcnn.backends.numba.product.packing import bias_row, pack, padded, vector_lanes

PIXELS = 192  # output pixels of one task: A and C stay in the L2 cache while the weights pass by
MIN_TASKS = 16  # fewer than that, and tasks are cut by output channels as well
FEW_PIXELS = 1024  # with so few output pixels, packing the weights costs more than it saves


class Blocks(NamedTuple):
    """Rows of output pixels that a task takes at a time, and how it finds their windows (see `windows`)."""

    rows: int
    window: tuple[int, int, int]
    in_place: bool
    floor: np.floating
    area: int  # elements under the windows of a block, where they are copied
    tables: np.ndarray  # offsets of pixels in the image, of the elements of a window, of rows of `outputs` elements


def blocks_of(shape, out_shape, k, stride, padding, rectify, dtype):
    (_, _, w, channels), (_, oh, ow, outputs) = shape, out_shape
    in_place, rows = padding == (0, 0) and not rectify, even_share(oh, max(1, PIXELS // max(1, ow)))
    length = (w if in_place else (ow - 1) * stride + k) * channels
    tables = offset_tables(
        (rows, ow, stride * length, stride * channels),
        (k, k * channels, length, 1),
        (max(rows * ow, k * k * channels), 1, outputs, 0),
    )
    area = 0 if in_place else ((rows - 1) * stride + k) * length
    return Blocks(rows, (k, stride, padding[0]), in_place, lowest(dtype, rectify), area, tables)


@inline
def windows(image, n, r0, rows, columns, window, in_place, floor, scratch):
    """The part of image n under `rows` rows of windows from r0 on, where it lies or copied to `scratch`.

    `window` is (ksize, stride, zeros before the image). Inline: a function cannot return what `flat` makes.
    """
    (_, h, w, c), (k, stride, before) = image.shape, window
    if in_place:
        return flat(image)[(n * h + r0 * stride) * w * c :]
    top, height, width = r0 * stride - before, (rows - 1) * stride + k, (columns - 1) * stride + k
    crop(image, n, top, -before, height, width, floor, scratch)
    return scratch


@inline
def rows_of_windows(
    image, n, r0, rows, first, width, window, in_place, floor, weights, ldb, bias, out, scratch, tables
):
    """`rows` rows of output pixels from r0 on, and `width` of their channels from `first` on."""
    channels, (_, oh, columns, outputs) = image.shape[3], out.shape
    pixels, depth = rows * columns, window[0] * window[0] * channels
    a = windows(image, n, r0, rows, columns, window, in_place, floor, scratch)
    q, to = first if ldb else first * depth, (n * oh + r0) * columns * outputs + first
    a_rows, a_columns, c_rows = tables[0, :pixels], tables[1, :depth], tables[2, :pixels]
    start, zero = bias[first:], np.int64(0)  # rows of A that follow each other need no prefetching: it took 2 % longer
    multiply_rows(a, a_rows, a_columns, weights, q, ldb, flat(out), to, c_rows, width, start, a, zero, zero)


@kernel
def convolve(image, window, in_place, floor, weights, ldb, bias, out, cut, scratch, tables):
    """Convolve, in tasks of cut[0] rows of windows and cut[1] output channels.

    `weights` are flat, and packed where `ldb` is 0.
    """
    block, width = cut
    _, oh, _, outputs = out.shape
    blocks, parts = (oh + block - 1) // block, (outputs + width - 1) // width
    count, counters = image.shape[0] * blocks * parts, task_counters(scratch.shape[0])
    for it in prange(scratch.shape[0]):
        thread = np.int64(it)
        memory, task = scratch[thread], next_task(counters, thread, count)
        while task < count:
            n, r0, first = task // (blocks * parts), task // parts % blocks * block, task % parts * width
            some, channels = min(block, oh - r0), min(width, outputs - first)
            rows_of_windows(
                image, n, r0, some, first, channels, window, in_place, floor, weights, ldb, bias, out, memory, tables
            )
            task = next_task(counters, thread, count)


def forward_plan(shape, weights_shape, out_shape, stride, padding, rectify, dtype, most):
    """The function of (x, weights, bias) that convolves arrays of these shapes, by `most` threads at most."""
    k, _, inputs, outputs = weights_shape
    rows, window, in_place, floor, area, tables = blocks_of(shape, out_shape, k, stride, padding, rectify, dtype)
    pixels, wide = math.prod(out_shape[:3]), padded(outputs, dtype)
    few, work = shape[0] * -(-out_shape[1] // rows) < MIN_TASKS, pixels * math.prod(weights_shape)
    threads, cut = threads_for(work, most), (rows, 2 * vector_lanes(dtype) if few and work >= SMALL_WORK else outputs)
    ldb = outputs if outputs == wide and pixels <= FEW_PIXELS else 0
    depth = k * k * inputs
    arrays = layout(dtype, (0 if ldb else depth * wide,), (threads, area))

    def forward(x, weights, bias):
        out, start, kernels = empty(out_shape, dtype), bias_row(bias, wide), weights.reshape(-1)
        packed, scratch = workspace(arrays)
        if ldb:
            packed = kernels
        else:
            pack(kernels, outputs, 1, depth, outputs, depth, packed)
        convolve(x, window, in_place, floor, packed, ldb, start, out, cut, scratch, tables, work=work, threads=threads)
        return out

    return forward
