"""PReLU. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.prelu`."""

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.pointwise.channels import (
    SLOPE,
    SLOPE_ABOVE,
    SLOPE_SUMS,
    map_channels,
    sum_channels,
    wide_row,
)


def slopes(alpha: Array) -> Array:
    """The table of `map_channels`; only its last row is read."""
    table = empty((4, wide_row(alpha.size)), alpha.dtype)
    table[3].reshape(-1, alpha.size)[...] = alpha
    return table


def prelu_forward(x: Array, alpha: Array) -> Array:
    return map_channels(x, x, slopes(alpha), SLOPE)


def prelu_backward(x: Array, eta: Array, alpha: Array, at_zero: bool = True) -> tuple[Array, Array]:
    table = slopes(alpha)
    dalpha, _ = sum_channels(x, eta, table[3], alpha.size, SLOPE_SUMS)
    return map_channels(x, eta, table, SLOPE if at_zero else SLOPE_ABOVE), dalpha
