"""Convolutions and poolings of ONNX by this package's layers: what :mod:`tests.helpers.onnx_nodes` says of windows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn import layers
from fastcnn.windows import Pair, method_padding, reach_of
from tests.helpers.onnx_cases import Node

Arrays = list[np.ndarray]


class CannotExpress(Exception):  # noqa: N818 - says what it is
    """A node that no layer computes; the message says why."""


def last(x: np.ndarray) -> np.ndarray:
    """Channels, the axis 1, as the last one."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def first(y: np.ndarray) -> np.ndarray:
    return np.moveaxis(y, -1, 1)


def images(x: np.ndarray) -> np.ndarray:
    """NHWC."""
    if x.ndim != 4:
        raise CannotExpress(f"an image has two axes, and not {x.ndim - 2}")
    return last(x)


def pair(node: Node, name: str, otherwise: Any = (1, 1)) -> Any:
    """An attribute of two numbers, (height, width)."""
    return tuple(node.attributes.get(name, otherwise))


def same_padding(method: str, sizes: Pair, sides: Pair, strides: Pair, dilations: Pair) -> tuple[Pair, ...]:
    """((top, bottom), (left, right)) of 'SAME_UPPER', or of 'SAME_LOWER', which has the odd one before."""
    upper = (
        method_padding("SAME_UPPER", sizes[axis], reach_of(sides[axis], dilations[axis]), strides[axis])
        for axis in (0, 1)
    )
    return tuple(upper if method == "SAME_UPPER" else (pads[::-1] for pads in upper))


def padding_of(node: Node, x: np.ndarray, sides: Pair) -> tuple[Pair, ...]:
    """((top, bottom), (left, right)) around images x of what `pads` and `auto_pad` say."""
    method = node.attributes.get("auto_pad", "NOTSET")
    if method.startswith("SAME"):
        return same_padding(method, x.shape[1:3], sides, pair(node, "strides"), pair(node, "dilations"))
    top, left, bottom, right = node.attributes.get("pads", (0, 0, 0, 0))
    return (top, bottom), (left, right)


def conv(node: Node, x: np.ndarray, weights: np.ndarray, bias: np.ndarray | None = None) -> Arrays:
    """`DepthwiseConv2D` where each channel is a group; the weights are (outputs, channels / groups, height, width)."""
    x, groups, outputs, sides = images(x), node.attributes.get("group", 1), len(weights), weights.shape[2:]
    options: dict[str, Any] = {"dilation": pair(node, "dilations"), "bias": bias is not None}
    if node.attributes.get("auto_pad") == "SAME_UPPER":
        options["method"] = "SAME_UPPER"
    else:
        options["padding"] = padding_of(node, x, sides)
    if 1 < groups == x.shape[3]:
        options["multiplier"] = outputs // groups
        layer = layers.DepthwiseConv2D(x.shape, sides, pair(node, "strides"), **options)
    else:
        layer = layers.Conv2D(x.shape, outputs, sides, pair(node, "strides"), groups=groups, **options)
    return [first(weighted(layer, weights.transpose(2, 3, 1, 0), bias).forward(x))]


def weighted(layer: Any, weights: np.ndarray, bias: np.ndarray | None) -> Any:
    layer.weights = weights
    if bias is not None:
        layer.bias = bias
    return layer


def conv_transpose(node: Node, x: np.ndarray, weights: np.ndarray, bias: np.ndarray | None = None) -> Arrays:
    """The weights are (channels, outputs / groups, height, width)."""
    x, groups, sides = images(x), node.attributes.get("group", 1), weights.shape[2:]
    strides, dilations = pair(node, "strides"), pair(node, "dilations")
    options: dict[str, Any] = {"groups": groups, "dilation": dilations, "bias": bias is not None}
    options |= cut_of(node, x.shape[1:3], sides, strides, dilations)
    layer = layers.Conv2DTranspose(x.shape, weights.shape[1] * groups, sides, strides, **options)
    return [first(weighted(layer, weights.transpose(2, 3, 1, 0), bias).forward(x))]


def cut_of(node: Node, sizes: Pair, sides: Pair, strides: Pair, dilations: Pair) -> dict[str, Any]:
    """`padding` and `output_padding` of a transposed convolution, or its `method`.

    Where `output_shape` says the size, what is too much is cut off, the odd one before, or with 'SAME_UPPER' after;
    what is missing is added after.
    """
    method, more = node.attributes.get("auto_pad", "NOTSET"), list(pair(node, "output_padding", (0, 0)))
    wanted = node.attributes.get("output_shape")
    if method == "SAME_UPPER" and wanted is None:
        return {"method": method}
    if method == "SAME_LOWER" and wanted is None:
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if wanted is None:
        top, left, bottom, right = node.attributes.get("pads", (0, 0, 0, 0))
        return {"padding": ((top, bottom), (left, right)), "output_padding": tuple(more)}
    padding = []
    for axis in (0, 1):
        total = (sizes[axis] - 1) * strides[axis] + more[axis] + reach_of(sides[axis], dilations[axis]) - wanted[axis]
        more[axis] -= min(0, total)
        small, large = max(0, total) // 2, -(-max(0, total) // 2)
        padding.append((small, large) if method == "SAME_UPPER" else (large, small))
    return {"padding": tuple(padding), "output_padding": tuple(more)}


def pool(kind: type, node: Node, x: np.ndarray, **options: Any) -> Arrays:
    """The results, without the positions of the maxima."""
    x, sides = images(x), pair(node, "kernel_shape")
    options["geometry"] = "ceil" if node.attributes.get("ceil_mode") else "floor"
    options |= {"padding": padding_of(node, x, sides), "dilation": pair(node, "dilations")}
    return [first(kind(x.shape, sides, pair(node, "strides"), **options).forward(x))]


def max_pool(node: Node, x: np.ndarray) -> Arrays:
    return pool(layers.MaxPooling, node, x)


def average_pool(node: Node, x: np.ndarray) -> Arrays:
    return pool(layers.AvgPooling, node, x, count_padding=bool(node.attributes.get("count_include_pad")))


def global_pool(kind: str) -> Callable[..., Arrays]:
    def compute(node: Node, x: np.ndarray) -> Arrays:
        x = images(x)
        return [getattr(layers, kind)(x.shape).forward(x).reshape(len(x), -1, 1, 1)]

    return compute
