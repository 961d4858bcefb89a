"""Sums of products lane by lane: what convolutions of channels by themselves are made of. Requires numba.

Where a matrix product multiplies one element with a row of vectors, here a vector of neighbouring channels is
multiplied with another. The functions go over one line of pixels. They are compiled once for each shape of taps and
groups that is used (see `Lanes`), and kernels call them by their addresses.
"""

import functools
from collections.abc import Callable

import numpy as np
from numba import carray, types

from fastcnn.backends.numba.core.jit import by_address, inline
from fastcnn.backends.numba.core.vectors import Vector, lanes
from fastcnn.backends.numba.product.lane_tile import (
    Lanes,
    add_products,
    add_rows,
    add_taps,
    pixel_rows,
    put_rows,
    rows_at,
)
from fastcnn.backends.numba.product.tile import HALVES, tile_of, tile_store, tile_stream

PIXELS = 7  # of a tile: 56, 28, 14 and 7 are multiples. With 6, 14 x 14 pixels took a sixth longer, with 8 the same
ALONE = 2 * PIXELS if HALVES else PIXELS  # where vectors are repeated elements: each has one chain of sums
NOWHERE = 0, 0  # the columns of a line outside the image: its pixels are 0, and times NaN they are NaN
SUMS = 12  # rows of a tile of taps, where a run does not have more: of 3 x 3 taps 9, three runs at a time


def multiply_line(kind: Lanes, lanes: int) -> Callable:
    """The function that makes one line of results.

    Pointers: to column 0 of the line of the image that the first run of taps reads, to its weights, to the bias, whole
    vectors, and to the first result. Numbers: elements from one pixel of the image to the next, and from one run's line
    to the next; in the weights from one tap to the next, one channel of a group, and one run; the runs, and those
    (first, last) that read the image, as the others read zeros; the column of the first tap of the first window, and
    the columns that there are; the windows of the line, elements between their results, and channels of each; whether
    they are written past the caches, in whole vectors.
    """
    text, (taps, dilation, stride, inputs, outputs, _, _), step = kind.text, kind, kind.step(lanes)
    pixels, together = ALONE if kind.alone(lanes) else PIXELS, kind.together(lanes)
    reach = (pixels - 1) * stride + (taps - 1) * dilation + 1

    def line(  # noqa: PLR0913, PLR0917
        x, w, bias, out, pixel, row, tap, channel, run, runs, first, last, left, width, count, apart, channels, past
    ) -> None:
        image, weights, start, result = carray(x, 1), carray(w, 1), carray(bias, 1), carray(out, 1)
        for begin in range(0, count, pixels):
            i = min(begin, count - pixels)  # the last tile has all its pixels too: some are made once more
            column, to = left + i * stride, pixel_rows(i, apart, pixels)
            span, inside = (-column, width - column), column >= 0 and column + reach <= width
            for j in range(0, channels, step):
                have = min(step, channels - j)
                some = have, (have + outputs - 1) // outputs * inputs
                at, tile = column * pixel + j // outputs * inputs, tile_of(start, j, pixels, 2)
                for k in range(runs):
                    there = first <= k < last
                    for c in range(0, inputs, together):
                        place, q, steps = at + k * row + c, j + k * run + c * channel, (tap, channel)
                        if inside and there:
                            tile = add_taps(text, 0, tile, image, place, pixel, span, weights, q, steps, some)
                        else:
                            area = span if there else NOWHERE
                            tile = add_taps(text, 1, tile, image, place, pixel, area, weights, q, steps, some)
                if past:
                    tile_stream(tile, result, j, to)
                else:
                    tile_store(tile, result, j, to, have)

    return line


@inline
def sum_runs(kind, rows, x, eta, sums, at, windows, steps, some):  # noqa: PLR0913, PLR0917
    """Add what a line contributes to `rows` sums, of as many runs of taps, of one vector of outputs. `x`, `eta` and
    `sums` are arrays, `at` an element of each: of x in column 0 of the first run's line; `windows` are (left, width,
    count, stride, reach), `steps` elements from pixel to pixel and from line to line of x, from pixel to pixel of eta,
    and from row to row of the sums."""
    (pixel, row, apart, wide), (place, slope, to), (left, width, count, stride, reach) = steps, at, windows
    tile, i = rows_at(kind, sums, to, wide, rows, some), 0
    while i < count:
        column = left + i * stride
        span, here, lines = (-column, width - column), place + column * pixel, (pixel, row)
        if i + PIXELS > count:
            slopes = rows_at(kind, eta, slope + i * apart, apart, 1, some)
            tile = add_products(kind, 1, tile, x, here, lines, span, slopes, some)
            i += 1
        else:
            slopes = rows_at(kind, eta, slope + i * apart, apart, PIXELS, some)
            if column >= 0 and column + reach <= width:
                tile = add_products(kind, 0, tile, x, here, lines, span, slopes, some)
            else:
                tile = add_products(kind, 1, tile, x, here, lines, span, slopes, some)
            i += PIXELS
    put_rows(kind, tile, sums, to, wide, some)


@inline
def sum_channels(kind, rows, pixels, edge, inputs, x, eta, sums, at, steps, span, some):  # noqa: PLR0913, PLR0917
    """Add what so many `pixels` contribute to the sums of one run, where vectors are repeated elements, of all channels
    of a group. As in `sum_runs`, but for `at`, whose element of x is in the column of the first pixel."""
    (pixel, row, apart, wide), (place, slope, to) = steps, at
    slopes = rows_at(kind, eta, slope, apart, pixels, some)
    for c in range(inputs):
        first = to + c * lanes(sums)
        tile = rows_at(kind, sums, first, wide, rows, some)
        tile = add_products(kind, edge, tile, x, place + c, (pixel, row), span, slopes, some)
        put_rows(kind, tile, sums, first, wide, some)


@inline
def sum_pixels(kind, eta, at, apart, count, sums, to, some):
    """Add a vector of outputs of `count` pixels to sums[to]."""
    tile, i = rows_at(kind, sums, to, 0, 1, some), 0
    while i < count:
        if i + PIXELS > count:
            tile = add_rows(tile, rows_at(kind, eta, at + i * apart, apart, 1, some))
            i += 1
        else:
            tile = add_rows(tile, rows_at(kind, eta, at + i * apart, apart, PIXELS, some))
            i += PIXELS
    put_rows(kind, tile, sums, to, 0, some)


def sum_line(kind: Lanes, lanes: int) -> Callable:
    """The function that adds, to the sums of all taps, what one line of the result's gradient contributes.

    Pointers: to column 0 of the line of the image that the first run of taps reads, to the line of the gradient, and to
    the sums: for each vector of outputs a row for each tap and channel of a group, and one for the bias. (As rows of
    all outputs they lay in few places of the L1 cache: groups of 16 of 14 x 14 x 512 took a fifth longer.) Numbers:
    elements from one pixel of the image to the next, and from one run's line to the next; the runs, and those (first,
    last) that read the image, as the others read zeros; the column of the first tap of the first window, and the
    columns that there are; the windows of the line, elements between their gradients, and channels of each; the sums of
    a vector, in elements.
    """
    return lines_of_elements(kind, lanes) if kind.alone(lanes) else lines_of_vectors(kind, lanes)


def lines_of_vectors(kind: Lanes, lanes: int) -> Callable:
    """`sum_line` where the channels that meet a vector are added up together: a vector's sums stay in registers."""
    text, (taps, dilation, stride, inputs, outputs, _, _), step = kind.text, kind, kind.step(lanes)
    reach, rows = (PIXELS - 1) * stride + (taps - 1) * dilation + 1, taps * inputs
    some_runs = max(1, min(taps, SUMS // rows))  # at a time: most kernels are square
    many = some_runs * rows

    def line(x, eta, sums, pixel, row, runs, first, last, left, width, count, apart, channels, size) -> None:  # noqa: PLR0913, PLR0917
        image, slopes, results = carray(x, 1), carray(eta, 1), carray(sums, 1)
        steps, to = (pixel, row, apart, lanes), 0
        for j in range(0, channels, step):
            have = min(step, channels - j)
            some, at, k = (have, (have + outputs - 1) // outputs * inputs), j // outputs * inputs, 0
            while k < runs:
                places = at + k * row, j, to + k * rows * lanes
                windows = left, (width if first <= k < last else 0), count, stride, reach
                if first <= k and k + some_runs <= last:
                    sum_runs(text, many, image, slopes, results, places, windows, steps, some)
                    k += some_runs
                else:
                    sum_runs(text, rows, image, slopes, results, places, windows, steps, some)
                    k += 1
            to += size
            sum_pixels(text, slopes, j, apart, count, results, to - lanes, some)

    return line


def lines_of_elements(kind: Lanes, lanes: int) -> Callable:
    """`sum_line` where vectors are repeated elements: all channels of a group for some pixels, then those beside them.
    The other way round a line's pixels are read once for each channel, and where they are 2048 bytes apart the L1 cache
    does not hold them: groups of 16 of 14 x 14 x 512 took twice as long."""
    text, (taps, dilation, stride, inputs, outputs, _, _), step = kind.text, kind, kind.step(lanes)
    reach = (PIXELS - 1) * stride + (taps - 1) * dilation + 1

    def line(x, eta, sums, pixel, row, runs, first, last, left, width, count, apart, channels, size) -> None:  # noqa: PLR0913, PLR0917
        image, slopes, results = carray(x, 1), carray(eta, 1), carray(sums, 1)
        steps, to = (pixel, row, apart, inputs * lanes), 0
        for j in range(0, channels, step):
            some, at = (min(step, channels - j), inputs), j // outputs * inputs
            for k in range(runs):
                i, there = 0, width if first <= k < last else 0
                while i < count:
                    column, many = left + i * stride, i + PIXELS <= count
                    span, inside = (-column, there - column), column >= 0 and column + reach <= there
                    places = at + k * row + column * pixel, i * apart + j, to + k * taps * inputs * lanes
                    if many and inside:
                        sum_channels(text, taps, PIXELS, 0, inputs, image, slopes, results, places, steps, span, some)
                    elif many:
                        sum_channels(text, taps, PIXELS, 1, inputs, image, slopes, results, places, steps, span, some)
                    else:
                        sum_channels(text, taps, 1, 1, inputs, image, slopes, results, places, steps, span, some)
                    i += PIXELS if many else 1
            to += size
            sum_pixels(text, slopes, j, apart, count, results, to - lanes, some)

    return line


# Of each function: how it is made, its pointers, and its numbers.
FUNCTIONS = {"multiply": (multiply_line, 4, 14), "sum": (sum_line, 3, 11)}


@functools.cache
def address_of(name: str, kind: Lanes, dtype: np.dtype) -> int:
    """The address of a compiled function of `FUNCTIONS`."""
    element = types.float32 if dtype.itemsize == 4 else types.float64
    make, pointers, numbers = FUNCTIONS[name]
    arguments = (types.CPointer(element),) * pointers + (types.int64,) * numbers
    return by_address(make(kind, Vector(element).lanes), types.void(*arguments))
