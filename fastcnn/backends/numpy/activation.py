"""Activations that choose by the sign, in NumPy. Conventions: :mod:`fastcnn.backends`."""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare


def draw_values(source: Source) -> tuple[np.ndarray]:
    return (source.ties(source.integer("size", 1, 50)),)


def draw_gradient(source: Source) -> tuple[np.ndarray, np.ndarray]:
    (x,) = draw_values(source)
    return x, source.array(*x.shape)


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


@declare(draw_gradient)
def relu_backward(x: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Gradient of ReLU: `eta` where ``x >= 0``, else 0.

    Parameters
    ----------
    x : array of any shape
        What `relu_forward` was given.
    eta : array of the shape of `x`

    Returns
    -------
    array of the shape of `x`
        At 0 the gradient passes, at NaN it does not.
    """
    return np.where(x >= 0, eta, x.dtype.type(0))


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


@declare(lambda source: (*draw_gradient(source), 0.25))
def leaky_relu_backward(x: np.ndarray, eta: np.ndarray, alpha: float) -> np.ndarray:
    """Gradient of leaky ReLU: `eta` where ``x >= 0``, else ``alpha * eta``.

    Parameters
    ----------
    x : array of any shape
        What `leaky_relu_forward` was given.
    eta : array of the shape of `x`
    alpha : float
        Rounded to the dtype of `x`.

    Returns
    -------
    array of the shape of `x`
        Where x is NaN, ``alpha * eta``.
    """
    return np.where(x >= 0, eta, x.dtype.type(alpha) * eta)
