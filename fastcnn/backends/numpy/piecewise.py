"""Activations of straight lines and parabolas, in NumPy. Conventions: :mod:`fastcnn.backends`."""

from collections.abc import Callable

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare
from fastcnn.shapes import LARGEST_FLOAT

RAMPS = ((1.0, 0.0, 6.0), (1 / 6, 0.5, 1.0), (0.2, 0.5, 1.0))  # of a ReLU6 and of hard sigmoids


def slope_terms(compute: Callable, arguments: tuple, expected: tuple) -> np.ndarray:
    """x chooses, with its sign; the largest slope of a hard swish is 1, and no ramp that is drawn is steeper."""
    return np.abs(arguments[1])


def draw_values(source: Source) -> tuple[np.ndarray]:
    return (2 * source.ties(source.integer("size", 1, 50)) + source.integer("odd", 0, 1),)


def draw_gradient(source: Source) -> tuple[np.ndarray, np.ndarray]:
    (x,) = draw_values(source)
    return x, source.array(*x.shape)


def draw_ramp(source: Source) -> tuple[float, float, float]:
    return RAMPS[source.integer("ramp", 0, len(RAMPS) - 1)]


def ends(slope: float, offset: float, most: float) -> tuple[float, float]:
    """Where a ramp begins and where it ends; no number is beyond what float32 holds."""
    low, high = (min(max(end / slope, -LARGEST_FLOAT), LARGEST_FLOAT) for end in (-offset, most - offset))
    return low, high


@declare(lambda source: (*draw_values(source), *draw_ramp(source)))
def ramp_forward(x: np.ndarray, slope: float, offset: float, most: float) -> np.ndarray:
    """``min(max(slope * x + offset, 0), most)``: a ReLU6 (Krizhevsky, "Convolutional deep belief networks", 2010), or a
    hard sigmoid.

    Parameters
    ----------
    x : array of any shape
    slope : float
        Above 0.
    offset, most : float
        All three are rounded to the dtype of `x`.

    Returns
    -------
    array of the shape of `x`
        NaN stays NaN.
    """
    number = x.dtype.type
    with np.errstate(over="ignore"):
        return np.clip(number(slope) * x + number(offset), 0, number(most))


@declare(lambda source: (*draw_gradient(source), *draw_ramp(source)), terms=slope_terms)
def ramp_backward(x: np.ndarray, eta: np.ndarray, slope: float, offset: float, most: float) -> np.ndarray:
    """Gradient of a ramp: ``slope * eta`` between its ends, 0 elsewhere, at its ends too.

    Parameters
    ----------
    x : array of any shape
        What `ramp_forward` was given.
    eta : array of the shape of `x`
    slope, offset, most : float
        As in `ramp_forward`; the ends are ``-offset / slope`` and ``(most - offset) / slope``, rounded once.

    Returns
    -------
    array of the shape of `x`
        0 where x is NaN.
    """
    number = x.dtype.type
    low, high = map(number, ends(slope, offset, most))
    return np.where((x > low) & (x < high), number(slope) * eta, number(0))


@declare(draw_values)
def hard_swish_forward(x: np.ndarray) -> np.ndarray:
    """Hard swish, ``x * min(max(x + 3, 0), 6) / 6`` (Howard et al., "Searching for MobileNetV3", 2019, section 5.2).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN or negative infinity.
    """
    return x * np.clip(x + 3, 0, 6) / 6


@declare(draw_gradient, terms=slope_terms)
def hard_swish_backward(x: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Gradient of hard swish: 0 where ``x <= -3``, `eta` where ``x >= 3``, ``eta * (x / 3 + 1 / 2)`` between.

    Parameters
    ----------
    x : array of any shape
        What `hard_swish_forward` was given.
    eta : array of the shape of `x`

    Returns
    -------
    array of the shape of `x`
        NaN where x is NaN.
    """
    slope = np.clip(x, -3, 3) / 3 + x.dtype.type(0.5)
    return eta * np.where(x <= -3, x.dtype.type(0), np.where(x >= 3, x.dtype.type(1), slope))
