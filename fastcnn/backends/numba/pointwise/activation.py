"""Activations. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.activation`."""

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.pointwise.elementwise import RELU, SCALE, SELECT, combine


def relu_forward(x: Array) -> Array:
    return combine(x, x, RELU)


def relu_backward(x: Array, eta: Array) -> Array:
    return combine(x, eta, SELECT)


def leaky_relu_forward(x: Array, alpha: float) -> Array:
    return combine(x, x, SCALE, float(alpha))  # the gradient's selection, of x instead of eta


def leaky_relu_backward(x: Array, eta: Array, alpha: float) -> Array:
    return combine(x, eta, SCALE, float(alpha))
