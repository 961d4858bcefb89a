"""Group normalisation of images. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.group_norm`.

A task is some images. Each has the sums of :mod:`fastcnn.backends.numba.pointwise.image_sums`, from which the
statistics of groups follow, and is then mapped as a batch is in :mod:`fastcnn.backends.numba.pointwise.channels`, from
the L2 cache.
"""

import math
from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.core.copying import clear
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import MOVE, serial, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.pointwise.channels import (
    BLOCK,
    FLOAT64,
    NORMALIZE,
    NORMALIZE_GRADIENT,
    TASKS,
    WIDE,
    map_rows,
)
from fastcnn.backends.numba.pointwise.image_sums import ROUND, add_products, fold, image_moments, repeat_first
from fastcnn.backends.numba.product.sums import add_up

NEAR = 4.0


class Images(NamedTuple):
    """Flat images, and mean and inverse deviation of each group, (N, G)."""

    x: Array
    mean: Array
    deviation: Array


class Memory(NamedTuple):
    """Of each thread: two wide rows of sums, those of each channel in float64, and the table of `map_rows`. Of each
    task: what it adds to the gradients of gain and bias."""

    sums: Array
    channels: Array
    table: Array
    tasks: Array


@serial
def careful_statistics(x, channels, first, last):
    """Mean and variance of the channels first:last of an image in float64: where sums in float32 overflow."""
    count, total, square = x.size // channels * (last - first), 0.0, 0.0
    for start in range(0, x.size, channels):
        for k in range(first, last):
            total += np.float64(x[start + k])
    mean = total / count
    for start in range(0, x.size, channels):
        for k in range(first, last):
            square += (x[start + k] - mean) ** 2
    return mean, square / count


@serial
def merge_channels(totals, center, first, last, pixels):
    """Of a group: the mean, the variance, and the largest mean square that was added up for it.

    Of each channel the squares of distances from a number near its mean are known. That of the mean distance is taken
    from them: digits are lost where it is large. Nothing cancels in what is made of channels.
    """
    mean, square, squares, count = 0.0, 0.0, 0.0, pixels * (last - first)
    for k in range(first, last):
        mean += center[k] + totals[0, k] / pixels
    mean /= last - first
    for k in range(first, last):
        off = totals[0, k] / pixels
        difference = center[k] + off - mean
        square += totals[1, k] - totals[0, k] * off + pixels * (difference * difference)
        squares += totals[1, k]
    return mean, square / count, squares / count


@serial
def group_statistics(x, center, totals, statistics, epsilon):
    """Mean and inverse deviation of each group of an image; by `careful_statistics` where digits were lost."""
    (mean, deviation), channels, number = statistics, totals.shape[1], x.dtype.type
    own, pixels = channels // mean.size, x.size // channels
    for g in range(mean.size):
        middle, var, squares = merge_channels(totals, center, g * own, (g + 1) * own, pixels)
        if not squares <= NEAR * (var + epsilon) < math.inf:
            middle, var = careful_statistics(x, channels, g * own, (g + 1) * own)
        var = 0.0 if var < 0 else var  # by rounding, where all numbers are nearly the same; NaN stays
        mean[g], deviation[g] = number(middle), number(1 / math.sqrt(var + epsilon))


@serial
def fill_table(gain, bias, mean, deviation, table):
    """What `map_rows` needs of each channel of an image: ``(x - mean) * scale + shift``."""
    own = gain.size // mean.size
    for g in range(mean.size):
        for k in range(g * own, (g + 1) * own):
            table[0, k], table[1, k], table[2, k] = mean[g], deviation[g] * gain[k], bias[k]
    for row in range(3):
        repeat_first(table[row], gain.size)


@task_kernel
def normalize_images(task, thread, images: Images, affine, epsilon, several, memory: Memory, out):
    """Some images, whose means and deviations are written too; `affine` is gain and bias."""
    (gain, bias), count, table, totals = affine, images.mean.shape[0], memory.table[thread], memory.channels[thread]
    size = images.x.size // max(1, count)
    for n in range(task * several, min(count, (task + 1) * several)):
        x, mean, deviation = images.x[n * size : (n + 1) * size], images.mean[n], images.deviation[n]
        image_moments(x, table[0], memory.sums[thread], totals)
        group_statistics(x, table[0], totals, (mean, deviation), epsilon)
        fill_table(gain, bias, mean, deviation, table)
        map_rows(x, x, table, NORMALIZE, out[n * size : (n + 1) * size])


@serial
def fill_means(mean, channels, row):
    """The mean of each channel's group, over a wide row."""
    own = channels // mean.size
    for g in range(mean.size):
        for k in range(g * own, (g + 1) * own):
            row[k] = mean[g]
    repeat_first(row, channels)


@serial
def fill_gradient_table(gain, mean, deviation, sums, pixels, table):
    """What `map_rows` needs of each channel besides the means: ``eta * scale - (x - mean) * slope - shift``.

    `sums` are, of each channel, those of ``eta * (x - mean)`` and of `eta`.
    """
    own = gain.size // mean.size
    for g in range(mean.size):
        product, share, scale = 0.0, 0.0, np.float64(deviation[g])
        for k in range(g * own, (g + 1) * own):
            product += gain[k] * sums[0, k] * scale
            share += gain[k] * sums[1, k]
        for k in range(g * own, (g + 1) * own):
            table[1, k] = gain[k] * deviation[g]
            table[2, k] = share * scale / (pixels * own)
            table[3, k] = product * scale * scale / (pixels * own)
    for row in range(1, 4):
        repeat_first(table[row], gain.size)


@task_kernel
def gradient_images(task, thread, images: Images, eta, gain, several, memory: Memory, out):
    """Some images: the gradient of x, and what they add to those of gain and bias."""
    count, table, sums, total = images.mean.shape[0], memory.table[thread], memory.channels[thread], memory.tasks[task]
    size, own = images.x.size // max(1, count), gain.size // images.mean.shape[1]
    clear(flat(total), 0, total.size)
    clear(flat(memory.sums[thread]), 0, 2 * table.shape[1])
    for n in range(task * several, min(count, (task + 1) * several)):
        first, last, mean, deviation = n * size, (n + 1) * size, images.mean[n], images.deviation[n]
        x, slope = images.x[first:last], eta[first:last]
        fill_means(mean, gain.size, table[0])
        clear(flat(sums), 0, sums.size)
        for start in range(0, size, ROUND * table.shape[1]):
            stop = min(size, start + ROUND * table.shape[1])
            add_products(x[start:stop], slope[start:stop], table[0], memory.sums[thread])
            fold(memory.sums[thread], sums)
        for g in range(mean.size):
            for k in range(g * own, (g + 1) * own):
                total[0, k] += sums[0, k] * deviation[g]
                total[1, k] += sums[1, k]
        fill_gradient_table(gain, mean, deviation, sums, size // gain.size, table)
        map_rows(x, slope, table, NORMALIZE_GRADIENT, out[first:last])


def wide_row(shape: Shape) -> int:
    """Elements of a wide row: as in `channels`, but no longer than an image."""
    _, pixels, channels = shape
    return channels * max(1, min(WIDE // channels, pixels))


def memory_for(x: Array, threads: int, tasks: int) -> tuple[Array, ...]:
    """A `Memory`."""
    channels, wide = x.shape[2], wide_row(x.shape)
    sums, table = empty((threads, 2, wide), x.dtype), empty((threads, 4, wide), x.dtype)
    return sums, empty((threads, 2, channels), FLOAT64), table, empty((tasks, 2, channels), FLOAT64)


def group_norm_forward(x: Array, gain: Array, bias: Array, groups: int, epsilon: float) -> tuple[Array, Array, Array]:
    (count, pixels, channels), dtype, work = x.shape, x.dtype, 2 * MOVE * x.size
    out, mean, deviation = empty(x.shape, dtype), empty((count, groups), dtype), empty((count, groups), dtype)
    several, threads = max(1, BLOCK // (pixels * channels)), threads_for(work)
    images, memory = (x.reshape(-1), mean, deviation), memory_for(x, threads, 0)
    rest = several, memory, out.reshape(-1), -(-count // several)
    normalize_images(images, (gain, bias), float(epsilon), *rest, work=work, threads=threads)
    return out, mean, deviation


def group_norm_backward(x: Array, eta: Array, mean: Array, deviation: Array, gain: Array) -> tuple[Array, Array, Array]:
    (count, pixels, channels), out, work = x.shape, empty(x.shape, x.dtype), 3 * MOVE * x.size
    several, threads = max(1, BLOCK // (pixels * channels), -(-count // TASKS)), threads_for(work)
    tasks = max(1, -(-count // several))
    images, memory = (x.reshape(-1), mean, deviation), memory_for(x, threads, tasks)
    rest = gain, several, memory, out.reshape(-1), tasks
    gradient_images(images, eta.reshape(-1), *rest, work=work, threads=threads)
    dgain, dbias = add_up(memory[3].reshape(tasks, -1), (2, channels)).astype(x.dtype)
    return out, dgain, dbias
