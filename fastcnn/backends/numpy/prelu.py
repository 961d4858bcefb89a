"""PReLU in NumPy: a slope for each channel, the last axis. Meaning: :mod:`fastcnn.backends`."""

from __future__ import annotations

import numpy as np


def prelu_forward(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, x, alpha * x)


def prelu_backward(x: np.ndarray, eta: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    products = np.where(x >= 0, x.dtype.type(0), eta * x)
    dalpha = products.reshape(-1, len(alpha)).sum(axis=0, dtype=np.float64)
    return np.where(x >= 0, eta, alpha * eta), dalpha.astype(x.dtype)
