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
from fastcnn.backends.numba.convolution.lanes import copy_rows
from fastcnn.backends.numba.convolution.lanes_tables import Copied, axes_of, cut_of, forward_axis, tables_of
from fastcnn.backends.numba.core.copying import add_run, clear, crop_channels
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import inline, threads_for
from fastcnn.backends.numba.core.memory import ALIGNMENT, layout, workspace
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, prefetch
from fastcnn.backends.numba.product.lanes import Lines, Run, Slopes, Taps, sum_taps
from fastcnn.backends.numba.product.packing import add_up_rows, vector_lanes
from fastcnn.backends.numba.product.sums import LONGEST, add_up

MAX_TASKS = 16
PART_BYTES = 32 << 20  # of all shares together


class Offsets(NamedTuple):
    """Of the pixels of a line and of runs of taps in what is copied of x, and the elements from one of its lines to the
    next; of taps in the sums of a block, those of each run after the other, and that of eta's own; of the taps of a
    block in turn."""

    pixels: Array
    places: Array
    line: int
    sums: Array
    eta: int
    rows: Array


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


@inline
def fetch(array, first, last):
    """Ask for array[first:last]: the sums read a vector of each pixel, which no prefetcher follows."""
    for at in range(first, last, ALIGNMENT // array.itemsize):
        prefetch(array, at)


@inline
def sum_up(x, eta, span, some, part, run, offsets, memory):
    """Into `memory.sums`, taps and then eta alone, what `span` (image, first row, rows) of eta contributes to the
    outputs `some` (first, number)."""
    (n, start, rows), (_, oh, ow, outputs), (o, number), v = span, eta.shape, some, lanes(eta)
    pixels, b, at, step = rows * ow, flat(eta), (n * oh + start) * ow * outputs + o, outputs
    fetch(b, at - o, min(eta.size, at - o + pixels * outputs))
    copy_rows(x, n, start, rows, some, part, memory.scratch, memory.spread)
    if at + (pixels - 1) * outputs + (number + v - 1) // v * v > eta.size:  # vectors would reach over the array's end
        crop_channels(eta, n, (start, 0), (rows, ow), some, -np.inf, memory.edge, number)
        b, at, step = memory.edge, np.int64(0), number
    lines, to = Lines(memory.spread, 0, offsets.pixels, offsets.line), Taps(offsets.places, memory.sums, offsets.sums)
    sum_taps(lines, Slopes(b, at, step), run, to, rows, number)
    clear(memory.sums, offsets.eta, memory.sums.size)
    add_up_rows(b, at, step, pixels, number, memory.sums[offsets.eta :])


@task_kernel
def add_lanes(task, thread, x, eta, geometry, gradients: Gradients, offsets: Offsets, memory):
    """The gradients of some outputs from one share of all blocks of rows; `geometry` are the fields of a `Copied` and
    of a `Run`."""
    part, run, (shares, taps, outputs) = Copied(*geometry[0]), Run(*geometry[1]), gradients.weights.shape
    blocks, parts = (eta.shape[1] + part.rows - 1) // part.rows, (outputs + part.width - 1) // part.width
    s, o, count = task // parts, task % parts * part.width, eta.shape[0] * blocks
    some, dw, db = (o, min(part.width, outputs - o)), flat(gradients.weights[s]), gradients.bias[s]
    own = Memory(memory[0][thread], memory[1][thread], memory[2][thread], memory[3][thread])
    for k in range(taps):
        clear(dw, k * outputs + o, k * outputs + o + some[1])
    clear(db, o, o + some[1])
    for i in range(s * count // shares, (s + 1) * count // shares):
        start = i % blocks * part.rows
        span = i // blocks, start, min(part.rows, eta.shape[1] - start)
        sum_up(x, eta, span, some, part, run, offsets, own)
        for k in range(taps):
            add_run(dw, k * outputs + o, own.sums, offsets.rows[k], some[1])
        add_run(db, o, own.sums, offsets.eta, some[1])


def weight_gradient_plan(shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, eta) that computes both gradients for arrays of these shapes, by `most` threads at most."""
    (batch, oh, ow, outputs), (window, _, _, dtype), lane = eta_shape, geometry, vector_lanes(geometry.dtype)
    axes = axes_of(window, forward_axis, eta_shape)
    part, scratch, spread = cut_of(axes, batch, shape[3], outputs, geometry)
    rows = part.rows
    tables = tables_of(axes, part, (ow, outputs), outputs, True)
    dw_shape, blocks = (*window.ksize, part.inputs, outputs), batch * -(-oh // rows)
    taps, wide = math.prod(dw_shape[:3]), -(-part.width // lane) * lane
    shares = max(1, min(blocks, MAX_TASKS, PART_BYTES // (taps * outputs * dtype.itemsize)), -(-blocks // LONGEST))
    work = batch * oh * ow * taps * outputs
    threads, tasks = threads_for(work, most), shares * -(-outputs // part.width)
    areas = scratch, spread, rows * ow * part.width + lane, (taps + 1) * wide
    gradients = (shares, taps, outputs), (shares, -(-outputs // lane) * lane)
    arrays = layout(dtype, *gradients, *((threads, elements) for elements in areas))
    _, _, columns, runs, *fields = tables.phases[0].tolist()
    run = Run(*fields)
    each = np.arange(run.taps) * (run.step // outputs if run.taps > 1 else 0)  # rows of the weights, from a run's first
    order = np.add.outer(tables.weights[0, :runs] // outputs, each).reshape(-1) * wide
    pixels, places = tables.pixels[0, :columns], tables.places[0, :runs]
    offsets = pixels, places, tables.lines[0], order, taps * wide, np.arange(taps) * wide

    def weight_gradient(x: Array, eta: Array) -> tuple[Array, Array]:
        dw, db, *memory = workspace(arrays)
        given = x, eta, (tuple(part), tuple(run)), (dw, db), offsets, tuple(memory)
        add_lanes(*given, tasks, work=work, threads=threads)
        return add_up(dw.reshape(shares, -1), dw_shape), add_up(db, db.shape[1:])[:outputs]

    return weight_gradient
