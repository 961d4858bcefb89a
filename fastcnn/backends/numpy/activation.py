"""Activations that choose by the sign, in NumPy. Conventions: :mod:`fastcnn.backends`."""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare


def draw_values(source: Source) -> tuple[np.ndarray]:
    return (source.ties(source.integer("size", 1, 50)),)


def draw_gradient(source: Source) -> tuple[np.ndarray, np.ndarray]:
    (x,) = draw_values(source)
    return x, source.array(*x.shape)


def positive(x: np.ndarray, at_zero: bool) -> np.ndarray:
    """Where x counts as positive in a gradient: at 0 if `at_zero` says so, and never where it is NaN."""
    return x >= 0 if at_zero else x > 0


@declare(draw_values)
def relu_forward(x: np.ndarray) -> np.ndarray:
    """ReLU, ``max(x, 0)`` (Nair and Hinton, "Rectified linear units", 2010).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.
    """
    return np.maximum(x, 0)


@declare(lambda source: (*draw_gradient(source), source.boolean("at zero")))
def relu_backward(x: np.ndarray, eta: np.ndarray, at_zero: bool = True) -> np.ndarray:
    """Gradient of ReLU: `eta` where ``x >= 0``, else 0.

    Parameters
    ----------
    x : array of any shape
        What `relu_forward` was given.
    eta : array of the shape of `x`
    at_zero : bool
        Whether the gradient passes where x is exactly 0.

    Returns
    -------
    array of the shape of `x`
        At NaN the gradient does not pass.
    """
    return np.where(positive(x, at_zero), eta, x.dtype.type(0))


@declare(lambda source: (*draw_values(source), 0.25))
def leaky_relu_forward(x: np.ndarray, alpha: float) -> np.ndarray:
    """Leaky ReLU: x where ``x >= 0``, else ``alpha * x`` (Maas, Hannun and Ng, "Rectifier nonlinearities", 2013).

    Parameters
    ----------
    x : array of any shape
    alpha : float
        Rounded to the dtype of `x`.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.
    """
    return np.where(x >= 0, x, x.dtype.type(alpha) * x)


@declare(lambda source: (*draw_gradient(source), 0.25, source.boolean("at zero")))
def leaky_relu_backward(x: np.ndarray, eta: np.ndarray, alpha: float, at_zero: bool = True) -> np.ndarray:
    """Gradient of leaky ReLU: `eta` where ``x >= 0``, else ``alpha * eta``.

    Parameters
    ----------
    x : array of any shape
        What `leaky_relu_forward` was given.
    eta : array of the shape of `x`
    alpha : float
        Rounded to the dtype of `x`.
    at_zero : bool
        Whether `eta` passes whole where x is exactly 0.

    Returns
    -------
    array of the shape of `x`
        Where x is NaN, ``alpha * eta``.
    """
    return np.where(positive(x, at_zero), eta, x.dtype.type(alpha) * eta)
