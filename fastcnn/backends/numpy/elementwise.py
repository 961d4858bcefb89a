"""Sums of two arrays, and activations made of exponentials, in NumPy. Conventions: :mod:`fastcnn.backends`."""

from collections.abc import Callable

import numpy as np

from fastcnn.backends.arguments import SPECIAL, Source
from fastcnn.backends.numpy.activation import positive
from fastcnn.backends.registry import declare

RANGE = np.append(SPECIAL, [1e4, -1e4])  # the exponential of the last is 0


def elu_terms(compute: Callable, arguments: tuple, expected: tuple) -> np.ndarray:
    """Below 0 the result is alpha times something of at most abs(x), or of at most 1 times eta."""
    *arrays, alpha = arguments[:3]  # of the gradient a flag comes after these
    return np.abs(arrays[-1]) * max(1.0, abs(alpha))


def draw_sum(source: Source) -> tuple[np.ndarray, np.ndarray]:
    shape = source.image()
    return source.array(*shape), source.array(*shape)


def draw_values(source: Source) -> tuple[np.ndarray]:
    x = (4 * source.array(source.integer("size", 1, 80))).astype(source.dtype)
    return (source.special(x, 0.1, RANGE) if source.boolean("special values") else x,)


def draw_output_and_gradient(source: Source) -> tuple[np.ndarray, np.ndarray]:
    y = source.rng.random(source.integer("size", 1, 50)).astype(source.dtype)
    return y, source.array(*y.shape)


def draw_elu_gradient(source: Source) -> tuple[np.ndarray, np.ndarray, float, bool]:
    (x,) = draw_values(source)
    return x, source.array(*x.shape), 0.75, source.boolean("at zero")


@declare(draw_sum)
def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a + b``.

    Parameters
    ----------
    a, b : arrays of one shape

    Returns
    -------
    array of that shape
    """
    return a + b


@declare(draw_values)
def sigmoid_forward(x: np.ndarray) -> np.ndarray:
    """Logistic function, ``1 / (1 + exp(-x))``.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of `x`
        From 0 to 1, without overflow; NaN stays NaN.
    """
    power = np.exp(-np.abs(x))  # never of a positive number: nothing overflows
    return np.where(x >= 0, x.dtype.type(1), power) / (1 + power)


@declare(draw_output_and_gradient)
def sigmoid_backward(y: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Gradient of the logistic function, ``eta * y * (1 - y)``.

    Parameters
    ----------
    y : array of any shape
        What `sigmoid_forward` returned.
    eta : array of the shape of `y`

    Returns
    -------
    array of the shape of `y`
    """
    return eta * y * (1 - y)


@declare(draw_values)
def tanh_forward(x: np.ndarray) -> np.ndarray:
    """Hyperbolic tangent.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of `x`
        From -1 to 1; NaN stays NaN.
    """
    return np.tanh(x)


@declare(draw_output_and_gradient)
def tanh_backward(y: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Gradient of the hyperbolic tangent, ``eta * (1 - y * y)``.

    Parameters
    ----------
    y : array of any shape
        What `tanh_forward` returned.
    eta : array of the shape of `y`

    Returns
    -------
    array of the shape of `y`
    """
    return eta * ((1 - y) * (1 + y))  # 1 - y * y would cancel where y is nearly 1


@declare(lambda source: (*draw_values(source), 0.75), terms=elu_terms)
def elu_forward(x: np.ndarray, alpha: float) -> np.ndarray:
    """ELU: x where ``x >= 0``, else ``alpha * (exp(x) - 1)``.

    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential linear units" (2016).

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
    return np.where(x >= 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


@declare(draw_elu_gradient, terms=elu_terms)
def elu_backward(x: np.ndarray, eta: np.ndarray, alpha: float, at_zero: bool = True) -> np.ndarray:
    """Gradient of ELU: `eta` where ``x >= 0``, else ``eta * alpha * exp(x)``.

    Parameters
    ----------
    x : array of any shape
        What `elu_forward` was given.
    eta : array of the shape of `x`
    alpha : float
        Rounded to the dtype of `x`.
    at_zero : bool
        Whether `eta` passes whole where x is exactly 0.

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN.
    """
    return np.where(positive(x, at_zero), eta, eta * (x.dtype.type(alpha) * np.exp(np.minimum(x, 0))))
