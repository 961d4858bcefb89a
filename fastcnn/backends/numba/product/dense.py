"""The fully-connected layer's products on `gemm`. Requires numba. Twin: :mod:`fastcnn.backends.numpy.dense`."""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.core.jit import MOVE, kernel, prange, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.product.gemm import add_up, product

SUM_ROWS = 1024  # rows of one partial sum of a bias gradient; fixed, so that threads do not change the result


def dense_forward(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return product(x, weights, bias)


def dense_input_gradient(eta: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return product(eta, weights.T)


def dense_weight_gradient(x: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return product(x.T, eta), sum_rows(eta)


@serial
def add_rows(matrix, first, last, total):
    for j in range(total.size):
        total[j] = 0
    for i in range(first, last):
        for j in range(total.size):
            total[j] += matrix[i, j]


@kernel
def partial_sums(matrix, parts):
    for it in prange(parts.shape[0]):
        p = np.int64(it)
        add_rows(matrix, p * SUM_ROWS, min(matrix.shape[0], (p + 1) * SUM_ROWS), parts[p])


def sum_rows(matrix: np.ndarray) -> np.ndarray:
    """The sum over the first axis, which may be empty."""
    parts = empty((max(1, -(-len(matrix) // SUM_ROWS)), matrix.shape[1]), matrix.dtype)
    partial_sums(matrix, parts, work=MOVE * matrix.size)
    return add_up(parts, matrix.shape[1:]) if len(parts) > 1 else parts[0]
