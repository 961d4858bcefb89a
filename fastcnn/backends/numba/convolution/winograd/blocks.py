"""The compiled part of `convolution`: blocks of tiles, transformed, multiplied and transformed back. Requires numba."""

from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.winograd.tiles import (
    Cut,
    Elements,
    Steps,
    corner_of,
    panel_of,
    panel_size,
    rows_under,
    tiles_in,
    transform_tiles,
    transform_weights,
)
from fastcnn.backends.numba.core.calls import call
from fastcnn.backends.numba.core.copying import close_gate
from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import serial
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load, store_part
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows


class Result(NamedTuple):
    """What is written to: bias, as long as a packed row; out; the gate of a ReLU, or nothing."""

    bias: Array
    out: Array
    gate: Array


class Memory(NamedTuple):
    """What a thread works in: weights as they are packed; these transformed; tiles transformed; their products; and a
    tile at the border."""

    packed: Array
    u: Array
    v: Array
    m: Array
    edge: Array


@serial
def multiply_tiles(tiles, weights, panel, sizes, steps, m, tables, soon):
    """The products of some tiles with a panel of weights, (u, first element), into m.

    `sizes` are (tiles, channels, outputs of the panel that there are). `soon` is (array, first element, last): what the
    L2 cache gets meanwhile.
    """
    (u, q), (count, channels, n), (offsets, starts, start) = weights, sizes, tables
    (image, s0, s1), width, v, groups = soon, panel.width, lanes(u), starts.size - 1
    size, a_rows, c_rows = channels * width, offsets[0, :count], offsets[2 if width > v else 3, :count]
    each, zero = (s1 - s0) // groups + 1, np.int64(0)
    for g in range(groups):
        p, last = starts[g], starts[g + 1]
        together = last - p if steps.deep else 1  # one product that is deep, where products are added up
        a_columns = offsets[1, : together * channels]
        while p < last:
            a, to = tiles.array[tiles.first + (p if steps.deep else g) * tiles.step :], g if steps.deep else p
            b, c = Panels(u, q + p * size + g * v, zero), Target(m, to * count * width, c_rows, n)
            s2 = min(s1, s0 + each)
            multiply_rows(Rows(a, a_rows, a_columns), b, c, start, Prefetch(image, s0, s2))
            s0 = s2
            p += together


@serial
def transform_products(m, width, columns, cut, tiles, result, function, edge):
    """The `columns` (first, number) of the outputs of `tiles` (first, number), from their products, rows of `width`:
    those pixels that are inside."""
    (_, oh, ow, outputs), (dh, dw), (j, n), count = result.out.shape, cut.dilation, columns, tiles[1]
    target, lane, (rows, across), row, column = flat(result.out), lanes(m), cut.sides, dh * outputs * ow, dw * outputs
    for t in range(count):
        i, y, x = corner_of(cut, tiles[0] + t)
        above, below = max(0, -y), min(rows, (oh - y + dh - 1) // dh)
        left, right = max(0, -x), min(across, (ow - x + dw - 1) // dw)
        to = ((i * oh + y) * ow + x) * outputs + j
        products, start, bias = (count * width, 0), (m, t * width), (result.bias, j)
        if below - above == rows and right - left == across:
            call(function, (start, (target, to), bias), (*products, row, column, n))
        else:
            call(function, (start, (edge, 0), bias), (*products, across * width, width, width))
            for r in range(above, below):
                for c in range(left, right):
                    place, pixel = to + r * row + c * column, (r * across + c) * width
                    for k in range(0, n, lane):
                        store_part(target, place + k, load(edge, pixel + k), n - k)
        if result.gate.size:
            to += above * row + left * column
            close_gate(target, flat(result.gate), to, below - above, right - left, row, column, n)


@task_kernel
def transform_panel(task, weights, steps: Steps, starts, packed, u):
    """The transformed weights of one panel of outputs of a group, for all threads."""
    inputs, each, lane = weights.shape[2], weights.shape[3] // steps.groups, lanes(u)
    channels, outputs = (each, inputs) if steps.flipped else (inputs, each)
    panels, to = (outputs + steps.width - 1) // steps.width, task * panel_size(starts, channels, steps.width, lane)
    panel = panel_of(task % panels, outputs, steps.width, lane)
    transform_weights(weights, steps, task // panels, panel, packed[task], u[0], to)


@task_kernel
def convolve_tiles(task, thread, first, arrays, steps: Steps, cuts, memory, tables):
    """The outputs of a block of tiles, one group of channels after another. A thread first transforms the weights where
    it has its own.

    `arrays` are (image, weights) and those of a `Result`, `cuts` those of the image and of the outputs as in `Cut`,
    `memory` as in `Memory` for each thread, and `tables` (offsets, starts of the groups of products, a row of zeros).
    """
    (image, weights, bias, out, _), (packed, u, v, m, edge), made = arrays, memory, Result(*arrays[2:])
    channels, outputs = image.shape[3] // steps.groups, out.shape[3] // steps.groups
    lane, block, width, from_, to = lanes(bias), steps.block, steps.width, Cut(*cuts[0]), Cut(*cuts[1])
    panels, wide = (outputs + width - 1) // width, (channels + lane - 1) // lane * lane
    size, transformed, count = panel_size(tables[1], channels, width, lane), u[thread if steps.own else 0], tiles_in(to)
    if steps.own and first:
        for number in range(steps.groups * panels):
            panel = panel_of(number % panels, outputs, width, lane)
            transform_weights(weights, steps, number // panels, panel, packed[thread], transformed, number * size)
    tiles = Elements(v[thread], 0, block * wide + lane, wide)
    some = task * block, min(block, out.shape[0] * count - task * block)
    s0, s1 = rows_under(image, from_, some[0] + some[1], block)
    share = (s1 - s0) // (steps.groups * panels) + 1
    for number in range(steps.groups * panels):
        group, panel = number // panels, panel_of(number % panels, outputs, width, lane)
        if panel.first == 0:
            transform_tiles(image, from_, some, (group * channels, channels), steps.data, tiles, edge[thread])
        columns = group * outputs + panel.first, min(panel.width, outputs - panel.first)
        soon, part = (flat(image), s0, min(s1, s0 + share)), (transformed, number * size)
        multiply_tiles(tiles, part, panel, (some[1], channels, columns[1]), steps, m[thread], tables, soon)
        transform_products(m[thread], panel.width, columns, to, some, made, steps.output, edge[thread])
        s0 = min(s1, s0 + share)


@task_kernel
def convolve_panels(task, thread, first, arrays, steps: Steps, cuts, memory, tables):
    """`convolve_tiles` for few tiles and one group: a task is a panel of outputs, whose weights are transformed to the
    thread's part of u, as weights that are used so little should not leave the core's own caches, where they are not
    there already. Each thread first transforms all tiles for itself."""
    (image, weights, bias, out, _), (packed, u, v, m, edge), made = arrays, memory, Result(*arrays[2:])
    channels, outputs, lane, block, zero = image.shape[3], out.shape[3], lanes(bias), steps.block, np.int64(0)
    from_, to, wide = Cut(*cuts[0]), Cut(*cuts[1]), (channels + lane - 1) // lane * lane
    total, panel = out.shape[0] * tiles_in(to), panel_of(task, outputs, steps.width, lane)
    if first:
        everything = Elements(v[thread], 0, total * wide + lane, wide)
        transform_tiles(image, from_, (0, total), (0, channels), steps.data, everything, edge[thread])
    columns, part = (panel.first, min(panel.width, outputs - panel.first)), (u[thread], 0)
    if steps.own:
        transform_weights(weights, steps, zero, panel, packed[thread], u[thread], 0)
    else:
        part = u[0], task * panel_size(tables[1], channels, steps.width, lane)
    for start in range(0, total, block):
        some, tiles = (start, min(block, total - start)), Elements(v[thread], start * wide, total * wide + lane, wide)
        sizes, soon = (some[1], channels, columns[1]), (flat(image), zero, zero)
        multiply_tiles(tiles, part, panel, sizes, steps, m[thread], tables, soon)
        transform_products(m[thread], panel.width, columns, to, some, made, steps.output, edge[thread])
