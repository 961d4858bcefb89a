"""What pooling in compiled code takes. A launch hands over plain tuples, which the loop over tasks names."""

from typing import NamedTuple

from fastcnn.backends.numba.core.hints import Array, Index


class Axis(NamedTuple):
    """Windows along one axis of an image: pixels on a side, from one window to the next, and from one pixel of a window
    to the next; where the first window begins, 0 or before; the first pixel that a mean counts, and the one after the
    last, which may be padding."""

    ksize: int
    stride: int
    dilation: int
    start: int
    low: int
    high: int


class PoolWindow(NamedTuple):
    """Windows: the fields of an `Axis` for rows, and for columns; what a mean is divided by instead of what it counts,
    or 0; and the rows, counted over all images, of one task."""

    down: tuple[int, ...]
    across: tuple[int, ...]
    divisor: int
    block: int


class Limits(NamedTuple):
    """Of a maximum: whether pixels below 0 count as 0, and the offset that says that no pixel gets its gradient."""

    rectify: Index
    nowhere: Index


class Line(NamedTuple):
    """Windows in a row: the flat image and the first window's first element, and the elements from one window to the
    next, from one row of a window to the next, from one of its pixels to the next, and of a pixel."""

    image: Array
    first: int
    step: int
    row: int
    pixel: int
    channels: int


class Held(NamedTuple):
    """What windows in a row hold of their pixels: rows and columns, the offset of the first, the offsets from one row
    to the next, and what a mean is divided by."""

    rows: Index
    columns: Index
    offset: Index
    ksize: Index
    divisor: float


class Result(NamedTuple):
    """Maxima or means, the offsets of maxima or nothing, both flat, and the first element."""

    values: Array
    offsets: Array
    first: int


class Slopes(NamedTuple):
    """The gradients of windows in a row: all gradients and all offsets or nothing, both flat, the first element, of how
    many windows and of how many channels."""

    values: Array
    offsets: Array
    first: Index
    number: Index
    channels: Index


class Above(NamedTuple):
    """One or two rows of 3 x 3 windows over a row of pixels: the offset of the pixels in the first row's windows, and
    what a pixel is of a mean in the first row and in the second."""

    offset: int
    scale: float
    below: float


class Pixels(NamedTuple):
    """Where gradients go: the flat image, the first element, the elements from one window to the next, and whether they
    are written past the caches."""

    image: Array
    first: int
    step: int
    past: bool


class Weights(NamedTuple):
    """The weights of the rows and the columns that pixels of another size are made of, and of which pixel."""

    down: Array
    across: Array
    row: int
    column: int


class Lines(NamedTuple):
    """Memory of each thread: a row of an image, and another for the shares of one row of windows, or nothing."""

    lines: Array
    sums: Array
