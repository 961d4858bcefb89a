"""Which pixels along an axis make a pixel of an image of another size, and how much of each: tables of taps.

A row of an output image is a weighted sum of a run of rows of the input, and so are columns; the gradient is the
transposed sum, again over runs. Tables are for :func:`fastcnn.backends.numpy.resample.resample`.
"""

import functools
from typing import NamedTuple

import numpy as np


class Taps(NamedTuple):
    """Of each of n pixels: the first that it is made of and the one after the last, (n, 2) integers; and their weights,
    (n, most), 0 after the last."""

    runs: np.ndarray
    weights: np.ndarray


@functools.lru_cache(maxsize=64)
def adaptive_taps(size: int, parts: int) -> Taps:
    """Means over `parts` of an axis of `size` pixels: part i from ``floor(i * size / parts)`` to
    ``ceil((i + 1) * size / parts)``."""
    part = np.arange(parts)
    runs = np.stack([part * size // parts, -(-(part + 1) * size // parts)], axis=1)
    lengths = runs[:, 1] - runs[:, 0]
    return Taps(runs, (np.arange(lengths.max()) < lengths[:, np.newaxis]) / lengths[:, np.newaxis])


@functools.lru_cache(maxsize=64)
def bilinear_taps(size: int, factor: int, align_corners: bool) -> Taps:
    """Two neighbours each of ``size * factor`` pixels between which they lie, by their distance; one where a pixel lies
    on it or beyond the first or the last.

    Pixel o is at ``(o + 0.5) / factor - 0.5``; with `align_corners` the first and the last lie on those of the input,
    ``o * (size - 1) / (size * factor - 1)``. As in PyTorch's nn.Upsample.
    """
    pixel, last = np.arange(size * factor), size - 1
    # As fractions of whole numbers, so that a pixel that lies on another does so exactly.
    if align_corners:
        top, bottom = pixel * last, max(1, size * factor - 1)
    else:
        top, bottom = np.clip(2 * pixel + 1 - factor, 0, 2 * factor * last), 2 * factor
    first, part = top // bottom, (top % bottom) / bottom
    runs = np.stack([first, first + 1 + (part > 0)], axis=1)
    weights = np.stack([1 - part, part], axis=1)
    return Taps(runs, weights if (part > 0).any() else weights[:, :1].copy())


def transposed(taps: Taps, size: int) -> Taps:
    """For each of the `size` pixels of the input the run of outputs that it is a part of, and what of each. Runs begin
    and end in order, so outputs of a pixel are a run too."""
    (runs, weights), pixel = taps, np.arange(size)
    first = np.searchsorted(runs[:, 1], pixel, "right")
    last = np.searchsorted(runs[:, 0], pixel, "right")
    found = np.zeros((size, int((last - first).max())))
    for tap in range(weights.shape[1]):
        number = np.flatnonzero(runs[:, 0] + tap < runs[:, 1])
        at = runs[number, 0] + tap
        found[at, number - first[at]] = weights[number, tap]
    return Taps(np.stack([first, last], axis=1), found)


@functools.lru_cache(maxsize=64)
def adaptive_gradient(size: int, parts: int) -> Taps:
    """`adaptive_taps`, transposed."""
    return transposed(adaptive_taps(size, parts), size)


@functools.lru_cache(maxsize=64)
def bilinear_gradient(size: int, factor: int, align_corners: bool) -> Taps:
    """`bilinear_taps`, transposed."""
    return transposed(bilinear_taps(size, factor, align_corners), size)
