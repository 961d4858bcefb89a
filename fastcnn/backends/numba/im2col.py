"""im2col and its adjoint. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.im2col`."""

from __future__ import annotations

import numpy as np
from numba import prange

from fastcnn.backends.numba.jit import kernel, serial
from fastcnn.shapes import conv_output_size


@serial
def gather_row(image, n, top, stride, before, ksize, ow_n, cols, first):
    """The windows of one output row, each a run of ``ksize * ksize * C`` in `cols` from the row `first` on."""
    _, h, w, c = image.shape
    for ow in range(ow_n):
        left = ow * stride - before
        j0, j1 = max(0, -left), min(ksize, w - left)
        for i in range(ksize):
            ih = top + i
            start = i * ksize * c
            if ih < 0 or ih >= h:
                for t in range(ksize * c):
                    cols[first + ow, start + t] = 0
                continue
            for t in range(j0 * c):
                cols[first + ow, start + t] = 0
            for j in range(j0, j1):
                for t in range(c):
                    cols[first + ow, start + j * c + t] = image[n, ih, left + j, t]
            for t in range(max(j1, 0) * c, ksize * c):
                cols[first + ow, start + t] = 0


@kernel
def im2col_rows(image, ksize, stride, before, oh_n, ow_n, cols):
    for it in prange(image.shape[0] * oh_n):
        row = np.int64(it)
        gather_row(
            image, row // oh_n, (row % oh_n) * stride - before, stride, before, ksize, ow_n, cols, row * ow_n
        )


def im2col(image: np.ndarray, ksize: int, stride: int, padding: tuple[int, int]) -> np.ndarray:
    b, h, w, c = image.shape
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in (h, w))
    cols = np.empty((b * oh * ow, ksize * ksize * c), image.dtype)
    im2col_rows(image, ksize, stride, padding[0], oh, ow, cols)
    return cols


@serial
def collect_row(cols, n, ih, stride, before, ksize, oh_n, ow_n, image):
    """One image row as the sum of all column entries copied from it: one writer, in a fixed order."""
    w, c = image.shape[2:]
    for iw in range(w):
        for t in range(c):
            image[n, ih, iw, t] = 0
    for i in range(ksize):
        down = ih + before - i
        if down < 0 or down % stride or down // stride >= oh_n:
            continue
        for ow in range(ow_n):
            row = (n * oh_n + down // stride) * ow_n + ow
            left = ow * stride - before
            for j in range(max(0, -left), min(ksize, w - left)):
                start = (i * ksize + j) * c
                for t in range(c):
                    image[n, ih, left + j, t] += cols[row, start + t]


@kernel
def col2im_rows(cols, ksize, stride, before, oh_n, ow_n, image):
    h = image.shape[1]
    for it in prange(image.shape[0] * h):
        row = np.int64(it)
        collect_row(cols, row // h, row % h, stride, before, ksize, oh_n, ow_n, image)


def col2im(
    cols: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int, padding: tuple[int, int]
) -> np.ndarray:
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in image_shape[1:3])
    image = np.empty(image_shape, cols.dtype)
    col2im_rows(cols, ksize, stride, padding[0], oh, ow, image)
    return image
