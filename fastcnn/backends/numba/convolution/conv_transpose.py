"""Transposed convolution: the plans of a convolution's gradients. Requires numba.

Twin and definition: :mod:`fastcnn.backends.numpy.conv_transpose`.
"""

from collections.abc import Callable

from fastcnn.backends.numba.convolution.conv import plan, settings
from fastcnn.backends.numba.convolution.rule import FORWARD, INPUT, WEIGHTS
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.memory import zeros
from fastcnn.backends.numba.product.sums import sum_rows
from fastcnn.windows import Window


def find_forward(x: Array, weights: Array, bias: Array, image_shape: Shape, window: Window) -> tuple[str, Callable]:
    """(algorithm, plan) for the arguments of the kernel; `backends.check` asks for the former."""
    given = window, image_shape[3] // weights.shape[2], False, x.dtype
    return plan(INPUT, settings(transposed=True), image_shape, x.shape, given)


def find_input_gradient(eta: Array, weights: Array, window: Window) -> tuple[str, Callable]:
    given = window, eta.shape[3] // weights.shape[2], False, eta.dtype
    return plan(FORWARD, settings(transposed=True), eta.shape, weights.shape, given)


def find_weight_gradient(x: Array, eta: Array, window: Window, groups: int = 1) -> tuple[str, Callable]:
    return plan(WEIGHTS, settings(transposed=True), eta.shape, x.shape, (window, groups, False, x.dtype))


def conv_transpose_forward(x: Array, weights: Array, bias: Array, image_shape: Shape, window: Window) -> Array:
    return find_forward(x, weights, bias, image_shape, window)[1](x, weights, None, bias)


def conv_transpose_input_gradient(eta: Array, weights: Array, window: Window) -> Array:
    return find_input_gradient(eta, weights, window)[1](eta, weights, zeros((weights.shape[3],), eta.dtype))


def conv_transpose_weight_gradient(x: Array, eta: Array, window: Window, groups: int = 1) -> tuple[Array, Array]:
    dw, _ = find_weight_gradient(x, eta, window, groups)[1](eta, x)
    return dw, sum_rows(eta.reshape(-1, eta.shape[3]))
