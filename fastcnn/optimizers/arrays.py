"""Arrays of an optimizer: which kernels may change, and the sum of their squares."""

import math
from typing import Any

import numpy as np

# Elements of one dot product: BLAS divides longer ones among its threads, whose number would then change the result.
CHUNK = 8192


def is_plain(array: Any, like: np.ndarray) -> bool:
    """Whether kernels, which check no index, can take `array` beside `like`."""
    usual = type(array) is np.ndarray and array.dtype == like.dtype and array.dtype.name in ("float32", "float64")
    return usual and array.shape == like.shape and array.flags.carray


def square_sum(array: np.ndarray) -> float:
    """The sum of the squares of `array`, in float64; bitwise equal at any number of threads."""
    line = array.reshape(-1)
    parts = (line[i : i + CHUNK].astype(np.float64) for i in range(0, len(line), CHUNK))
    try:
        return math.fsum(float(np.dot(part, part)) for part in parts)
    except OverflowError:
        return math.inf
