"""Convolution: which algorithm computes it. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.conv`.

- ``direct``: one matrix product that reads the image where it lies; any shape.
- ``winograd``: fewer multiplications for 3x3 kernels with stride 1 or 2; direct for all others.
- ``im2col``: a column matrix and one matrix product; any shape.

`auto` follows a fixed rule by shape, drawn from `fastcnn bench`, and never times anything, so that results repeat bit
for bit.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from fastcnn.backends.numba.convolution import columns, direct, direct_input, direct_weights, winograd, winograd_weights
from fastcnn.config import get_conv_algorithm, get_num_threads
from fastcnn.shapes import conv_output_shape

WINOGRAD_PIXELS = 128  # of the whole batch; for fewer, transforming the weights costs more than it saves
WINOGRAD_PIXELS_OF_WEIGHTS = 64  # the same for their gradient
MANY_WEIGHTS = 8192  # input times output channels from which half as many pixels do
WINOGRAD_CHANNELS = 16  # fewer on either side gain a tenth at most, which is not worth compiling more kernels
STRIDED_PIXELS = 2048  # the same limits for a stride of 2, which saves less: with half of either, it gained nothing
STRIDED_CHANNELS = 64
STRIDED_SHARE = 0.9  # of the pixels of tiles that must be inside; with three quarters, it gained nothing


def choose(
    name: str, ksize: int, stride: int, inputs: int, out_shape: tuple[int, ...], fewest: int = WINOGRAD_PIXELS
) -> str:
    """'winograd' or 'direct' or 'im2col' where `name` is asked for; 'auto' looks at the shapes."""
    fits = ksize == 3 and stride in (1, 2)
    if name == "auto":
        return "winograd" if fits and pays(stride, inputs, out_shape, fewest) else "direct"
    return "direct" if name == "winograd" and not fits else name


def pays(stride: int, inputs: int, out_shape: tuple[int, ...], fewest: int) -> bool:
    """Whether Winograd's algorithm is faster for 3x3 kernels."""
    (_, *sides, outputs), pixels = out_shape, math.prod(out_shape[:3])
    if stride == 1:
        return min(inputs, outputs) >= WINOGRAD_CHANNELS and pixels >= fewest >> (inputs * outputs >= MANY_WEIGHTS)
    inside = math.prod(side / (4 * -(-side // 4)) for side in sides) if pixels else 0
    return min(inputs, outputs) >= STRIDED_CHANNELS and pixels >= STRIDED_PIXELS and inside >= STRIDED_SHARE


# What follows from shapes is found once for each: the algorithm, how its work is cut, its tables and memory. A plan is
# a function of the arrays.


@functools.lru_cache(maxsize=256)
def forward_plan(name, shape, weights_shape, stride, padding, rectify, dtype, most):
    out_shape = conv_output_shape(shape, weights_shape, stride, padding)
    algorithm = choose(name, weights_shape[0], stride, shape[3], out_shape)
    if algorithm == "winograd":
        return algorithm, winograd.forward_plan(shape[3], out_shape, stride, padding, rectify, dtype, most)
    if algorithm == "direct":
        given = shape, weights_shape, out_shape
        return algorithm, direct.forward_plan(*given, stride, padding, rectify, dtype, most)
    return algorithm, functools.partial(columns.conv_forward, stride=stride, padding=padding, rectify=rectify)


@functools.lru_cache(maxsize=256)
def input_gradient_plan(name, eta_shape, weights_shape, image_shape, stride, padding, dtype, most):
    algorithm = choose(name, weights_shape[0], stride, image_shape[3], eta_shape)
    if algorithm == "winograd":
        return algorithm, winograd.input_gradient_plan(eta_shape, image_shape, stride, padding, dtype, most)
    if algorithm == "direct":
        given = eta_shape, weights_shape, image_shape
        return algorithm, direct_input.input_gradient_plan(*given, stride, padding, dtype, most)
    given = {"image_shape": image_shape, "stride": stride, "padding": padding}
    return algorithm, functools.partial(columns.conv_input_gradient, **given)


@functools.lru_cache(maxsize=256)
def weight_gradient_plan(name, shape, eta_shape, ksize, stride, padding, rectify, dtype, most):
    algorithm = choose(name, ksize, stride, shape[3], eta_shape, WINOGRAD_PIXELS_OF_WEIGHTS)
    if algorithm == "winograd":
        return algorithm, winograd_weights.weight_gradient_plan(
            shape[3], eta_shape, stride, padding, rectify, dtype, most
        )
    if algorithm == "direct":
        given = shape, eta_shape, ksize
        return algorithm, direct_weights.weight_gradient_plan(*given, stride, padding, rectify, dtype, most)
    given = {"ksize": ksize, "stride": stride, "padding": padding, "rectify": rectify}
    return algorithm, functools.partial(columns.conv_weight_gradient, **given)


def find_forward(x, weights, bias, stride, padding, rectify=False):
    """(algorithm, plan) for the arguments of the kernel; `backends.check` asks for the former."""
    name, most = get_conv_algorithm(), get_num_threads()
    return forward_plan(name, x.shape, weights.shape, stride, padding, rectify, x.dtype, most)


def find_input_gradient(eta, weights, image_shape, stride, padding, gate=None):
    name, most = get_conv_algorithm(), get_num_threads()
    return input_gradient_plan(name, eta.shape, weights.shape, image_shape, stride, padding, eta.dtype, most)


def find_weight_gradient(x, eta, ksize, stride, padding, rectify=False):
    name, most = get_conv_algorithm(), get_num_threads()
    return weight_gradient_plan(name, x.shape, eta.shape, ksize, stride, padding, rectify, x.dtype, most)


def conv_forward(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    stride: int,
    padding: tuple[int, int],
    rectify: bool = False,
) -> np.ndarray:
    return find_forward(x, weights, bias, stride, padding, rectify)[1](x, weights, bias)


def conv_input_gradient(
    eta: np.ndarray,
    weights: np.ndarray,
    image_shape: tuple[int, ...],
    stride: int,
    padding: tuple[int, int],
    gate: np.ndarray | None = None,
) -> np.ndarray:
    return find_input_gradient(eta, weights, image_shape, stride, padding)[1](eta, weights, gate)


def conv_weight_gradient(
    x: np.ndarray, eta: np.ndarray, ksize: int, stride: int, padding: tuple[int, int], rectify: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    return find_weight_gradient(x, eta, ksize, stride, padding, rectify)[1](x, eta)
