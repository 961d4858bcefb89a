"""The mean of each channel over the whole image. Requires numba.

Twin and definition: :mod:`fastcnn.backends.numpy.global_pooling`. A task is an image.
"""

import math

import numpy as np

from fastcnn.backends.numba.core.arithmetic import divide, fill
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import MOVE
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part
from fastcnn.backends.numba.pooling.arguments import Held, Line, Result
from fastcnn.backends.numba.pooling.lines import mean_windows


@task_kernel
def each_image(task, image, means, backwards):
    """The means of an image, those of a single window; or `backwards` what belongs to each of its pixels."""
    _, h, w, c = image.shape
    source, target, first = flat(means), flat(image), task * h * w * c
    if not backwards:
        line, held = Line(target, first, np.int64(0), np.int64(0), c, c), Held(1, h * w, 0, 0, h * w)
        mean_windows(line, np.int64(1), held, Result(source, source, task * c), False)
        return
    pixels = fill(source, h * w)
    for t in range(0, c, lanes(source)):
        share = divide(load_part(source, task * c + t, c - t), pixels)
        for at in range(first + t, first + h * w * c, c):
            store_part(target, at, share, c - t)


def global_avg_pool_forward(x: Array) -> Array:
    means = empty((x.shape[0], x.shape[3]), x.dtype)
    each_image(x, means, False, len(x), work=MOVE * x.size)
    return means


def global_avg_pool_backward(eta: Array, image_shape: Shape) -> Array:
    image = empty(image_shape, eta.dtype)
    each_image(image, eta, True, len(image), work=MOVE * math.prod(image_shape))
    return image
