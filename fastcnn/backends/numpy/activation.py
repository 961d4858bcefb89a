"""Activations in NumPy. Shapes and meaning: :mod:`fastcnn.backends`."""

from __future__ import annotations

import numpy as np


def relu_forward(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def relu_backward(x: np.ndarray, eta: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, eta, x.dtype.type(0))


def leaky_relu_forward(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x >= 0, x, x.dtype.type(alpha) * x)


def leaky_relu_backward(x: np.ndarray, eta: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x >= 0, eta, x.dtype.type(alpha) * eta)
