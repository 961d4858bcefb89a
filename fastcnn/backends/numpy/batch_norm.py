"""Batch normalisation in NumPy, of rows: x is (N, C). Conventions: :mod:`fastcnn.backends`.

Ioffe and Szegedy, "Batch Normalization" (2015), algorithm 1 and the gradients below it. Sums over rows are float64.
"""

import inspect
from collections.abc import Callable

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import absolute, declare

SUBTRACTED = ("mean", "dgain", "dbias")


def statistics_terms(compute: Callable, arguments: tuple, expected: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Of a mean: the values; of a variance: itself, and what the rounded mean adds."""
    x, rows = arguments[0].astype(np.float64), max(1, len(arguments[0]))
    roundoff = np.finfo(arguments[0].dtype).eps
    return np.abs(x).sum(axis=0) / rows, expected[1] + roundoff * np.square(x).sum(axis=0) / rows


def difference_terms(compute: Callable, arguments: tuple, expected: tuple) -> np.ndarray:
    """What is subtracted, the mean and gradients that go through the statistics, adds to the terms."""
    sizes = [absolute(argument) for argument in arguments]
    named = zip(inspect.signature(compute).parameters, sizes, strict=True)
    return compute(*(-size if name in SUBTRACTED else size for name, size in named))


def draw_rows(source: Source) -> tuple[np.ndarray]:
    """(N, C), some columns far from 0."""
    shape = source.integer("rows", 1, 120), source.integer("columns", 1, 40)
    return ((source.array(*shape) + 100 * source.rng.integers(0, 2, shape[1])).astype(source.dtype),)


def draw_forward(source: Source) -> tuple:
    (x,) = draw_rows(source)
    return x, *batch_statistics(x), source.array(x.shape[1]), source.array(x.shape[1]), 1e-3


def draw_parameter_gradient(source: Source) -> tuple:
    x, mean, var, *_ = draw_forward(source)
    return x, source.array(*x.shape), mean, var, 1e-3


def draw_input_gradient(source: Source) -> tuple:
    x, mean, var, gain, dbias, epsilon = draw_forward(source)
    return x, source.array(*x.shape), mean, var, gain, source.array(x.shape[1]), dbias, epsilon


@declare(draw_rows, terms=statistics_terms)
def batch_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each column.

    Parameters
    ----------
    x : (N, C) array

    Returns
    -------
    mean : (C,) array
    var : (C,) array
        That of the batch, the sum of squares about the mean over N. Both are 0 where N is 0, and NaN where a column
        holds NaN or infinity.
    """
    count = max(1, len(x))
    with np.errstate(over="ignore", invalid="ignore"):
        mean = x.sum(axis=0, dtype=np.float64) / count
        var = np.square(x - mean).sum(axis=0) / count
        mean[np.isnan(var)] = np.nan
        return mean.astype(x.dtype), var.astype(x.dtype)


def inverse_deviation(var: np.ndarray, epsilon: float) -> np.ndarray:
    return 1 / np.sqrt(var + var.dtype.type(epsilon))


@declare(draw_forward, terms=difference_terms)
def batch_norm_forward(
    x: np.ndarray, mean: np.ndarray, var: np.ndarray, gain: np.ndarray, bias: np.ndarray, epsilon: float
) -> np.ndarray:
    """Normalised columns: ``xhat * gain + bias`` with ``xhat = (x - mean) / sqrt(var + epsilon)``.

    Parameters
    ----------
    x : (N, C) array
    mean, var : (C,) arrays
        Of the batch, or running ones.
    gain, bias : (C,) arrays
    epsilon : float
        Above 0.

    Returns
    -------
    (N, C) array
    """
    return (x - mean) * (gain * inverse_deviation(var, epsilon)) + bias


@declare(draw_parameter_gradient, terms=difference_terms)
def batch_norm_parameter_gradient(
    x: np.ndarray, eta: np.ndarray, mean: np.ndarray, var: np.ndarray, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of gain and bias: the sums over rows of ``eta * xhat`` and of `eta`.

    Parameters
    ----------
    x, eta : (N, C) arrays
    mean, var : (C,) arrays
    epsilon : float
        As in `batch_norm_forward`.

    Returns
    -------
    dgain, dbias : (C,) arrays
        0 where N is 0.
    """
    dbias = eta.sum(axis=0, dtype=np.float64)
    dgain = ((x - mean) * inverse_deviation(var, epsilon) * eta).sum(axis=0, dtype=np.float64)
    return dgain.astype(x.dtype), dbias.astype(x.dtype)


@declare(draw_input_gradient, terms=difference_terms)
def batch_norm_input_gradient(
    x: np.ndarray,
    eta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    gain: np.ndarray,
    dgain: np.ndarray,
    dbias: np.ndarray,
    epsilon: float,
) -> np.ndarray:
    """Gradient of the input, ``gain / sqrt(var + epsilon) * (eta - dbias / N - xhat * dgain / N)``.

    Parameters
    ----------
    x, eta : (N, C) arrays
    mean, var, gain : (C,) arrays
    dgain, dbias : (C,) arrays
        What `batch_norm_parameter_gradient` returned; zeros where mean and variance are constants.
    epsilon : float
        As in `batch_norm_forward`.

    Returns
    -------
    (N, C) array
    """
    count, scale = x.dtype.type(max(1, len(x))), inverse_deviation(var, epsilon)
    return gain * scale * (eta - dbias / count - (x - mean) * (scale * dgain / count))
