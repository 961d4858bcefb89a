"""The fully-connected layer's products. Requires numba. Twin: :mod:`fastcnn.backends.numpy.dense`."""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.product.gemm import product
from fastcnn.backends.numba.product.sums import sum_rows


def dense_forward(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return product(x, weights, bias)


def dense_input_gradient(eta: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return product(eta, weights.T)


def dense_weight_gradient(x: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return product(x.T, eta), sum_rows(eta)
