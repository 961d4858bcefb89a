"""Convolution (cross-correlation, as everywhere in this field) in NumPy: im2col and one matrix product.

Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document Processing" (2006).
Shapes and meaning: :mod:`fastcnn.backends`.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numpy.activation import relu_backward, relu_forward
from fastcnn.backends.numpy.dense import dense_forward, dense_input_gradient, dense_weight_gradient
from fastcnn.backends.numpy.im2col import col2im, im2col
from fastcnn.shapes import conv_output_size


def conv_forward(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    stride: int,
    padding: tuple[int, int],
    rectify: bool = False,
) -> np.ndarray:
    ksize, outputs = weights.shape[0], weights.shape[3]
    x = relu_forward(x) if rectify else x
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in x.shape[1:3])
    out = dense_forward(im2col(x, ksize, stride, padding), weights.reshape(-1, outputs), bias)
    return out.reshape(len(x), oh, ow, outputs)


def conv_input_gradient(
    eta: np.ndarray,
    weights: np.ndarray,
    image_shape: tuple[int, ...],
    stride: int,
    padding: tuple[int, int],
    gate: np.ndarray | None = None,
) -> np.ndarray:
    ksize, outputs = weights.shape[0], weights.shape[3]
    cols = dense_input_gradient(eta.reshape(-1, outputs), weights.reshape(-1, outputs))
    image = col2im(cols, image_shape, ksize, stride, padding)
    return image if gate is None else relu_backward(gate, image)


def conv_weight_gradient(
    x: np.ndarray, eta: np.ndarray, ksize: int, stride: int, padding: tuple[int, int], rectify: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    inputs, outputs = x.shape[3], eta.shape[3]
    x = relu_forward(x) if rectify else x
    dw, db = dense_weight_gradient(im2col(x, ksize, stride, padding), eta.reshape(-1, outputs))
    return dw.reshape(ksize, ksize, inputs, outputs), db
