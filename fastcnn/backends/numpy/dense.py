"""The fully-connected layer's three matrix products in NumPy. Shapes and meaning: :mod:`fastcnn.backends`."""

from __future__ import annotations

import numpy as np


def dense_forward(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x @ weights + bias


def dense_input_gradient(eta: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return eta @ weights.T


def dense_weight_gradient(x: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.T @ eta, eta.sum(axis=0)
