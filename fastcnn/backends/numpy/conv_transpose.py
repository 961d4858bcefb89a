"""Transposed convolution in NumPy: a convolution's gradients, as a layer. Conventions: :mod:`fastcnn.backends`.

Zeiler, Krishnan, Taylor and Fergus, "Deconvolutional Networks" (2010); Dumoulin and Visin, "A guide to convolution
arithmetic for deep learning" (2016), chapter 4. Its input x is what that convolution would return, and its output the
images that it would be given.
"""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.numpy.conv import WARM, conv_forward, conv_input_gradient, conv_weight_gradient
from fastcnn.backends.numpy.dense import sum_rows
from fastcnn.backends.registry import declare
from fastcnn.windows import Window


def draw_forward(source: Source) -> tuple:
    c = source.convolution()
    outputs = source.outputs(c)
    x, weights = source.array(c.image[0], *c.out, outputs), source.array(*c.weights(outputs))
    return x, weights, source.array(c.image[3]), c.image, c.window


def draw_input_gradient(source: Source) -> tuple:
    c = source.convolution()
    return source.array(*c.image), source.array(*c.weights(source.outputs(c))), c.window


def draw_weight_gradient(source: Source) -> tuple:
    c = source.convolution()
    return source.array(c.image[0], *c.out, source.outputs(c)), source.array(*c.image), c.window, c.groups


@declare(draw_forward, tile_axes=(1, 2), warm=WARM)
def conv_transpose_forward(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, image_shape: tuple[int, ...], window: Window
) -> np.ndarray:
    """Transposed convolution: the gradient of a convolution's input, as a layer's output, and a bias.

    Parameters
    ----------
    x : (B, OH, OW, O) array
        What that convolution would return.
    weights : (kh, kw, C / groups, O) array
        Of that convolution.
    bias : (C,) array
    image_shape : (B, H, W, C)
        Of the result, the images that it would be given.
    window
        As in `conv_forward`.

    Returns
    -------
    (B, H, W, C) array
        The bias alone at pixels that no window covers.
    """
    return conv_input_gradient(x, weights, image_shape, window) + bias


@declare(draw_input_gradient, tile_axes=(1, 2), warm=WARM)
def conv_transpose_input_gradient(eta: np.ndarray, weights: np.ndarray, window: Window) -> np.ndarray:
    """Gradient of a transposed convolution's input: the convolution itself.

    Parameters
    ----------
    eta : (B, H, W, C) array
    weights : (kh, kw, C / groups, O) array
    window
        As in `conv_forward`.

    Returns
    -------
    (B, OH, OW, O) array
    """
    return conv_forward(eta, weights, np.zeros(weights.shape[3], eta.dtype), window)


@declare(draw_weight_gradient, tile_axes=(0, 1), warm=WARM)
def conv_transpose_weight_gradient(
    x: np.ndarray, eta: np.ndarray, window: Window, groups: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of a transposed convolution's weights and bias, both summed over the batch.

    Parameters
    ----------
    x : (B, OH, OW, O) array
    eta : (B, H, W, C) array
    window, groups
        As in `conv_weight_gradient`.

    Returns
    -------
    dw : (kh, kw, C / groups, O) array
    db : (C,) array
        Both are 0 for an empty batch.
    """
    return conv_weight_gradient(eta, x, window, groups)[0], sum_rows(eta.reshape(-1, eta.shape[3]))
