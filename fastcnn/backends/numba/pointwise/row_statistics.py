"""Mean and deviation of each of some rows. Requires numba.

Sums along a row are vectors, whose lanes are added at the end of a `PART`, in float64. Tasks and blocks of rows do not
change what a row has.
"""

import math

import numpy as np

from fastcnn.backends.numba.core.arithmetic import add, fill, first_lanes, multiply_add, subtract, sum_lanes
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.vectors import lanes, load, load_part

PART = 4096  # elements of a row whose sums are in the dtype of x: 256 to each lane at most, on vectors of 64 bytes
NEAR = 8.0


@inline
def moments(x, first, last, center):
    """The sums of ``x - center`` and of its square, over x[first:last]."""
    v, total, square, around = lanes(x), 0.0, 0.0, fill(x, center)
    for start in range(first, last, PART):
        stop = min(last, start + PART)
        whole = stop - (stop - start) % v
        differences, squares = fill(x, 0), fill(x, 0)
        for i in range(start, whole, v):
            difference = subtract(load(x, i), around)
            differences = add(differences, difference)
            squares = multiply_add(difference, difference, squares)
        if whole < stop:
            difference = first_lanes(subtract(load_part(x, whole, stop - whole), around), stop - whole)
            differences = add(differences, difference)
            squares = multiply_add(difference, difference, squares)
        first_sum, second_sum = sum_lanes(differences, squares)
        total += first_sum
        square += second_sum
    return total, square


@serial
def row_moments(x, first, last, center):
    """The same, compiled once for those rows that need it."""
    return moments(x, first, last, center)


@serial
def careful_moments(x, first, last):
    """Mean and variance of x[first:last] in float64: where sums in float32 overflow."""
    count, total, square = last - first, 0.0, 0.0
    for i in range(first, last):
        total += np.float64(x[i])
    mean = total / count
    for i in range(first, last):
        square += (x[i] - mean) ** 2
    return mean, square / count


@serial
def row_statistics(x, first, last, epsilon):
    """Mean and inverse deviation of x[first:last], in two passes.

    The mean is nearly right after the first one. The second adds up the differences from it too, and both results are
    put right: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance" (1983), eq. 1.7.
    """
    count = last - first
    total, _ = row_moments(x, first, last, x.dtype.type(0))
    near = x.dtype.type(total / count)
    total, square = row_moments(x, first, last, near)
    off = total / count
    mean, var = near + off, (square - total * off) / count
    if not math.isfinite(var):
        mean, var = careful_moments(x, first, last)
    var = 0.0 if var < 0 else var  # by rounding, where all numbers are nearly the same; NaN stays
    return x.dtype.type(mean), x.dtype.type(1 / math.sqrt(var + epsilon))


@serial
def block_statistics(x, mean, deviation, sums, epsilon):
    """Mean and inverse deviation of some rows, in one pass over all: of distances from the first number of a row.

    The squares of these are added up, and that of the mean distance is taken from them: where it is more than `NEAR`
    times the variance, of one row in two hundred by chance, digits are lost, and the row has its two passes.
    """
    size, number = x.size // mean.size, x.dtype.type
    for n in range(mean.size):
        sums[0, n], sums[1, n] = moments(x, n * size, (n + 1) * size, x[n * size])
    for n in range(mean.size):
        off = sums[0, n] / size
        var = sums[1, n] / size - off * off + epsilon
        mean[n], deviation[n] = number(x[n * size] + off), number(1 / math.sqrt(var))
        sums[1, n] = NEAR * var - off * off
    for n in range(mean.size):
        if not 0 <= sums[1, n] < math.inf:
            mean[n], deviation[n] = row_statistics(x, n * size, (n + 1) * size, epsilon)
