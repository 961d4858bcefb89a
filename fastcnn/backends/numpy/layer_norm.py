"""Layer normalisation in NumPy, of rows: x is (N, C), each row has its own statistics. Conventions:
:mod:`fastcnn.backends`.

Ba, Kiros and Hinton, "Layer Normalization" (2016), section 3; the gradient is that of batch normalisation, of a row
instead of a column. Sums are float64.
"""

from collections.abc import Callable

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare


def forward_terms(compute: Callable, arguments: tuple, expected: tuple) -> tuple[np.ndarray, ...]:
    """What is subtracted adds to the terms; a mean's last digit changes the variance too, by that times its root."""
    x, gain, bias, _ = arguments
    size, (_, _, deviation) = np.abs(x), expected
    mean = size.mean(axis=1, keepdims=True)
    return (
        (size + mean) * deviation[:, None] * np.abs(gain) + np.abs(bias),
        mean[:, 0],
        deviation * (1 + deviation * mean[:, 0]),
    )


def gradient_terms(compute: Callable, arguments: tuple, expected: tuple) -> tuple[np.ndarray, ...]:
    x, eta, mean, deviation, gain = map(np.abs, arguments)
    scaled, slope = (x + mean[:, None]) * deviation[:, None], eta * gain
    through = slope.mean(axis=1, keepdims=True) + scaled * (slope * scaled).mean(axis=1, keepdims=True)
    return deviation[:, None] * (slope + through), (eta * scaled).sum(axis=0), eta.sum(axis=0)


def draw_forward(source: Source) -> tuple:
    """Some rows far from 0."""
    shape = source.integer("rows", 1, 40), source.integer("columns", 1, 80)
    x = source.array(*shape) + 100 * source.rng.integers(0, 2, (shape[0], 1))
    return x.astype(source.dtype), source.array(shape[1]), source.array(shape[1]), 1e-3


def draw_gradient(source: Source) -> tuple:
    x, gain, bias, epsilon = draw_forward(source)
    return x, source.array(*x.shape), *layer_norm_forward(x, gain, bias, epsilon)[1:], gain


@declare(draw_forward, terms=forward_terms)
def layer_norm_forward(
    x: np.ndarray, gain: np.ndarray, bias: np.ndarray, epsilon: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised rows: ``xhat * gain + bias`` with ``xhat = (x - mean) / sqrt(var + epsilon)``.

    Parameters
    ----------
    x : (N, C) array
    gain, bias : (C,) arrays
    epsilon : float
        Above 0.

    Returns
    -------
    out : (N, C) array
        NaN in a row that holds NaN or infinity.
    mean : (N,) array
    deviation : (N,) array
        ``1 / sqrt(var + epsilon)``; the variance is the mean square of the distances from the mean.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean = x.mean(axis=1, dtype=np.float64)
        var = np.square(x - mean[:, None]).mean(axis=1)
        mean, deviation = mean.astype(x.dtype), (1 / np.sqrt(var + epsilon)).astype(x.dtype)
        return (x - mean[:, None]) * deviation[:, None] * gain + bias, mean, deviation


@declare(draw_gradient, terms=gradient_terms)
def layer_norm_backward(
    x: np.ndarray, eta: np.ndarray, mean: np.ndarray, deviation: np.ndarray, gain: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All gradients; that of the input is ``deviation * (slope - mean(slope) - xhat * mean(slope * xhat))``, where
    ``slope = eta * gain`` and the means are those of a row.

    Parameters
    ----------
    x, eta : (N, C) arrays
    mean, deviation : (N,) arrays
        What `layer_norm_forward` returned.
    gain : (C,) array

    Returns
    -------
    dx : (N, C) array
    dgain, dbias : (C,) arrays
        The sums over rows of ``eta * xhat`` and of `eta`.
    """
    scaled, slope = (x - mean[:, None]) * deviation[:, None], eta * gain
    share = slope.mean(axis=1, dtype=np.float64, keepdims=True).astype(x.dtype)
    product = (slope * scaled).mean(axis=1, dtype=np.float64, keepdims=True).astype(x.dtype)
    dx = deviation[:, None] * (slope - share - scaled * product)
    dgain, dbias = (part.sum(axis=0, dtype=np.float64).astype(x.dtype) for part in (eta * scaled, eta))
    return dx, dgain, dbias
