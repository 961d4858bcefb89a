"""Batch normalisation in NumPy, of rows: x is (N, C). Shapes and meaning: :mod:`fastcnn.backends`.

Ioffe and Szegedy, "Batch Normalization" (2015), algorithm 1 and the gradients below it. Sums over rows are float64.
"""

from __future__ import annotations

import numpy as np


def batch_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = max(1, len(x))
    mean = x.sum(axis=0, dtype=np.float64) / count
    var = np.square(x - mean).sum(axis=0) / count
    return mean.astype(x.dtype), var.astype(x.dtype)


def inverse_deviation(var: np.ndarray, epsilon: float) -> np.ndarray:
    return 1 / np.sqrt(var + var.dtype.type(epsilon))


def batch_norm_forward(
    x: np.ndarray, mean: np.ndarray, var: np.ndarray, gain: np.ndarray, bias: np.ndarray, epsilon: float
) -> np.ndarray:
    return (x - mean) * (gain * inverse_deviation(var, epsilon)) + bias


def batch_norm_parameter_gradient(
    x: np.ndarray, eta: np.ndarray, mean: np.ndarray, var: np.ndarray, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    dbias = eta.sum(axis=0, dtype=np.float64)
    dgain = ((x - mean) * inverse_deviation(var, epsilon) * eta).sum(axis=0, dtype=np.float64)
    return dgain.astype(x.dtype), dbias.astype(x.dtype)


def batch_norm_input_gradient(
    x: np.ndarray,
    eta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    gain: np.ndarray,
    dgain: np.ndarray,
    dbias: np.ndarray,
    epsilon: float,
) -> np.ndarray:
    count, scale = x.dtype.type(max(1, len(x))), inverse_deviation(var, epsilon)
    return gain * scale * (eta - dbias / count - (x - mean) * (scale * dgain / count))
