"""Ready-made models: functions that build a `Sequential` for an input shape and a number of classes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from fastcnn.initializers import random_source
from fastcnn.layers import (
    BatchNorm,
    Conv2D,
    FullyConnect,
    GlobalAvgPooling,
    Layer,
    MaxPooling,
    Relu,
    Rescaling,
    Residual,
    Softmax,
)
from fastcnn.losses import Loss
from fastcnn.model import Sequential
from fastcnn.shapes import check_int, check_number

MOST_BLOCKS = 1000  # in a stage of a network; the deepest that has been trained has 200 of them


class _Stack:
    """Layers added one on another: each takes the shape that the last one returns."""

    def __init__(self, shape: Sequence[int], scale: float, rng: Any, dtype: Any):
        self.weighted = {"initializer": "he", "rng": random_source("zoo", rng), "dtype": dtype}
        self.dtype = dtype
        self.layers: list[Layer | Loss] = []
        self.shape: Sequence[int] = shape
        if check_number("zoo", "scale", scale) != 1:
            self.add(Rescaling, scale)

    def add(self, layer_class: type[Layer] | type[Loss], *args: Any) -> None:
        options = self.weighted if layer_class in (Conv2D, FullyConnect) else {"dtype": self.dtype}
        self.append(layer_class(self.shape, *args, **options))

    def append(self, layer: Layer | Loss) -> None:
        """A layer that was made for the shape that the last one returns."""
        self.layers.append(layer)
        self.shape = layer.output_shape

    def branch(self) -> _Stack:
        """Layers of their own, which begin where this stack ends."""
        branch = copy.copy(self)
        branch.layers = []
        return branch

    def convolution(self, channels: int, ksize: int, stride: int = 1) -> None:
        """Conv2D and BatchNorm, whose running statistics forget within some ten batches, as in PyTorch."""
        self.add(Conv2D, channels, ksize, stride, "SAME")
        self.append(BatchNorm(self.shape, moving_decay=0.9, dtype=self.dtype))

    def classifier(self, classes: int) -> Sequential:
        self.add(FullyConnect, classes)
        self.add(Softmax)
        return Sequential(self.layers)


def lenet(
    shape: Sequence[int], classes: int = 10, *, scale: float = 1 / 255, rng: Any = None, dtype: Any = None
) -> Sequential:
    """Conv 5x5x12, relu, pool, conv 3x3x24, relu, pool, fc: for 28 x 28 images, 12 x 12 or larger.

    After LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998).

    Parameters
    ----------
    shape : (batch, height, width, channels)
    classes : int
    scale : float
        Inputs are multiplied by it first; 1 leaves them as they are.
    rng : NumPy generator or seed, optional
        The source of the initial weights ('he').
    dtype : 'float32' or 'float64', optional
    """
    stack = _Stack(shape, scale, rng, dtype)
    for channels, ksize in ((12, 5), (24, 3)):
        stack.add(Conv2D, channels, ksize)
        stack.add(Relu)
        stack.add(MaxPooling)
    return stack.classifier(classes)


def vgg_small(
    shape: Sequence[int], classes: int = 10, *, scale: float = 1 / 255, rng: Any = None, dtype: Any = None
) -> Sequential:
    """Three blocks of two 3x3 convolutions and a pool, 32, 64 and 128 wide, then fc: for 32 x 32 colour images.

    After Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015).
    Parameters: see :func:`lenet`.
    """
    stack = _Stack(shape, scale, rng, dtype)
    for channels in (32, 64, 128):
        for _ in range(2):
            stack.add(Conv2D, channels, 3, 1, "SAME")
            stack.add(Relu)
        stack.add(MaxPooling)
    return stack.classifier(classes)


def resnet_small(
    shape: Sequence[int],
    classes: int = 10,
    *,
    blocks: int = 2,
    scale: float = 1 / 255,
    rng: Any = None,
    dtype: Any = None,
) -> Sequential:
    """A 3x3 convolution, three stages of `blocks` residual blocks, 16, 32 and 64 wide, the mean of each channel, fc.

    Each convolution is followed by BatchNorm; the second and third stage halve the image. After He et al., "Deep
    Residual Learning for Image Recognition" (2016), section 4.2. Other parameters: see :func:`lenet`.
    """
    blocks = check_int("resnet_small", "blocks", blocks, largest=MOST_BLOCKS)
    stack = _Stack(shape, scale, rng, dtype)
    stack.convolution(16, 3)
    stack.add(Relu)
    for channels, first_stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            body, shortcut = stack.branch(), stack.branch()
            body.convolution(channels, 3, stride)
            body.add(Relu)
            body.convolution(channels, 3)
            if tuple(body.shape) != tuple(stack.shape):
                shortcut.convolution(channels, 1, stride)
            stack.append(Residual(body.layers, shortcut.layers))
            stack.add(Relu)
    stack.add(GlobalAvgPooling)
    return stack.classifier(classes)


MODELS = {"lenet": lenet, "vgg_small": vgg_small, "resnet_small": resnet_small}
