"""Activations. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.activation`."""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.pointwise.elementwise import RELU, SCALE, SELECT, combine


def relu_forward(x: np.ndarray) -> np.ndarray:
    return combine(x, x, RELU)


def relu_backward(x: np.ndarray, eta: np.ndarray) -> np.ndarray:
    return combine(x, eta, SELECT)


def leaky_relu_forward(x: np.ndarray, alpha: float) -> np.ndarray:
    return combine(x, x, SCALE, alpha)  # the gradient's selection, of x instead of eta


def leaky_relu_backward(x: np.ndarray, eta: np.ndarray, alpha: float) -> np.ndarray:
    return combine(x, eta, SCALE, alpha)
