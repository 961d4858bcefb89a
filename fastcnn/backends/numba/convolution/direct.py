"""Convolution without a column matrix. Requires numba. Definition: :mod:`fastcnn.backends.numpy.conv`.

A convolution is a matrix product whose rows of A are the windows of the output pixels. In an NHWC image a window of kh
rows is kh runs of ``kw * channels`` neighbours, or with dilation or groups kh * kw shorter ones: the product reads them
where they lie, by a table of offsets (see `gemm.multiply_rows`). Each group of channels is a product of its own. Where
windows reach over the border, a task first copies the part of the image under its windows, with zeros around it.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.constants import made_of, once
from fastcnn.backends.numba.convolution.arguments import Cut, Filters, Geometry, Memory, Windows
from fastcnn.backends.numba.core.copying import crop, lowest
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import SMALL_WORK, inline, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows, offset_tables
from fastcnn.backends.numba.product.packing import bias_row, pack, padded, vector_lanes
from fastcnn.windows import Window

# Output pixels of one task: A and C stay in the L2 cache while the weights pass by, once for each task: of 256 to 256
# channels, 2.3 MiB. Images of 14 x 14 are one task each, and not two, which took a twentieth to a ninth longer.
PIXELS = 256
MIN_TASKS = 16  # fewer than that, and tasks are cut by output channels as well
UNPADDED = ((0, 0), (0, 0))
FEW_PIXELS = 1024  # with so few output pixels, packing the weights costs more than it saves


class Blocks(NamedTuple):
    """Rows of output pixels that a task takes at a time, and how it finds their windows."""

    rows: int
    windows: tuple  # the fields of a `Windows`
    area: int  # elements under the windows of a block, where they are copied
    tables: Array  # offsets of pixels in the image, of the elements of a window, of rows of `outputs` elements


@functools.lru_cache(maxsize=256)
def window_offsets(window: Window, line: int, channels: int, inputs: int) -> Array:
    """Offsets of the elements of a window, `inputs` channels of each pixel, in an image of such `channels` whose rows
    are `line` elements apart."""
    (kh, kw), (dh, dw) = window.ksize, window.dilation
    pixels = np.add.outer(np.arange(kh) * dh * line, np.arange(kw) * dw * channels)
    return np.add.outer(pixels, np.arange(inputs)).reshape(-1)


def blocks_of(shape: Shape, out_shape: Shape, geometry: Geometry, pixels: int) -> Blocks:
    """Blocks of so many output pixels at most, or of one row."""
    (_, _, w, channels), (_, oh, ow, outputs), (window, groups, rectify, dtype) = shape, out_shape, geometry
    (sh, sw), (kh, kw) = window.stride, window.reach
    in_place, rows = window.padding == UNPADDED and not rectify, even_share(oh, max(1, pixels // max(1, ow)))
    length = (w if in_place else (ow - 1) * sw + kw) * channels
    elements = window_offsets(window, length, channels, channels // groups)
    grids = offset_tables((rows, ow, sh * length, sw * channels), (max(rows * ow, elements.size), 1, outputs, 0))
    tables = zeros((3, grids.shape[1]), np.int64)
    tables[0], tables[1, : elements.size], tables[2] = grids[0], elements, grids[1]
    area = 0 if in_place else ((rows - 1) * sh + kh) * length
    return Blocks(rows, (*window, groups, in_place, lowest(dtype, rectify)), area, tables)


@inline
def under_windows(image, n, start, rows, columns, windows, scratch):
    """The part of image n under `rows` rows of `windows` from `start` on, where it lies or copied to `scratch`.

    Inline: a function cannot return what `flat` makes.
    """
    (_, h, w, c), (kh, kw), (sh, sw), (dh, dw) = image.shape, windows.ksize, windows.stride, windows.dilation
    if windows.in_place:
        return flat(image)[(n * h + start * sh) * w * c :]
    top, left = start * sh - windows.padding[0][0], -windows.padding[1][0]
    height, width = (rows - 1) * sh + (kh - 1) * dh + 1, (columns - 1) * sw + (kw - 1) * dw + 1
    crop(image, n, top, left, height, width, windows.floor, scratch)
    return scratch


@task_kernel
def convolve(task, thread, image, windows: Windows, filters: Filters, out, cut: Cut, memory: Memory):
    """`cut` rows of output pixels of an image, and `cut` of the groups and channels of each that these have."""
    (_, oh, columns, outputs), tables, groups = out.shape, memory.tables, windows.groups
    inputs, each = image.shape[3] // groups, outputs // groups
    depth = windows.ksize[0] * windows.ksize[1] * inputs
    blocks, across = (oh + cut.rows - 1) // cut.rows, (each + cut.channels - 1) // cut.channels
    parts, wide = groups // cut.groups * across, filters.weights.size // (groups * depth)
    n, start = task // (blocks * parts), task // parts % blocks * cut.rows
    group, first = task % parts // across * cut.groups, task % across * cut.channels
    rows, width = min(cut.rows, oh - start), min(cut.channels, each - first)
    pixels, a = rows * columns, under_windows(image, n, start, rows, columns, windows, memory.scratch[thread])
    to, nothing = (n * oh + start) * columns * outputs, Prefetch(a, np.int64(0), np.int64(0))
    for g in range(group, group + cut.groups):
        o = g * each + first
        panels = Panels(filters.weights, o if filters.step else (g * wide + first) * depth, filters.step)
        source = Rows(a[g * inputs :], tables[0, :pixels], tables[1, :depth])
        target = Target(flat(out), to + o, tables[2, :pixels], width)
        multiply_rows(source, panels, target, filters.bias[o:], nothing)  # prefetching A took 2 % longer


def forward_plan(shape: Shape, out_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, weights, bias) that convolves arrays of these shapes, by `most` threads at most."""
    rows, windows, area, tables = blocks_of(shape, out_shape, geometry, PIXELS)
    (batch, oh, ow, outputs), (window, groups, _, dtype) = out_shape, geometry
    each, depth = outputs // groups, math.prod(window.ksize) * shape[3] // groups
    pixels, wide = batch * oh * ow, padded(each, dtype)
    blocks, work = batch * -(-oh // rows), pixels * depth * outputs
    few = blocks < MIN_TASKS and work >= SMALL_WORK
    threads, together = threads_for(work, most), 1 if few else groups
    channels = 2 * vector_lanes(dtype) if few else each
    tasks, cut = blocks * groups // together * -(-each // channels), (rows, together, channels, rows)
    step, size = outputs if each == wide and pixels <= FEW_PIXELS else 0, groups * depth * wide
    arrays = layout(dtype, (0 if step else size,), (threads, area))
    rest, key = layout(dtype, (0,), (threads, area)), ("direct", groups, depth)

    def packed(weights: Array, panels: Array) -> Array:
        pack((weights.reshape(-1), outputs, 1), (depth, each), depth, panels, groups, each)
        return panels

    def forward(x: Array, weights: Array, bias: Array) -> Array:
        out, kept = empty(out_shape, dtype), made_of(weights)
        panels, scratch = workspace(arrays if kept is None else rest)
        if kept is not None:
            lie = once(kept, key, lambda: packed(weights, empty((size,), dtype))), 0
        else:
            lie = (weights.reshape(-1), step) if step else (packed(weights, panels), 0)
        filters, memory = (*lie, bias_row(bias, outputs - each + wide)), (scratch, panels, tables)
        convolve(x, windows, filters, out, cut, memory, tasks, work=work, threads=threads)
        return out

    return forward
