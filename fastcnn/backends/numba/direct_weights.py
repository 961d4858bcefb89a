"""Weight gradient of a convolution without a column matrix. Requires numba. Definition: `backends.numpy.conv`.

A matrix product again: a row of A is a weight, and the sum runs over output pixels. For one weight, the pixels that it
meets lie `stride` apart in the image, so `gemm.multiply_rows` reads them where they are; `eta` is packed, a few rows of
pixels at a time, and summed for the bias on the way.

Tasks are cut by shape alone. Each adds up its own share of the pixels, and the shares are added in order.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.copying import clear, lowest, windows
from fastcnn.backends.numba.gemm import even_share, multiply_rows, pack_rows, padded, row_tables, sum_parts
from fastcnn.backends.numba.jit import kernel, prange, serial, threads_for
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.tasks import next_task

PIXELS = 192  # pixels in a packed block of eta: 24 KiB of float32 beside 32 columns, in the L1 cache
MAX_TASKS = 16
PART_BYTES = 32 << 20  # of all shares together


@serial
def weight_offsets(k, channels, length, outputs, image_table, weight_table):
    """Where the first pixel of each weight lies in the image, and where its row of the gradient begins."""
    i = 0
    for row in range(k):
        for t in range(k * channels):
            image_table[i], weight_table[i] = row * length + t, i * outputs
            i += 1


@serial
def add_block(x, eta, n, r0, rows, window, floor, part, sums, scratch, panels, tables):
    """Add what `rows` rows of eta from r0 on, of image n, contribute to the gradients."""
    (top, left, stride, k), channels, (_, oh, ow, outputs) = window, x.shape[3], eta.shape
    height, width = (rows - 1) * stride + k, (ow - 1) * stride + k
    a, length = windows(x, n, r0 * stride + top, left, height, width, floor, scratch)
    a_rows, c_rows = tables[0], tables[1]
    weight_offsets(k, channels, length, outputs, a_rows, c_rows)
    pack_rows(eta.reshape(-1), (n * oh + r0) * ow * outputs, outputs, rows * ow, outputs, panels, sums)
    run = stride * length, rows, stride * channels, ow
    multiply_rows(a, a_rows, run, panels, 0, 0, part, 0, c_rows, outputs, sums, True)


@kernel
def add_blocks(x, eta, window, floor, block, parts, sums, scratch, panels, tables):
    """parts[s], sums[s] = the gradients from share s of all blocks of rows; `window` is (top, left, stride, ksize)."""
    blocks = (eta.shape[1] + block - 1) // block
    count, shares = eta.shape[0] * blocks, parts.shape[0]
    counter = np.zeros(1, np.int64)
    for it in prange(scratch.shape[0]):
        i, s = np.int64(it), next_task(counter)
        while s < shares:
            clear(parts[s], 0, parts.shape[1])
            clear(sums[s], 0, sums.shape[1])
            for task in range(s * count // shares, (s + 1) * count // shares):
                n, r0 = task // blocks, task % blocks * block
                rows = min(block, eta.shape[1] - r0)
                add_block(x, eta, n, r0, rows, window, floor, parts[s], sums[s], scratch[i], panels[i], tables[i])
            s = next_task(counter)


def conv_weight_gradient(x, eta, ksize, stride, padding, rectify=False):
    (batch, oh, ow, outputs), inputs, dtype = eta.shape, x.shape[3], x.dtype
    size = ksize * ksize * inputs * outputs
    block = even_share(oh, max(1, PIXELS // max(1, ow)))
    shares = max(1, min(batch * -(-oh // block), MAX_TASKS, PART_BYTES // (size * x.itemsize)))
    threads = threads_for(batch * oh * ow * size)
    parts, sums = empty((shares, size), dtype), empty((shares, padded(outputs, dtype)), dtype)
    area = ((block - 1) * stride + ksize) * ((ow - 1) * stride + ksize) * inputs
    scratch = empty((threads, area), dtype)
    panels = empty((threads, block * ow * padded(outputs, dtype)), dtype)
    tables, window = row_tables(size // outputs, threads), (-padding[0], -padding[0], stride, ksize)
    floor = lowest(x, rectify)
    add_blocks(x, eta, window, floor, block, parts, sums, scratch, panels, tables, threads=threads)
    dw = empty((size,), dtype)
    sum_parts(parts, dw, work=shares * size)
    return dw.reshape(ksize, ksize, inputs, outputs), sums.sum(axis=0)[:outputs]
