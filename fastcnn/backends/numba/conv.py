"""Convolution: which algorithm computes it. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.conv`.

- ``direct``: one matrix product that reads the image where it lies; any shape.
- ``winograd``: fewer multiplications for 3x3 kernels with stride 1; direct for all others.
- ``im2col``: a column matrix and one matrix product; any shape.

`auto` follows a fixed rule by shape, drawn from `fastcnn bench`, and never times anything, so that results repeat bit
for bit.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from fastcnn.backends.numba import columns, direct, direct_input, direct_weights, winograd, winograd_weights
from fastcnn.backends.numba.activation import relu_backward, relu_forward
from fastcnn.runtime import get_conv_algorithm
from fastcnn.shapes import conv_output_shape

WINOGRAD_PIXELS = 128  # of the whole batch; for fewer, transforming the weights costs more than it saves
WINOGRAD_PIXELS_OF_WEIGHTS = 512  # the same for their gradient
WINOGRAD_CHANNELS = 16  # fewer on either side gain a tenth at most, which is not worth compiling more kernels


@functools.lru_cache(maxsize=256)
def choose(
    name: str, ksize: int, stride: int, inputs: int, out_shape: tuple[int, ...], fewest: int = WINOGRAD_PIXELS
) -> str:
    """'winograd' or 'direct' or 'im2col' where `name` is asked for; 'auto' looks at the shapes."""
    fits = ksize == 3 and stride == 1
    if name == "auto":
        pays = min(inputs, out_shape[3]) >= WINOGRAD_CHANNELS and math.prod(out_shape[:3]) >= fewest
        return "winograd" if fits and pays else "direct"
    return "direct" if name == "winograd" and not fits else name


# Each takes the arguments of its kernel; `backends.check` asks too.
def forward_algorithm(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, stride: int, padding: tuple[int, int], rectify: bool = False
) -> str:
    out_shape = conv_output_shape(x.shape, weights.shape, stride, padding)
    return choose(get_conv_algorithm(), len(weights), stride, x.shape[3], out_shape)


def input_gradient_algorithm(
    eta: np.ndarray,
    weights: np.ndarray,
    image_shape: tuple[int, ...],
    stride: int,
    padding: tuple[int, int],
    gate: np.ndarray | None = None,
) -> str:
    return choose(get_conv_algorithm(), len(weights), stride, image_shape[3], eta.shape)


def weight_gradient_algorithm(
    x: np.ndarray, eta: np.ndarray, ksize: int, stride: int, padding: tuple[int, int], rectify: bool = False
) -> str:
    return choose(get_conv_algorithm(), ksize, stride, x.shape[3], eta.shape, WINOGRAD_PIXELS_OF_WEIGHTS)


def conv_forward(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    stride: int,
    padding: tuple[int, int],
    rectify: bool = False,
) -> np.ndarray:
    algorithm = forward_algorithm(x, weights, bias, stride, padding)
    if algorithm == "winograd":
        return winograd.conv_forward(x, weights, bias, padding, rectify)
    if algorithm == "direct":
        return direct.conv_forward(x, weights, bias, stride, padding, rectify)
    return columns.conv_forward(relu_forward(x) if rectify else x, weights, bias, stride, padding)


def conv_input_gradient(
    eta: np.ndarray,
    weights: np.ndarray,
    image_shape: tuple[int, ...],
    stride: int,
    padding: tuple[int, int],
    gate: np.ndarray | None = None,
) -> np.ndarray:
    algorithm = input_gradient_algorithm(eta, weights, image_shape, stride, padding)
    if algorithm == "winograd":
        return winograd.conv_input_gradient(eta, weights, image_shape, padding, gate)
    if algorithm == "direct":
        return direct_input.conv_input_gradient(eta, weights, image_shape, stride, padding, gate)
    image = columns.conv_input_gradient(eta, weights, image_shape, stride, padding)
    return image if gate is None else relu_backward(gate, image)


def conv_weight_gradient(
    x: np.ndarray, eta: np.ndarray, ksize: int, stride: int, padding: tuple[int, int], rectify: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    algorithm = weight_gradient_algorithm(x, eta, ksize, stride, padding)
    if algorithm == "winograd":
        return winograd_weights.conv_weight_gradient(x, eta, padding, rectify)
    if algorithm == "direct":
        return direct_weights.conv_weight_gradient(x, eta, ksize, stride, padding, rectify)
    return columns.conv_weight_gradient(relu_forward(x) if rectify else x, eta, ksize, stride, padding)
