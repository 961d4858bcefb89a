"""Sums of products lane by lane: what convolutions of channels by themselves are made of. Requires numba.

Where a matrix product multiplies one element with a row of vectors, here a vector of neighbouring channels is
multiplied with another. The tile is the register tile of a product, with tables of offsets for its rows as there: they
are pixels for the result and the input's gradient, taps for the weights' gradient.
"""

from typing import NamedTuple

from fastcnn.backends.numba.core.hints import Array, Index
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.vectors import lanes
from fastcnn.backends.numba.product.tile import (
    lane_add,
    row_offsets,
    tile_of,
    tile_of_zeros,
    tile_store,
    tile_stream,
)

ROWS = 6  # pixels of a tile of 1 or 2 vectors
TAPS = 9  # rows of a tile of taps: those of a 3 x 3 kernel


class Lines(NamedTuple):
    """Pixels: a flat array, the first element, offsets of the pixels of a line, and the elements from one line to the
    next."""

    array: Array
    first: Index
    pixels: Array
    step: Index


class Weights(NamedTuple):
    """Of each tap a row of channels, whole vectors: the flat array, where each row begins in it, and where its pixel
    lies from the first tap's; and the bias, whole vectors too."""

    array: Array
    rows: Array
    places: Array
    bias: Array


@inline
def multiply_tiles(halves, at, sizes, a, weights, c, past):
    """`ROWS` pixels of all lines, `halves` half vectors of channels, from `at` (pixel, channel) on; `sizes` are (lines,
    channels)."""
    (i, j), (count, channels), pixels = at, sizes, a.pixels.size
    from_, to = row_offsets(a.pixels, i, pixels, ROWS), row_offsets(c.pixels, i, pixels, ROWS)
    for line in range(count):
        tile, first = tile_of(weights.bias, j, ROWS, halves), a.first + line * a.step + j
        for k in range(weights.rows.size):
            tile = lane_add(tile, a.array, from_, weights.places[k] + first, weights.array, weights.rows[k] + j)
        if past:
            tile_stream(tile, c.array, c.first + line * c.step + j, to)
        else:
            tile_store(tile, c.array, c.first + line * c.step + j, to, channels - j)


@serial
def multiply_lines(a, weights, c, sizes, past):
    """c[l, p, j] = bias[j] + the sum over taps k of a[l, p, k, j] * weights[k, j]; `sizes` are (lines, channels).

    a and c are `Lines`, weights `Weights`. A few pixels of a line, then those below them: what their windows share
    stays in the L1 cache. Line by line, three lines of 56 pixels of 64 channels left it, and it took 1.4 times as long.
    `past`: the results are whole vectors, and are written past the caches.
    """
    v, channels = lanes(weights.array), sizes[1]
    for i in range(0, a.pixels.size, ROWS):
        for j in range(0, channels, 2 * v):
            if channels - j > v:
                multiply_tiles(4, (i, j), sizes, a, weights, c, past)
            else:
                multiply_tiles(2, (i, j), sizes, a, weights, c, past)


class Pixels(NamedTuple):
    """Pixels by number: a flat array, the first element of number 0, and the elements from one to the next."""

    array: Array
    first: Index
    step: Index
    numbers: Array


@serial
def sum_taps(a, b, c):
    """c[k, j] = the sum over pixels p of a[k, p, j] * b[p, j].

    a is a `Rows`, whose rows are taps and columns pixels, b a `Pixels` of whole vectors, and of c, a `Target` of whole
    vectors, the rows are taps.
    """
    v, taps = lanes(b.array), a.rows.size
    for i in range(0, taps, TAPS):
        from_, to = row_offsets(a.rows, i, taps, TAPS), row_offsets(c.rows, i, taps, TAPS)
        for j in range(0, c.columns, v):
            tile = tile_of_zeros(b.array, TAPS, 2)
            for p in range(b.numbers.size):
                tile = lane_add(tile, a.array, from_, a.columns[p] + j, b.array, b.first + b.numbers[p] * b.step + j)
            tile_store(tile, c.array, c.first + j, to, v)
