"""The mean of each channel over the whole image. Requires numba.

Twin and definition: :mod:`fastcnn.backends.numpy.global_pooling`. A task is an image.
"""

from __future__ import annotations

import math

import numpy as np

from fastcnn.backends.numba.core.arithmetic import divide, fill
from fastcnn.backends.numba.core.jit import MOVE, kernel, prange, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part
from fastcnn.backends.numba.pooling.forward import mean_windows


@serial
def mean_of_image(image, n, means):
    """The means of image n: those of a single window."""
    _, h, w, c = image.shape
    mean_windows(flat(image), n * h * w * c, np.int64(0), w, c, np.int64(1), (h, w), flat(means), n * c)


@serial
def spread_mean(means, n, image):
    """The gradient: what belongs to each pixel of image n."""
    _, h, w, c = image.shape
    source, target, first = flat(means), flat(image), n * h * w * c
    pixels = fill(source, h * w)
    for t in range(0, c, lanes(source)):
        share = divide(load_part(source, n * c + t, c - t), pixels)
        for at in range(first + t, first + h * w * c, c):
            store_part(target, at, share, c - t)


@kernel
def each_image(image, means, backwards):
    for it in prange(image.shape[0]):
        n = np.int64(it)
        if backwards:
            spread_mean(means, n, image)
        else:
            mean_of_image(image, n, means)


def global_avg_pool_forward(x: np.ndarray) -> np.ndarray:
    means = empty((x.shape[0], x.shape[3]), x.dtype)
    each_image(x, means, False, work=MOVE * x.size)
    return means


def global_avg_pool_backward(eta: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    image = empty(image_shape, eta.dtype)
    each_image(image, eta, True, work=MOVE * math.prod(image_shape))
    return image
