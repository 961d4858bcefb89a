"""Convolution in fewer multiplications: forward and input gradient. Requires numba. Definition: `backends.numpy.conv`.

A task transforms some tiles of the images, multiplies them with the transformed weights, a panel of outputs at a time,
and transforms the products back. The error is that of sums whose terms are larger than the result; it is stated by
algorithm in `docs/performance.md`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.constants import made_of, once
from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.winograd import table
from fastcnn.backends.numba.convolution.winograd.table import Algorithm
from fastcnn.backends.numba.convolution.winograd.tiles import (
    Cut,
    Elements,
    corner_of,
    panel_of,
    panel_size,
    rows_under,
    tiles_in,
    tiles_of,
    transform_tiles,
    transform_weights,
)
from fastcnn.backends.numba.convolution.winograd.transforms import address_of
from fastcnn.backends.numba.core.calls import call
from fastcnn.backends.numba.core.copying import close_gate
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.jit import serial, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load, store_part
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows, offset_tables
from fastcnn.backends.numba.product.packing import bias_row, padded, vector_lanes

CHANNELS = (
    128  # in and out, whose tiles fill half of an L2 cache; of 16 to 16, four times as many take 0.75 of the time
)
OWN_BYTES = 1 << 20  # of transformed weights that each thread makes for itself; fetching them would take longer


class Steps(NamedTuple):
    """What an algorithm does, for compiled code.

    data, weights, output: the addresses of its transforms. deep: whether the products of a group are added up (see
    `table.Algorithm`). flipped: whether the weights are rotated, and their channels exchanged. groups: of channels.
    block: tiles that are multiplied at a time. width: of a panel of outputs. own: whether each thread transforms all
    weights for itself.
    """

    data: int
    weights: int
    output: int
    deep: bool
    flipped: bool
    groups: int
    block: int
    width: int
    own: bool


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


class Sizes(NamedTuple):
    """Groups of channels, and of each the channels that are summed and those that are made."""

    groups: int
    channels: int
    outputs: int


class Tiles(NamedTuple):
    """What is convolved by tiles: the `Sizes`, the first pixels (row, column) of the first tile of the image and of the
    outputs, dilations, and whether weights are flipped: it is then the input gradient, for which they are rotated by
    180 degrees, and their channels exchanged."""

    sizes: Sizes
    firsts: tuple[Pair, Pair]
    dilation: Pair
    flipped: bool


def plan(
    algorithm: Algorithm, roles: tuple[str, ...], out_shape: Shape, tiled: Tiles, dtype: np.dtype, most: int
) -> Callable:
    """The function of (image, weights, bias, gate) that convolves an image. `roles` are the transforms (see
    `transforms.transform_of`); `bias` and `gate` may be None."""
    (groups, channels, outputs), (batch, oh, ow, _), lane = tiled.sizes, out_shape, vector_lanes(dtype)
    made, taken, starts = algorithm.made, algorithm.taken, np.array(algorithm.starts)
    products_of, products, taps = len(starts) - 1, int(starts[-1]), math.prod(algorithm.taps)
    sides = zip((oh, ow), tiled.firsts[1], made, tiled.dilation, strict=True)
    down, across = (tiles_of(size - first, side, apart) for size, first, side, apart in sides)
    total = batch * math.prod(tiled.dilation) * down * across
    wide, row = groups * outputs - outputs + padded(outputs, dtype), -(-channels // lane) * lane
    few, work = groups == 1 and total < outputs, total * products * groups * channels * outputs
    threads = threads_for(work, most)
    block = even_share(total, algorithm.tiles * max(1, CHANNELS // (channels + outputs)), 1 if few else 4)
    width = lane if few and outputs <= 2 * lane else 2 * lane
    panels, panel = groups * -(-outputs // width), products * channels * width + products_of * lane
    shared = 0 if few or panels * panel * dtype.itemsize <= OWN_BYTES else panels
    v_step = (total if few else block) * row + lane
    # the elements of a tile lie a vector further apart, as they would evict each other 4096 bytes apart
    tiles_of_threads = (
        (threads, (products if algorithm.deep else products_of) * v_step),
        (threads, (products_of if algorithm.deep else products) * block * width),
        (threads, max(math.prod(taken) * row, math.prod(made) * width)),
    )
    packed, whole = taps * channels * width, panel * panels
    weights_of_threads = (shared or threads, packed), (1 if shared else threads, panel if few else whole)
    arrays, rest = (layout(dtype, *own, *tiles_of_threads) for own in (weights_of_threads, ((1, 0), (1, 0))))
    deepest = int(np.diff(starts).max()) if algorithm.deep else 1
    zero = zeros((wide,), dtype)
    offsets = offset_tables(
        (block, 1, row, 0), (deepest, channels, v_step, 1), (block, 1, 2 * lane, 0), (block, 1, lane, 0)
    )
    tables, cut = (offsets, starts, zero[: padded(outputs, dtype)]), (tiled.dilation, down, across)
    cuts = (tiled.firsts[0], algorithm.apart, taken, *cut), (tiled.firsts[1], made, made, *cut)
    addresses = [address_of(algorithm.name, role, dtype) for role in roles]
    steps, kept_steps = (
        (*addresses, algorithm.deep, tiled.flipped, groups, block, width, own) for own in (not shared, False)
    )
    key = algorithm.name, tiled.flipped, width
    launch, tasks = (convolve_panels, panels) if few else (convolve_tiles, -(-total // block))

    def transformed(weights: Array) -> Array:
        u = empty((1, whole), dtype)
        transform_panel(
            weights, kept_steps, starts, empty((panels, packed), dtype), u, panels, work=work, threads=threads
        )
        return u

    def convolve(image: Array, weights: Array, bias: Array | None, gate: Array | None) -> Array:
        out, kept = empty(out_shape, dtype), made_of(weights)
        memory = tuple(workspace(arrays if kept is None else rest))
        result = zero if bias is None else bias_row(bias, wide), out, out[:0] if gate is None else gate
        if kept is not None:
            memory = memory[0], once(kept, key, lambda: transformed(weights)), *memory[2:]
        elif shared:
            transform_panel(weights, steps, starts, *memory[:2], panels, work=work, threads=threads)
        given = (image, weights, *result), steps if kept is None else kept_steps, cuts, memory, tables
        launch(*given, tasks, work=work, threads=threads)
        return out

    return convolve


def forward_plan(name: str, shape: Shape, out_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, weights, bias) that convolves arrays of these shapes by the algorithm `name`, by `most`
    threads at most."""
    (window, groups, rectify, dtype), ((top, _), (left, _)) = geometry, geometry.window.padding
    roles, sizes = (
        ("rectified" if rectify else "input", "weights", "output"),
        Sizes(groups, shape[3] // groups, out_shape[3] // groups),
    )
    tiled = Tiles(sizes, ((-top, -left), (0, 0)), window.dilation, False)
    convolve = plan(table.forward(name), roles, out_shape, tiled, dtype, most)
    return lambda x, weights, bias: convolve(x, weights, bias, None)


def input_gradient_plan(name: str, image_shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (eta, weights, gate, bias) that computes it for arrays of these shapes."""
    (window, groups, _, dtype), befores = geometry, [before for before, _ in geometry.window.padding]
    if window.stride == (1, 1):
        roles = "input", "weights", "output"
        pairs = [(before - reach + 1, 0) for before, reach in zip(befores, window.reach, strict=True)]
    else:  # a tile begins with a pixel that odd taps make, which may lie outside
        roles, odd = ("eta", "weights", "pixels"), window.ksize[0] % 2
        pairs = [((before + odd) // 2 - window.ksize[0] // 2 + 1 - odd, -((before + odd) % 2)) for before in befores]
    (rows, columns), sizes = pairs, Sizes(groups, eta_shape[3] // groups, image_shape[3] // groups)
    tiled = Tiles(sizes, ((rows[0], columns[0]), (rows[1], columns[1])), window.dilation, True)
    convolve = plan(table.input_gradient(name), roles, image_shape, tiled, dtype, most)
    return lambda eta, weights, gate, bias=None: convolve(eta, weights, bias, gate)
