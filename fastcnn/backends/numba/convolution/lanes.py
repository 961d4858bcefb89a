"""Convolution of few channels a group, one at best, lane by lane. Requires numba. Definition: `backends.numpy.conv`.

Depthwise convolution has no matrix product: each output channel is the sum over taps of its own channel's pixels times
a weight. Vectors of neighbouring channels are multiplied lane by lane (see `product.lanes`), and are read where they
lie in the image: it comes from memory once, line by line, which is what such a layer costs. With a copy of the rows
under a task's windows it took twice as long. Where a group has several channels, each of them is repeated in registers
for all outputs of the group.

The input's gradient is the same sum over `eta`: with a stride the pixels of the image fall into ``stride`` phases on
each axis, to each of which belong its own taps, and whose pixels lie ``stride`` apart.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.lanes_tables import (
    Phase,
    forward_phases,
    gradient_phases,
    phase_of,
    phases_of,
    rows_of,
    runs_inside,
    table_of,
)
from fastcnn.backends.numba.core.calls import call
from fastcnn.backends.numba.core.copying import close_gate, streams
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import threads_for
from fastcnn.backends.numba.core.memory import empty, zeros
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.product.lane_kind import outputs_of_vector
from fastcnn.backends.numba.product.packing import bias_row, padded, vector_lanes


class Result(NamedTuple):
    """What is made: the array, the gate of a ReLU or nothing, and whether it is written past the caches; rows of
    windows of an image, and of a task."""

    out: Array
    gate: Array
    past: bool
    total: int
    rows: int


@task_kernel
def convolve_lanes(task, image, filters, inputs, result: Result, phases):
    """Some rows of windows of an image. `filters` are (weights, bias, kernel's columns), `inputs` the channels of a
    group, `phases` the tables of rows and columns."""
    (weights, bias, kw), (down, across), out, total = filters, phases, result.out, result.total
    (_, h, w, c), (_, oh, ow, outputs), blocks = image.shape, out.shape, (total + result.rows - 1) // result.rows
    n, start, x, to, q = task // blocks, task % blocks * result.rows, flat(image), flat(out), inputs * outputs
    end = min(total, start + result.rows)
    for t in range(start, end):
        for r in range(down.shape[0]):
            rows = phase_of(down, r)
            first, last, y = runs_inside(rows, t, h)
            line = n * oh + t * rows.made + rows.out
            for k in range(across.shape[0] if rows.first <= t < rows.last else 0):
                columns = phase_of(across, k)
                left, count = columns.first * columns.stride + columns.place, columns.last - columns.first
                at, tap = (n * h + y) * w * c, rows.number * kw + columns.number
                place = (line * ow + columns.first * columns.made + columns.out) * outputs
                runs = (rows.taps if columns.taps else 0), first, last
                numbers = c, rows.apart * w * c, columns.step * q, outputs, rows.step * kw * q, *runs, left, w, count
                pointers = (x, at), (weights, tap * q), (bias, 0), (to, place)
                call(columns.function, pointers, (*numbers, columns.made * outputs, outputs, int(result.past)))
    if result.gate.size:
        rows = phase_of(down, 0)
        low, high = max(0, start * rows.made + rows.out), min(oh, end * rows.made + rows.out)
        close_gate(to, flat(result.gate), (n * oh + low) * ow * outputs, high - low, ow, ow * outputs, outputs, outputs)


def plan(phases: list[list[Phase]], shape: Shape, out_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (image, weights, bias, gate) that makes an array of `out_shape` of one of `shape`; the weights
    are rows of outputs, for each tap one for every channel of a group; bias and gate may be None."""
    (batch, _, _, channels), outputs, dtype, groups = shape, out_shape[3], geometry.dtype, geometry.groups
    inputs, kernel, total = channels // groups, math.prod(geometry.window.ksize), max(p.last for p in phases[0])
    work = math.prod(out_shape) * kernel * inputs
    rows = rows_of(total, batch, work // max(1, batch * total), total)
    tasks, threads = batch * -(-total // rows), threads_for(work, most)
    whole = outputs_of_vector(outputs // groups, vector_lanes(dtype)) == vector_lanes(dtype)
    tables = table_of("multiply", phases, (channels, outputs), groups, geometry)
    zero = zeros((padded(outputs + vector_lanes(dtype), dtype),), dtype)  # vectors that overlap reach further

    def convolve(image: Array, weights: Array, bias: Array | None, gate: Array | None) -> Array:
        out = empty(out_shape, dtype)
        result = out, out[:0] if gate is None else gate, whole and streams(out), total, rows
        filters = weights.reshape(-1), zero if bias is None else bias_row(bias, zero.size), geometry.window.ksize[1]
        convolve_lanes(image, filters, inputs, result, tables, tasks, work=work, threads=threads)
        return out

    return convolve


def forward_plan(shape: Shape, out_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, weights, bias) that convolves arrays of these shapes, by `most` threads at most."""
    convolve = plan(phases_of(geometry.window, forward_phases, out_shape), shape, out_shape, geometry, most)
    return lambda x, weights, bias: convolve(x, weights, bias, None)


def input_gradient_plan(image_shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (eta, weights, gate, bias) that computes it for arrays of these shapes."""
    groups, channels = geometry.groups, image_shape[3]
    phases = phases_of(geometry.window, gradient_phases, image_shape)
    convolve = plan(phases, eta_shape, image_shape, geometry, most)

    def gradient(eta: Array, weights: Array, gate: Array | None, bias: Array | None = None) -> Array:
        taps = weights.reshape(-1, channels // groups, groups, eta_shape[3] // groups)
        return convolve(eta, np.ascontiguousarray(taps.transpose(0, 3, 2, 1)), bias, gate)

    return gradient
