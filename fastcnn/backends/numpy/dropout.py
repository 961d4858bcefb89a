"""Dropout in NumPy. Meaning: :mod:`fastcnn.backends`; the random numbers: :mod:`fastcnn.splitmix`."""

from __future__ import annotations

import numpy as np

from fastcnn.splitmix import FIRST_FACTOR, GAMMA, MASK, SECOND_FACTOR


def hashes(count: int, seed: int, first: int) -> np.ndarray:
    """Random numbers `first` to ``first + count - 1`` of `seed`; unsigned arrays wrap around without a warning."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA) + np.uint64((seed + first * GAMMA) & MASK)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST_FACTOR)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND_FACTOR)
    return z ^ (z >> np.uint64(31))


def dropout(x: np.ndarray, keep: float, seed: int, first: int) -> np.ndarray:
    kept = hashes(x.size, seed, first) >> np.uint64(32) < np.uint64(round(keep * 2**32))
    return np.where(kept.reshape(x.shape), x / x.dtype.type(keep), x.dtype.type(0))
