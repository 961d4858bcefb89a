"""Passes over rows of channels, (N, C), with numbers for each channel. Requires numba.

A loop over 6 or 12 channels is too short for vectors. Rows lie side by side, so several count as one wide row, `wide`
elements long, over which the channels' numbers are repeated: the inner loops are always long, and LLVM vectorises them.

Each column of a wide row has a sum of its own, and those of a channel are added up at the end of a block or task, in
float64. Tasks are cut by shape alone, and their sums are added in order.
"""

from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.core.copying import clear
from fastcnn.backends.numba.core.hints import Array, Pair
from fastcnn.backends.numba.core.jit import MOVE, serial, single, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat

WIDE = 512  # elements of a wide row, if a row is not longer: what belongs to its channels stays in the L1 cache
BLOCK = 16384  # elements of a task, and what statistics read twice, the second time from the L2 cache
TASKS = 32  # of sums, at most: each leaves two sums for each channel
FLOAT64 = np.dtype(np.float64)

NORMALIZE, NORMALIZE_GRADIENT, SLOPE, SLOPE_ABOVE = range(4)
STATISTICS, NORMALIZE_SUMS, SLOPE_SUMS = range(3)


class Given(NamedTuple):
    """What is summed: two flat arrays, and what is subtracted from each column of a wide row of x."""

    x: Array
    eta: Array
    mean: Array


class Sums(NamedTuple):
    """Memory of each thread: wide rows of sums, in the dtype of x and in float64, and sums of channels in float64."""

    sums: Array
    products: Array
    totals: Array


def wide_row(channels: int) -> int:
    """Elements of a wide row."""
    return channels * max(1, WIDE // channels)


@serial
def map_rows(x, eta, table, operation, out):
    """Some wide rows, the last of which may be cut off."""
    mean, scale, shift, slope = table[0], table[1], table[2], table[3]
    for start in range(0, x.size, mean.size):
        count = min(mean.size, x.size - start)
        if operation == NORMALIZE:
            for i in range(count):
                at = np.uintp(start + i)
                out[at] = (x[at] - mean[i]) * scale[i] + shift[i]
        elif operation == NORMALIZE_GRADIENT:
            for i in range(count):
                at = np.uintp(start + i)
                out[at] = eta[at] * scale[i] - (x[at] - mean[i]) * slope[i] - shift[i]
        elif operation == SLOPE:
            for i in range(count):
                at = np.uintp(start + i)
                out[at] = eta[at] if x[at] >= 0 else slope[i] * eta[at]
        else:
            for i in range(count):
                at = np.uintp(start + i)
                out[at] = eta[at] if x[at] > 0 else slope[i] * eta[at]


@task_kernel
def map_blocks(task, x, eta, table, operation, length, out):
    first, last = task * length, min(x.size, (task + 1) * length)
    map_rows(x[first:last], eta[first:last], table, operation, out[first:last])


def blocks_of(size: int, wide: int) -> Pair:
    """Elements of a block, whole wide rows, and how many blocks make `size` elements."""
    length = max(1, BLOCK // wide) * wide
    return length, -(-size // length)


def map_channels(x: Array, eta: Array, table: Array, operation: int) -> Array:
    """Of x and eta, (..., C), a new array, by a table (4, wide row) of each channel's mean, scale, shift and slope."""
    out, (length, blocks) = empty(x.shape, x.dtype), blocks_of(x.size, table.shape[1])
    lines = x.reshape(-1), eta.reshape(-1), table
    map_blocks(*lines, operation, length, out.reshape(-1), blocks, work=MOVE * x.size)
    return out


@serial
def fold(sums, totals):
    """Add up the columns of a wide row that belong to one channel."""
    channels = totals.size
    clear(totals, 0, totals.size)
    for start in range(0, sums.size, channels):
        for k in range(channels):
            totals[k] += sums[np.uintp(start + k)]


@serial
def repeat(totals, sums):
    """Write what belongs to a channel into all of its columns of a wide row."""
    for start in range(0, sums.size, totals.size):
        for k in range(totals.size):
            sums[np.uintp(start + k)] = totals[k]


@serial
def block_statistics(x, sums, totals, rows):
    """Of a block of `rows`: the mean of each channel in totals[0], the sum of squared differences in totals[1].

    The sums of a wide row are of the dtype of x, some tens of numbers each: with float64, of which half as many fit
    into a vector, the statistics of (64, 28, 28, 64) took 1.1 ms instead of 0.9 on one core. The mean is then only
    nearly right, so the second pass also adds up the differences from it, and both results are put right: Chan, Golub
    and LeVeque, "Algorithms for Computing the Sample Variance" (1983), eq. 1.7.
    """
    means, differences, squares = sums[0], sums[1], sums[2]
    clear(flat(sums), 0, sums.size)
    for start in range(0, x.size, means.size):
        for i in range(min(means.size, x.size - start)):
            means[i] += x[np.uintp(start + i)]
    fold(means, totals[0])
    for k in range(totals.shape[1]):
        totals[0, k] /= rows
    repeat(totals[0], means)
    for start in range(0, x.size, means.size):
        for i in range(min(means.size, x.size - start)):
            difference = x[np.uintp(start + i)] - means[i]
            differences[i] += difference
            squares[i] += difference * difference
    fold(differences, totals[2])
    fold(squares, totals[1])
    for k in range(totals.shape[1]):
        off = totals[2, k] / rows
        totals[0, k] = means[k] + off
        totals[1, k] -= rows * off * off


@serial
def merge(mean, square, before, other_mean, other_square, count):
    """Add the statistics of `count` more rows to those of `before` rows.

    Chan, Golub and LeVeque (1983), eq. 2.1: nothing cancels, however large the mean.
    """
    share = count / (before + count)
    for k in range(mean.size):
        difference = other_mean[k] - mean[k]
        mean[k] += difference * share
        square[k] += other_square[k] + difference * difference * (share * before)


@serial
def statistics_task(x, sums, totals, result):
    """Mean and sum of squared differences of each channel, block by block."""
    channels, wide = result.shape[1], sums.shape[1]
    length = max(1, BLOCK // wide) * wide
    clear(flat(result), 0, result.size)
    for start in range(0, x.size, length):
        part = x[start : min(x.size, start + length)]
        rows = part.size // channels
        block_statistics(part, sums, totals, rows)
        merge(result[0], result[1], start // channels, totals[0], totals[1], rows)


@serial
def product_task(x, eta, mean, operation, sums, result):
    """The sums of ``eta * (x - mean)`` and of eta, or those of ``eta * x`` where x is below 0 or NaN.

    In float64: two arrays come from memory, which takes as long.
    """
    products, etas = sums[0], sums[1]
    clear(products, 0, products.size)
    clear(etas, 0, etas.size)
    for start in range(0, x.size, mean.size):
        count = min(mean.size, x.size - start)
        if operation == NORMALIZE_SUMS:
            for i in range(count):
                at = np.uintp(start + i)
                slope = np.float64(eta[at])
                products[i] += slope * (x[at] - np.float64(mean[i]))
                etas[i] += slope
        else:
            for i in range(count):
                at = np.uintp(start + i)
                product = np.float64(eta[at]) * x[at]
                products[i] += 0.0 if x[at] >= 0 else product
    fold(products, result[0])
    fold(etas, result[1])


@task_kernel
def sum_task(task, thread, given: Given, operation, length, memory: Sums, partial):
    """partial[task] = the two sums of `length` elements."""
    low, high = task * length, min(given.x.size, (task + 1) * length)
    part = given.x[low:high]
    if operation == STATISTICS:
        statistics_task(part, memory.sums[thread], memory.totals[thread], partial[task])
    else:
        product_task(part, given.eta[low:high], given.mean, operation, memory.products[thread], partial[task])


@single
def finish(partial, operation, length, size, first, second):
    """The sums of all tasks, of `length` elements each, in their order; for statistics mean and variance."""
    mean, square, channels = partial[0, 0], partial[0, 1], first.size
    for task in range(1, partial.shape[0]):
        if operation == STATISTICS:
            count = min(length, size - task * length) // channels
            merge(mean, square, task * length // channels, partial[task, 0], partial[task, 1], count)
        else:
            for k in range(channels):
                mean[k] += partial[task, 0, k]
                square[k] += partial[task, 1, k]
    rows = float(max(1, size // channels)) if operation == STATISTICS else 1.0
    for k in range(channels):
        first[k] = mean[k]
        second[k] = square[k] / rows


def sum_channels(x: Array, eta: Array, mean: Array, channels: int, operation: int) -> tuple[Array, Array]:
    """Two sums of x and eta, (..., C), for each channel, (C,); `mean` is one wide row."""
    wide = wide_row(channels)
    block, blocks = blocks_of(x.size, wide)
    length = -(-max(1, blocks) // TASKS) * block
    work, count = MOVE * x.size, max(1, -(-x.size // length))
    threads = threads_for(work)
    sums, products = empty((threads, 3, wide), x.dtype), empty((threads, 2, wide), FLOAT64)
    memory, partial = (sums, products, empty((threads, 3, channels), FLOAT64)), empty((count, 2, channels), FLOAT64)
    first, second = empty((channels,), x.dtype), empty((channels,), x.dtype)
    lines = x.reshape(-1), eta.reshape(-1), mean
    sum_task(lines, operation, length, memory, partial, count, work=work, threads=threads)
    finish(partial, operation, length, x.size, first, second)
    return first, second
