"""Input gradient of a convolution, pixel by pixel. Requires numba. Definition: `backends.numpy.conv`.

With stride 1 it is a convolution of `eta` with the kernel turned round. With stride s, pixel y of an axis meets the
taps k for which ``k * dilation`` leaves the same rest by s as ``y + padding``: pixels with the same rest are a `Phase`,
a convolution of `eta` with some of the taps, written to every s-th pixel. Nothing is multiplied with a zero but at the
border, and each pixel is written once, by one sum.

A task is a block of rows of an image, all phases of it; `eta` under it is copied with zeros around it. Each group of
channels is a product of its own.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Gated, Geometry
from fastcnn.backends.numba.core.copying import close_gate, crop, lowest
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import MOVE, SMALL_WORK, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes
from fastcnn.backends.numba.product.arguments import Matrix, Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows
from fastcnn.backends.numba.product.packing import bias_row, pack_panel, packed_row, padded, panel_width, vector_lanes
from fastcnn.windows import Pair, Window

PIXELS = 256  # of a task and a phase, as in `direct`
MIN_TASKS = 16  # fewer than that, and tasks are cut by channels as well


def pays(image_shape: Shape, eta_shape: Shape, geometry: Geometry) -> bool:
    """Whether this is faster than adding up windows, by 1.0 to 1.6 times: where a group's inputs are a vector, or half
    of one if there are few outputs. With 3 inputs it took three times as long, with 12 and 24 outputs 1.3 times."""
    inputs, outputs = image_shape[3] // geometry.groups, eta_shape[3] // geometry.groups
    lane = vector_lanes(geometry.dtype)
    if geometry.groups == 1 and geometry.window == Window((1, 1)):
        return False  # that is one product
    grouped = geometry.groups > 1 and geometry.window.stride == (1, 1)
    return grouped or inputs >= lane or (2 * inputs >= lane >= outputs)


class Phase(NamedTuple):
    """What pixels of an axis with the same rest have in common.

    taps: those that they meet. shifts: how many pixels before a pixel's own place in eta each of these reads. first: of
    the pixels, counted in strides. number: how many there are.
    """

    taps: tuple[int, ...]
    shifts: tuple[int, ...]
    first: int
    number: int


def phases(size: int, ksize: int, stride: int, dilation: int, before: int) -> list[Phase]:
    """The phases of an axis of `size` pixels, with `before` pixels of padding."""
    found = []
    for rest in range(stride):
        taps = tuple(k for k in range(ksize) if k * dilation % stride == rest)[::-1]  # eta from left to right
        shifts = tuple((k * dilation - rest) // stride for k in taps)
        first, last = -((rest - before) // stride), -((rest - before - size) // stride)
        found.append(Phase(taps, shifts, first, last - first))
    return found


class Axes(NamedTuple):
    """The axes, (rows, columns), for compiled code.

    stride. before: padding. most: the largest shift of all phases. columns: the first place, and how many. floor: what
    no element of eta is below. down, across: of each phase's rows and columns, the first place and the number.
    """

    stride: Pair
    before: Pair
    most: Pair
    columns: Pair
    floor: np.floating
    down: Array
    across: Array


class Packed(NamedTuple):
    """Weights, panel after panel of each phase and group, and the number of each phase's first tap, and of all."""

    weights: Array
    starts: Array


class Cut(NamedTuple):
    """Rows, counted in strides, and channels of a task; groups of channels."""

    rows: int
    channels: int
    groups: int


class Memory(NamedTuple):
    """What a kernel needs for itself: a bias, or zeros; for each thread a copy of eta; and tables of offsets.

    pixels: in the copy, of those of each phase's columns. places: of the same in the image. elements: in the copy, of
    what the sums of each phase read.
    """

    bias: Array
    scratch: Array
    pixels: Array
    places: Array
    elements: Array


@task_kernel
def pack_taps(task, weights, order, starts, groups, panels):
    """One panel of the weights of a phase and group: its rows are (tap, output), its columns input channels."""
    (_, inputs, outputs), v = weights.shape, lanes(panels)
    each, across, wide = outputs // groups, (inputs + 2 * v - 1) // (2 * v), packed_row(inputs, v)
    phase, g, j = task // (groups * across), task // across % groups, task % across * 2 * v
    first, last, width = starts[phase], starts[phase + 1], panel_width(inputs, j, v)
    to = (first * outputs + g * (last - first) * each) * wide + j * (last - first) * each
    for t in range(first, last):
        start = (order[t] * inputs + j) * outputs + g * each
        pack_panel(Matrix(flat(weights), 1, outputs), start, each, min(width, inputs - j), width, panels, to)
        to += each * width


@task_kernel
def gather_pixels(task, thread, eta, packed: Packed, axes: Axes, cut: Cut, result: Gated, memory: Memory):
    """`cut` rows of places of an image, all phases, and `cut` of each group's channels."""
    outputs, image, own, starts, groups = eta.shape[3], result.image, memory.scratch[thread], packed.starts, cut.groups
    (_, h, w, c), (sh, sw), (top, left), target, v = image.shape, axes.stride, axes.before, flat(image), lanes(own)
    inputs, each, low, high, zero = c // groups, outputs // groups, top // sh, (h - 1 + top) // sh + 1, np.int64(0)
    blocks, parts = (high - low + cut.rows - 1) // cut.rows, (inputs + cut.channels - 1) // cut.channels
    n, row, begin = task // (blocks * parts), low + task // parts % blocks * cut.rows, task % parts * cut.channels
    rows, width, wide = min(cut.rows, high - row), min(cut.channels, inputs - begin), packed_row(inputs, v)
    line = axes.columns[1] + axes.most[1]
    crop(eta, n, row - axes.most[0], axes.columns[0] - axes.most[1], rows + axes.most[0], line, axes.floor, own)
    for phase in range(sh * sw):
        py, px = phase // sw, phase % sw
        start, end = max(row, axes.down[py, 0]), min(row + rows, axes.down[py, 0] + axes.down[py, 1])
        taps, count = starts[phase + 1] - starts[phase], max(0, end - start) * axes.across[px, 1]
        at = ((start - row) * line + axes.across[px, 0] - axes.columns[0]) * outputs
        to = ((n * h + start * sh + py - top) * w + axes.across[px, 0] * sw + px - left) * c
        elements = memory.elements[starts[phase] * each : starts[phase + 1] * each]
        for g in range(groups if count > 0 else 0):
            channel = g * inputs + begin
            a = Rows(own[at + g * each :], memory.pixels[px, :count], elements)
            panels = Panels(packed.weights, starts[phase] * outputs * wide + (g * wide + begin) * taps * each, zero)
            c_rows = Target(target, to + channel, memory.places[px, :count], width)
            multiply_rows(a, panels, c_rows, memory.bias[channel:], Prefetch(own, zero, zero))
    if result.gate.size:
        y, end = max(0, row * sh - top), min(h, (row + rows) * sh - top)
        for g in range(groups):
            at = (n * h + y) * w * c + g * inputs + begin
            close_gate(target, flat(result.gate), at, end - y, w, w * c, c, width)


def input_gradient_plan(image_shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (eta, weights, gate, bias) that computes it for arrays of these shapes, by `most` threads at
    most."""
    (batch, _, _, outputs), (_, h, w, c), (window, groups, _, dtype) = eta_shape, image_shape, geometry
    inputs, taps, before = c // groups, math.prod(window.ksize), tuple(before for before, _ in window.padding)
    sizes = zip((h, w), window.ksize, window.stride, window.dilation, before, strict=True)
    axes = rows, columns = [phases(*axis) for axis in sizes]
    down, across = (max(max(phase.shifts, default=0) for phase in axis) for axis in axes)
    ends = [(min(phase.first for phase in axis), max(phase.first + phase.number for phase in axis)) for axis in axes]
    (low, high), (left, right) = ends
    block, line = even_share(high - low, max(1, PIXELS // max(1, right - left))), right - left + across
    blocks, work, wide = batch * -(-(high - low) // block), math.prod(eta_shape) * taps * inputs, padded(inputs, dtype)
    channels = 2 * vector_lanes(dtype) if blocks < MIN_TASKS and work >= SMALL_WORK else inputs
    order, starts = taps_of(rows, columns, window.ksize[1])
    tables = (
        *pixels_of(columns, block, (line, outputs), (w, c), window.stride),
        elements_of(rows, columns, (down, across), (line, outputs, outputs // groups)),
    )
    arrays = layout(dtype, (taps * outputs * wide,), (threads_for(work, most), (block + down) * line * outputs))
    places = [np.array([(phase.first, phase.number) for phase in axis]) for axis in axes]
    given = window.stride, before, (down, across), (left, right - left), lowest(dtype, False), *places
    cut, tasks, zero = (block, channels, groups), blocks * -(-inputs // channels), zeros((c - inputs + wide,), dtype)
    panels_of = (len(starts) - 1) * groups * -(-inputs // (2 * vector_lanes(dtype)))

    def gradient(eta: Array, weights: Array, gate: Array | None, bias: Array | None = None) -> Array:
        image, (panels, scratch) = empty(image_shape, dtype), workspace(arrays)
        three = weights.reshape(taps, inputs, outputs)
        pack_taps(three, order, starts, groups, panels, panels_of, work=MOVE * weights.size)
        start = zero if bias is None else bias_row(bias, zero.size)
        result = image, image[:0] if gate is None else gate
        memory = start, scratch, *tables
        gather_pixels(eta, (panels, starts), given, cut, result, memory, tasks, work=work, threads=len(scratch))
        return image

    return gradient


def taps_of(rows: list[Phase], columns: list[Phase], across: int) -> tuple[Array, Array]:
    """The numbers of all taps, phase after phase, and where each begins."""
    order = [[i * across + j for i in row.taps for j in column.taps] for row in rows for column in columns]
    starts = np.cumsum([0, *map(len, order)])
    return np.array([tap for phase in order for tap in phase], np.int64), starts


def pixels_of(columns: list[Phase], block: int, copy: Pair, image: Pair, stride: Pair) -> tuple[Array, Array]:
    """The offsets of `block` rows of each phase's pixels, in the copy of eta and in the image: of both, (pixels of a
    row, channels)."""
    tables = zeros((2, len(columns), block * max(phase.number for phase in columns)), np.int64)
    for table, (line, channels), (down, across) in zip(tables, (copy, image), ((1, 1), stride), strict=True):
        for number, phase in enumerate(columns):
            grid = np.add.outer(np.arange(block) * down * line, np.arange(phase.number) * across) * channels
            table[number, : grid.size] = grid.reshape(-1)
    return tables[0], tables[1]


def elements_of(rows: list[Phase], columns: list[Phase], shifts: Pair, sizes: tuple[int, int, int]) -> Array:
    """The offsets of what a pixel's sum reads, phase after phase, in the copy of eta; `sizes` are the pixels of a row,
    the channels, and those of a group."""
    line, channels, each = sizes
    pairs = [(i, j) for row in rows for column in columns for i in row.shifts for j in column.shifts]
    places = [((shifts[0] - i) * line + shifts[1] - j) * channels for i, j in pairs]
    return np.add.outer(np.array(places, np.int64), np.arange(each)).reshape(-1)
