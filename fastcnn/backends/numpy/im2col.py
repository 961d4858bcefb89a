"""im2col and its adjoint in NumPy. Shapes and meaning: :mod:`fastcnn.backends`."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastcnn.backends.numpy.padding import pad
from fastcnn.shapes import conv_output_size


def im2col(image: np.ndarray, ksize: int, stride: int, padding: tuple[int, int]) -> np.ndarray:
    image = pad(image, padding) if any(padding) else image
    windows = sliding_window_view(image, (ksize, ksize), axis=(1, 2))[:, ::stride, ::stride]
    b, oh, ow, c = windows.shape[:4]
    # np.array always copies; ascontiguousarray would return the image itself for a 1x1 kernel.
    return np.array(windows.transpose(0, 1, 2, 4, 5, 3), order="C").reshape(b * oh * ow, ksize * ksize * c)


def col2im(
    cols: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int, padding: tuple[int, int]
) -> np.ndarray:
    b, h, w, c = image_shape
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in (h, w))
    cols = cols.reshape(b, oh, ow, ksize, ksize, c)
    image = np.zeros((b, h + sum(padding), w + sum(padding), c), cols.dtype)
    for i in range(ksize):
        for j in range(ksize):
            image[:, i : i + stride * oh : stride, j : j + stride * ow : stride] += cols[:, :, :, i, j]
    return np.ascontiguousarray(image[:, padding[0] : padding[0] + h, padding[0] : padding[0] + w])
