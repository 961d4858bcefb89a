"""Max and average pooling in NumPy: a loop over the window, all images and pixels at once.

A window that crosses the bottom or right border is clipped. Here the image is extended by a value that changes
nothing instead: minus infinity for the maximum, zero for the sum. Shapes and meaning: :mod:`fastcnn.backends`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastcnn.backends import pool_index_dtype, pool_no_index
from fastcnn.backends.numpy.activation import relu_forward


def extended_shape(image_shape: tuple[int, ...], ksize: int, stride: int) -> tuple[int, ...]:
    """`image_shape`, enlarged at the bottom and right until no window crosses the border."""
    b, h, w, c = image_shape
    return b, *(max(size, (size // stride - 1) * stride + ksize) for size in (h, w)), c


def extend(x: np.ndarray, ksize: int, stride: int, value: float) -> np.ndarray:
    shape = extended_shape(x.shape, ksize, stride)
    if shape == x.shape:
        return x
    extended = np.full(shape, value, x.dtype)
    extended[:, : x.shape[1], : x.shape[2]] = x
    return extended


def window_slices(image_shape: tuple[int, ...], ksize: int, stride: int) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Each offset in the window, row by row, and the slices that pick that pixel of every window."""
    oh, ow = image_shape[1] // stride, image_shape[2] // stride
    for i in range(ksize):
        for j in range(ksize):
            rows, columns = slice(i, i + stride * oh, stride), slice(j, j + stride * ow, stride)
            yield i * ksize + j, (slice(None), rows, columns)


def max_pool_forward(x: np.ndarray, ksize: int, stride: int, rectify: bool = False) -> tuple[np.ndarray, np.ndarray]:
    image = extend(relu_forward(x) if rectify else x, ksize, stride, -np.inf)
    slices = window_slices(x.shape, ksize, stride)
    _, first = next(slices)
    out = image[first].copy()
    index = np.zeros(out.shape, pool_index_dtype(ksize))
    for offset, at in slices:
        value = image[at]
        better = (value > out) | (np.isnan(value) & ~np.isnan(out))
        np.copyto(out, value, where=better)
        index[better] = offset
    if rectify:  # where the maximum is 0, it is that of the first pixel, and 0 may stand for a negative number
        index[~((out > 0) | ((out == 0) & (x[first] >= 0)))] = pool_no_index(ksize)
    return out, index


def max_pool_backward(
    eta: np.ndarray, index: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int
) -> np.ndarray:
    image = np.zeros(extended_shape(image_shape, ksize, stride), eta.dtype)
    for offset, at in window_slices(image_shape, ksize, stride):
        image[at] += np.where(index == offset, eta, eta.dtype.type(0))
    return np.ascontiguousarray(image[:, : image_shape[1], : image_shape[2]])


def window_sizes(image_shape: tuple[int, ...], ksize: int, stride: int, dtype: np.dtype) -> np.ndarray:
    """Pixels that each window really holds, as (OH, OW, 1)."""
    sides = [np.minimum(ksize, size - stride * np.arange(size // stride)).astype(dtype) for size in image_shape[1:3]]
    return np.outer(*sides)[:, :, np.newaxis]


def avg_pool_forward(x: np.ndarray, ksize: int, stride: int) -> np.ndarray:
    image = extend(x, ksize, stride, 0)
    total = sum(image[at] for _, at in window_slices(x.shape, ksize, stride))
    return total / window_sizes(x.shape, ksize, stride, x.dtype)


def avg_pool_backward(eta: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int) -> np.ndarray:
    share = eta / window_sizes(image_shape, ksize, stride, eta.dtype)
    image = np.zeros(extended_shape(image_shape, ksize, stride), eta.dtype)
    for _, at in window_slices(image_shape, ksize, stride):
        image[at] += share
    return np.ascontiguousarray(image[:, : image_shape[1], : image_shape[2]])
