"""What convolutions in compiled code take. A launch hands over plain tuples, which the loop over tasks names."""

from typing import NamedTuple

import numpy as np

from fastcnn.backends.numba.core.hints import Array, Pair
from fastcnn.windows import Window


class Geometry(NamedTuple):
    """What a convolution is, apart from its shapes: what plans are made of."""

    window: Window
    groups: int
    rectify: bool
    dtype: np.dtype


class GroupedWindow(NamedTuple):
    """The fields of a `Window`, and groups of channels."""

    ksize: Pair
    stride: Pair
    dilation: Pair
    padding: tuple[Pair, Pair]
    groups: int


class Windows(NamedTuple):
    """The fields of a `Window`, groups of channels, and how a task reads the windows: where they lie in the image, or
    copied, no value below `floor`."""

    ksize: Pair
    stride: Pair
    dilation: Pair
    padding: tuple[Pair, Pair]
    groups: int
    in_place: bool
    floor: np.floating


class Filters(NamedTuple):
    """Weights and bias. The weights are flat: packed, group after group, where `step` is 0, else rows `step` elements
    apart. The bias is a packed row longer than the outputs of all groups but one."""

    weights: Array
    step: int
    bias: Array


class Cut(NamedTuple):
    """What makes a task: rows of an image, some groups of its channels and of each so many channels, and the rows of
    windows that it takes at a time."""

    rows: int
    groups: int
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
