"""Convolution as im2col and one matrix product. Requires numba. Definition: :mod:`fastcnn.backends.numpy.conv`.

A batch whose column matrix would leave the caches is worked through in groups of images. The groups follow from
the shapes alone, and their weight gradients are added in order, so results stay the same on any number of threads.
"""

import math
from collections.abc import Callable

from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.im2col import col2im, im2col
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.memory import empty, zeros
from fastcnn.backends.numba.pointwise.activation import relu_backward, relu_forward
from fastcnn.backends.numba.product.dense import dense_input_gradient, dense_weight_gradient
from fastcnn.backends.numba.product.gemm import product
from fastcnn.backends.numba.product.sums import TOGETHER

COLUMN_BYTES = 4 << 20  # column matrix of one group; 1 to 8 MiB measured within 10 % on a LeNet step


def groups(shape: Shape, out_shape: Shape, geometry: Geometry) -> list[slice]:
    """Slices of the batch whose column matrices take `COLUMN_BYTES` at most; at least one image each."""
    row_bytes = geometry.ksize**2 * shape[3] * geometry.dtype.itemsize
    size = max(1, COLUMN_BYTES // (math.prod(out_shape[1:3]) * row_bytes))
    return [slice(start, start + size) for start in range(0, shape[0], size)]


def forward_plan(shape: Shape, out_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, weights, bias) that convolves arrays of these shapes."""
    (ksize, stride, padding, rectify, dtype), outputs = geometry, out_shape[3]
    parts = groups(shape, out_shape, geometry)

    def forward(x: Array, weights: Array, bias: Array) -> Array:
        x, out = relu_forward(x) if rectify else x, empty(out_shape, dtype)
        for part in parts:
            columns = im2col(x[part], ksize, stride, padding)
            product(columns, weights.reshape(-1, outputs), bias, out[part].reshape(-1, outputs))
        return out

    return forward


def input_gradient_plan(shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (eta, weights, gate) that computes it for arrays of these shapes."""
    parts, (ksize, stride, padding, _, dtype), outputs = groups(shape, eta_shape, geometry), geometry, eta_shape[3]

    def gradient(eta: Array, weights: Array, gate: Array | None) -> Array:
        image = empty(shape, dtype)
        for part in parts:
            columns = dense_input_gradient(eta[part].reshape(-1, outputs), weights.reshape(-1, outputs))
            image[part] = col2im(columns, image[part].shape, ksize, stride, padding)
        return image if gate is None else relu_backward(gate, image)

    return gradient


def add_to(totals: tuple[Array, Array], gradients: tuple[Array, Array]) -> None:
    for total, gradient in zip(totals, gradients, strict=True):
        total += gradient


def weight_gradient_plan(shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, eta) that computes both gradients for arrays of these shapes."""
    (ksize, stride, padding, rectify, dtype), outputs = geometry, eta_shape[3]
    parts = groups(shape, eta_shape, geometry)

    def gradient_of(x: Array, eta: Array) -> tuple[Array, Array]:
        return dense_weight_gradient(im2col(x, ksize, stride, padding), eta.reshape(-1, outputs))

    def gradient(x: Array, eta: Array) -> tuple[Array, Array]:
        x = relu_forward(x) if rectify else x
        totals = zeros((ksize * ksize * shape[3], outputs), dtype), zeros((outputs,), dtype)
        for first in range(0, len(parts), TOGETHER):  # some groups are added up by themselves: no sum is a long chain
            some = gradient_of(x[parts[first]], eta[parts[first]])
            for part in parts[first + 1 : first + TOGETHER]:
                add_to(some, gradient_of(x[part], eta[part]))
            add_to(totals, some)
        dw, db = totals
        return dw.reshape(ksize, ksize, shape[3], outputs), db

    return gradient
