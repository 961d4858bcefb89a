"""Convolution. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.conv`.

- ``direct``: one matrix product that reads the image where it lies; any shape.
- ``winograd``: fewer multiplications, for the kernels that its table has; direct for all others.
- ``lanes``: groups of one or few channels, a vector of channels at a time.
- ``im2col``: a column matrix and one matrix product; any shape.

`auto` follows the table of :mod:`fastcnn.backends.numba.convolution.rule`.
"""

import functools
from collections.abc import Callable

from fastcnn.backends.numba.convolution import (
    columns,
    direct,
    direct_input,
    direct_patches,
    direct_pixels,
    direct_weights,
    lanes,
    lanes_weights,
)
from fastcnn.backends.numba.convolution.arguments import Geometry
from fastcnn.backends.numba.convolution.rule import DIRECTIONS, FORWARD, INPUT, WEIGHTS, choose, layer_of
from fastcnn.backends.numba.convolution.winograd import convolution, weight_gradient
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.config import get_conv_algorithm, get_num_threads
from fastcnn.windows import Window, conv_output_shape

# The modules that compute by each algorithm, in each of `DIRECTIONS`.
MODULES = {
    "winograd": (convolution, convolution, weight_gradient),
    "lanes": (lanes, lanes, lanes_weights),
    "direct": (direct, direct_input, direct_weights),
    "im2col": (columns, columns, columns),
}


@functools.lru_cache(maxsize=768)
def plan(
    direction: str, asked: tuple[str, int, bool], shape: Shape, other: Shape, given: tuple
) -> tuple[str, Callable]:
    """The algorithm, and the function of the arrays that computes by it: what follows from shapes is found once.

    `asked` are the algorithm that is asked for, the most threads, and whether it is for a transposed convolution;
    `shape` is the image's, `other` that of the output or, forward, of the weights, and `given` are the fields of a
    `Geometry`.
    """
    (name, most, transposed), geometry = asked, Geometry(*given)
    out_shape = conv_output_shape(shape, other, geometry.window) if direction == FORWARD else other
    row = choose(name, layer_of(direction, shape, out_shape, geometry.window, geometry.groups, transposed))
    module = MODULES[row.algorithm][DIRECTIONS.index(direction)]
    if module is direct_input:
        better = (other for other in (direct_patches, direct_pixels) if other.pays(shape, out_shape, geometry))
        module = next(better, module)
    make = getattr(module, f"{direction.replace(' ', '_')}_plan")
    transform = (row.transform,) if row.transform else ()
    return row.algorithm, make(*transform, shape, out_shape, geometry, most)


def settings(transposed: bool = False) -> tuple[str, int, bool]:
    """What a plan is asked for by."""
    return get_conv_algorithm(), get_num_threads(), transposed


def find_forward(x: Array, weights: Array, bias: Array, window: Window, rectify: bool = False) -> tuple[str, Callable]:
    """(algorithm, plan) for the arguments of the kernel; `backends.check` asks for the former."""
    given = window, x.shape[3] // weights.shape[2], rectify, x.dtype
    return plan(FORWARD, settings(), x.shape, weights.shape, given)


def find_input_gradient(
    eta: Array, weights: Array, image_shape: Shape, window: Window, gate: Array | None = None
) -> tuple[str, Callable]:
    given = window, image_shape[3] // weights.shape[2], False, eta.dtype
    return plan(INPUT, settings(), image_shape, eta.shape, given)


def find_weight_gradient(
    x: Array, eta: Array, window: Window, groups: int = 1, rectify: bool = False
) -> tuple[str, Callable]:
    return plan(WEIGHTS, settings(), x.shape, eta.shape, (window, groups, rectify, x.dtype))


def conv_forward(x: Array, weights: Array, bias: Array, window: Window, rectify: bool = False) -> Array:
    return find_forward(x, weights, bias, window, rectify)[1](x, weights, bias)


def conv_input_gradient(
    eta: Array, weights: Array, image_shape: Shape, window: Window, gate: Array | None = None
) -> Array:
    return find_input_gradient(eta, weights, image_shape, window, gate)[1](eta, weights, gate)


def conv_weight_gradient(
    x: Array, eta: Array, window: Window, groups: int = 1, rectify: bool = False
) -> tuple[Array, Array]:
    return find_weight_gradient(x, eta, window, groups, rectify)[1](x, eta)
