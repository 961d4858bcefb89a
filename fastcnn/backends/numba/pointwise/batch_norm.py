"""Batch normalisation of rows. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.batch_norm`.

Here is what happens for each channel; the passes over the rows are in :mod:`fastcnn.backends.numba.pointwise.channels`.
"""

import math

import numpy as np

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import single
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.pointwise.channels import (
    NORMALIZE,
    NORMALIZE_GRADIENT,
    NORMALIZE_SUMS,
    STATISTICS,
    map_channels,
    sum_channels,
    wide_row,
)
from fastcnn.backends.numpy import batch_norm as define


@single
def fill_table(mean, var, gain, first, second, epsilon, rows, table):
    """Mean, scale, shift and slope of each channel, repeated over a wide row.

    With `rows` 0 ``(x - mean) * scale + shift`` is the layer's output and `first` its bias; otherwise ``eta * scale -
    (x - mean) * slope - shift`` is its gradient, `first` and `second` the gradients of bias and gain.
    """
    channels = mean.size
    for k in range(channels):
        deviation = 1 / math.sqrt(np.float64(var[k]) + epsilon)
        scale = gain[k] * deviation
        share = scale / rows if rows else 1.0
        table[0, k] = mean[k]
        table[1, k] = scale
        table[2, k] = first[k] * share
        table[3, k] = second[k] * share * deviation
    for row in range(4):
        for i in range(channels, table.shape[1]):
            table[row, i] = table[row, i - channels]


def batch_statistics(x: Array) -> tuple[Array, Array]:
    flat = x.reshape(-1)
    mean, var = sum_channels(flat, flat, flat, x.shape[1], STATISTICS)
    # Sums of a few dozen values overflow, or values were NaN or infinite: the definition says what is right.
    return (mean, var) if np.isfinite(var).all() else define.batch_statistics(x)


def batch_norm_forward(x: Array, mean: Array, var: Array, gain: Array, bias: Array, epsilon: float) -> Array:
    table = empty((4, wide_row(x.shape[1])), x.dtype)
    fill_table(mean, var, gain, bias, bias, epsilon, 0, table)
    return map_channels(x, x, table, NORMALIZE)


def batch_norm_parameter_gradient(x: Array, eta: Array, mean: Array, var: Array, epsilon: float) -> tuple[Array, Array]:
    means = empty((wide_row(x.shape[1]),), x.dtype)
    means.reshape(-1, x.shape[1])[...] = mean
    dgain, dbias = sum_channels(x, eta, means, x.shape[1], NORMALIZE_SUMS)
    dgain /= np.sqrt(var + x.dtype.type(epsilon))
    return dgain, dbias


def batch_norm_input_gradient(
    x: Array, eta: Array, mean: Array, var: Array, gain: Array, dgain: Array, dbias: Array, epsilon: float
) -> Array:
    table = empty((4, wide_row(x.shape[1])), x.dtype)
    fill_table(mean, var, gain, dbias, dgain, epsilon, max(1, len(x)), table)
    return map_channels(x, eta, table, NORMALIZE_GRADIENT)
