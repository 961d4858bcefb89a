"""What convolutions in compiled code take. A launch hands over plain tuples, which the loop over tasks names."""

from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.core.hints import Array, Pair


class Geometry(NamedTuple):
    """What a convolution is, apart from its shapes: what plans are made of."""

    ksize: int
    stride: int
    padding: Pair
    rectify: bool
    dtype: np.dtype


class Window(NamedTuple):
    """The windows of output pixels: pixels on a side, from one window to the next, and zeros before the image."""

    ksize: int
    stride: int
    before: int


class Windows(NamedTuple):
    """A `Window`, and how a task reads the windows: where they lie in the image, or copied, no value below `floor`."""

    ksize: int
    stride: int
    before: int
    in_place: bool
    floor: np.floating


class Filters(NamedTuple):
    """Weights and bias. The weights are flat: packed where `step` is 0, else rows `step` elements apart. The bias is as
    long as a packed row."""

    weights: Array
    step: int
    bias: Array


class Cut(NamedTuple):
    """What makes a task: rows of an image, some of its channels, and the rows of windows that it takes at a time."""

    rows: int
    channels: int
    block: int


class Gated(NamedTuple):
    """An image, and an array like it, or nothing: where this is below 0, the image is set to 0."""

    image: Array
    gate: Array


class Sums(NamedTuple):
    """Shares of the gradients of weights and bias, (shares, weights) and (shares, a packed row); and both of each share
    once more, in one row, or nothing where it is short."""

    weights: Array
    bias: Array
    aside: Array


class Memory(NamedTuple):
    """What a kernel needs for itself: a row of `scratch` and of `panels` for each thread, and tables of offsets."""

    scratch: Array
    panels: Array
    tables: Array
