"""Group normalisation in NumPy: x is (N, P, C), images of P pixels whose channels are cut into groups. Conventions:
:mod:`fastcnn.backends`.

Wu and He, "Group Normalization" (2018), section 3.1. It is layer normalisation of the numbers of an image and a group;
gain and bias belong to channels. Sums are float64.
"""

from collections.abc import Callable

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare


def of_channels(numbers: np.ndarray, channels: int) -> np.ndarray:
    """What belongs to each group of an image, (N, G), as (N, 1, C)."""
    return np.repeat(numbers, channels // numbers.shape[1], axis=1)[:, None]


def mean_of_groups(x: np.ndarray, groups: int) -> np.ndarray:
    """(N, G), of (N, P, C), in float64."""
    batch, pixels, channels = x.shape
    return x.reshape(batch, pixels, groups, channels // groups).mean(axis=(1, 3), dtype=np.float64)


def forward_terms(compute: Callable, arguments: tuple, expected: tuple) -> tuple[np.ndarray, ...]:
    """As of rows: see `layer_norm`."""
    x, gain, bias, groups, _ = arguments
    size, deviation, channels = np.abs(x), expected[2], x.shape[2]
    mean = mean_of_groups(size, groups)
    out = (size + of_channels(mean, channels)) * of_channels(deviation, channels) * np.abs(gain) + np.abs(bias)
    return out, mean, deviation * (1 + deviation * mean)


def gradient_terms(compute: Callable, arguments: tuple, expected: tuple) -> tuple[np.ndarray, ...]:
    x, eta, mean, deviation, gain = map(np.abs, arguments)
    channels, groups = x.shape[2], mean.shape[1]
    wide, slope = of_channels(deviation, channels), eta * gain
    scaled = (x + of_channels(mean, channels)) * wide
    share, product = (of_channels(mean_of_groups(part, groups), channels) for part in (slope, slope * scaled))
    return wide * (slope + share + scaled * product), (eta * scaled).sum(axis=(0, 1)), eta.sum(axis=(0, 1))


def draw_forward(source: Source) -> tuple:
    """Some images far from 0."""
    groups, more = source.integer("groups", 1, 5), source.integer("channels of a group", 1, 6)
    shape = source.integer("batch", 1, 4), source.integer("pixels", 1, 40), groups * more
    x = source.array(*shape) + 100 * source.rng.integers(0, 2, (shape[0], 1, 1))
    return x.astype(source.dtype), source.array(shape[2]), source.array(shape[2]), groups, 1e-3


def draw_gradient(source: Source) -> tuple:
    x, gain, bias, groups, epsilon = draw_forward(source)
    return x, source.array(*x.shape), *group_norm_forward(x, gain, bias, groups, epsilon)[1:], gain


@declare(draw_forward, terms=forward_terms)
def group_norm_forward(
    x: np.ndarray, gain: np.ndarray, bias: np.ndarray, groups: int, epsilon: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised groups: ``xhat * gain + bias`` with ``xhat = (x - mean) / sqrt(var + epsilon)``.

    Parameters
    ----------
    x : (N, P, C) array
    gain, bias : (C,) arrays
    groups : int
        A divisor of C.
    epsilon : float
        Above 0.

    Returns
    -------
    out : (N, P, C) array
        NaN in a group of an image that holds NaN or infinity.
    mean : (N, groups) array
    deviation : (N, groups) array
        ``1 / sqrt(var + epsilon)``; the variance is the mean square of the distances from the mean.
    """
    channels = x.shape[2]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = mean_of_groups(x, groups)
        var = mean_of_groups(np.square(x - of_channels(mean, channels)), groups)
        mean, deviation = mean.astype(x.dtype), (1 / np.sqrt(var + epsilon)).astype(x.dtype)
        out = (x - of_channels(mean, channels)) * (of_channels(deviation, channels) * gain) + bias
    return out, mean, deviation


@declare(draw_gradient, terms=gradient_terms)
def group_norm_backward(
    x: np.ndarray, eta: np.ndarray, mean: np.ndarray, deviation: np.ndarray, gain: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All gradients; that of the input is ``deviation * (slope - mean(slope) - xhat * mean(slope * xhat))``, where
    ``slope = eta * gain`` and the means are those of a group of an image.

    Parameters
    ----------
    x, eta : (N, P, C) arrays
    mean, deviation : (N, groups) arrays
        What `group_norm_forward` returned.
    gain : (C,) array

    Returns
    -------
    dx : (N, P, C) array
    dgain, dbias : (C,) arrays
        The sums over images and pixels of ``eta * xhat`` and of `eta`.
    """
    channels, groups = x.shape[2], mean.shape[1]
    wide, slope = of_channels(deviation, channels), eta * gain
    scaled = (x - of_channels(mean, channels)) * wide
    share, product = (
        of_channels(mean_of_groups(part, groups).astype(x.dtype), channels) for part in (slope, slope * scaled)
    )
    dx = wide * (slope - share - scaled * product)
    dgain, dbias = (part.sum(axis=(0, 1), dtype=np.float64).astype(x.dtype) for part in (eta * scaled, eta))
    return dx, dgain, dbias
