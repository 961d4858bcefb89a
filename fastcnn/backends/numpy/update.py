"""The optimizers' updates in NumPy: parameters and what an optimizer keeps for them change in place.

Arrays have any shape, all the same, and numbers are Python floats. Each gradient first becomes
``slope = scale * gradient + decay * parameter``: `scale` makes the gradient of a mean of that of a sum, and `decay` is
an L2 penalty. Conventions: :mod:`fastcnn.backends`.
"""

import math
from collections.abc import Callable

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare


def update_terms(compute: Callable, arguments: tuple, expected: tuple) -> tuple[np.ndarray, ...]:
    """A sum of three terms may cancel: the array before, after, and the gradient."""
    parameter, gradient, *kept = (value for value in arguments if isinstance(value, np.ndarray))
    pairs = zip((parameter, *kept), expected, strict=True)
    return tuple(np.abs(before) + np.abs(gradient) + np.abs(after) for before, after in pairs)


def draw_arrays(source: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A parameter, its gradient, the mean of gradients and that of their squares."""
    size = source.integer("size", 1, 50)
    return source.array(size), source.array(size), source.array(size), np.abs(source.array(size))


def draw_momentum(source: Source) -> tuple:
    return *draw_arrays(source)[:3], 0.1, (0.5, 0.01), 0.9, source.boolean("nesterov")


def draw_rmsprop(source: Source) -> tuple:
    parameter, gradient, _, square = draw_arrays(source)
    return parameter, gradient, square, 0.1, (0.5, 0.01), 0.9, 1e-3


def draw_adam(source: Source) -> tuple:
    return *draw_arrays(source), 0.1, (0.5, 0.01), (source.integer("step", 1, 5), 0.9, 0.99, 1e-3), 0.95


@declare(lambda source: (*draw_arrays(source)[:2], 0.1, 0.9), terms=update_terms, changes=("parameter",))
def sgd_update(parameter: np.ndarray, gradient: np.ndarray, rate: float, keep: float) -> None:
    """Gradient descent, ``p = keep * p - rate * gradient``.

    Parameters
    ----------
    parameter, gradient : arrays
    rate : float
        The learning rate.
    keep : float
        1 less the weight decay.
    """
    parameter *= keep
    parameter -= rate * gradient


@declare(draw_momentum, terms=update_terms, changes=("parameter", "velocity"))
def momentum_update(
    parameter: np.ndarray,
    gradient: np.ndarray,
    velocity: np.ndarray,
    rate: float,
    factors: tuple[float, float],
    momentum: float,
    nesterov: bool,
) -> None:
    """Momentum, ``v = momentum * v + slope; p -= rate * v``; with `nesterov` ``p -= rate * (slope + momentum * v)``.

    Polyak, "Some methods of speeding up the convergence of iteration methods" (1964); Sutskever et al., "On the
    importance of initialization and momentum in deep learning" (2013), section 2.

    Parameters
    ----------
    parameter, gradient, velocity : arrays
    rate : float
        The learning rate.
    factors : (scale, decay)
        Of gradient and parameter in the slope.
    momentum : float
    nesterov : bool
    """
    scale, decay = factors
    slope = scale * gradient + decay * parameter
    velocity *= momentum
    velocity += slope
    parameter -= rate * (slope + momentum * velocity if nesterov else velocity)


@declare(draw_rmsprop, terms=update_terms, changes=("parameter", "square"))
def rmsprop_update(
    parameter: np.ndarray,
    gradient: np.ndarray,
    square: np.ndarray,
    rate: float,
    factors: tuple[float, float],
    rho: float,
    epsilon: float,
) -> None:
    """RMSProp, ``s = rho * s + (1 - rho) * slope ** 2; p -= rate * slope / (sqrt(s) + epsilon)``.

    Tieleman and Hinton, "Lecture 6.5: RMSProp" (2012).

    Parameters
    ----------
    parameter, gradient, square : arrays
    rate : float
        The learning rate.
    factors : (scale, decay)
        Of gradient and parameter in the slope.
    rho, epsilon : float
    """
    scale, decay = factors
    slope = scale * gradient + decay * parameter
    square *= rho
    square += (1 - rho) * slope * slope
    parameter -= rate * (slope / (np.sqrt(square) + epsilon))


@declare(draw_adam, terms=update_terms, changes=("parameter", "mean", "square"))
def adam_update(
    parameter: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    rate: float,
    factors: tuple[float, float],
    moments: tuple[int, float, float, float],
    keep: float,
) -> None:
    """Adam, ``p = keep * p - rate * m' / (sqrt(s') + epsilon)`` of corrected means of slopes and of their squares.

    ``m = beta1 * m + (1 - beta1) * slope`` and ``s = beta2 * s + (1 - beta2) * slope ** 2``, corrected for their start
    at 0: ``m' = m / (1 - beta1 ** step)`` and ``s' = s / (1 - beta2 ** step)``. Kingma and Ba, "Adam" (2015), algorithm
    1; with `keep` Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), algorithm 2.

    Parameters
    ----------
    parameter, gradient, mean, square : arrays
    rate : float
        The learning rate.
    factors : (scale, decay)
        Of gradient and parameter in the slope.
    moments : (step, beta1, beta2, epsilon)
        `step` counts from 1.
    keep : float
        1, or 1 less the decoupled weight decay.
    """
    (scale, decay), (step, beta1, beta2, epsilon) = factors, moments
    slope = scale * gradient + decay * parameter
    mean *= beta1
    mean += (1 - beta1) * slope
    square *= beta2
    square += (1 - beta2) * slope * slope
    parameter *= keep
    root = np.sqrt(square) / math.sqrt(1 - beta2**step) + epsilon
    parameter -= rate / (1 - beta1**step) * (mean / root)
