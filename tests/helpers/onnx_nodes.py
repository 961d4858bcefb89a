"""Nodes of ONNX, computed by this package's layers: for tests alone, which give them onnx's own cases.

A node's arrays are NCHW, a layer's NHWC. What no layer can express is `CannotExpress`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn import layers
from tests.helpers.onnx_cases import Case, Node
from tests.helpers.onnx_windows import (
    Arrays,
    CannotExpress,
    average_pool,
    conv,
    conv_transpose,
    first,
    global_pool,
    last,
    max_pool,
    weighted,
)


def evaluate(case: Case) -> dict[str, np.ndarray]:
    """All arrays of a case, by name: those that it begins with, and what each node adds."""
    arrays = dict(case.arrays)
    for node in case.nodes:
        if node.op not in OPERATORS and node.op not in PLAIN:
            raise CannotExpress(f"no layer computes {node.op}")
        given = [arrays[name] if name else None for name in node.inputs]
        types = {array.dtype.name for array in given if array is not None}
        if node.op in OPERATORS and types != {"float32"}:
            raise CannotExpress(f"layers compute in float32 and float64, not in {types}")
        results = OPERATORS[node.op](node, *given) if node.op in OPERATORS else PLAIN[node.op](node, *given)
        arrays.update(zip(node.outputs, results, strict=False))
    return arrays


def batch_norm(node: Node, x: np.ndarray, *parameters: np.ndarray) -> Arrays:
    x = last(x)
    layer = layers.BatchNorm(
        x.shape, epsilon=node.attributes.get("epsilon", 1e-5), moving_decay=node.attributes.get("momentum", 0.9)
    )
    layer.alpha, layer.beta, layer.moving_mean, layer.moving_var = parameters
    y = layer.forward(x, "train" if node.attributes.get("training_mode") else "test")
    return [first(y), layer.moving_mean, layer.moving_var]


def group_norm(node: Node, x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> Arrays:
    """Of instances too, where each channel is a group."""
    x = last(x)
    groups = node.attributes.get("num_groups", x.shape[-1])
    layer = layers.GroupNorm(x.shape, groups, epsilon=node.attributes.get("epsilon", 1e-5))
    layer.alpha, layer.beta = gain, bias
    return [first(layer.forward(x))]


def layer_norm(node: Node, x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> Arrays:
    """Without the means and deviations, which are results too. Where `axis` is 0, x is one image."""
    axis = node.attributes.get("axis", -1) % x.ndim
    rows, axis = (x, axis) if axis else (x[np.newaxis], 1)
    layer = layers.LayerNorm(rows.shape, axis=axis, epsilon=node.attributes.get("epsilon", 1e-5))
    layer.alpha, layer.beta = gain, bias
    return [layer.forward(rows).reshape(x.shape)]


def gemm(node: Node, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None) -> Arrays:
    alpha, beta = (node.attributes.get(name, 1.0) for name in ("alpha", "beta"))
    a, b = (m.T if node.attributes.get(f"trans{name}") else m for m, name in ((a, "A"), (b, "B")))
    if c is not None and c.ndim == 2 and len(c) > 1:
        raise CannotExpress("`FullyConnect` adds the same bias to each row")
    bias = np.zeros(1, np.float32) if c is None else beta * c.reshape(-1)
    layer = layers.FullyConnect(a.shape, b.shape[1])
    return [weighted(layer, alpha * b, np.broadcast_to(bias, b.shape[1:])).forward(a)]


def softmax(node: Node, x: np.ndarray) -> Arrays:
    """Of rows along `axis`; before version 13, of all numbers from there on."""
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1) % x.ndim
    turned = np.moveaxis(x, axis, -1) if node.opset >= 13 else x
    classes = turned.shape[-1] if node.opset >= 13 else math.prod(x.shape[axis:])
    rows = turned.reshape(-1, classes)
    y = layers.Softmax(rows.shape).predict(rows).reshape(turned.shape)
    return [np.moveaxis(y, -1, axis) if node.opset >= 13 else y]


def prelu(node: Node, x: np.ndarray, slopes: np.ndarray) -> Arrays:
    """A slope for each number of the last axis; for each channel, the axis 1, before version 7; or for each number."""
    by_channel = node.opset < 7 and slopes.size > 1
    turned = last(x) if by_channel else x.reshape(1, -1) if slopes.ndim == x.ndim else x
    layer = layers.PReLU(turned.shape)
    layer.alpha = np.broadcast_to(slopes.reshape(-1), turned.shape[-1:])
    y = layer.forward(turned)
    return [first(y) if by_channel else y.reshape(x.shape)]


def activation(*makers: Callable[..., Any], **defaults: Any) -> Callable[..., Arrays]:
    """Layers one after another, each made by ``maker(shape, attributes)``."""

    def compute(node: Node, x: np.ndarray) -> Arrays:
        for maker in makers:
            x = maker(x.shape, defaults | node.attributes).forward(x)
        return [x]

    return compute


def plainly(layer: str) -> Callable[..., Arrays]:
    return activation(lambda shape, _: getattr(layers, layer)(shape))


def scaled(name: str, power: int = 1) -> Callable[..., Any]:
    return lambda shape, given: layers.Rescaling(shape, given[name] ** power)


OPERATORS: dict[str, Callable[..., Arrays]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalMaxPool": global_pool("GlobalMaxPooling"),
    "GlobalAveragePool": global_pool("GlobalAvgPooling"),
    "BatchNormalization": batch_norm,
    "InstanceNormalization": group_norm,
    "GroupNormalization": group_norm,
    "LayerNormalization": layer_norm,
    "Gemm": gemm,
    "Softmax": softmax,
    "Relu": plainly("Relu"),
    "LeakyRelu": activation(lambda shape, given: layers.Leaky_Relu(shape, given["alpha"]), alpha=0.01),
    "PRelu": prelu,
    "Elu": activation(lambda shape, given: layers.ELU(shape, given["alpha"]), alpha=1.0),
    "Selu": activation(
        lambda shape, given: layers.ELU(shape, given["alpha"]),
        scaled("gamma"),
        alpha=1.67326319217681884765625,
        gamma=1.05070102214813232421875,
    ),
    "Celu": activation(scaled("alpha", -1), lambda shape, _: layers.ELU(shape), scaled("alpha"), alpha=1.0),
    "Swish": activation(scaled("alpha"), lambda shape, _: layers.SiLU(shape), scaled("alpha", -1), alpha=1.0),
    "Gelu": activation(lambda shape, given: layers.GELU(shape, approximate=given["approximate"]), approximate="none"),
    "HardSigmoid": activation(
        lambda shape, given: layers.HardSigmoid(shape, given["alpha"], given["beta"]), alpha=0.2, beta=0.5
    ),
    "Sigmoid": plainly("Sigmoid"),
    "Tanh": plainly("Tanh"),
    "HardSwish": plainly("HardSwish"),
    "Softplus": plainly("Softplus"),
    "Mish": plainly("Mish"),
}
# What stands between these in cases of PyTorch.
PLAIN: dict[str, Callable[..., Any]] = {
    "Add": lambda node, a, b: [a + b],
    "Constant": lambda node: [node.attributes["value"]],
    "Mul": lambda node, a, b: [a * b],
    "Neg": lambda node, x: [-x],
    "Split": lambda node, x: np.split(x, len(node.outputs), node.attributes["axis"]),
    "Squeeze": lambda node, x: [np.squeeze(x, tuple(node.attributes["axes"]))],
    "Unsqueeze": lambda node, x: [np.expand_dims(x, tuple(node.attributes["axes"]))],
}
