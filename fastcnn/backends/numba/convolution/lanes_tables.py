"""How a convolution lane by lane goes over an image: which lines and columns, and where their taps lie. Requires numba.

The kernels are in :mod:`fastcnn.backends.numba.convolution.lanes` and `lanes_weights`; all here follows from shapes.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.jit import inline
from fastcnn.backends.numba.core.tasks import even_share
from fastcnn.backends.numba.product.lane_kind import Lanes, fits_whole
from fastcnn.backends.numba.product.lanes import address_of
from fastcnn.backends.numba.product.packing import vector_lanes
from fastcnn.windows import Window

TASK_PRODUCTS = 1 << 18  # multiply-adds of a task at least, some 10 us
MIN_TASKS = 16


class Phase(NamedTuple):
    """Positions (first, last) of windows on an axis that have the same `taps`, so many. The first tap of position t
    reads pixel ``t * stride + place``, the next ones read pixels `apart`; they are number `number` of the kernel, and
    those `step` after it. It makes pixel ``t * made + out``. `function` is the address that sums up such a line."""

    first: int
    last: int
    taps: int
    place: int
    apart: int
    number: int
    step: int
    stride: int
    made: int
    out: int
    function: int = 0


@inline
def phase_of(phases, f):
    """Row f of a table of them."""
    p = phases[f]
    return Phase(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10])


@inline
def runs_inside(phase, t, height):
    """The taps (first, last) of position t that lie inside an image so many pixels high, and the pixel of tap 0. The
    others read zeros."""
    y = t * phase.stride + phase.place
    below, above = -y + phase.apart - 1, height - y + phase.apart - 1
    return max(0, below) // phase.apart, min(phase.taps, max(0, above) // phase.apart), y


def forward_phases(made: int, ksize: int, stride: int, dilation: int, padding: Pair) -> list[Phase]:
    """Of a convolution that makes so many pixels."""
    return [Phase(0, made, ksize, -padding[0], dilation, 0, 1, stride, 1, 0)]


def gradient_phases(size: int, ksize: int, stride: int, dilation: int, padding: Pair) -> list[Phase]:
    """Of the gradient of an image of so many pixels: pixel ``stride * t + phase - before`` gets tap i of the window
    number ``t - (i * dilation - phase) / stride``, where that is whole."""
    before, common, phases = padding[0], math.gcd(stride, dilation), []
    for phase in range(stride):
        taps = [i for i in range(ksize) if i * dilation % stride == phase]
        last = taps[-1] if taps else 0
        begin, end = (max(0, -((phase - limit) // stride)) for limit in (before, size + before))
        place = -((last * dilation - phase) // stride)
        lines = dilation // common, last, -(stride // common), 1, stride, phase - before
        phases.append(Phase(begin, end, len(taps), place, *lines))
    return phases


def phases_of(window: Window, find: Callable[..., list[Phase]], shape: Shape) -> list[list[Phase]]:
    """Those of the rows and of the columns of images of a `shape` (B, height, width, channels), which `find` makes."""
    return [find(*numbers) for numbers in zip(shape[1:3], *window, strict=True)]


def table_of(
    function: str, phases: list[list[Phase]], channels: Pair, groups: int, geometry: Geometry
) -> tuple[Array, Array]:
    """The rows and the columns as tables, these with the addresses of a `function` of `product.lanes` for groups of
    these `channels` (read, made)."""
    (rows, columns), dtype, (inputs, outputs) = phases, geometry.dtype, (number // groups for number in channels)
    part = not fits_whole(outputs, inputs, channels[1], vector_lanes(dtype))
    kinds = [
        Lanes(max(1, p.taps), p.apart if p.taps > 1 else 1, p.stride, inputs, outputs, geometry.rectify, part)
        for p in columns
    ]
    found = [p._replace(function=address_of(function, kind, dtype)) for p, kind in zip(columns, kinds, strict=True)]
    return np.array(rows, np.int64), np.array(found, np.int64)


def rows_of(total: int, batch: int, products: int, longest: int) -> int:
    """Rows of a task, of `total` rows that cost so many products each; `longest` at most."""
    fit = min(longest, max(1, TASK_PRODUCTS // max(1, products)), -(-total * batch // MIN_TASKS))
    return even_share(total, max(1, fit))
