"""Dropout in NumPy. Conventions: :mod:`fastcnn.backends`; the random numbers: :mod:`fastcnn.splitmix`."""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare
from fastcnn.splitmix import FIRST_FACTOR, GAMMA, MASK, SECOND_FACTOR


def draw(source: Source) -> tuple:
    x, keep = source.array(*source.image()), source.integer("eighths kept", 1, 8) / 8
    return x, keep, int(source.rng.integers(2**64, dtype=np.uint64)), source.integer("first", 0, 2**40)


def hashes(count: int, seed: int, first: int) -> np.ndarray:
    """Random numbers `first` to ``first + count - 1`` of `seed`; unsigned arrays wrap around without a warning."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA) + np.uint64((seed + first * GAMMA) & MASK)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST_FACTOR)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND_FACTOR)
    return z ^ (z >> np.uint64(31))


@declare(draw)
def dropout(x: np.ndarray, keep: float, seed: int, first: int) -> np.ndarray:
    """``x / keep`` for elements that are kept, else 0 (Srivastava et al., "Dropout", 2014).

    The element of flat index i is kept where the upper half of random number ``first + i`` of `seed` is below
    ``round(keep * 2**32)``. The gradient is the same function of `eta`.

    Parameters
    ----------
    x : array of any shape
    keep : float
        The probability that an element is kept, above 0 and at most 1.
    seed : int
        From 0 to ``2**64 - 1``.
    first : int
        The number of the first element's random number, of at least 0.

    Returns
    -------
    array of the shape of `x`
        NaN that is not kept is 0.
    """
    kept = hashes(x.size, seed, first) >> np.uint64(32) < np.uint64(round(keep * 2**32))
    return np.where(kept.reshape(x.shape), x / x.dtype.type(keep), x.dtype.type(0))
