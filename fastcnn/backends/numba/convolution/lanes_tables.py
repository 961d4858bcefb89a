"""How a convolution lane by lane goes over an image: what a task copies, and where pixels and taps lie. Requires numba.

The kernels are in :mod:`fastcnn.backends.numba.convolution.lanes` and `lanes_weights`; all here follows from shapes.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.core.copying import lowest
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.memory import zeros
from fastcnn.backends.numba.core.tasks import even_share
from fastcnn.backends.numba.product.lanes import ROWS, RUNS
from fastcnn.backends.numba.product.packing import vector_lanes
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


class Phase(NamedTuple):
    """Pixels of the result that have the same taps: rows of windows (first, last) of an image, columns in each of them;
    how many runs of taps, and the fields of their `Run`."""

    first: int
    last: int
    columns: int
    runs: int
    taps: int
    pixel: int
    apart: int
    step: int


class Tables(NamedTuple):
    """For each phase a `Phase`; offsets of the pixels of a line in what is copied and in the result, of its runs in
    what is copied and in the weights; and the elements of a line of both."""

    phases: Array
    pixels: Array
    results: Array
    places: Array
    weights: Array
    lines: Pair


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


def run_of_taps(taps: Taps, axis: Axis, rows: int) -> Pair:
    """The taps of a run on the axis across, and the number of one less that of the tap before it; a run is one tap
    where `product.lanes` knows no such runs. `rows` are those of a kernel whose runs of three are taken three by three,
    or 0."""
    numbers, offsets = ([pair[k] for pair in sorted(taps.taps, key=lambda pair: pair[1])] for k in (0, 1))
    steps, count = {after - before for before, after in itertools.pairwise(numbers)}, len(numbers)
    neighbours = count and offsets == list(range(offsets[0], offsets[0] + count)) and len(steps) == 1
    known = (count, axis.step) in RUNS and taps.last - taps.first >= ROWS and (count != 3 or rows % 3 == 0)
    return (count, steps.pop()) if neighbours and known else (1, 0)


def tables_of(axes: tuple[Axis, Axis], part: Copied, made: Pair, wide: int, sums: bool = False) -> Tables:
    """The offsets for a result of `made` (pixels of a row, channels), whose weights have rows of `wide` elements; for
    the `sums` of its weights' gradient where that is asked for."""
    (down, across), (width, channels) = axes, made
    line, ksize = across.copied * part.width, sum(len(taps.taps) for taps in across.phases)
    phases, pixels, results, places, weights = ([] for _ in range(5))
    for r, c in ((r, c) for r in down.phases for c in across.phases):
        columns = np.arange(c.first, c.last)
        count, apart = run_of_taps(c, across, len(r.taps) if sums else 0)
        pixels.append(columns * across.step * part.width)
        results.append((r.shift * width + columns * across.made + c.shift + across.begin) * channels)
        starts = sorted(c.taps, key=lambda pair: pair[1])[::count] if count > 1 else c.taps
        runs = [(i, at, j, to, k) for k in range(part.inputs) for i, at in r.taps for j, to in starts]
        places.append(np.array([at * line + to * part.width + k * part.apart for _, at, _, to, k in runs], np.int64))
        weights.append(np.array([((i * ksize + j) * part.inputs + k) * wide for i, _, j, _, k in runs], np.int64))
        step = apart * part.inputs * wide
        facts = r.first, r.last, columns.size, len(runs), count, part.width, across.step, step
        phases.append(np.array(facts, np.int64))
    lines = down.step * line, down.made * width * channels
    return Tables(np.stack(phases), stacked(pixels), stacked(results), stacked(places), stacked(weights), lines)


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
