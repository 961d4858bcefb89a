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
from fastcnn.backends.numba.core.copying import close_gate, crop, crop_channels, lowest, streams
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.jit import inline, serial, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, task_kernel
from fastcnn.backends.numba.core.transpose import repeat_in_groups
from fastcnn.backends.numba.core.vectors import flat, lanes, store
from fastcnn.backends.numba.product.lanes import Lines, Weights, multiply_lines
from fastcnn.backends.numba.product.packing import bias_row, vector_lanes
from fastcnn.backends.numba.product.sums import LONGEST
from fastcnn.windows import Window

BLOCK_BYTES = 128 << 10  # of the rows that a task copies: they stay in the L2 cache
MIN_TASKS = 16
CHANNELS = 128  # of a task


class Copied(NamedTuple):
    """The part of an image that a task copies: its row `step` times the task's first row plus `top`, column `left`, so
    many rows for each of its `rows` rows of windows and `more`, so many columns; no value below `floor`. Of each group
    of channels `inputs` are summed and `outputs` made; a task makes `width` outputs, and the copies, one for each of
    the inputs, are `apart`."""

    rows: int
    step: int
    top: int
    left: int
    more: int
    columns: int
    floor: np.floating
    inputs: int
    outputs: int
    width: int
    apart: int


class Result(NamedTuple):
    """What is made: the array, the gate of a ReLU or nothing, and whether it is written past the caches; rows of
    windows of an image, the rows that each makes, and the first one's place."""

    out: Array
    gate: Array
    past: bool
    total: int
    step: int
    begin: int


class Phase(NamedTuple):
    """Pixels of the result that have the same taps: rows of windows (first, last) of an image, columns in each of them,
    and how many taps."""

    first: int
    last: int
    columns: int
    taps: int


class Tables(NamedTuple):
    """For each phase a `Phase`; offsets of the pixels of a line in what is copied and in the result, of its taps in
    what is copied and in the weights; and the elements of a line of both."""

    phases: Array
    pixels: Array
    results: Array
    taps: Array
    weights: Array
    lines: Pair


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
    for f in range(tables.phases.shape[0]):
        phase = Phase(tables.phases[f, 0], tables.phases[f, 1], tables.phases[f, 2], tables.phases[f, 3])
        first, last = max(0, phase.first - start), min(count, phase.last - start)
        if first < last:
            pixels = Lines(spread[thread], first * tables.lines[0], tables.pixels[f, : phase.columns], tables.lines[0])
            place = (n * h + top) * w * c + first * tables.lines[1] + o
            to = Lines(flat(out), place, tables.results[f, : phase.columns], tables.lines[1])
            taps = Weights(weights[o:], tables.weights[f, : phase.taps], tables.taps[f, : phase.taps], bias[o:])
            multiply_lines(pixels, taps, to, (last - first, some[1]), result.past)
    if result.gate.size:
        low, high = max(0, top), min(h, top + count * step)
        close_gate(flat(out), flat(result.gate), (n * h + low) * w * c + o, high - low, w, w * c, c, some[1])


class Taps(NamedTuple):
    """Of one phase of an axis: its positions (first, last), its taps, each (number, offset in what is copied), and how
    far the pixels that it makes are from those of the first phase."""

    first: int
    last: int
    taps: list[Pair]
    shift: int


class Axis(NamedTuple):
    """How an axis is gone over: pixels that are copied for each position, and more, the first one's place; how many
    positions, and the phases; pixels of the result for each position, and the first one's place."""

    step: int
    more: int
    top: int
    total: int
    phases: list[Taps]
    made: int = 1
    begin: int = 0

    @property
    def copied(self) -> int:
        """Pixels that all positions need."""
        return self.total * self.step + self.more


def axes_of(window: Window, find: Callable[..., Axis], shape: Shape) -> tuple[Axis, Axis]:
    """Those of images of a `shape` (B, height, width, channels), which `find` makes."""
    rows, columns = (find(*numbers) for numbers in zip(shape[1:3], *window, strict=True))
    return rows, columns


def forward_axis(made: int, ksize: int, stride: int, dilation: int, padding: Pair) -> Axis:
    """Of a convolution that makes so many pixels."""
    taps = [(i, i * dilation) for i in range(ksize)]
    return Axis(stride, (ksize - 1) * dilation + 1 - stride, -padding[0], made, [Taps(0, made, taps, 0)])


def gradient_axis(size: int, ksize: int, stride: int, dilation: int, padding: Pair) -> Axis:
    """Of the gradient of an image of so many pixels: pixel ``stride * t + phase - before`` gets tap i of the window
    number ``t - (i * dilation - phase) / stride``, where that is whole."""
    before, most = padding[0], (ksize - 1) * dilation // stride
    phases = []
    for phase in range(stride):
        taps = [(i, most - (i * dilation - phase) // stride) for i in range(ksize) if i * dilation % stride == phase]
        first, last = (-((phase - limit) // stride) for limit in (before, size + before))
        phases.append(Taps(max(0, first), max(0, last), taps, phase))
    return Axis(1, most, -most, -(-(size + before) // stride), phases, stride, -before)


def tables_of(axes: tuple[Axis, Axis], part: Copied, made: Pair, wide: int) -> Tables:
    """The offsets for a result of `made` (pixels of a row, channels), whose weights have rows of `wide` elements."""
    (down, across), (width, channels) = axes, made
    line, ksize = across.copied * part.width, sum(len(taps.taps) for taps in across.phases)
    phases, pixels, results, taps, weights = ([] for _ in range(5))
    for r, c in ((r, c) for r in down.phases for c in across.phases):
        columns = np.arange(c.first, c.last)
        pixels.append(columns * across.step * part.width)
        results.append((r.shift * width + columns * across.made + c.shift + across.begin) * channels)
        places = [(i, at, j, to, k) for i, at in r.taps for j, to in c.taps for k in range(part.inputs)]
        taps.append(np.array([at * line + to * part.width + k * part.apart for _, at, _, to, k in places], np.int64))
        weights.append(np.array([((i * ksize + j) * part.inputs + k) * wide for i, _, j, _, k in places], np.int64))
        phases.append(np.array([r.first, r.last, columns.size, len(places)], np.int64))
    lines = down.step * line, down.made * width * channels
    return Tables(np.stack(phases), stacked(pixels), stacked(results), stacked(taps), stacked(weights), lines)


def stacked(rows: list[Array]) -> Array:
    """Rows of different lengths as one array, filled up with zeros."""
    table = zeros((len(rows), max(1, *map(len, rows), 1)), np.int64)
    for line, row in zip(table, rows, strict=True):
        line[: row.size] = row
    return table


class Cut(NamedTuple):
    """What a task copies; and how many elements, and with every output's channel at its place."""

    part: Copied
    scratch: int
    spread: int


def cut_of(axes: tuple[Axis, Axis], batch: int, channels: int, outputs: int, geometry: Geometry) -> Cut:
    """Rows that fit into the L2 cache, of as many channels as suit the L1 cache."""
    (down, across), groups, dtype = axes, geometry.groups, geometry.dtype
    inputs, made, lane = channels // groups, outputs // groups, vector_lanes(dtype)
    whole = math.lcm(made, lane)  # outputs of a task are whole groups, and whole vectors
    width = outputs if outputs <= CHANNELS else min(outputs, even_share(outputs, max(1, CHANNELS // whole) * whole, 1))
    width = min(outputs, -(-width // whole) * whole)
    line = across.copied * width * inputs * dtype.itemsize
    fit = (BLOCK_BYTES // max(1, line) - down.more) // down.step
    fit = min(fit, -(-down.total * batch // MIN_TASKS), LONGEST // max(1, across.total))
    rows = even_share(down.total, max(1, fit))
    area = (rows * down.step + down.more) * across.copied
    copied = rows, down.step, down.top, across.top, down.more, across.copied, lowest(dtype, geometry.rectify)
    spread = area * width // made * inputs if inputs * made > 1 else 0
    return Cut(Copied(*copied, inputs, made, width, area * width), spread, area * width * inputs + lane)


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
