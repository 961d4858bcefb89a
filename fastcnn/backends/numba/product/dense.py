"""The fully-connected layer's products. Requires numba. Twin: :mod:`fastcnn.backends.numpy.dense`."""

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.product.gemm import product
from fastcnn.backends.numba.product.sums import sum_rows


def dense_forward(x: Array, weights: Array, bias: Array) -> Array:
    return product(x, weights, bias)


def dense_input_gradient(eta: Array, weights: Array) -> Array:
    return product(eta, weights.T)


def dense_weight_gradient(x: Array, eta: Array) -> tuple[Array, Array]:
    return product(x.T, eta), sum_rows(eta)
