"""Convolution. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.conv`.

- ``direct``: one matrix product that reads the image where it lies; any shape.
- ``winograd``: fewer multiplications for 3x3 kernels with stride 1 or 2; direct for all others.
- ``im2col``: a column matrix and one matrix product; any shape.

`auto` follows the table of :mod:`fastcnn.backends.numba.convolution.rule`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from fastcnn.backends.numba.convolution import columns, direct, direct_input, direct_weights, winograd, winograd_weights
from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.rule import FORWARD, INPUT, WEIGHTS, Layer, choose
from fastcnn.runtime import get_conv_algorithm, get_num_threads
from fastcnn.shapes import conv_output_shape

Settings = tuple[str, int]  # the algorithm that is asked for, and the most threads
Shape = tuple[int, ...]
Plan = tuple[str, Callable]  # the algorithm that is taken, and the function of the arrays

# What follows from shapes is found once for each: the algorithm, how its work is cut, its tables and memory.


@functools.lru_cache(maxsize=256)
def forward_plan(
    settings: Settings,
    shape: Shape,
    weights_shape: Shape,
    stride: int,
    padding: tuple[int, int],
    rectify: bool,
    dtype: np.dtype,
) -> Plan:
    (name, most), out_shape, ksize = (
        settings,
        conv_output_shape(shape, weights_shape, stride, padding),
        weights_shape[0],
    )
    row = choose(name, Layer(FORWARD, ksize, stride, shape[3], out_shape, out_shape[:3]))
    given = shape, out_shape, Geometry(ksize, stride, padding, rectify, dtype), most
    if row.transform:
        return row.algorithm, winograd.forward_plan(row.transform, *given)
    if row.algorithm == "direct":
        return row.algorithm, direct.forward_plan(*given)
    return row.algorithm, functools.partial(columns.conv_forward, stride=stride, padding=padding, rectify=rectify)


@functools.lru_cache(maxsize=256)
def input_gradient_plan(
    settings: Settings,
    eta_shape: Shape,
    ksize: int,
    image_shape: Shape,
    stride: int,
    padding: tuple[int, int],
    dtype: np.dtype,
) -> Plan:
    name, most = settings
    row = choose(name, Layer(INPUT, ksize, stride, image_shape[3], eta_shape, image_shape[:3]))
    given = eta_shape, image_shape, Geometry(ksize, stride, padding, False, dtype), most
    if row.transform:
        return row.algorithm, winograd.input_gradient_plan(row.transform, *given)
    if row.algorithm == "direct":
        return row.algorithm, direct_input.input_gradient_plan(*given)
    options = {"image_shape": image_shape, "stride": stride, "padding": padding}
    return row.algorithm, functools.partial(columns.conv_input_gradient, **options)


@functools.lru_cache(maxsize=256)
def weight_gradient_plan(
    settings: Settings,
    shape: Shape,
    eta_shape: Shape,
    ksize: int,
    stride: int,
    padding: tuple[int, int],
    rectify: bool,
    dtype: np.dtype,
) -> Plan:
    name, most = settings
    row = choose(name, Layer(WEIGHTS, ksize, stride, shape[3], eta_shape, eta_shape[:3]))
    given = shape, eta_shape, Geometry(ksize, stride, padding, rectify, dtype), most
    if row.transform:
        return row.algorithm, winograd_weights.weight_gradient_plan(row.transform, *given)
    if row.algorithm == "direct":
        return row.algorithm, direct_weights.weight_gradient_plan(*given)
    options = {"ksize": ksize, "stride": stride, "padding": padding, "rectify": rectify}
    return row.algorithm, functools.partial(columns.conv_weight_gradient, **options)


def find_forward(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    stride: int,
    padding: tuple[int, int],
    rectify: bool = False,
) -> Plan:
    """(algorithm, plan) for the arguments of the kernel; `backends.check` asks for the former."""
    settings = get_conv_algorithm(), get_num_threads()
    return forward_plan(settings, x.shape, weights.shape, stride, padding, rectify, x.dtype)


def find_input_gradient(
    eta: np.ndarray,
    weights: np.ndarray,
    image_shape: Shape,
    stride: int,
    padding: tuple[int, int],
    gate: np.ndarray | None = None,
) -> Plan:
    settings = get_conv_algorithm(), get_num_threads()
    return input_gradient_plan(settings, eta.shape, weights.shape[0], image_shape, stride, padding, eta.dtype)


def find_weight_gradient(
    x: np.ndarray, eta: np.ndarray, ksize: int, stride: int, padding: tuple[int, int], rectify: bool = False
) -> Plan:
    settings = get_conv_algorithm(), get_num_threads()
    return weight_gradient_plan(settings, x.shape, eta.shape, ksize, stride, padding, rectify, x.dtype)


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
    image_shape: Shape,
    stride: int,
    padding: tuple[int, int],
    gate: np.ndarray | None = None,
) -> np.ndarray:
    return find_input_gradient(eta, weights, image_shape, stride, padding)[1](eta, weights, gate)


def conv_weight_gradient(
    x: np.ndarray, eta: np.ndarray, ksize: int, stride: int, padding: tuple[int, int], rectify: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    return find_weight_gradient(x, eta, ksize, stride, padding, rectify)[1](x, eta)
