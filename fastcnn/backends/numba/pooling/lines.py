"""Max and average pooling of windows in a row, compiled for those that a layer has. Requires numba.

The functions are called by their addresses (see `core.calls`): in one kernel, the code of windows of all kinds, of
maxima and of means took 5 s to compile, of which a LeNet's first step needs a tenth.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import carray, from_dtype, types

from fastcnn.backends.numba.core.arithmetic import add, at_least, divide, fill, multiply
from fastcnn.backends.numba.core.jit import by_address, inline
from fastcnn.backends.numba.core.vectors import lanes, load_part, store_part
from fastcnn.backends.numba.pooling.arguments import Held, Limits, Line, Result
from fastcnn.backends.numba.pooling.select import store_integers, where_larger, where_passes
from fastcnn.backends.numba.product.sums import LONGEST

TOGETHER = 256  # pixels, and sums of them, that are added one after another in a window of more than `LONGEST`


@inline
def max_windows(line, number, held, limits, result):
    """The maxima of `number` windows, of what they hold, and their offsets."""
    source, at, to = line.image, line.first, result.first
    low = fill(source, 0 if limits.rectify else -np.inf)
    for _ in range(number):
        for t in range(0, line.channels, lanes(source)):
            count, offset = line.channels - t, fill(source, held.offset)
            first = load_part(source, at + t, count)
            best = at_least(first, low)
            for i in range(held.rows):
                for j in range(held.columns):
                    if i + j > 0:
                        value = load_part(source, at + i * line.row + j * line.pixel + t, count)
                        offset = where_larger(value, best, fill(source, held.offset + i * held.ksize + j), offset)
                        best = where_larger(value, best, value, best)
            if limits.rectify:
                offset = where_passes(best, first, offset, fill(source, limits.nowhere))
            store_part(result.values, to + t, best, count)
            store_integers(result.offsets, to + t, offset, count)
        at += line.step
        to += line.channels


@inline
def larger(source, at, count, number, best, offset):
    """The larger of `best` and a pixel, and its offset."""
    value = load_part(source, at, count)
    return where_larger(value, best, value, best), where_larger(value, best, number, offset)


@inline
def max_of_many(line, held, limits, result):
    """The maximum of one window of many pixels, of four vectors of channels at once: each comparison waits for the one
    before, and a single vector took 2.5 times as long."""
    source, to, v = line.image, result.first, lanes(line.image)
    low, none = fill(source, 0 if limits.rectify else -np.inf), fill(source, limits.nowhere)
    for t in range(0, line.channels, 4 * v):
        at, a = line.first + t, line.channels - t
        b, c, d = a - v, a - 2 * v, a - 3 * v
        first = (load_part(source, at, a), load_part(source, at + v, b))
        more = (load_part(source, at + 2 * v, c), load_part(source, at + 3 * v, d))
        p, q, r, s = at_least(first[0], low), at_least(first[1], low), at_least(more[0], low), at_least(more[1], low)
        i0 = fill(source, held.offset)
        i1, i2, i3 = i0, i0, i0
        for i in range(held.rows):
            for j in range(held.columns):
                place, number = at + i * line.row + j * line.pixel, fill(source, held.offset + i * held.ksize + j)
                p, i0 = larger(source, place, a, number, p, i0)
                q, i1 = larger(source, place + v, b, number, q, i1)
                r, i2 = larger(source, place + 2 * v, c, number, r, i2)
                s, i3 = larger(source, place + 3 * v, d, number, s, i3)
        if limits.rectify:
            i0, i1 = where_passes(p, first[0], i0, none), where_passes(q, first[1], i1, none)
            i2, i3 = where_passes(r, more[0], i2, none), where_passes(s, more[1], i3, none)
        for vector, place, count in ((p, 0, a), (q, 1, b), (r, 2, c), (s, 3, d)):
            store_part(result.values, to + t + place * v, vector, count)
        for vector, place, count in ((i0, 0, a), (i1, 1, b), (i2, 2, c), (i3, 3, d)):
            store_integers(result.offsets, to + t + place * v, vector, count)


@inline
def sum_of_row(source, at, columns, step, count):
    """The sum of `columns` vectors, `step` elements apart: no chain of more than `TOGETHER`, or of so many sums."""
    total = fill(source, 0)
    for first in range(0, columns, TOGETHER * TOGETHER):
        some = fill(source, 0)
        for start in range(first, min(columns, first + TOGETHER * TOGETHER), TOGETHER):
            few = fill(source, 0)
            for j in range(start, min(columns, start + TOGETHER)):
                few = add(few, load_part(source, at + j * step, count))
            some = add(some, few)
        total = add(total, some)
    return total


@inline
def sum_of_window(source, at, held, line, count):
    """The sum of a window's vectors: pixel by pixel, or where there are too many for that row by row."""
    total = fill(source, 0)
    if held.rows * held.columns <= LONGEST:
        for i in range(held.rows):
            for j in range(held.columns):
                total = add(total, load_part(source, at + i * line.row + j * line.pixel, count))
        return total
    for top in range(0, held.rows, TOGETHER):
        some = fill(source, 0)
        for i in range(top, min(held.rows, top + TOGETHER)):
            some = add(some, sum_of_row(source, at + i * line.row, held.columns, line.pixel, count))
        total = add(total, some)
    return total


@inline
def mean_windows(line, number, held, result, exact):
    """The means of `number` windows, over what they hold. `exact`: so is the reciprocal of `held.divisor`."""
    source, at, to = line.image, line.first, result.first
    pixels = fill(source, 1 / held.divisor if exact else held.divisor)
    for _ in range(number):
        for t in range(0, line.channels, lanes(source)):
            count = line.channels - t
            total = sum_of_window(source, at + t, held, line, count)
            store_part(result.values, to + t, multiply(total, pixels) if exact else divide(total, pixels), count)
        at += line.step
        to += line.channels


class Facts(NamedTuple):
    """What all windows of a layer have in common: elements from one window to the next, from one row of a window to the
    next, and from one of its pixels to the next; channels; pixels on a row; whether pixels below 0 count as 0, and the
    offset that says that no pixel of a window gets its gradient."""

    step: int
    row: int
    pixel: int
    channels: int
    ksize: int
    rectify: int
    nowhere: int


@inline
def facts_at(table):
    """The `Facts` that a pointer leads to."""
    return Facts(table[0], table[1], table[2], table[3], table[4], table[5], table[6])


def of_maxima(side: int, close: bool) -> Callable:
    """The function of maxima of windows in a row, `side` pixels wide and high or 0 for any, dilated or not.

    Pointers: to the first window's first pixel, to its maximum, to the maximum's offset, and to the `Facts`, which as
    arguments took 5 ns of each call. Numbers: windows; rows and columns that they hold; the offset of the first pixel;
    and what a mean is divided by.
    """

    def line(image, values, offsets, facts, number, rows, columns, offset, count) -> None:  # noqa: PLR0913, PLR0917
        layer, source = facts_at(facts), carray(image, 1)
        windows = Line(source, 0, layer.step, layer.row, layer.channels if close else layer.pixel, layer.channels)
        held = Held(side or rows, side or columns, 0 if side else offset, side or layer.ksize, count)
        result = Result(carray(values, 1), carray(offsets, 1), 0)
        max_windows(windows, number, held, Limits(layer.rectify, layer.nowhere), result)

    return line


def of_many_maxima() -> Callable:
    """The same of one window of many pixels (see `max_of_many`)."""

    def line(image, values, offsets, facts, number, rows, columns, offset, count) -> None:  # noqa: PLR0913, PLR0917
        layer, source = facts_at(facts), carray(image, 1)
        windows = Line(source, 0, layer.step, layer.row, layer.pixel, layer.channels)
        held, result = Held(rows, columns, offset, layer.ksize, count), Result(carray(values, 1), carray(offsets, 1), 0)
        max_of_many(windows, held, Limits(layer.rectify, layer.nowhere), result)

    return line


def of_means(side: int, close: bool) -> Callable:
    """The same of means, which have no offsets."""

    def line(image, values, offsets, facts, number, rows, columns, offset, count) -> None:  # noqa: PLR0913, PLR0917
        layer, source = facts_at(facts), carray(image, 1)
        windows = Line(source, 0, layer.step, layer.row, layer.channels if close else layer.pixel, layer.channels)
        held = Held(side or rows, side or columns, 0, 0, count)
        mean_windows(windows, number, held, Result(carray(values, 1), carray(offsets, 1), 0), side == 2)

    return line


@functools.cache
def address_of(make: Callable, given: tuple, dtype: np.dtype, offsets: np.dtype) -> int:
    """The address of the compiled function ``make(*given)``."""
    pointers = [types.CPointer(from_dtype(kind)) for kind in (dtype, dtype, offsets, np.dtype(np.int64))]
    return by_address(make(*given), types.void(*pointers, *(types.int64,) * 5))
