"""Windows that slide over images: their sides, how far apart they are, the zeros around the image, and how many fit.

What layers take as an integer or a pair, (height, width), is a pair here. Every message about such an argument is made
here, those about other arguments in :mod:`fastcnn.shapes`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastcnn.shapes import LARGEST_SIDE, check_choice, check_int, check_side, must_be, received

Pair = tuple[int, int]
Sides = int | Pair  # as a layer has it: an integer where height and width are equal

PADDING_METHODS = ("VALID", "SAME", "SAME_UPPER")


class Window(NamedTuple):
    """Windows over an image, each field (height, width).

    ksize: pixels on a side. stride: from one window to the next. dilation: from one pixel of a window to the next.
    padding: ((top, bottom), (left, right)), pixels that the image is extended by.
    """

    ksize: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))

    @property
    def reach(self) -> Pair:
        """Rows and columns from the first pixel of a window to its last, both counted."""
        return reach_of(self.ksize[0], self.dilation[0]), reach_of(self.ksize[1], self.dilation[1])

    def positions(self, height: int, width: int) -> Pair:
        """Windows that fit into an image and its padding, rows and columns of them."""
        (kh, kw), (sh, sw), _, (rows, columns) = self.reach, self.stride, self.dilation, self.padding
        return (height + sum(rows) - kh) // sh + 1, (width + sum(columns) - kw) // sw + 1


def square(ksize: int, stride: int = 1, before: int = 0, after: int = 0) -> Window:
    """A `Window` that is the same on both axes."""
    return Window((ksize, ksize), (stride, stride), (1, 1), ((before, after), (before, after)))


def reach_of(ksize: int, dilation: int) -> int:
    """Pixels from the first of a window to its last, both counted."""
    return (ksize - 1) * dilation + 1


def both(value: Sides) -> Pair:
    """(height, width) of an attribute that is an integer where they are equal."""
    return (value, value) if isinstance(value, int) else value


def check_both(
    owner: str, name: str, value: Any, check: Callable[[str, str, Any], int] = check_side, least: int = 1
) -> Sides:
    """`value`, an integer or a pair (height, width), each of which `check` accepts; an integer where they are equal."""
    if not isinstance(value, list | tuple):
        return check(owner, name, value)
    try:
        pair = tuple(check(owner, name, side) for side in value)
    except ValueError:
        pair = ()
    if len(pair) != 2:
        wanted = f"an integer of at least {least}, or two: (height, width)"
        raise ValueError(must_be(owner, name, wanted, value))
    return pair[0] if pair[0] == pair[1] else pair


def check_not_negative(owner: str, name: str, value: Any) -> int:
    """`value` as a number of pixels around an image."""
    return check_int(owner, name, value, minimum=0, largest=LARGEST_SIDE)


def check_padding(owner: str, name: str, value: Any) -> int | tuple[Any, Any]:
    """`value` as pixels around an image: on each side; or (rows, columns), on both sides of each axis; or ((top,
    bottom), (left, right)). As short as it can be written."""
    if not isinstance(value, list | tuple):
        return check_not_negative(owner, name, value)
    try:
        axes = [check_both(owner, name, axis, check_not_negative, least=0) for axis in value]
    except ValueError:
        axes = []
    if len(axes) != 2:
        wanted = "an integer of at least 0, (rows, columns), or ((top, bottom), (left, right))"
        raise ValueError(must_be(owner, name, wanted, value))
    if all(isinstance(axis, int) for axis in axes):
        return axes[0] if axes[0] == axes[1] else (axes[0], axes[1])
    return both(axes[0]), both(axes[1])


def padding_pairs(padding: Any) -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)) of what `check_padding` returned."""
    rows, columns = both(padding)
    return both(rows), both(columns)


def method_padding(method: str, size: int, reach: int, stride: int) -> Pair:
    """Zeros before and after an image axis of `size` pixels.

    'SAME' is the original's, ``reach - 1`` in all, the odd one after, whatever the stride. 'SAME_UPPER' is that of
    TensorFlow, Keras and ONNX: as many as ``ceil(size / stride)`` windows need, the odd one after. They differ where
    the stride is more than 1.
    """
    if method == "VALID":
        return 0, 0
    total = reach - 1 if method == "SAME" else max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


def window_of(
    sizes: Pair, ksize: Sides, stride: Sides, dilation: Sides = 1, padding: Any = None, method: str = "VALID"
) -> Window:
    """The `Window` of a layer over images of `sizes` (height, width): `padding` says more than `method`."""
    sides, strides, dilations = both(ksize), both(stride), both(dilation)
    if padding is not None:
        return Window(sides, strides, dilations, padding_pairs(padding))
    rows, columns = (
        method_padding(method, sizes[axis], reach_of(sides[axis], dilations[axis]), strides[axis]) for axis in (0, 1)
    )
    return Window(sides, strides, dilations, (rows, columns))


def check_method(owner: str, name: str, value: Any) -> str:
    return check_choice(owner, name, value, PADDING_METHODS)


@functools.lru_cache(maxsize=256)
def conv_output_shape(image_shape: tuple[int, ...], weights_shape: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """(batch, OH, OW, O) of a convolution; kept, as each call of a layer or a kernel asks for it."""
    batch, height, width, _ = image_shape
    return batch, *window.positions(height, width), weights_shape[3]


def check_window(owner: str, window: Window, image_shape: Sequence[int]) -> None:
    """Raise where a window is larger than the image that it slides over, with its padding."""
    (kh, kw), (height, width), ksize = window.reach, image_shape[1:3], window.ksize
    rows, columns = height + sum(window.padding[0]), width + sum(window.padding[1])
    if kh <= rows and kw <= columns:
        return
    padded = "" if (rows, columns) == (height, width) else " with its padding"
    dilated = "" if window.dilation == (1, 1) else f", with `dilation` {kh} x {kw},"
    raise ValueError(
        f"{owner}: `ksize`{dilated} must not be larger than the image{padded}, {rows} x {columns}. "
        f"{received('ksize', ksize[0] if ksize[0] == ksize[1] else ksize)}"
    )
