"""Batches cut out of a set of images. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.gather`.

Shuffling, shifting, cropping and flipping are one pass over the pixels of the batch, in the dtype of the set: bytes
stay bytes. A task is an image.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.jit import MOVE, kernel, prange, serial
from fastcnn.backends.numba.memory import empty


@serial
def cut(image, top, left, flip, out):
    """A rectangle of an image (H, W, C), mirrored or not, with zeros where it lies outside."""
    (h, w, c), (rows, columns, _) = image.shape, out.shape
    begin, end = min(columns, max(0, -left)), max(0, min(columns, w - left))
    for i in range(rows):
        row = top + i
        first, last = (begin, end) if 0 <= row < h and begin < end else (columns, columns)
        for j in range(columns):
            to = columns - 1 - j if flip else j
            for k in range(c):
                out[i, to, k] = image[row, left + j, k] if first <= j < last else image.dtype.type(0)


@kernel
def cut_all(images, index, top, left, flip, out):
    for it in prange(out.shape[0]):
        n = np.int64(it)
        cut(images[index[n]], top[n], left[n], flip[n], out[n])


def gather_images(
    images: np.ndarray,
    index: np.ndarray,
    top: np.ndarray,
    left: np.ndarray,
    flip: np.ndarray,
    height: int,
    width: int,
) -> np.ndarray:
    out = empty((len(index), height, width, images.shape[3]), images.dtype)
    cut_all(images, index, top, left, flip, out, work=MOVE * out.size)
    return out
