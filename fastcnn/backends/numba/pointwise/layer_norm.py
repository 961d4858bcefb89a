"""Layer normalisation of rows. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.layer_norm`.

Rows are computed in blocks that stay in the L1 cache while they are read twice, so each array crosses the memory once
in either direction. Statistics: :mod:`fastcnn.backends.numba.pointwise.row_statistics`. The gradients of gain and bias
are sums over rows: in the dtype of x over `FEW` of them, then in float64, for each task, whose sums are added in order.
"""

from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.core.arithmetic import add, fill, first_lanes, multiply, multiply_add, subtract, sum_lanes
from fastcnn.backends.numba.core.copying import clear
from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import MOVE, inline, serial, threads_for
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load, load_part, store, store_part
from fastcnn.backends.numba.pointwise.row_statistics import PART, block_statistics
from fastcnn.backends.numba.product.sums import add_up

ROWS = 16384  # elements of a task, which is some rows
TASKS = 32  # of sums, at most: each leaves two of each column
FEW = 64  # rows, at most, whose statistics are computed together, as divisions and roots are vectors then,
BLOCK = 2048  # and their elements, which stay in the L1 cache
FLOAT64 = np.dtype(np.float64)


class Given(NamedTuple):
    """Flat rows, and the mean and the inverse deviation of each."""

    x: Array
    mean: Array
    deviation: Array


class Slopes(NamedTuple):
    """Of each thread: two sums of each column over a few rows, and two means of each of these rows. Of each task: the
    two sums of each column."""

    few: Array
    means: Array
    tasks: Array


@serial
def normalize_block(given, gain, bias, out):
    """Some rows. A function of one row would take as long to call as to run, where it has 64 numbers."""
    x, size, v = given.x, gain.size, lanes(gain)
    whole = size - size % v
    for n in range(given.mean.size):
        first, middle, scale = n * size, fill(x, given.mean[n]), fill(x, given.deviation[n])
        for i in range(0, whole, v):
            scaled = multiply(subtract(load(x, first + i), middle), scale)
            store(out, first + i, multiply_add(scaled, load(gain, i), load(bias, i)))
        if whole < size:
            count = size - whole
            scaled = multiply(subtract(load_part(x, first + whole, count), middle), scale)
            done = multiply_add(scaled, load_part(gain, whole, count), load_part(bias, whole, count))
            store_part(out, first + whole, done, count)


@serial
def add_block(given, eta, gain, few, means):
    """Add what some rows give to the gradients of gain and bias; and of each row the means of ``eta * gain``, and of it
    times xhat."""
    x, size, v, dgain, dbias, number = given.x, gain.size, lanes(gain), few[0], few[1], gain.dtype.type
    for n in range(given.mean.size):
        total, product, middle, scale = 0.0, 0.0, fill(x, given.mean[n]), fill(x, given.deviation[n])
        for start in range(0, size, PART):
            stop = min(size, start + PART)
            whole, at = stop - (stop - start) % v, n * size
            slopes, products = fill(x, 0), fill(x, 0)
            for i in range(start, whole, v):
                own, scaled = load(eta, at + i), multiply(subtract(load(x, at + i), middle), scale)
                slope = multiply(own, load(gain, i))
                slopes, products = add(slopes, slope), multiply_add(slope, scaled, products)
                store(dgain, i, multiply_add(own, scaled, load(dgain, i)))
                store(dbias, i, add(own, load(dbias, i)))
            if whole < stop:
                count, own = stop - whole, load_part(eta, at + whole, stop - whole)
                scaled = multiply(subtract(load_part(x, at + whole, count), middle), scale)
                slope = multiply(own, load_part(gain, whole, count))
                slopes, products = add(slopes, slope), multiply_add(slope, first_lanes(scaled, count), products)
                store_part(dgain, whole, multiply_add(own, scaled, load_part(dgain, whole, count)), count)
                store_part(dbias, whole, add(own, load_part(dbias, whole, count)), count)
            first_sum, second_sum = sum_lanes(slopes, products)
            total += first_sum
            product += second_sum
        means[n, 0], means[n, 1] = number(total / size), number(product / size)


@serial
def gradient_block(given, eta, gain, means, out):
    """``deviation * (eta * gain - share - xhat * product)`` of some rows; the last two are `means`."""
    x, size, v = given.x, gain.size, lanes(gain)
    whole = size - size % v
    for n in range(given.mean.size):
        deviation, first = given.deviation[n], n * size
        middle, scale, share = fill(x, given.mean[n]), fill(x, deviation), fill(x, -means[n, 0] * deviation)
        product = fill(x, -means[n, 1] * deviation * deviation)
        for i in range(0, whole, v):
            rest = multiply_add(subtract(load(x, first + i), middle), product, share)
            store(out, first + i, multiply_add(multiply(load(eta, first + i), load(gain, i)), scale, rest))
        if whole < size:
            at, count = first + whole, size - whole
            rest = multiply_add(subtract(load_part(x, at, count), middle), product, share)
            slope = multiply(load_part(eta, at, count), load_part(gain, whole, count))
            store_part(out, at, multiply_add(slope, scale, rest), count)


@serial
def fold(few, total):
    """Add the sums of a few rows to those of a task, and begin anew."""
    for i in range(few.size):
        total[np.uintp(i)] += few[np.uintp(i)]
        few[np.uintp(i)] = 0


@inline
def rows_of(given, start, stop, size):
    """Those from `start` to `stop`."""
    return Given(given.x[start * size : stop * size], given.mean[start:stop], given.deviation[start:stop])


@task_kernel
def normalize_rows(task, thread, given: Given, affine, epsilon, rows, sums, out):
    """Some rows, whose mean and deviation are written too; `affine` is gain and bias."""
    (gain, bias), memory, last = affine, sums[thread], min(given.mean.size, (task + 1) * rows)
    size, some = gain.size, memory.shape[1]
    for start in range(task * rows, last, some):
        stop = min(last, start + some)
        block = rows_of(given, start, stop, size)
        block_statistics(block.x, block.mean, block.deviation, memory, epsilon)
        normalize_block(block, gain, bias, out[start * size : stop * size])


@task_kernel
def gradient_rows(task, thread, given: Given, eta, gain, sums: Slopes, rows, out):
    """Some rows: the gradient of x, and the sums of the task for gain and bias."""
    size, few, total, means = gain.size, sums.few[thread], sums.tasks[task], sums.means[thread]
    last, some = min(given.mean.size, (task + 1) * rows), means.shape[0]
    clear(flat(few), 0, few.size)
    clear(flat(total), 0, total.size)
    for start in range(task * rows, last, some):
        stop = min(last, start + some)
        block, slope = rows_of(given, start, stop, size), eta[start * size : stop * size]
        add_block(block, slope, gain, few, means)
        gradient_block(block, slope, gain, means, out[start * size : stop * size])
        fold(flat(few), flat(total))


def rows_of_block(size: int) -> int:
    return min(FEW, max(1, BLOCK // size))


def layer_norm_forward(x: Array, gain: Array, bias: Array, epsilon: float) -> tuple[Array, Array, Array]:
    (count, size), dtype, work = x.shape, x.dtype, 2 * MOVE * x.size
    out, mean, deviation = empty(x.shape, dtype), empty((count,), dtype), empty((count,), dtype)
    rows, threads = max(1, ROWS // size), threads_for(work)
    sums, tasks = empty((threads, 2, rows_of_block(size)), FLOAT64), -(-count // rows)
    rest = (gain, bias), float(epsilon), rows, sums, out.reshape(-1), tasks
    normalize_rows((x.reshape(-1), mean, deviation), *rest, work=work, threads=threads)
    return out, mean, deviation


def layer_norm_backward(x: Array, eta: Array, mean: Array, deviation: Array, gain: Array) -> tuple[Array, Array, Array]:
    (count, size), dtype, out, work = x.shape, x.dtype, empty(x.shape, x.dtype), 3 * MOVE * x.size
    rows = max(1, ROWS // size, -(-count // TASKS))
    tasks, threads = max(1, -(-count // rows)), threads_for(work)
    few, means = empty((threads, 2, size), dtype), empty((threads, rows_of_block(size), 2), dtype)
    sums, given = (few, means, empty((tasks, 2, size), FLOAT64)), (x.reshape(-1), mean, deviation)
    gradient_rows(given, eta.reshape(-1), gain, sums, rows, out.reshape(-1), tasks, work=work, threads=threads)
    dgain, dbias = add_up(sums[2].reshape(tasks, -1), (2, size)).astype(dtype)
    return out, dgain, dbias
