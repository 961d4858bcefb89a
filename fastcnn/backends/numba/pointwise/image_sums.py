"""Sums of the channels of one image. Requires numba.

As in :mod:`fastcnn.backends.numba.pointwise.channels`, rows of channels lie side by side as wide rows, each column of
which has sums of its own: in the dtype of x over `ROUND` of them, then in float64.
"""

import numpy as np

from fastcnn.backends.numba.core.copying import clear
from fastcnn.backends.numba.core.jit import serial
from fastcnn.backends.numba.core.vectors import flat

FIRST = 8  # wide rows, at most, whose mean the distances in an image are from
ROUND = 32  # wide rows whose sums are in the dtype of x


@serial
def add_moments(x, center, sums):
    """Add ``x - center`` and its square, of some wide rows, of which the last may be cut off.

    Four rows at a time, as each addition to `sums` reads and writes memory.
    """
    wide, first, second, start = center.size, sums[0], sums[1], 0
    while start + 4 * wide <= x.size:
        one, two, three = x[start + wide :], x[start + 2 * wide :], x[start + 3 * wide :]
        for i in range(wide):
            at = np.uintp(i)
            a, b, c, d = x[start + at] - center[at], one[at] - center[at], two[at] - center[at], three[at] - center[at]
            first[at] += (a + b) + (c + d)
            second[at] += (a * a + b * b) + (c * c + d * d)
        start += 4 * wide
    for begin in range(start, x.size, wide):
        for i in range(min(wide, x.size - begin)):
            difference = x[np.uintp(begin + i)] - center[i]
            first[i] += difference
            second[i] += difference * difference


@serial
def add_products(x, eta, center, sums):
    """Add ``eta * (x - center)`` and `eta`, of some wide rows, two at a time."""
    wide, first, second, start = center.size, sums[0], sums[1], 0
    while start + 2 * wide <= x.size:
        other, slope = x[start + wide :], eta[start + wide :]
        for i in range(wide):
            at = np.uintp(i)
            e, f = eta[start + at], slope[at]
            first[at] += e * (x[start + at] - center[at]) + f * (other[at] - center[at])
            second[at] += e + f
        start += 2 * wide
    for begin in range(start, x.size, wide):
        for i in range(min(wide, x.size - begin)):
            at = np.uintp(begin + i)
            first[i] += eta[at] * (x[at] - center[i])
            second[i] += eta[at]


@serial
def fold(sums, totals):
    """Add the columns of both wide rows that belong to one channel to its totals, and begin anew.

    The last half of the columns is added to the first until there is one for each channel: loops over few channels
    would be short ones.
    """
    channels = totals.shape[1]
    for row in range(2):
        source, target, several = sums[row], totals[row], sums.shape[1] // channels
        while several > 1:
            size = several // 2 * channels
            upper = source[several * channels - size :]
            for i in range(size):
                source[np.uintp(i)] += upper[np.uintp(i)]
            several -= several // 2
        for k in range(channels):
            target[k] += source[k]
    clear(flat(sums), 0, sums.size)


@serial
def repeat_first(row, channels):
    """Write the first numbers of a wide row, one of each channel, over all of it: twice as many each time."""
    done = channels
    while done < row.size:
        rest = row[done:]
        for i in range(min(done, rest.size)):
            rest[np.uintp(i)] = row[np.uintp(i)]
        done *= 2


@serial
def image_moments(x, center, sums, totals):
    """Of each channel of an image: the mean of its first wide rows, repeated over a wide row, into `center`; the sums
    of the distances from it, and of their squares, into `totals`."""
    channels, wide = totals.shape[1], center.size
    clear(flat(sums), 0, sums.size)
    clear(flat(totals), 0, totals.size)
    clear(center, 0, wide)
    some = min(x.size, FIRST * wide)
    add_moments(x[:some], center, sums)
    fold(sums, totals)
    for k in range(channels):
        center[k] = totals[0, k] / (some // channels)
    repeat_first(center, channels)
    clear(flat(totals), 0, totals.size)
    for start in range(0, x.size, ROUND * wide):
        add_moments(x[start : min(x.size, start + ROUND * wide)], center, sums)
        fold(sums, totals)
