"""What pooling in compiled code takes. A launch hands over plain tuples, which the loop over tasks names."""

from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.core.hints import Array


class PoolWindow(NamedTuple):
    """Windows: pixels on a side, from one window to the next; and the rows, counted over all images, of one task."""

    ksize: int
    stride: int
    block: int


class Limits(NamedTuple):
    """Of a maximum: the least that it is, and the offset that says that no pixel gets its gradient."""

    floor: np.floating
    nowhere: np.floating


class Line(NamedTuple):
    """Windows in a row: the flat image and the first window's first element, and the elements from one window to the
    next, from one row of the image to the next, and of a pixel."""

    image: Array
    first: int
    step: int
    row: int
    channels: int


class Result(NamedTuple):
    """Maxima or means, the offsets of maxima or nothing, both flat, and the first element."""

    values: Array
    offsets: Array
    first: int


class Pixels(NamedTuple):
    """Where gradients go: the flat image, the first element, the elements from one window to the next, and whether they
    are written past the caches."""

    image: Array
    first: int
    step: int
    past: bool


class Lines(NamedTuple):
    """Memory of each thread: a row of an image, and another for the shares of one row of windows, or nothing."""

    lines: Array
    sums: Array
