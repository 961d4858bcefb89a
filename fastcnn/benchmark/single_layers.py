"""One layer at a time, as a training uses it: forward, then the gradients of its input and its parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn.benchmark.arrays import drawn

SHAPE = (64, 28, 28, 32)
UNITS = 128  # of the fully-connected layer, whose input is what a flattened (64, 7, 7, 32) would be
CLASSES = 10
GROUPS = 8  # of a group normalisation
KINDS = (
    *("conv", "relu", "silu", "gelu", "hard_swish", "max_pool", "avg_pool"),
    *("batch_norm", "layer_norm", "group_norm", "dropout", "fc", "softmax"),
)


def arrays(kind: str) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Input, gradient of the output, and labels: the loss has no gradient above it, the others no labels."""
    batch, height, width, channels = SHAPE
    if kind == "softmax":
        return drawn((batch, CLASSES))[0], None, np.random.default_rng(0).integers(0, CLASSES, batch)
    halves = 2 if kind.endswith("pool") else 1
    shapes = SHAPE, (batch, height // halves, width // halves, channels)
    x, eta = drawn(*((batch, 7 * 7 * channels), (batch, UNITS)) if kind == "fc" else shapes)
    return x, eta, None


def make(kind: str, shape: tuple[int, ...]) -> Any:
    from fastcnn import layers

    makers: dict[str, Callable[[], Any]] = {
        "conv": lambda: layers.Conv2D(shape, shape[-1], 3, 1, "SAME"),
        "relu": lambda: layers.Relu(shape),
        "silu": lambda: layers.SiLU(shape),
        "gelu": lambda: layers.GELU(shape),
        "hard_swish": lambda: layers.HardSwish(shape),
        "max_pool": lambda: layers.MaxPooling(shape),
        "avg_pool": lambda: layers.AvgPooling(shape),
        "batch_norm": lambda: layers.BatchNorm(shape),
        "layer_norm": lambda: layers.LayerNorm(shape),
        "group_norm": lambda: layers.GroupNorm(shape, GROUPS),
        "dropout": lambda: layers.Dropout(shape, 0.5),
        "fc": lambda: layers.FullyConnect(shape, UNITS),
        "softmax": lambda: layers.Softmax(shape),
    }
    return makers[kind]()


def step(kind: str) -> Callable[[], object]:
    """On the backend that is on. Parameters' gradients add up from step to step, as in any layer of this API."""
    np.random.seed(0)
    x, eta, labels = arrays(kind)
    layer = make(kind, x.shape)
    if labels is not None:
        return lambda: (layer.cal_loss(x, labels), layer.gradient())
    return lambda: (layer.forward(x), layer.gradient(eta))
