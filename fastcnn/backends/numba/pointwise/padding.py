"""Zeros around images. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.padding`.

Putting zeros around an image and cutting them away are one kernel: a pixel moves down and to the right, or back.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.core.copying import clear
from fastcnn.backends.numba.core.jit import MOVE, kernel, prange, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.pooling.forward import rows_of_task


@serial
def move_rows(image, shift, first, last, out):
    """Rows first:last of `out`, counted over all images: those of `image`, `shift` rows down and pixels right."""
    (_, h, w, c), (_, rows, columns, _) = image.shape, out.shape
    source, target, length = flat(image), flat(out), columns * c
    skipped, begin = max(0, -shift) * c, max(0, shift) * c
    end = begin + min(w * c - skipped, length - begin)
    for row in range(first, last):
        to, line = row * length, row % rows - shift
        if 0 <= line < h:
            at = (row // rows * h + line) * w * c + skipped - begin
            clear(target, to, to + begin)
            for t in range(begin, end):
                target[np.uintp(to + t)] = source[np.uintp(at + t)]
            clear(target, to + end, to + length)
        else:
            clear(target, to, to + length)


@kernel
def move(image, shift, out):
    rows, block = out.shape[0] * out.shape[1], rows_of_task(out)
    for it in prange((rows + block - 1) // block):
        first = np.int64(it) * block
        move_rows(image, shift, first, min(rows, first + block), out)


def resized(image: np.ndarray, more: int, shift: int) -> np.ndarray:
    b, h, w, c = image.shape
    out = empty((b, h + more, w + more, c), image.dtype)
    move(image, shift, out, work=MOVE * out.size)
    return out


def pad(image: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    return resized(image, sum(padding), padding[0])


def unpad(image: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    return resized(image, -sum(padding), -padding[0])
