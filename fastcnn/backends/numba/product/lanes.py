"""Sums of products lane by lane: what convolutions of channels by themselves are made of. Requires numba.

Where a matrix product multiplies one element with a row of vectors, here a vector of neighbouring channels is
multiplied with another. The tile is the register tile of a product: its rows are pixels for the result and the input's
gradient, taps for the weights' gradient. Each product needs a vector of its own from memory, unless it is known how
pixels and taps lie: for runs of 3 or 5 neighbouring taps, with stride 1 or 2, a pixel is loaded once for all taps that
meet it, which halves the loads.
"""

from typing import NamedTuple

from fastcnn.backends.numba.core.hints import Array, Index
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.memory import ALIGNMENT
from fastcnn.backends.numba.core.vectors import lanes, prefetch
from fastcnn.backends.numba.core.width import VECTOR_BYTES
from fastcnn.backends.numba.product.lane_tile import lane_add, run_add, run_sum
from fastcnn.backends.numba.product.tile import row_offsets, tile_of, tile_of_zeros, tile_store, tile_stream

ROWS = 6  # pixels of a tile of 1 or 2 vectors
TAPS = 9  # rows of a tile of taps: those of a 3 x 3 kernel
STRIP = 8  # columns whose pixels are summed up before the next ones: what windows share stays in the L1 cache
PAIRED = (
    VECTOR_BYTES == 64
)  # two vectors at a time, of 3 taps: with 5, LLVM runs out of registers, as AVX2 would with 3
RUNS = {(3, 1), (3, 2), (5, 1), (5, 2)}  # (taps, stride)


class Lines(NamedTuple):
    """Pixels: a flat array, the first element, offsets of the pixels of a line, and the elements from one line to the
    next."""

    array: Array
    first: Index
    pixels: Array
    step: Index


class Weights(NamedTuple):
    """Of each run of taps, which are rows of channels, whole vectors: the flat array, where the first row begins in it,
    and where its pixel lies; and the bias, whole vectors too."""

    array: Array
    rows: Array
    places: Array
    bias: Array


class Run(NamedTuple):
    """Taps of a run, the elements from one pixel under it to the next, the pixels from one window to the next, and the
    elements from one row of weights to the next."""

    taps: int
    pixel: int
    apart: int
    step: int


@inline
def put_tile(tile, c, line, j, to, channels, past):
    """Store a tile of results from channel j on."""
    if past:
        tile_stream(tile, c.array, c.first + line * c.step + j, to)
    else:
        tile_store(tile, c.array, c.first + line * c.step + j, to, channels - j)


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
        put_tile(tile, c, line, j, to, channels, past)


@inline
def multiply_runs(taps, apart, halves, at, sizes, a, weights, c):
    """The same by runs of so many `taps`, of windows `apart`; `sizes` are (lines, channels, elements from one pixel to
    the next, from one row of weights to the next, whether past the caches)."""
    (i, j), (count, channels, pixel, step, past) = at, sizes
    to = row_offsets(c.pixels, i, c.pixels.size, ROWS)
    for line in range(count):
        tile, first = tile_of(weights.bias, j, ROWS, halves), a.first + a.pixels[i] + line * a.step + j
        for k in range(weights.rows.size):
            at_k, row = first + weights.places[k], weights.rows[k] + j
            tile = run_add(tile, a.array, at_k, pixel, weights.array, row, step, taps, apart)
        put_tile(tile, c, line, j, to, channels, past)


@inline
def runs_of_lines(taps, apart, a, weights, c, sizes, ahead):
    """All pixels by `multiply_runs`. The last tile begins early enough to have all its rows. Meanwhile what is `ahead`
    comes to the L2 cache."""
    v, channels, pixels, at = lanes(weights.array), sizes[1], a.pixels.size, ahead.first
    each = (ahead.last - ahead.first) * ROWS // pixels + 1
    for start in range(0, pixels, ROWS):
        i, j = min(start, pixels - ROWS), 0
        for t in range(at, min(ahead.last, at + each), ALIGNMENT // ahead.array.itemsize):
            prefetch(ahead.array, t)
        at += each
        while j < channels:
            if PAIRED and taps == 3 and channels - j > v:
                multiply_runs(taps, apart, 4, (i, j), sizes, a, weights, c)
                j += 2 * v
            else:
                multiply_runs(taps, apart, 2, (i, j), sizes, a, weights, c)
                j += v


@serial
def multiply_lines(a, weights, run, c, sizes, past, ahead):
    """c[l, p, j] = bias[j] + the sum over taps k of a[l, p, k, j] * weights[k, j]; `sizes` are (lines, channels).

    a and c are `Lines`, weights `Weights`, by runs as `run` says. A few pixels of a line, then those below them: what
    their windows share stays in the L1 cache. `past`: the results are whole vectors, and are written past the caches.
    `ahead` is a `Prefetch`.
    """
    v, channels, more = lanes(weights.array), sizes[1], (sizes[0], sizes[1], run.pixel, run.step, past)
    if run.taps == 3 and run.apart == 1:
        runs_of_lines(3, 1, a, weights, c, more, ahead)
    elif run.taps == 3:
        runs_of_lines(3, 2, a, weights, c, more, ahead)
    elif run.taps == 5 and run.apart == 1:
        runs_of_lines(5, 1, a, weights, c, more, ahead)
    elif run.taps == 5:
        runs_of_lines(5, 2, a, weights, c, more, ahead)
    else:
        for i in range(0, a.pixels.size, ROWS):
            for j in range(0, channels, 2 * v):
                if channels - j > v:
                    multiply_tiles(4, (i, j), sizes, a, weights, c, past)
                else:
                    multiply_tiles(2, (i, j), sizes, a, weights, c, past)


class Slopes(NamedTuple):
    """The gradient of the result: a flat array, the first element, and the elements from one pixel to the next, which
    follow each other line by line."""

    array: Array
    first: Index
    step: Index


class Taps(NamedTuple):
    """Taps: where the pixel of each lies in the image, or that of each row of a kernel, and where its sums go, a flat
    array of whole vectors."""

    places: Array
    array: Array
    sums: Array


@inline
def sum_tiles(i, j, lines, a, b, taps):
    """Of `TAPS` taps from number i on, a vector of channels from j on."""
    count, columns = taps.places.size, a.pixels.size
    from_, to = row_offsets(taps.places, i, count, TAPS), row_offsets(taps.sums, i, count, TAPS)
    tile = tile_of_zeros(b.array, TAPS, 2)
    for first in range(0, columns, STRIP):
        for line in range(lines):
            for p in range(first, min(columns, first + STRIP)):
                at, slope = a.first + line * a.step + a.pixels[p] + j, b.first + (line * columns + p) * b.step + j
                tile = lane_add(tile, a.array, from_, at, b.array, slope)
    tile_store(tile, taps.array, j, to, lanes(b.array))


@inline
def sum_runs(size, taps, apart, at, lines, run, a, b, results):  # noqa: PLR0913, PLR0917 - three are constants
    """Of `size` taps, whole runs of so many `taps`, from number i of `at` (i, channel) on, windows `apart`."""
    (i, j), columns = at, a.pixels.size
    to = row_offsets(results.sums, i * run.taps, results.sums.size, size)
    below = results.places[min(i + 1, results.places.size - 1)] - results.places[i]
    tile, whole, start = tile_of_zeros(b.array, size, 2), columns // 4 * 4, a.first + results.places[i] + j
    for p in range(0, whole, 4):
        for line in range(lines):
            x, e = start + line * a.step + a.pixels[p], b.first + (line * columns + p) * b.step + j
            tile = run_sum(tile, a.array, x, below, run.pixel, b.array, e, b.step, taps, apart, 4)
    for p in range(whole, columns):
        for line in range(lines):
            x, e = start + line * a.step + a.pixels[p], b.first + (line * columns + p) * b.step + j
            tile = run_sum(tile, a.array, x, below, run.pixel, b.array, e, b.step, taps, apart, 1)
    tile_store(tile, results.array, j, to, lanes(b.array))


@serial
def sum_taps(a, b, run, taps, lines, channels):
    """sums[k, j] = the sum over all pixels p of `lines` of a[p, k, j] * b[p, j], for taps k.

    a is `Lines`, b `Slopes`, taps `Taps`, by runs as `run` says: of 3 taps three rows of a kernel at a time, of 5 one.
    """
    for j in range(0, channels, lanes(b.array)):
        if run.taps == 3 and run.apart == 1:
            for i in range(0, taps.places.size, 3):
                sum_runs(9, 3, 1, (i, j), lines, run, a, b, taps)
        elif run.taps == 3:
            for i in range(0, taps.places.size, 3):
                sum_runs(9, 3, 2, (i, j), lines, run, a, b, taps)
        elif run.taps == 5 and run.apart == 1:
            for i in range(taps.places.size):
                sum_runs(5, 5, 1, (i, j), lines, run, a, b, taps)
        elif run.taps == 5:
            for i in range(taps.places.size):
                sum_runs(5, 5, 2, (i, j), lines, run, a, b, taps)
        else:
            for i in range(0, taps.places.size, TAPS):
                sum_tiles(i, j, lines, a, b, taps)
