"""Convolution (cross-correlation, as everywhere in this field) in NumPy: im2col and one matrix product.

Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document Processing" (2006).
Conventions: :mod:`fastcnn.backends`.
"""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.numpy.activation import relu_backward, relu_forward
from fastcnn.backends.numpy.dense import dense_forward, dense_input_gradient, dense_weight_gradient
from fastcnn.backends.numpy.im2col import col2im, im2col
from fastcnn.backends.registry import declare
from fastcnn.shapes import conv_output_size

# Winograd's algorithm has kernels of its own for fewer tiles than channels.
WARM = tuple(
    {"batch": batch, "height": 4, "width": 4, "same": 1, "ksize": 3, "stride": 1, "outputs": 8, "gate": 1}
    for batch in (1, 65)
)


def draw_forward(source: Source) -> tuple:
    c, outputs = source.convolution(), source.integer("outputs", 1, 20)
    x, weights = source.array(*c.image), source.array(c.ksize, c.ksize, c.image[3], outputs)
    return x, weights, source.array(outputs), c.stride, c.padding, source.boolean("rectify")


def draw_input_gradient(source: Source) -> tuple:
    c, outputs = source.convolution(), source.integer("outputs", 1, 20)
    eta = source.array(c.image[0], *c.out, outputs)
    weights = source.array(c.ksize, c.ksize, c.image[3], outputs)
    return eta, weights, c.image, c.stride, c.padding, source.ties(*c.image) if source.boolean("gate") else None


def draw_weight_gradient(source: Source) -> tuple:
    c = source.convolution()
    eta = source.array(c.image[0], *c.out, source.integer("outputs", 1, 20))
    return source.array(*c.image), eta, c.ksize, c.stride, c.padding, source.boolean("rectify")


@declare(draw_forward, tile_axes=(1, 2), warm=WARM)
def conv_forward(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    stride: int,
    padding: tuple[int, int],
    rectify: bool = False,
) -> np.ndarray:
    """Convolution of images, and a bias.

    Parameters
    ----------
    x : (B, H, W, C) array
    weights : (k, k, C, O) array
    bias : (O,) array
    stride : int
        Of windows, on both image axes.
    padding : (before, after)
        Zeros around both image axes.
    rectify : bool
        Whether ``max(x, 0)`` is convolved instead of x: a ReLU that is fused into this layer.

    Returns
    -------
    (B, OH, OW, O) array
        ``OH = (H + before + after - k) // stride + 1``, and OW likewise.
    """
    ksize, outputs = weights.shape[0], weights.shape[3]
    x = relu_forward(x) if rectify else x
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in x.shape[1:3])
    out = dense_forward(im2col(x, ksize, stride, padding), weights.reshape(-1, outputs), bias)
    return out.reshape(len(x), oh, ow, outputs)


@declare(draw_input_gradient, tile_axes=(1, 2), warm=WARM)
def conv_input_gradient(
    eta: np.ndarray,
    weights: np.ndarray,
    image_shape: tuple[int, ...],
    stride: int,
    padding: tuple[int, int],
    gate: np.ndarray | None = None,
) -> np.ndarray:
    """Gradient of a convolution's input.

    Parameters
    ----------
    eta : (B, OH, OW, O) array
    weights : (k, k, C, O) array
    image_shape : (B, H, W, C)
        Of the input.
    stride, padding
        As in `conv_forward`.
    gate : (B, H, W, C) array, optional
        The input before a ReLU that is fused into this layer: the gradient passes where it is 0 or larger.

    Returns
    -------
    (B, H, W, C) array
        0 at pixels that no window covers.
    """
    ksize, outputs = weights.shape[0], weights.shape[3]
    cols = dense_input_gradient(eta.reshape(-1, outputs), weights.reshape(-1, outputs))
    image = col2im(cols, image_shape, ksize, stride, padding)
    return image if gate is None else relu_backward(gate, image)


@declare(draw_weight_gradient, tile_axes=(0, 1), warm=WARM)
def conv_weight_gradient(
    x: np.ndarray, eta: np.ndarray, ksize: int, stride: int, padding: tuple[int, int], rectify: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of a convolution's weights and bias, both summed over the batch.

    Parameters
    ----------
    x : (B, H, W, C) array
    eta : (B, OH, OW, O) array
    ksize : int
    stride, padding, rectify
        As in `conv_forward`.

    Returns
    -------
    dw : (ksize, ksize, C, O) array
    db : (O,) array
        Both are 0 for an empty batch.
    """
    inputs, outputs = x.shape[3], eta.shape[3]
    x = relu_forward(x) if rectify else x
    dw, db = dense_weight_gradient(im2col(x, ksize, stride, padding), eta.reshape(-1, outputs))
    return dw.reshape(ksize, ksize, inputs, outputs), db
