"""Batches cut out of a set of images. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.gather`.

Shuffling, shifting, cropping and flipping are one pass over the pixels of the batch, in the dtype of the set: bytes
stay bytes. A task is an image.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.core.copying import clear
from fastcnn.backends.numba.core.jit import MOVE, kernel, prange, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.vectors import flat


@serial
def copy_row(source, at, target, to, count, channels, flip):
    """Copy `count` pixels, in reverse order where `flip`; loops that LLVM vectorises, of one channel at least."""
    if not flip:
        for t in range(count * channels):
            target[np.uintp(to + t)] = source[np.uintp(at + t)]
    elif channels == 1:
        for t in range(count):
            target[np.uintp(to + t)] = source[np.uintp(at + count - 1 - t)]
    else:
        for j in range(count):
            for k in range(channels):
                target[np.uintp(to + j * channels + k)] = source[np.uintp(at + (count - 1 - j) * channels + k)]


@serial
def cut(images, n, top, left, flip, out, to):
    """A rectangle of image n, mirrored or not, with zeros where it lies outside; to flat(out)[to] and on."""
    (_, h, w, c), (_, rows, columns, _) = images.shape, out.shape
    source, target = flat(images), flat(out)
    begin, end = min(columns, max(0, -left)), max(0, min(columns, w - left))
    for row in range(top, top + rows):
        last = to + columns * c
        if 0 <= row < h and begin < end:
            first = columns - end if flip else begin
            clear(target, to, to + first * c)
            count = end - begin
            copy_row(source, ((n * h + row) * w + left + begin) * c, target, to + first * c, count, c, flip)
            clear(target, to + (first + count) * c, last)
        else:
            clear(target, to, last)
        to = last


@kernel
def cut_all(images, index, top, left, flip, out):
    pixels = out.shape[1] * out.shape[2] * out.shape[3]
    for it in prange(out.shape[0]):
        i = np.int64(it)
        cut(images, index[i], top[i], left[i], flip[i], out, i * pixels)


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
