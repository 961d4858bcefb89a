"""Weight gradient of a convolution without a column matrix. Requires numba. Definition: `backends.numpy.conv`.

A matrix product again: a row of A is a weight, and the sum runs over output pixels. For one weight, the pixels that it
meets lie `stride` apart in the image, so `gemm.multiply_rows` reads them where they are; `eta` is packed, a few rows of
pixels at a time, unless one panel holds its channels, and summed for the bias on the way.

A task is a share of the pixels, and the shares are added in order. A share of more than `LONGEST` pixels is cut: what
has been summed up is put aside, and the rest begins at 0.
"""

import math
from collections.abc import Callable

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Geometry, Memory, Sums, Windows
from fastcnn.backends.numba.convolution.direct import blocks_of, under_windows
from fastcnn.backends.numba.core.copying import add_run, clear
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import inline, threads_for
from fastcnn.backends.numba.core.memory import layout, workspace
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows
from fastcnn.backends.numba.product.packing import add_up_rows, pack_rows, padded
from fastcnn.backends.numba.product.sums import LONGEST, add_up

PIXELS = 192  # of eta that are summed up at a time: a panel of them stays in the L1 cache (256 took a fifth longer)
MAX_TASKS = 16
PART_BYTES = 32 << 20  # of all shares together


@inline
def rows_after(image, n, end, rows, windows):
    """The `Prefetch` of the image rows that lie only under the next `rows` rows of windows, those from `end` on."""
    (_, h, w, c), pixels, stride = image.shape, flat(image), windows.stride[0]
    reach = (windows.ksize[0] - 1) * windows.dilation[0] + 1
    first = (n * h + max(0, (end - 1) * stride - windows.padding[0][0] + reach)) * w * c
    return Prefetch(pixels, min(image.size, first), min(image.size, first + rows * stride * w * c))


@inline
def add_block(x, eta, span, windows, part, sums, memory):
    """Add what `span` (image, first row, rows) of eta contributes to the gradients; `memory` are those of a thread."""
    (n, start, rows), (scratch, panels, tables), (_, oh, ow, outputs) = span, memory, eta.shape
    a = under_windows(x, n, start, rows, ow, windows, scratch)
    b, first, pixels, size, zero = (
        flat(eta),
        (n * oh + start) * ow * outputs,
        rows * ow,
        part.size // outputs,
        np.int64(0),
    )
    groups, v = windows.groups, lanes(b)
    inputs, each = x.shape[3] // groups, outputs // groups
    ahead, wide = rows_after(x, n, start + rows, rows, windows), sums.size // groups
    for g in range(groups):
        at, total = first + g * each, sums[g * wide :]
        source = Rows(a[g * inputs :], tables[1, :size], tables[0, :pixels])
        target = Target(part, g * each, tables[2, :size], each)
        if each <= 2 * v and at + (pixels - 1) * outputs + 2 * v <= eta.size:
            add_up_rows(b, at, outputs, pixels, each, total)
            multiply_rows(source, Panels(b, at, outputs), target, sums[:0], ahead)
        else:
            pack_rows(b, at, outputs, pixels, each, panels, total)
            multiply_rows(source, Panels(panels, zero, zero), target, sums[:0], ahead)


@task_kernel
def add_blocks(task, thread, x, eta, windows: Windows, block, sums: Sums, memory: Memory):
    """The gradients from one share of all blocks of rows."""
    blocks, part, db = (eta.shape[1] + block - 1) // block, sums.weights[task], sums.bias[task]
    count, shares = eta.shape[0] * blocks, sums.weights.shape[0]
    own = Memory(memory.scratch[thread], memory.panels[thread], memory.tables)
    clear(part, 0, part.size)
    clear(db, 0, db.size)
    first, last, aside = task * count // shares, (task + 1) * count // shares, sums.aside[task]
    each = max(1, LONGEST // (block * eta.shape[2]))  # blocks in one part of the share
    clear(aside, 0, aside.size)
    for i in range(first, last):
        start = i % blocks * block
        some = i // blocks, start, min(block, eta.shape[1] - start)
        add_block(x, eta, some, windows, part, db, own)
        if aside.size and ((i - first + 1) % each == 0 or i + 1 == last):
            add_run(aside, 0, part, 0, part.size)
            add_run(aside, part.size, db, 0, db.size)
            clear(part, 0, part.size)
            clear(db, 0, db.size)
    if aside.size:
        add_run(part, 0, aside, 0, part.size)
        add_run(db, 0, aside, part.size, db.size)


def weight_gradient_plan(shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, eta) that computes both gradients for arrays of these shapes, by `most` threads at most."""
    (batch, oh, ow, outputs), (window, groups, _, dtype) = eta_shape, geometry
    rows, windows, area, tables = blocks_of(shape, eta_shape, geometry, PIXELS)
    dw_shape, each = (*window.ksize, shape[3] // groups, outputs), outputs // groups
    size, wide = math.prod(dw_shape), groups * padded(each, dtype)
    shares = max(1, min(batch * -(-oh // rows), MAX_TASKS, PART_BYTES // (size * dtype.itemsize)))
    work = batch * oh * ow * size
    threads = threads_for(work, most)
    cut = -(-batch * -(-oh // rows) // shares) * rows * ow > LONGEST  # of the longest share, in whole blocks
    areas = (threads, area), (threads, rows * ow * wide // groups), (shares, (size + wide) * cut)
    arrays = layout(dtype, (shares, size), (shares, wide), *areas)

    def weight_gradient(x: Array, eta: Array) -> tuple[Array, Array]:
        parts, sums, scratch, panels, aside = workspace(arrays)
        memory = scratch, panels, tables
        add_blocks(x, eta, windows, rows, (parts, sums, aside), memory, shares, work=work, threads=threads)
        db = add_up(sums, (groups, wide // groups))[:, :each]
        return add_up(parts, dw_shape), db[0] if groups == 1 else np.ascontiguousarray(db).reshape(-1)

    return weight_gradient
