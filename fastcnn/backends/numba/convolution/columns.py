"""Convolution as im2col and one matrix product a group. Requires numba. Definition: :mod:`fastcnn.backends.numpy.conv`.

A batch whose column matrix would leave the caches is worked through in parts, some images each. The parts follow from
the shapes alone, and their weight gradients are added in order, so results stay the same on any number of threads.
"""

import math
from collections.abc import Callable

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.im2col import col2im, im2col
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.memory import copy_of, empty, zeros
from fastcnn.backends.numba.pointwise.activation import relu_backward, relu_forward
from fastcnn.backends.numba.product.dense import dense_input_gradient, dense_weight_gradient
from fastcnn.backends.numba.product.gemm import product
from fastcnn.backends.numba.product.sums import TOGETHER

COLUMN_BYTES = 4 << 20  # column matrix of one group; 1 to 8 MiB measured within 10 % on a LeNet step


def parts_of(shape: Shape, out_shape: Shape, geometry: Geometry) -> list[slice]:
    """Slices of the batch whose column matrices take `COLUMN_BYTES` at most; at least one image each."""
    row_bytes = math.prod(geometry.window.ksize) * (shape[3] // geometry.groups) * geometry.dtype.itemsize
    size = max(1, COLUMN_BYTES // (math.prod(out_shape[1:3]) * row_bytes))
    return [slice(start, start + size) for start in range(0, shape[0], size)]


def channels_of(array: Array, group: int, groups: int) -> Array:
    """The channels of a group, the last axis, as an array of their own where there is more than one."""
    each = array.shape[-1] // groups
    return array if groups == 1 else copy_of(array[..., group * each : (group + 1) * each])


def forward_plan(shape: Shape, out_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, weights, bias) that convolves arrays of these shapes."""
    (window, groups, rectify, dtype), outputs = geometry, out_shape[3] // geometry.groups
    parts = parts_of(shape, out_shape, geometry)

    def forward(x: Array, weights: Array, bias: Array) -> Array:
        x, out = relu_forward(x) if rectify else x, empty(out_shape, dtype)
        for group in range(groups):
            own, start = channels_of(weights, group, groups), channels_of(bias, group, groups)
            for part in parts:
                columns = im2col(channels_of(x[part], group, groups), window)
                if groups == 1:
                    product(columns, own.reshape(-1, outputs), start, out[part].reshape(-1, outputs))
                else:
                    made = product(columns, own.reshape(-1, outputs), start)
                    to = slice(group * outputs, (group + 1) * outputs)
                    out[part, ..., to] = made.reshape(*out[part].shape[:3], outputs)
        return out

    return forward


def input_gradient_plan(shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (eta, weights, gate, bias) that computes it for arrays of these shapes."""
    parts, (window, groups, _, dtype) = parts_of(shape, eta_shape, geometry), geometry
    inputs, outputs = shape[3] // groups, eta_shape[3] // groups

    def gradient(eta: Array, weights: Array, gate: Array | None, bias: Array | None = None) -> Array:
        image = empty(shape, dtype)
        for group in range(groups):
            own = channels_of(weights, group, groups).reshape(-1, outputs)
            for part in parts:
                columns = dense_input_gradient(channels_of(eta[part], group, groups).reshape(-1, outputs), own)
                to = slice(group * inputs, (group + 1) * inputs)
                image[part, ..., to] = col2im(columns, (*image[part].shape[:3], inputs), window)
        if bias is not None:
            image += bias
        return image if gate is None else relu_backward(gate, image)

    return gradient


def add_to(totals: tuple[Array, Array], gradients: tuple[Array, Array]) -> None:
    for total, gradient in zip(totals, gradients, strict=True):
        total += gradient


def weight_gradient_plan(shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (x, eta) that computes both gradients for arrays of these shapes."""
    window, groups, rectify, dtype = geometry
    rows, outputs = math.prod(window.ksize) * (shape[3] // groups), eta_shape[3] // groups
    parts = parts_of(shape, eta_shape, geometry)

    def gradient_of(x: Array, eta: Array) -> tuple[Array, Array]:
        return dense_weight_gradient(im2col(x, window), eta.reshape(-1, outputs))

    def gradient_of_group(x: Array, eta: Array) -> tuple[Array, Array]:
        totals = zeros((rows, outputs), dtype), zeros((outputs,), dtype)
        for first in range(0, len(parts), TOGETHER):  # some parts are added up by themselves: no sum is a long chain
            some = gradient_of(x[parts[first]], eta[parts[first]])
            for part in parts[first + 1 : first + TOGETHER]:
                add_to(some, gradient_of(x[part], eta[part]))
            add_to(totals, some)
        return totals

    def gradient(x: Array, eta: Array) -> tuple[Array, Array]:
        x = relu_forward(x) if rectify else x
        found = [gradient_of_group(*(channels_of(a, group, groups) for a in (x, eta))) for group in range(groups)]
        dw, db = found[0] if groups == 1 else (np.concatenate(every, axis=-1) for every in zip(*found, strict=True))
        return dw.reshape(*window.ksize, shape[3] // groups, groups * outputs), db

    return gradient
