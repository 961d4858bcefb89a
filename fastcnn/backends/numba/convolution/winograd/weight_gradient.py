"""Weight gradient of convolutions in fewer multiplications. Requires numba. Definition: `backends.numpy.conv`.

The adjoint of the forward pass with respect to the weights: with d the inputs of a tile and e the gradient of its
outputs,

    dW = G' [sum over tiles of (A e A') * (B' d B)] G

and the sums are matrix products, channels x tiles and tiles x outputs.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.winograd import table
from fastcnn.backends.numba.convolution.winograd.tiles import (
    Cut,
    Elements,
    copy_tile,
    corner_of,
    inside,
    rows_under,
    tiles_in,
    tiles_of,
    transform_tiles,
)
from fastcnn.backends.numba.convolution.winograd.transforms import address_of
from fastcnn.backends.numba.core.calls import call
from fastcnn.backends.numba.core.copying import clear
from fastcnn.backends.numba.core.hints import Array, Pair, Shape
from fastcnn.backends.numba.core.jit import serial, threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows, offset_tables
from fastcnn.backends.numba.product.packing import padded, panel_width, vector_lanes
from fastcnn.backends.numba.product.sums import LONGEST, add_up

TILES = 64  # of one block: multiply-adds for each load and store of a sum
CUT = 64, 128  # input and output channels of one task, whose sums are loaded and stored once for each block
MAX_TASKS = 8
SHARE = 192  # tiles, so that transforming their sum back takes little of the time
ONLY_SHARE = 64  # the same where there is nothing else to do for a second thread


class Steps(NamedTuple):
    """The addresses of an algorithm's transforms: of inputs, of eta, and of the weights' gradient back to taps."""

    data: int
    eta: int
    back: int


class Images(NamedTuple):
    """Inputs and gradients of outputs, how both are cut into tiles, and their transforms."""

    x: Array
    eta: Array
    x_cut: Cut
    eta_cut: Cut
    steps: Steps


class Block(NamedTuple):
    """Tiles, input channels and outputs that belong together, each (first, number)."""

    tiles: Pair
    channels: Pair
    panel: Pair


class Memory(NamedTuple):
    """What a thread works in: sums of products; tiles of x and of eta, transformed; and a tile at the border."""

    part: Array
    v: Array
    e: Array
    edge: Array


@serial
def transform_eta(images, block, e, e_step, sums, edge):
    """The transforms of tiles of eta, packed: panels of as many rows as there are tiles, those of element g from
    g * e_step on. What is transformed is added to `sums`."""
    eta, cut, (first, count), (start, number) = images.eta, images.eta_cut, block.tiles, block.panel
    (_, oh, ow, outputs), source, lane, (dh, dw) = eta.shape, flat(images.eta), lanes(e), cut.dilation
    for t in range(count):
        n, y, x = corner_of(cut, first + t)
        for j in range(0, number, 2 * lane):
            width = panel_width(number, j, lane)
            have = min(width, number - j)
            to, total = (e, j * count + t * width), (sums, j)
            if inside(cut, y, x, oh, ow):
                at = (source, ((n * oh + y) * ow + x) * outputs + start + j)
                call(images.steps.eta, (at, to, total), (dh * ow * outputs, dw * outputs, e_step, 0, have))
            else:
                copy_tile(eta, (n, y, x), cut, (start + j, have), edge, width)
                call(images.steps.eta, ((edge, 0), to, total), (cut.sides[1] * width, width, e_step, 0, width))


@serial
def add_block(images, block, memory, row, sums, tables, ahead):
    """Add what a block contributes to the transformed gradient, or store it there where the last of `tables` holds
    zeros instead of nothing; add its eta to `sums`.

    Meanwhile the elements `ahead` of x and of eta, (first, last) of both, come to the L2 cache. `row` is as long as the
    channels, in whole vectors.
    """
    (offsets, starts, start), (part, v, e, edge) = tables, memory
    count, channels, n, products = block.tiles[1], block.channels[1], block.panel[1], starts[-1]
    v_step, e_step, step = v.size // products, e.size // (starts.size - 1), part.size // products
    elements, zero, half = Elements(v, 0, v_step, row), np.int64(0), products // 2
    transform_tiles(images.x, images.x_cut, block.tiles, block.channels, images.steps.data, elements, edge)
    transform_eta(images, block, e, e_step, sums, edge)
    a_rows, c_rows, a_columns = offsets[0, :channels], offsets[1, :channels], offsets[2, :count]
    pixels, s0, s1 = flat(images.x), ahead[0], ahead[1]
    for g in range(starts.size - 1):
        for p in range(starts[g], starts[g + 1]):
            if p == half:
                pixels, s0, s1 = flat(images.eta), ahead[2], ahead[3]
            s2 = min(s1, s0 + (s1 - s0) // (half - p % half) + 1)
            a, b = Rows(v[p * v_step :], a_rows, a_columns), Panels(e, g * e_step, zero)
            multiply_rows(a, b, Target(part, p * step, c_rows, n), start, Prefetch(pixels, s0, s2))
            s0 = s2


@serial
def transform_back(part, products, wide, channels, panel, function, dw):
    """dw = G' m G for these pairs of input channels of the weights and outputs, where the transformed gradient m lies
    in `part`, in rows of `wide`."""
    (_, kw, inputs, outputs), (first, count), (start, number) = dw.shape, channels, panel
    target, size, elements = flat(dw), inputs * outputs, (part.size // products, 0)
    for i in range(count):
        to = (first + i) * outputs + start
        call(function, ((part, i * wide), (target, to), (part, 0)), (*elements, kw * size, size, number))


class Task(NamedTuple):
    """What makes a task: groups of channels, the number of all blocks, tiles of a block, input channels and outputs,
    and these channels in whole vectors."""

    groups: int
    blocks: int
    tiles: int
    channels: int
    outputs: int
    row: int


@task_kernel
def add_all_tiles(task, thread, arrays, cuts, steps: Steps, cut: Task, memory, tables):
    """dw[s] = the weight gradient of share s of all blocks of tiles; sums[s, c] = the bias gradient, whatever c.

    A task is a share and some input channels and outputs of a group: it transforms their tiles, and the sum of the
    products back. `arrays` are (x, eta, dw, sums), `cuts` those of x and eta, `tables` as in
    `blocks.convolve_tiles`.
    """
    (x, eta, dw, sums), (offsets, starts, zero), (parts, v, e, edge) = arrays, tables, memory
    groups, shares = cut.groups, dw.shape[0]
    inputs, outputs = x.shape[3] // groups, eta.shape[3] // groups
    images = Images(x, eta, Cut(*cuts[0]), Cut(*cuts[1]), steps)
    down, across = (inputs + cut.channels - 1) // cut.channels, (outputs + cut.outputs - 1) // cut.outputs
    total, pairs, part = eta.shape[0] * tiles_in(images.eta_cut), down * across, task % (groups * down * across)
    s, g, c, j = task // (groups * pairs), part // pairs, part // across % down, part % across * cut.outputs
    own, n = (c * cut.channels, min(cut.channels, inputs - c * cut.channels)), min(cut.outputs, outputs - j)
    channels, panel, db = (
        (g * inputs + own[0], own[1]),
        (g * outputs + j, n),
        sums[s, c, g * (sums.shape[2] // groups) + j :],
    )
    mine = Memory(parts[thread], v[thread], e[thread], edge[thread])
    first, last = s * cut.blocks // shares, (s + 1) * cut.blocks // shares
    clear(db, 0, n)
    for k in range(first, max(last, first + 1)):  # once even where there is no tile at all
        some = Block((k * cut.tiles, min(cut.tiles, total - k * cut.tiles)), channels, panel)
        after = (k + 1) * cut.tiles
        x_ahead = rows_under(x, images.x_cut, after, cut.tiles if cut.channels >= x.shape[3] else 0)
        eta_ahead = rows_under(eta, images.eta_cut, after, cut.tiles if cut.outputs >= eta.shape[3] else 0)
        ahead = x_ahead[0], x_ahead[1], eta_ahead[0], eta_ahead[1]
        add_block(images, some, mine, cut.row, db, (offsets, starts, zero if k == first else zero[:0]), ahead)
    transform_back(mine.part, starts[-1], cut.outputs, own, panel, steps.back, dw[s])


def shares_of(total: int, groups: int, inputs: int, outputs: int, dtype: np.dtype) -> tuple[int, Pair]:
    """Shares of `total` tiles, and the input and output channels of a task, the latter whole panels."""
    down, across, shares = min(inputs, CUT[0]), padded(min(outputs, CUT[1]), dtype), 1
    pairs = groups * -(-inputs // down) * -(-outputs // across)
    while 2 * shares * pairs <= MAX_TASKS and total >= 2 * shares * (SHARE if shares * pairs > 1 else ONLY_SHARE):
        shares *= 2
    if shares * pairs == 1:
        across = padded(-(-across // 2), dtype)
    longest = LONGEST - LONGEST // TILES  # shares are whole blocks, whose size is rounded up
    return max(shares, -(-total // longest)), (down, across)


def weight_gradient_plan(name: str, shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, eta) that computes both gradients for arrays of these shapes by the algorithm `name`, by
    `most` threads at most."""
    (batch, oh, ow, _), (window, groups, rectify, dtype) = eta_shape, geometry
    inputs, outputs, ((top, _), (left, _)) = shape[3] // groups, eta_shape[3] // groups, window.padding
    lane, algorithm = vector_lanes(dtype), table.forward(name)
    made, taken, starts = algorithm.made, algorithm.taken, np.array(algorithm.starts)
    products_of, products = len(starts) - 1, int(starts[-1])
    down, across = (tiles_of(*sides) for sides in zip((oh, ow), made, window.dilation, strict=True))
    total = batch * math.prod(window.dilation) * down * across
    shares, cut = shares_of(total, groups, inputs, outputs, dtype)
    work, block = total * products * groups * inputs * outputs, even_share(total, TILES, shares)
    threads, row = threads_for(work, most), -(-cut[0] // lane) * lane
    arrays = layout(
        dtype,
        (threads, products * cut[0] * cut[1]),  # sums of products
        (threads, products * (block * row + lane)),  # tiles of x
        (threads, products_of * (block * cut[1] + lane)),  # tiles of eta
        (threads, max(math.prod(taken) * row, math.prod(made) * 2 * lane)),  # a tile at the border
        (shares, -(-inputs // cut[0]), groups * padded(outputs, dtype)),  # sums of eta
    )
    offsets = offset_tables((1, cut[0], 0, 1), (cut[0], 1, cut[1], 0), (block, 1, row, 0))
    tables, tiles = (offsets, starts, zeros((cut[1],), dtype)), (window.dilation, down, across)
    task = groups, -(-total // block), block, *cut, row
    tasks = shares * groups * -(-inputs // cut[0]) * -(-outputs // cut[1])
    cuts = ((-top, -left), algorithm.apart, taken, *tiles), ((0, 0), made, made, *tiles)
    roles = "rectified" if rectify else "input", "gradient", "back"
    steps = tuple(address_of(name, role, dtype) for role in roles)
    dw_shape = *window.ksize, inputs, groups * outputs

    def weight_gradient(x: Array, eta: Array) -> tuple[Array, Array]:
        (*memory, sums), dw = workspace(arrays), empty((shares, *dw_shape), dtype)
        given = (x, eta, dw, sums), cuts, steps, task, tuple(memory), tables
        add_all_tiles(*given, tasks, work=work, threads=threads)
        total = add_up(sums.reshape(shares, -1), sums.shape[1:]) if shares > 1 else sums[0]
        db = total[0].reshape(groups, -1)[:, :outputs].reshape(-1)
        db = db if shares > 1 else db.copy()
        return dw[0] if shares == 1 else add_up(dw.reshape(shares, -1), dw_shape), db

    return weight_gradient
