"""Weight gradient of a convolution of few channels a group, lane by lane. Requires numba.

Definition: :mod:`fastcnn.backends.numpy.conv`. The sum over pixels of a tap's channels times `eta`: a tile holds the
sums of a few taps. A task is a share of the pixels and some of the channels. Each block of rows is summed up by itself,
blocks are added up in order, and so are shares: no sum is a long chain.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.lanes import (
    Copied,
    axes_of,
    copy_rows,
    cut_of,
    forward_axis,
    stacked,
    tables_of,
)
from fastcnn.backends.numba.core.copying import add_run, clear, crop_channels
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import inline, threads_for
from fastcnn.backends.numba.core.memory import layout, workspace
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes
from fastcnn.backends.numba.product.arguments import Rows, Target
from fastcnn.backends.numba.product.lanes import Pixels, sum_taps
from fastcnn.backends.numba.product.packing import add_up_rows, vector_lanes
from fastcnn.backends.numba.product.sums import LONGEST, add_up

MAX_TASKS = 16
PART_BYTES = 32 << 20  # of all shares together
STRIP = 8  # columns


class Offsets(NamedTuple):
    """Of pixels in what is copied of x, and their numbers in eta; those for a block of rows and for the last one of an
    image, both in strips of columns. Of taps in what is copied and in the sums of a block."""

    pixels: Array
    numbers: Array
    taps: Array
    sums: Array


class Gradients(NamedTuple):
    """Shares of the gradients of weights, (shares, taps, outputs), and of the bias, (shares, whole vectors)."""

    weights: Array
    bias: Array


class Memory(NamedTuple):
    """What a thread works in: what is copied of x, and with every output's channel at its place; the end of eta; the
    sums of a block."""

    scratch: Array
    spread: Array
    edge: Array
    sums: Array


def strips_of(rows: int, pixels: Array, line: int) -> tuple[Array, Array]:
    """Offsets of the pixels of some rows in what is copied of x, and their numbers: strips of a few columns, one after
    another, so that what windows share stays in the L1 cache."""
    offsets, numbers, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], pixels.size
    for first in range(0, columns, STRIP):
        strip = np.arange(first, min(columns, first + STRIP))
        offsets.append(np.add.outer(np.arange(rows) * line, pixels[strip]).reshape(-1))
        numbers.append(np.add.outer(np.arange(rows) * columns, strip).reshape(-1))
    return np.concatenate(offsets), np.concatenate(numbers)


@inline
def sum_up(x, eta, span, some, part, offsets, memory):
    """Into `memory.sums`, taps and then eta alone, what `span` (image, first row, rows) of eta contributes to the
    outputs `some` (first, number)."""
    (n, start, rows), (_, oh, ow, outputs), (o, number), v = span, eta.shape, some, lanes(eta)
    copy_rows(x, n, start, rows, some, part, memory.scratch, memory.spread)
    pixels, b, at, step = rows * ow, flat(eta), (n * oh + start) * ow * outputs + o, outputs
    if at + (pixels - 1) * outputs + (number + v - 1) // v * v > eta.size:  # vectors would reach over the array's end
        crop_channels(eta, n, (start, 0), (rows, ow), some, -np.inf, memory.edge, number)
        b, at, step = memory.edge, np.int64(0), number
    last, end = 1 if start + rows == oh else 0, offsets.sums[-1]
    taps = Rows(memory.spread, offsets.taps, offsets.pixels[last, :pixels])
    to = Target(memory.sums, np.int64(0), offsets.sums[:-1], number)
    sum_taps(taps, Pixels(b, at, step, offsets.numbers[last, :pixels]), to)
    clear(memory.sums, end, memory.sums.size)
    add_up_rows(b, at, step, pixels, number, memory.sums[end:])


@task_kernel
def add_lanes(task, thread, x, eta, part: Copied, gradients: Gradients, offsets: Offsets, memory):
    """The gradients of some outputs from one share of all blocks of rows."""
    (shares, taps, outputs), blocks = gradients.weights.shape, (eta.shape[1] + part.rows - 1) // part.rows
    parts, count = (outputs + part.width - 1) // part.width, eta.shape[0] * blocks
    s, o = task // parts, task % parts * part.width
    some, dw, db = (o, min(part.width, outputs - o)), flat(gradients.weights[s]), gradients.bias[s]
    own = Memory(memory[0][thread], memory[1][thread], memory[2][thread], memory[3][thread])
    for k in range(taps):
        clear(dw, k * outputs + o, k * outputs + o + some[1])
    clear(db, o, o + some[1])
    for i in range(s * count // shares, (s + 1) * count // shares):
        start = i % blocks * part.rows
        sum_up(x, eta, (i // blocks, start, min(part.rows, eta.shape[1] - start)), some, part, offsets, own)
        for k in range(taps):
            add_run(dw, k * outputs + o, own.sums, offsets.sums[k], some[1])
        add_run(db, o, own.sums, offsets.sums[taps], some[1])


def weight_gradient_plan(shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, eta) that computes both gradients for arrays of these shapes, by `most` threads at most."""
    (batch, oh, ow, outputs), (window, _, _, dtype), lane = eta_shape, geometry, vector_lanes(geometry.dtype)
    axes = axes_of(window, forward_axis, eta_shape)
    part, scratch, spread = cut_of(axes, batch, shape[3], outputs, geometry)
    rows = part.rows
    tables = tables_of(axes, part, (ow, outputs), outputs)
    left = oh - (oh - 1) // max(1, rows) * rows if oh else 0  # rows of an image's last block
    strips = zip(*(strips_of(count, tables.pixels[0], tables.lines[0]) for count in (rows, left)), strict=True)
    pixels, numbers = (stacked(list(some)) for some in strips)
    dw_shape, blocks = (*window.ksize, part.inputs, outputs), batch * -(-oh // rows)
    taps, wide = math.prod(dw_shape[:3]), -(-part.width // lane) * lane
    shares = max(1, min(blocks, MAX_TASKS, PART_BYTES // (taps * outputs * dtype.itemsize)), -(-blocks // LONGEST))
    work = batch * oh * ow * taps * outputs
    threads, tasks = threads_for(work, most), shares * -(-outputs // part.width)
    areas = scratch, spread, rows * ow * part.width + lane, (taps + 1) * wide
    gradients = (shares, taps, outputs), (shares, -(-outputs // lane) * lane)
    arrays = layout(dtype, *gradients, *((threads, elements) for elements in areas))
    offsets = pixels, numbers, tables.taps[0], np.arange(taps + 1) * wide

    def weight_gradient(x: Array, eta: Array) -> tuple[Array, Array]:
        dw, db, *memory = workspace(arrays)
        add_lanes(x, eta, tuple(part), (dw, db), offsets, tuple(memory), tasks, work=work, threads=threads)
        return add_up(dw.reshape(shares, -1), dw_shape), add_up(db, db.shape[1:])[:outputs]

    return weight_gradient
