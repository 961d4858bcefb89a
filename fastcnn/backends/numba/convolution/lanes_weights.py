"""Weight gradient of a convolution of few channels a group, lane by lane. Requires numba.

Definition: :mod:`fastcnn.backends.numpy.conv`. The sum over pixels of a tap's channels times `eta`, line by line, which
both come from memory once. A task is a share of the pixels. Each block of rows is summed up by itself, blocks are added
up in order, and so are shares: no sum is a long chain.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.lanes_tables import (
    forward_phases,
    phase_of,
    phases_of,
    rows_of,
    runs_inside,
    table_of,
)
from fastcnn.backends.numba.core.calls import call
from fastcnn.backends.numba.core.copying import add_run, clear
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import threads_for
from fastcnn.backends.numba.core.memory import copy_of, layout, workspace
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.product.lane_kind import outputs_of_vector
from fastcnn.backends.numba.product.packing import vector_lanes
from fastcnn.backends.numba.product.sums import LONGEST, add_up

MAX_TASKS = 16
SHARE_BYTES = 32 << 20  # of all shares together


class Gradients(NamedTuple):
    """Sums of each share, (shares, vectors of outputs, rows, lanes), see `product.lanes.sum_line`; the same of a block,
    for each thread."""

    shares: Array
    blocks: Array


@task_kernel
def add_lanes(task, thread, x, eta, rows, gradients: Gradients, phases):
    """One share of all blocks of so many `rows`; `phases` are the tables of rows and columns, of one phase each."""
    (shares, _, each, lane), (_, h, w, c), (batch, oh, ow, outputs) = gradients.shares.shape, x.shape, eta.shape
    down, columns, blocks = phase_of(phases[0], 0), phase_of(phases[1], 0), (oh + rows - 1) // rows
    total, own, image, slopes = flat(gradients.shares[task]), flat(gradients.blocks[thread]), flat(x), flat(eta)
    count, size = batch * blocks, each * lane
    clear(total, 0, total.size)
    for i in range(task * count // shares, (task + 1) * count // shares):
        n, start = i // blocks, i % blocks * rows
        clear(own, 0, own.size)
        for t in range(start, min(oh, start + rows)):
            first, last, y = runs_inside(down, t, h)
            places = (image, (n * h + y) * w * c), (slopes, (n * oh + t) * ow * outputs), (own, 0)
            numbers = c, down.apart * w * c, down.taps, first, last, columns.place, w, ow, outputs, outputs, size
            call(columns.function, places, numbers)
        add_run(total, 0, own, 0, own.size)


def weight_gradient_plan(shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, eta) that computes both gradients for arrays of these shapes, by `most` threads at most."""
    (batch, oh, ow, outputs), (window, groups, _, dtype), lane = eta_shape, geometry, vector_lanes(geometry.dtype)
    dw_shape = *window.ksize, shape[3] // groups, outputs
    kernel, step = math.prod(dw_shape[:3]), outputs_of_vector(outputs // groups, lane)
    tables = table_of("sum", phases_of(window, forward_phases, eta_shape), (shape[3], outputs), groups, geometry)
    rows = rows_of(oh, batch, ow * outputs * kernel, max(1, LONGEST // max(1, ow)))
    sums, blocks, work = (-(-outputs // step), kernel + 1, lane), batch * -(-oh // rows), math.prod(eta_shape) * kernel
    shares = max(1, min(blocks, MAX_TASKS, SHARE_BYTES // (math.prod(sums) * dtype.itemsize)), -(-blocks // LONGEST))
    threads = threads_for(work, most)
    arrays = layout(dtype, (shares, *sums), (threads, *sums))

    def weight_gradient(x: Array, eta: Array) -> tuple[Array, Array]:
        parts, own = workspace(arrays)
        add_lanes(x, eta, rows, (parts, own), tables, shares, work=work, threads=threads)
        total = add_up(parts.reshape(shares, -1), sums)[:, :, :step]
        total = total.transpose(1, 0, 2).reshape(kernel + 1, -1)[:, :outputs]
        return copy_of(total[:kernel]).reshape(dw_shape), copy_of(total[kernel])

    return weight_gradient
