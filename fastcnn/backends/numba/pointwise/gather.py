"""Batches cut out of a set of images. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.gather`.

Shuffling, shifting, cropping and flipping are one pass over the pixels of the batch, in the dtype of the set: bytes
stay bytes. A task is an image.
"""

import numpy as np

from fastcnn.backends.numba.core.copying import clear, run_of
from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import MOVE, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat


@serial
def copy_row(source, target, count, channels, flip):
    """Copy `count` pixels, in reverse order where `flip`; loops that LLVM vectorises, of one channel at least."""
    if not flip:
        for t in range(count * channels):
            target[np.uintp(t)] = source[np.uintp(t)]
    elif channels == 1:
        for t in range(count):
            target[np.uintp(t)] = source[np.uintp(count - 1 - t)]
    else:
        for j in range(count):
            for k in range(channels):
                target[np.uintp(j * channels + k)] = source[np.uintp((count - 1 - j) * channels + k)]


@task_kernel
def cut(task, images, index, corner, flip, out):
    """A rectangle of an image from `corner` (tops, lefts) on, mirrored or not, with zeros where it lies outside."""
    (_, h, w, c), (_, rows, columns, _), source, target = images.shape, out.shape, flat(images), flat(out)
    n, top, left, mirrored, to = index[task], corner[0][task], corner[1][task], flip[task], task * rows * columns * c
    begin, end = run_of(left, columns, w, 1)
    for row in range(top, top + rows):
        last = to + columns * c
        if 0 <= row < h and begin < end:
            first, count = columns - end if mirrored else begin, end - begin
            clear(target, to, to + first * c)
            copy_row(source[((n * h + row) * w + left + begin) * c :], target[to + first * c :], count, c, mirrored)
            clear(target, to + (first + count) * c, last)
        else:
            clear(target, to, last)
        to = last


def gather_images(images: Array, index: Array, top: Array, left: Array, flip: Array, height: int, width: int) -> Array:
    out = empty((len(index), height, width, images.shape[3]), images.dtype)
    cut(images, index, (top, left), flip, out, len(index), work=MOVE * out.size)
    return out
