"""Convolution in fewer multiplications: forward and input gradient. Requires numba. Definition: `backends.numpy.conv`.

A task transforms some tiles of the images, multiplies them with the transformed weights, a panel of outputs at a time,
and transforms the products back. The error is that of sums whose terms are larger than the result; it is stated by
algorithm in `docs/guide.md`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.constants import made_of, once
from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.winograd import table
from fastcnn.backends.numba.convolution.winograd.blocks import convolve_panels, convolve_tiles, transform_panel
from fastcnn.backends.numba.convolution.winograd.table import Algorithm
from fastcnn.backends.numba.convolution.winograd.tiles import tiles_of
from fastcnn.backends.numba.convolution.winograd.transforms import address_of
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.jit import threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share
from fastcnn.backends.numba.product.gemm import offset_tables
from fastcnn.backends.numba.product.packing import bias_row, padded, vector_lanes

# In and out, whose tiles fill half of an L2 cache: of 16 to 16, four times as many tiles take 0.75 of the time.
CHANNELS = 128
OWN_BYTES = 1 << 20  # of transformed weights that each thread makes for itself; fetching them would take longer


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
