"""Convolution (cross-correlation, as everywhere in this field) in NumPy: im2col and one matrix product a group.

Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document Processing" (2006); groups of
channels: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks" (2012).
Conventions: :mod:`fastcnn.backends`.
"""

import math

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.numpy.activation import relu_backward, relu_forward
from fastcnn.backends.numpy.dense import dense_forward, dense_input_gradient, dense_weight_gradient
from fastcnn.backends.numpy.im2col import col2im, im2col
from fastcnn.backends.registry import declare
from fastcnn.windows import Window

SQUARE = {"height": 4, "width": 4, "same": 1, "ksize": 3, "stride": 1, "dilation": 1, "outputs": 8, "gate": 1}
# Winograd's algorithm has kernels of its own for fewer tiles than channels, and so have windows that lie side by side,
# and the input gradient of a vector of channels; channels by themselves, and groups of few, have one for each kernel's
# side and stride, of whole vectors or not.
WARM = (
    {"batch": 1, "groups": 1, **SQUARE},
    {"batch": 65, "groups": 1, **SQUARE},
    {"batch": 1, "groups": 1, **SQUARE, "channels": 16, "outputs": 16},
    {"batch": 1, "groups": 1, **SQUARE, "same": 0, "ksize": 2, "stride": 2},
    *(
        {"batch": 1, **SQUARE, "channels": channels, "groups": channels, "outputs": channels, "ksize": k, "stride": s}
        for channels in (64, 3)
        for k, s in ((3, 1), (3, 2), (5, 1), (5, 2))
    ),
    *({"batch": 1, **SQUARE, "channels": 4 * size, "groups": 4, "outputs": 4 * size} for size in (4, 8, 16)),
)


def draw_forward(source: Source) -> tuple:
    c = source.convolution()
    outputs = source.outputs(c)
    x, weights = source.array(*c.image), source.array(*c.weights(outputs))
    return x, weights, source.array(outputs), c.window, source.boolean("rectify")


def draw_input_gradient(source: Source) -> tuple:
    c = source.convolution()
    outputs = source.outputs(c)
    eta, weights = source.array(c.image[0], *c.out, outputs), source.array(*c.weights(outputs))
    return eta, weights, c.image, c.window, source.ties(*c.image) if source.boolean("gate") else None


def draw_weight_gradient(source: Source) -> tuple:
    c = source.convolution()
    eta = source.array(c.image[0], *c.out, source.outputs(c))
    return source.array(*c.image), eta, c.window, c.groups, source.boolean("rectify")


def by_group(matrix: np.ndarray, groups: int, channels: int | None = None) -> list[np.ndarray]:
    """The columns of a matrix that belong to each group: those of its part of the `channels`, for each pixel."""
    if channels is None:
        return np.split(matrix, groups, axis=-1)
    pixels, length = len(matrix), matrix.shape[1]
    parts = np.split(matrix.reshape(pixels, length // channels, channels), groups, axis=2)
    return [part.reshape(pixels, length // groups) for part in parts]


@declare(draw_forward, tile_axes=(1, 2), warm=WARM)
def conv_forward(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, window: Window, rectify: bool = False
) -> np.ndarray:
    """Convolution of images, and a bias.

    Parameters
    ----------
    x : (B, H, W, C) array
    weights : (kh, kw, C / groups, O) array
        Output o is made of the channels of its group, number ``o // (O / groups)``.
    bias : (O,) array
    window : Window
        Of kh x kw pixels: strides, dilations and padding with zeros.
    rectify : bool
        Whether ``max(x, 0)`` is convolved instead of x: a ReLU that is fused into this layer.

    Returns
    -------
    (B, OH, OW, O) array
        ``OH = (H + top + bottom - (kh - 1) * dilation - 1) // stride + 1``, and OW likewise.
    """
    outputs, (batch, height, width, channels) = weights.shape[3], x.shape
    groups = channels // weights.shape[2]
    cols = im2col(relu_forward(x) if rectify else x, window)
    parts = by_group(cols, groups, channels), by_group(weights.reshape(-1, outputs), groups), by_group(bias, groups)
    out = np.concatenate([dense_forward(*part) for part in zip(*parts, strict=True)], axis=1)
    return out.reshape(batch, *window.positions(height, width), outputs)


@declare(draw_input_gradient, tile_axes=(1, 2), warm=WARM)
def conv_input_gradient(
    eta: np.ndarray,
    weights: np.ndarray,
    image_shape: tuple[int, ...],
    window: Window,
    gate: np.ndarray | None = None,
) -> np.ndarray:
    """Gradient of a convolution's input.

    Parameters
    ----------
    eta : (B, OH, OW, O) array
    weights : (kh, kw, C / groups, O) array
    image_shape : (B, H, W, C)
        Of the input.
    window
        As in `conv_forward`.
    gate : (B, H, W, C) array, optional
        The input before a ReLU that is fused into this layer: the gradient passes where it is 0 or larger.

    Returns
    -------
    (B, H, W, C) array
        0 at pixels that no window covers.
    """
    kh, kw, inputs, outputs = weights.shape
    groups = image_shape[3] // inputs
    parts = by_group(eta.reshape(-1, outputs), groups), by_group(weights.reshape(-1, outputs), groups)
    shape = math.prod(eta.shape[:3]), kh * kw, inputs
    cols = [dense_input_gradient(*part).reshape(shape) for part in zip(*parts, strict=True)]
    image = col2im(np.concatenate(cols, axis=2), image_shape, window)
    return image if gate is None else relu_backward(gate, image)


@declare(draw_weight_gradient, tile_axes=(0, 1), warm=WARM)
def conv_weight_gradient(
    x: np.ndarray, eta: np.ndarray, window: Window, groups: int = 1, rectify: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of a convolution's weights and bias, both summed over the batch.

    Parameters
    ----------
    x : (B, H, W, C) array
    eta : (B, OH, OW, O) array
    window
        As in `conv_forward`.
    groups : int
        Of channels; it divides C and O.
    rectify
        As in `conv_forward`.

    Returns
    -------
    dw : (kh, kw, C / groups, O) array
    db : (O,) array
        Both are 0 for an empty batch.
    """
    inputs, outputs = x.shape[3], eta.shape[3]
    cols = im2col(relu_forward(x) if rectify else x, window)
    parts = by_group(cols, groups, inputs), by_group(eta.reshape(-1, outputs), groups)
    dw, db = zip(*(dense_weight_gradient(*part) for part in zip(*parts, strict=True)), strict=True)
    shape = *window.ksize, inputs // groups, outputs
    return np.concatenate(dw, axis=1).reshape(shape), np.concatenate(db)
