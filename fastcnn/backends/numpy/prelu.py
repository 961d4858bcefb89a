"""PReLU in NumPy: a slope for each channel, the last axis. Conventions: :mod:`fastcnn.backends`."""

from collections.abc import Callable

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.numpy.activation import positive
from fastcnn.backends.registry import declare


def gradient_terms(compute: Callable, arguments: tuple, expected: tuple) -> tuple[np.ndarray, ...]:
    """x keeps its sign, which chooses."""
    x, eta, alpha, at_zero = arguments
    return tuple(np.abs(part) for part in compute(x, np.abs(eta), np.abs(alpha), at_zero))


def draw_forward(source: Source) -> tuple[np.ndarray, np.ndarray]:
    shape = source.image()
    return source.ties(*shape), source.array(shape[-1])


def draw_backward(source: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    x, alpha = draw_forward(source)
    return x, source.array(*x.shape), alpha, source.boolean("at zero")


@declare(draw_forward)
def prelu_forward(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """PReLU: x where ``x >= 0``, else ``alpha * x`` (He et al., "Delving deep into rectifiers", 2015).

    Parameters
    ----------
    x : (..., C) array
    alpha : (C,) array
        One slope for each channel.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.
    """
    return np.where(x >= 0, x, alpha * x)


@declare(draw_backward, terms=gradient_terms)
def prelu_backward(
    x: np.ndarray, eta: np.ndarray, alpha: np.ndarray, at_zero: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of PReLU: `eta` where ``x >= 0``, else ``alpha * eta``; and of the slopes.

    Parameters
    ----------
    x : (..., C) array
        What `prelu_forward` was given.
    eta : array of the shape of `x`
    alpha : (C,) array
    at_zero : bool
        Whether `eta` passes whole where x is exactly 0.

    Returns
    -------
    dx : array of the shape of `x`
    dalpha : (C,) array
        The sum of ``eta * x`` where x is below 0, or NaN; in float64 before it is rounded.
    """
    products = np.where(x >= 0, x.dtype.type(0), eta * x)
    dalpha = products.reshape(-1, len(alpha)).sum(axis=0, dtype=np.float64)
    return np.where(positive(x, at_zero), eta, alpha * eta), dalpha.astype(x.dtype)
