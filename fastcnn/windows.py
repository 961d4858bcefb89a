"""Windows that slide over images: their sides, how far apart they are, the zeros around the image, and how many fit.

What layers take as an integer or a pair, (height, width), is a pair here. Every message about such an argument is made
here, those about other arguments in :mod:`fastcnn.shapes`.
"""

import functools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastcnn.shapes import LARGEST_SIDE, check_choice, check_int, check_side, must_be, received

Pair = tuple[int, int]
Sides = int | Pair  # as a layer has it: an integer where height and width are equal

PADDING_METHODS = ("VALID", "SAME", "SAME_UPPER")
GEOMETRIES = ("original", "floor", "ceil")  # of poolings


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


def number_or(owner: str, name: str, wanted: str, value: Any) -> Any:
    """`value`, a number; of anything else the error says all that is `wanted`."""
    if isinstance(value, numbers.Number):
        return value
    raise ValueError(must_be(owner, name, wanted, value))


def check_both(
    owner: str, name: str, value: Any, check: Callable[[str, str, Any], int] = check_side, least: int = 1
) -> Sides:
    """`value`, an integer or a pair (height, width), each of which `check` accepts; an integer where they are equal."""
    wanted = f"an integer of at least {least}, or two: (height, width)"
    if not isinstance(value, list | tuple):
        return check(owner, name, number_or(owner, name, wanted, value))
    try:
        pair = tuple(check(owner, name, side) for side in value)
    except ValueError:
        pair = ()
    if len(pair) != 2:
        raise ValueError(must_be(owner, name, wanted, value))
    return pair[0] if pair[0] == pair[1] else pair


def check_not_negative(owner: str, name: str, value: Any) -> int:
    """`value` as a number of pixels around an image."""
    return check_int(owner, name, value, minimum=0, largest=LARGEST_SIDE)


def check_padding(owner: str, name: str, value: Any) -> int | tuple[Any, Any]:
    """`value` as pixels around an image: on each side; or (rows, columns), on both sides of each axis; or ((top,
    bottom), (left, right)). As short as it can be written."""
    wanted = "an integer of at least 0, (rows, columns), or ((top, bottom), (left, right))"
    if isinstance(value, str):
        wanted += "; a text such as 'SAME' is a `method`"
    if not isinstance(value, list | tuple):
        return check_not_negative(owner, name, number_or(owner, name, wanted, value))
    try:
        axes = [check_both(owner, name, axis, check_not_negative, least=0) for axis in value]
    except ValueError:
        axes = []
    if len(axes) != 2:
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
    sides, strides, (down, across) = both(ksize), both(stride), both(dilation)
    dilations = down if sides[0] > 1 else 1, across if sides[1] > 1 else 1  # one pixel has no next one
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
    dilated = "" if window.dilation == (1, 1) else f", {kh} x {kw} with `dilation`,"
    raise ValueError(
        f"{owner}: `ksize`{dilated} must not be larger than the image{padded}, {rows} x {columns}. "
        f"{received('ksize', ksize[0] if ksize[0] == ksize[1] else ksize)}"
    )


class Pooled(NamedTuple):
    """How a pooling goes over images: its windows, how many (rows, columns of them), and the zeros around the image
    that are values like others."""

    window: Window
    out: Pair
    zeros: tuple[Pair, Pair]


@functools.lru_cache(maxsize=256)
def pooled(sizes: Pair, ksize: Sides, stride: Sides, dilation: Sides, padding: Any, geometry: str) -> Pooled:
    """The `Pooled` of a layer over images of `sizes` (height, width); kept, as each call of a layer asks for it.

    'original': ``size // stride`` windows, over an image with zeros around it. 'floor': those that fit into the image
    and its padding, which holds no values. 'ceil': and one that crosses the end, if it begins in the image or in the
    padding before it (PyTorch's `ceil_mode`, and ONNX's).
    """
    window = window_of(sizes, ksize, stride, dilation, padding)
    if geometry == "original":
        rows, columns = (
            (size + sum(sides)) // step for size, sides, step in zip(sizes, window.padding, window.stride, strict=True)
        )
        return Pooled(window._replace(padding=((0, 0), (0, 0))), (rows, columns), window.padding)
    return Pooled(window, outputs(sizes, window, geometry), ((0, 0), (0, 0)))


def outputs(sizes: Pair, window: Window, geometry: str) -> Pair:
    """How many windows of the geometries 'floor' and 'ceil', rows and columns of them."""
    if geometry == "floor":
        return window.positions(*sizes)
    rows, columns = map(with_last, window.positions(*sizes), sizes, window.reach, window.stride, window.padding)
    return rows, columns


def with_last(number: int, size: int, reach: int, stride: int, padding: Pair) -> int:
    """The `number` of windows that fit, and one more where it begins before the end of the image and is needed."""
    needed = (number - 1) * stride + reach < size + sum(padding)
    return number + (needed and number * stride < size + padding[0])


def check_pooling(owner: str, sizes: Pair, padding: Any, window: Window, geometry: str) -> None:
    """Raise where the windows of a pooling are larger than the image, or may hold nothing but `padding`, which
    `window` has too."""
    (kh, kw), (sh, sw), (rows, columns) = window.reach, window.stride, window.padding
    if max(rows) >= kh or max(columns) >= kw:
        plain = f"an integer from 0 to {kh - 1}, smaller than `ksize`"
        spans = f"smaller than a window, which spans {kh} x {kw} pixels"
        simple = isinstance(padding, int) and window.dilation == (1, 1) and kh == kw
        raise ValueError(must_be(owner, "padding", plain if simple else spans, padding))
    if geometry != "ceil" or min(outputs(sizes, window, geometry)) < 1:  # one that crosses the end may be the only one
        check_window(owner, window, (0, *sizes))
    height, width = sizes[0] + sum(rows), sizes[1] + sum(columns)
    if geometry == "original" and (sh > height or sw > width):
        given = received("stride", sh if sh == sw else window.stride)
        raise ValueError(f"{owner}: `stride` must not be larger than the image, {height} x {width}. {given}")
    if geometry != "original":
        for axis, number in enumerate(outputs(sizes, window, geometry)):
            if steps_over(sizes[axis], number, window, axis):
                wanted = "smaller: a window would step over the image, and hold nothing but padding"
                raise ValueError(must_be(owner, "dilation", wanted, window.dilation))


def steps_over(size: int, number: int, window: Window, axis: int) -> bool:
    """Whether one of `number` windows, which begins in the padding before an axis of `size` pixels, has none of them:
    its first pixel that is not padding lies where its start is modulo the dilation. Starts repeat there after some
    windows."""
    before, stride, dilation = window.padding[axis][0], window.stride[axis], window.dilation[axis]
    if dilation <= size:
        return False
    number = min(number, -(-before // stride), dilation // math.gcd(stride, dilation))
    return any((place * stride - before) % dilation >= size for place in range(number))
