"""Activations. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.activation`."""

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.pointwise.elementwise import RELU, SCALE, SCALE_ABOVE, SELECT, SELECT_ABOVE, combine


def relu_forward(x: Array) -> Array:
    return combine(x, x, RELU)


def relu_backward(x: Array, eta: Array, at_zero: bool = True) -> Array:
    return combine(x, eta, SELECT if at_zero else SELECT_ABOVE)


def leaky_relu_forward(x: Array, alpha: float) -> Array:
    return combine(x, x, SCALE, float(alpha))  # the gradient's selection, of x instead of eta


def leaky_relu_backward(x: Array, eta: Array, alpha: float, at_zero: bool = True) -> Array:
    return combine(x, eta, SCALE if at_zero else SCALE_ABOVE, float(alpha))
