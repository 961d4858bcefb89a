"""Convolution as im2col and one matrix product. Requires numba. Definition: :mod:`fastcnn.backends.numpy.conv`.

A batch whose column matrix would leave the caches is worked through in groups of images. The groups follow from
the shapes alone, and their weight gradients are added in order, so results stay the same on any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastcnn.backends.numba.convolution.im2col import col2im, im2col
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.pointwise.activation import relu_backward, relu_forward
from fastcnn.backends.numba.product.dense import dense_input_gradient, dense_weight_gradient
from fastcnn.backends.numba.product.gemm import product
from fastcnn.shapes import conv_output_size

COLUMN_BYTES = 4 << 20  # column matrix of one group; 1 to 8 MiB measured within 10 % on a LeNet step


def groups(batch: int, oh: int, ow: int, row_bytes: int) -> Iterator[slice]:
    """Slices of the batch whose column matrices take `COLUMN_BYTES` at most; at least one image each."""
    size = max(1, COLUMN_BYTES // (oh * ow * row_bytes))
    return (slice(start, start + size) for start in range(0, batch, size))


def conv_forward(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, stride: int, padding: tuple[int, int], rectify: bool
) -> np.ndarray:
    x = relu_forward(x) if rectify else x
    ksize, outputs = weights.shape[0], weights.shape[3]
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in x.shape[1:3])
    matrix = weights.reshape(-1, outputs)
    out = empty((len(x), oh, ow, outputs), x.dtype)
    for part in groups(len(x), oh, ow, matrix.shape[0] * x.itemsize):
        columns = im2col(x[part], ksize, stride, padding)
        product(columns, matrix, bias, out[part].reshape(-1, outputs))
    return out


def conv_input_gradient(
    eta: np.ndarray,
    weights: np.ndarray,
    gate: np.ndarray | None,
    image_shape: tuple[int, ...],
    stride: int,
    padding: tuple[int, int],
) -> np.ndarray:
    ksize, outputs = weights.shape[0], weights.shape[3]
    matrix = weights.reshape(-1, outputs)
    image = empty(image_shape, eta.dtype)
    for part in groups(len(eta), *eta.shape[1:3], matrix.shape[0] * eta.itemsize):
        columns = dense_input_gradient(eta[part].reshape(-1, outputs), matrix)
        image[part] = col2im(columns, image[part].shape, ksize, stride, padding)
    return image if gate is None else relu_backward(gate, image)


def conv_weight_gradient(
    x: np.ndarray, eta: np.ndarray, ksize: int, stride: int, padding: tuple[int, int], rectify: bool
) -> tuple[np.ndarray, np.ndarray]:
    x = relu_forward(x) if rectify else x
    inputs, outputs = x.shape[3], eta.shape[3]
    dw = np.zeros((ksize * ksize * inputs, outputs), x.dtype)
    db = np.zeros(outputs, x.dtype)
    for part in groups(len(x), *eta.shape[1:3], dw.shape[0] * x.itemsize):
        columns = im2col(x[part], ksize, stride, padding)
        part_dw, part_db = dense_weight_gradient(columns, eta[part].reshape(-1, outputs))
        dw += part_dw
        db += part_db
    return dw.reshape(ksize, ksize, inputs, outputs), db
