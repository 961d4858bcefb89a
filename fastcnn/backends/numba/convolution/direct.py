"""Convolution without a column matrix. Requires numba. Definition: :mod:`fastcnn.backends.numpy.conv`.

A convolution is a matrix product whose rows of A are the windows of the output pixels. In an NHWC image a window of k
rows is k runs of ``k * channels`` neighbours, so the product reads it where it lies (see `gemm.multiply_rows`). Where
windows reach over the border, a task first copies the part of the image under its windows, with zeros around it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Cut, Filters, Geometry, Memory, Windows
from fastcnn.backends.numba.core.copying import crop, lowest
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import SMALL_WORK, inline, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace
from fastcnn.backends.numba.core.tasks import even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows, offset_tables
from fastcnn.backends.numba.product.packing import bias_row, pack, padded, vector_lanes

PIXELS = 192  # output pixels of one task: A and C stay in the L2 cache while the weights pass by
MIN_TASKS = 16  # fewer than that, and tasks are cut by output channels as well
FEW_PIXELS = 1024  # with so few output pixels, packing the weights costs more than it saves


class Blocks(NamedTuple):
    """Rows of output pixels that a task takes at a time, and how it finds their windows."""

    rows: int
    windows: tuple[int, int, int, bool, np.floating]  # the fields of a `Windows`
    area: int  # elements under the windows of a block, where they are copied
    tables: Array  # offsets of pixels in the image, of the elements of a window, of rows of `outputs` elements


def blocks_of(shape: Shape, out_shape: Shape, geometry: Geometry) -> Blocks:
    (_, _, w, channels), (_, oh, ow, outputs), (k, stride, padding, rectify, dtype) = shape, out_shape, geometry
    in_place, rows = padding == (0, 0) and not rectify, even_share(oh, max(1, PIXELS // max(1, ow)))
    length = (w if in_place else (ow - 1) * stride + k) * channels
    tables = offset_tables(
        (rows, ow, stride * length, stride * channels),
        (k, k * channels, length, 1),
        (max(rows * ow, k * k * channels), 1, outputs, 0),
    )
    area = 0 if in_place else ((rows - 1) * stride + k) * length
    return Blocks(rows, (k, stride, padding[0], in_place, lowest(dtype, rectify)), area, tables)


@inline
def under_windows(image, n, start, rows, columns, windows, scratch):
    """The part of image n under `rows` rows of `windows` from `start` on, where it lies or copied to `scratch`.

    Inline: a function cannot return what `flat` makes.
    """
    (_, h, w, c), k, stride = image.shape, windows.ksize, windows.stride
    if windows.in_place:
        return flat(image)[(n * h + start * stride) * w * c :]
    top, height, width = start * stride - windows.before, (rows - 1) * stride + k, (columns - 1) * stride + k
    crop(image, n, top, -windows.before, height, width, windows.floor, scratch)
    return scratch


@task_kernel
def convolve(task, thread, image, windows: Windows, filters: Filters, out, cut: Cut, memory: Memory):
    """`cut` rows of output pixels of an image, and `cut` of their channels."""
    (_, oh, columns, outputs), tables = out.shape, memory.tables
    blocks, parts = (oh + cut.rows - 1) // cut.rows, (outputs + cut.channels - 1) // cut.channels
    n, start, first = task // (blocks * parts), task // parts % blocks * cut.rows, task % parts * cut.channels
    rows, depth = min(cut.rows, oh - start), windows.ksize * windows.ksize * image.shape[3]
    pixels, a = rows * columns, under_windows(image, n, start, rows, columns, windows, memory.scratch[thread])
    panels = Panels(filters.weights, first if filters.step else first * depth, filters.step)
    to, width = (n * oh + start) * columns * outputs + first, min(cut.channels, outputs - first)
    source, target = Rows(a, tables[0, :pixels], tables[1, :depth]), Target(flat(out), to, tables[2, :pixels], width)
    nothing = Prefetch(a, np.int64(0), np.int64(0))  # for rows of A that follow each other it took 2 % longer
    multiply_rows(source, panels, target, filters.bias[first:], nothing)


def forward_plan(shape: Shape, out_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, weights, bias) that convolves arrays of these shapes, by `most` threads at most."""
    rows, windows, area, tables = blocks_of(shape, out_shape, geometry)
    (batch, oh, ow, outputs), dtype = out_shape, geometry.dtype
    pixels, depth, wide = batch * oh * ow, geometry.ksize**2 * shape[3], padded(outputs, dtype)
    blocks, work = batch * -(-oh // rows), pixels * depth * outputs
    few = blocks < MIN_TASKS and work >= SMALL_WORK
    threads, channels = threads_for(work, most), 2 * vector_lanes(dtype) if few else outputs
    tasks, cut = blocks * -(-outputs // channels), (rows, channels, rows)
    step = outputs if outputs == wide and pixels <= FEW_PIXELS else 0
    arrays = layout(dtype, (0 if step else depth * wide,), (threads, area))

    def forward(x: Array, weights: Array, bias: Array) -> Array:
        out, packed, (panels, scratch) = empty(out_shape, dtype), weights.reshape(-1), workspace(arrays)
        if not step:
            pack((packed, outputs, 1), (depth, outputs), depth, panels)
            packed = panels
        filters, memory = (packed, step, bias_row(bias, wide)), (scratch, panels, tables)
        convolve(x, windows, filters, out, cut, memory, tasks, work=work, threads=threads)
        return out

    return forward
