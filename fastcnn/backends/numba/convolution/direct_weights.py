"""Weight gradient of a convolution without a column matrix. Requires numba. Definition: `backends.numpy.conv`.

A matrix product again: a row of A is a weight, and the sum runs over output pixels. For one weight, the pixels that it
meets lie `stride` apart in the image, so `gemm.multiply_rows` reads them where they are; `eta` is packed, a few rows of
pixels at a time, unless one panel holds its channels, and summed for the bias on the way.

Tasks are cut by shape alone. Each adds up its own share of the pixels, and the shares are added in order.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.convolution.direct import blocks_of, windows
from fastcnn.backends.numba.core.copying import clear
from fastcnn.backends.numba.core.jit import inline, kernel, prange, threads_for
from fastcnn.backends.numba.core.memory import layout, workspace
from fastcnn.backends.numba.core.tasks import next_task, task_counters
from fastcnn.backends.numba.core.vectors import flat, lanes
from fastcnn.backends.numba.product.gemm import add_up, multiply_rows
from fastcnn.backends.numba.product.packing import add_up_rows, pack_rows, padded

MAX_TASKS = 16
PART_BYTES = 32 << 20  # of all shares together


@inline
def rows_after(image, n, r0, rows, window):
    """The first and the last element of the image rows that lie under the next `rows` rows of windows alone."""
    (_, h, w, c), (k, stride, before) = image.shape, window
    first = (n * h + max(0, (r0 + rows - 1) * stride - before + k)) * w * c
    return min(image.size, first), min(image.size, first + rows * stride * w * c)


@inline
def add_block(x, eta, n, r0, rows, window, in_place, floor, part, sums, scratch, panels, tables):
    """Add what `rows` rows of eta from r0 on, of image n, contribute to the gradients."""
    _, oh, ow, outputs = eta.shape
    a = windows(x, n, r0, rows, ow, window, in_place, floor, scratch)
    b, at, pixels, size = flat(eta), (n * oh + r0) * ow * outputs, rows * ow, part.size // outputs
    a_rows, a_columns, c_rows = tables[1, :size], tables[0, :pixels], tables[2, :size]
    zero, pixel, soon = np.int64(0), flat(x), rows_after(x, n, r0, rows, window)
    if outputs <= 2 * lanes(b) and at + (pixels - 1) * outputs + 2 * lanes(b) <= eta.size:
        add_up_rows(b, at, outputs, pixels, sums)
        multiply_rows(
            a, a_rows, a_columns, b, at, outputs, part, zero, c_rows, outputs, sums[:0], pixel, soon[0], soon[1]
        )
    else:
        pack_rows(b, at, outputs, pixels, outputs, panels, sums)
        multiply_rows(
            a, a_rows, a_columns, panels, zero, zero, part, zero, c_rows, outputs, sums[:0], pixel, soon[0], soon[1]
        )


@kernel
def add_blocks(x, eta, window, in_place, floor, block, parts, sums, scratch, panels, tables):
    """parts[s], sums[s] = the gradients from share s of all blocks of rows."""
    blocks = (eta.shape[1] + block - 1) // block
    count, shares = eta.shape[0] * blocks, parts.shape[0]
    counters = task_counters(scratch.shape[0])
    for it in prange(scratch.shape[0]):
        i = np.int64(it)
        s = next_task(counters, i, shares)
        while s < shares:
            clear(parts[s], 0, parts.shape[1])
            clear(sums[s], 0, sums.shape[1])
            for task in range(s * count // shares, (s + 1) * count // shares):
                n, r0 = task // blocks, task % blocks * block
                rows = min(block, eta.shape[1] - r0)
                add_block(
                    x, eta, n, r0, rows, window, in_place, floor, parts[s], sums[s], scratch[i], panels[i], tables
                )
            s = next_task(counters, i, shares)


def weight_gradient_plan(shape, eta_shape, ksize, stride, padding, rectify, dtype, most):
    """The function of (x, eta) that computes both gradients for arrays of these shapes, by `most` threads at most."""
    (batch, oh, ow, outputs), inputs = eta_shape, shape[3]
    rows, window, in_place, floor, area, tables = blocks_of(shape, eta_shape, ksize, stride, padding, rectify, dtype)
    size, wide = ksize * ksize * inputs * outputs, padded(outputs, dtype)
    shares = max(1, min(batch * -(-oh // rows), MAX_TASKS, PART_BYTES // (size * dtype.itemsize)))
    work = batch * oh * ow * size
    threads = threads_for(work, most)
    arrays = layout(dtype, (shares, size), (shares, wide), (threads, area), (threads, rows * ow * wide))

    def weight_gradient(x, eta):
        parts, sums, scratch, panels = workspace(arrays)
        add_blocks(
            x, eta, window, in_place, floor, rows, parts, sums, scratch, panels, tables, work=work, threads=threads
        )
        return add_up(parts, (ksize, ksize, inputs, outputs)), add_up(sums, (wide,))[:outputs]

    return weight_gradient
