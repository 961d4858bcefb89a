"""PReLU. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.prelu`."""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.pointwise.channels import SLOPE, SLOPE_SUMS, map_channels, sum_channels, wide_row


def slopes(alpha: np.ndarray) -> np.ndarray:
    """The table of `map_channels`; only its last row is read."""
    table = empty((4, wide_row(alpha.size)), alpha.dtype)
    table[3].reshape(-1, alpha.size)[...] = alpha
    return table


def prelu_forward(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return map_channels(x, x, slopes(alpha), SLOPE)


def prelu_backward(x: np.ndarray, eta: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = slopes(alpha)
    dalpha, _ = sum_channels(x, eta, table[3], alpha.size, SLOPE_SUMS)
    return map_channels(x, eta, table, SLOPE), dalpha
