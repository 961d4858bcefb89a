"""Convolution of few channels a group, one at best, lane by lane. Requires numba. Definition: `backends.numpy.conv`.

Depthwise convolution has no matrix product: each output channel is the sum over taps of its own channel's pixels times
a weight. Vectors of neighbouring channels are multiplied lane by lane (see `product.lanes`). A task first copies the
rows of the image under its windows, with zeros around them: from there all vectors are read where they lie. Of many
channels it takes some, as pixels that are 2048 bytes apart evict each other from the L1 cache. Where a group has
several channels, it makes as many copies, in each of which every output's place holds the channel that meets it.

The input's gradient is the same sum over `eta`: with a stride the pixels of the image fall into ``stride`` phases on
each axis, to each of which belong its own taps, and whose pixels lie ``stride`` apart.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.lanes_tables import (
    Axis,
    Copied,
    Phase,
    Tables,
    axes_of,
    cut_of,
    forward_axis,
    gradient_axis,
    tables_of,
)
from fastcnn.backends.numba.core.copying import close_gate, crop, crop_channels, streams
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import inline, serial, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.transpose import repeat_in_groups
from fastcnn.backends.numba.core.vectors import flat, lanes, store
from fastcnn.backends.numba.product.arguments import Prefetch
from fastcnn.backends.numba.product.lanes import Lines, Run, Weights, multiply_lines
from fastcnn.backends.numba.product.packing import bias_row, vector_lanes


class Result(NamedTuple):
    """What is made: the array, the gate of a ReLU or nothing, and whether it is written past the caches; rows of
    windows of an image, the rows that each makes, and the first one's place."""

    out: Array
    gate: Array
    past: bool
    total: int
    step: int
    begin: int


@inline
def phase_of(phases, f):
    p = phases[f]
    return Phase(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7])


@inline
def repeat_pair(source, at, target, to, apart):
    """Copies 0 and 1 of a vector of groups of two channels."""
    store(target, to, repeat_in_groups(source, at, 2, 0))
    store(target, to + apart, repeat_in_groups(source, at, 2, 1))


@inline
def repeat_four(source, at, target, to, apart):
    """Copies 0 to 3 of a vector of groups of four channels."""
    store(target, to, repeat_in_groups(source, at, 4, 0))
    store(target, to + apart, repeat_in_groups(source, at, 4, 1))
    store(target, to + 2 * apart, repeat_in_groups(source, at, 4, 2))
    store(target, to + 3 * apart, repeat_in_groups(source, at, 4, 3))


@serial
def spread_channels(source, pixels, channels, part, target):
    """Copy c of `part.inputs`: target[c, p, o] = source[p, channel c of the group of output o], of so many channels."""
    inputs, outputs, v = part.inputs, part.outputs, lanes(source)
    if inputs == outputs and inputs in (2, 4) and channels % v == 0 and v % 4 == 0:
        for at in range(0, pixels * channels, v):  # element by element, the copies took as long as the products
            if inputs == 2:
                repeat_pair(source, at, target, at, part.apart)
            else:
                repeat_four(source, at, target, at, part.apart)
        return
    for c in range(inputs):
        for p in range(pixels):
            at, to = p * channels + c, c * part.apart + p * part.width
            for first in range(0, channels // inputs * outputs, outputs):
                value = source[np.uintp(at)]
                for o in range(first, first + outputs):
                    target[np.uintp(to + o)] = value
                at += inputs


@inline
def copy_rows(image, n, row, rows, some, part, scratch, spread):
    """Copy the rows of image n under `rows` rows of a task from `row` on, with zeros around them, every channel of the
    outputs `some` (first, number) at its place."""
    corner, sizes = (row * part.step + part.top, part.left), (rows * part.step + part.more, part.columns)
    if part.inputs == part.outputs == 1:
        if some[1] == image.shape[3]:
            crop(image, n, corner[0], corner[1], sizes[0], sizes[1], part.floor, spread)
        else:
            crop_channels(image, n, corner, sizes, some, part.floor, spread, part.width)
    else:
        channels = some[0] // part.outputs * part.inputs, some[1] // part.outputs * part.inputs
        crop_channels(image, n, corner, sizes, channels, part.floor, scratch, channels[1])
        spread_channels(scratch, sizes[0] * sizes[1], channels[1], part, spread)


@inline
def rows_after(image, n, row, part):
    """The `Prefetch` of the rows of image n that the task after this one, which begins at `row`, copies first: all of
    its channels are near each other. Without it the copy waits for memory, and the sums for the copy."""
    (_, h, w, c), rows = image.shape, part.rows * part.step
    first = (n * h + max(0, row * part.step + part.top + part.more)) * w * c if part.width == c else image.size
    return Prefetch(flat(image), min(image.size, first), min(image.size, first + rows * w * c))


@task_kernel
def convolve_lanes(task, thread, image, filters, part: Copied, result: Result, tables: Tables, memory):
    """Some rows of windows of an image, and some outputs. `filters` are (weights, bias), `memory` (what is copied, and
    with every output's channel at its place) for each thread."""
    (weights, bias), out, step, (scratch, spread) = filters, result.out, result.step, memory
    (_, h, w, c), blocks = out.shape, (result.total + part.rows - 1) // part.rows
    parts = (c + part.width - 1) // part.width
    n, start, o = task // (blocks * parts), task // parts % blocks * part.rows, task % parts * part.width
    count, top, some = min(part.rows, result.total - start), start * step + result.begin, (o, min(part.width, c - o))
    copy_rows(image, n, start, count, some, part, scratch[thread], spread[thread])
    ahead = rows_after(image, n, start + count, part)
    for f in range(tables.phases.shape[0]):
        phase = phase_of(tables.phases, f)
        first, last = max(0, phase.first - start), min(count, phase.last - start)
        if first < last:
            pixels = Lines(spread[thread], first * tables.lines[0], tables.pixels[f, : phase.columns], tables.lines[0])
            place = (n * h + top) * w * c + first * tables.lines[1] + o
            to = Lines(flat(out), place, tables.results[f, : phase.columns], tables.lines[1])
            taps = Weights(weights[o:], tables.weights[f, : phase.runs], tables.places[f, : phase.runs], bias[o:])
            run = Run(phase.taps, phase.pixel, phase.apart, phase.step)
            multiply_lines(pixels, taps, run, to, (last - first, some[1]), result.past, ahead)
    if result.gate.size:
        low, high = max(0, top), min(h, top + count * step)
        close_gate(flat(out), flat(result.gate), (n * h + low) * w * c + o, high - low, w, w * c, c, some[1])


def plan(axes: tuple[Axis, Axis], shape: Shape, out_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (image, rows of weights, bias, gate) that makes an array of `out_shape` of one of `shape`; bias
    and gate may be None."""
    (batch, _, _, channels), (_, _, w, made), dtype, down = shape, out_shape, geometry.dtype, axes[0]
    wide = -(-made // vector_lanes(dtype)) * vector_lanes(dtype)
    part, *areas = cut_of(axes, batch, channels, made, geometry)
    tables = tables_of(axes, part, (w, made), wide)
    work, tasks = math.prod(out_shape) * math.prod(geometry.window.ksize) * part.inputs, -(-made // part.width)
    threads, tasks = threads_for(work, most), tasks * batch * -(-down.total // part.rows)
    arrays, zero = layout(dtype, *((threads, area) for area in areas)), zeros((wide,), dtype)

    def convolve(image: Array, weights: Array, bias: Array | None, gate: Array | None) -> Array:
        out, memory = empty(out_shape, dtype), tuple(workspace(arrays))
        filters = padded_rows(weights, wide).reshape(-1), zero if bias is None else bias_row(bias, wide)
        result = out, out[:0] if gate is None else gate, streams(out), down.total, down.made, down.begin
        convolve_lanes(image, filters, tuple(part), result, tables, memory, tasks, work=work, threads=threads)
        return out

    return convolve


def padded_rows(weights: Array, wide: int) -> Array:
    """A matrix whose rows have `wide` columns."""
    if weights.shape[1] == wide:
        return weights
    rows = zeros((len(weights), wide), weights.dtype)
    rows[:, : weights.shape[1]] = weights
    return rows


def forward_plan(shape: Shape, out_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, weights, bias) that convolves arrays of these shapes, by `most` threads at most."""
    convolve = plan(axes_of(geometry.window, forward_axis, out_shape), shape, out_shape, geometry, most)
    return lambda x, weights, bias: convolve(x, weights.reshape(-1, weights.shape[3]), bias, None)


def input_gradient_plan(image_shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (eta, weights, gate, bias) that computes it for arrays of these shapes."""
    groups, channels = geometry.groups, image_shape[3]
    axes = axes_of(geometry.window, gradient_axis, image_shape)
    convolve = plan(axes, eta_shape, image_shape, geometry, most)

    def gradient(eta: Array, weights: Array, gate: Array | None, bias: Array | None = None) -> Array:
        taps = weights.reshape(-1, channels // groups, groups, eta_shape[3] // groups)
        rows = np.ascontiguousarray(taps.transpose(0, 3, 2, 1)).reshape(-1, channels)
        return convolve(eta, rows, bias, gate)

    return gradient
