"""Smooth activations, a gate times x or a logarithm of exponentials, in NumPy. Conventions: :mod:`fastcnn.backends`."""

import math
from collections.abc import Callable

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.numpy.elementwise import draw_values, sigmoid_forward
from fastcnn.backends.registry import declare

FAR = 40.0  # exp(-FAR * FAR / 2) is 0 in float64: a Gaussian is that of a number within these bounds
CUBE = 0.044715  # of the approximation of GELU
STEEPEST = 1.2  # no slope of these is larger


def value_terms(compute: Callable, arguments: tuple, expected: tuple) -> np.ndarray:
    """No result is larger than x, but for the softplus, which is log(2) at 0."""
    return np.abs(arguments[0]) + 1


def slope_terms(compute: Callable, arguments: tuple, expected: tuple) -> np.ndarray:
    """x is multiplied by what vanishes far from 0."""
    return 2 * STEEPEST * np.abs(arguments[1])


def draw_gradient(source: Source) -> tuple[np.ndarray, np.ndarray]:
    (x,) = draw_values(source)
    return x, source.array(*x.shape)


def draw_gelu(source: Source) -> tuple[np.ndarray, bool]:
    return *draw_values(source), source.boolean("tanh")


def draw_gelu_gradient(source: Source) -> tuple[np.ndarray, np.ndarray, bool]:
    return *draw_gradient(source), source.boolean("tanh")


@declare(draw_values, terms=value_terms)
def silu_forward(x: np.ndarray) -> np.ndarray:
    """SiLU, ``x * sigmoid(x)`` (Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", 2018, eq. 2).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN or negative infinity.
    """
    return x * sigmoid_forward(x)


@declare(draw_gradient, terms=slope_terms)
def silu_backward(x: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Gradient of SiLU, ``eta * s * (1 + x * (1 - s))`` with ``s = sigmoid(x)``.

    Parameters
    ----------
    x : array of any shape
        What `silu_forward` was given.
    eta : array of the shape of `x`

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN or infinite.
    """
    return eta * (sigmoid_forward(x) * (1 + x * sigmoid_forward(-x)))  # the sigmoid of -x is 1 - s, without cancelling


def normal_distribution(x: np.ndarray) -> np.ndarray:
    """The probability that a standard normal number is at most x, ``erfc(-x / sqrt(2)) / 2``; NumPy has no erf."""
    below = np.frompyfunc(math.erfc, 1, 1)(x.astype(np.float64) / -math.sqrt(2))
    return (np.asarray(below, np.float64) / 2).astype(x.dtype)


def steepened(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """v and its derivative, of x within `FAR`: the approximation of GELU is ``x * sigmoid(v)``."""
    near, scale = np.clip(x, -FAR, FAR), x.dtype.type(math.sqrt(8 / math.pi))
    return scale * near * (1 + x.dtype.type(CUBE) * near**2), scale * (1 + x.dtype.type(3 * CUBE) * near**2)


@declare(draw_gelu, terms=value_terms)
def gelu_forward(x: np.ndarray, tanh: bool) -> np.ndarray:
    """GELU, x times the probability that a standard normal number is at most x.

    Hendrycks and Gimpel, "Gaussian error linear units" (2016), section 2, with both of its formulas.

    Parameters
    ----------
    x : array of any shape
    tanh : bool
        Whether to approximate the probability, by ``(1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``.

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN or negative infinity.
    """
    return x * (sigmoid_forward(steepened(x)[0]) if tanh else normal_distribution(x))


@declare(draw_gelu_gradient, terms=slope_terms)
def gelu_backward(x: np.ndarray, eta: np.ndarray, tanh: bool) -> np.ndarray:
    """Gradient of GELU, `eta` times the probability and x times its density; or those of the approximation.

    Parameters
    ----------
    x : array of any shape
        What `gelu_forward` was given.
    eta : array of the shape of `x`
    tanh : bool
        As in `gelu_forward`.

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN or infinite.
    """
    if tanh:
        v, slope = steepened(x)
        share = sigmoid_forward(v)
        return eta * (share + x * (share * sigmoid_forward(-v) * slope))
    near = np.clip(x, -FAR, FAR).astype(np.float64)
    density = (np.exp(-near * near / 2) / math.sqrt(2 * math.pi)).astype(x.dtype)
    return eta * (normal_distribution(x) + x * density)


@declare(draw_values, terms=value_terms)
def softplus_forward(x: np.ndarray) -> np.ndarray:
    """Softplus, ``log(1 + exp(x))``, without overflow.

    Dugas et al., "Incorporating second-order functional knowledge for better option pricing" (2001).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.
    """
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@declare(draw_gradient, terms=slope_terms)
def softplus_backward(x: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Gradient of the softplus, ``eta * sigmoid(x)``.

    Parameters
    ----------
    x : array of any shape
        What `softplus_forward` was given.
    eta : array of the shape of `x`

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN.
    """
    return eta * sigmoid_forward(x)


def mish_gate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``tanh(softplus(x))``, and what is left to 1: quotients of ``exp(-abs(x))``."""
    power = np.exp(-np.abs(x))
    above, below = 1 + 2 * power, power * (power + 2)
    rest = 2 * power * power
    gate = np.where(x >= 0, above / (above + rest), below / (below + 2))
    return gate, np.where(x >= 0, rest / (above + rest), 2 / (below + 2))


@declare(draw_values, terms=value_terms)
def mish_forward(x: np.ndarray) -> np.ndarray:
    """Mish, ``x * tanh(softplus(x))`` (Misra, "Mish: a self regularized non-monotonic activation function", 2020).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN or negative infinity.
    """
    return x * mish_gate(x)[0]


@declare(draw_gradient, terms=slope_terms)
def mish_backward(x: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Gradient of Mish, ``eta * (g + x * (1 - g * g) * sigmoid(x))`` with ``g = tanh(softplus(x))``.

    Parameters
    ----------
    x : array of any shape
        What `mish_forward` was given.
    eta : array of the shape of `x`

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN or infinite.
    """
    gate, rest = mish_gate(x)
    return eta * (gate + x * (rest * (1 + gate) * sigmoid_forward(x)))
