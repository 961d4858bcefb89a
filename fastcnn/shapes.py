"""Output sizes, padding, and every message about a bad argument.

Layers, model and data readers validate here and nowhere else, so that one mistake has one message: which argument, what
was expected, what was received.
"""

import math
import numbers
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

LARGEST = sys.maxsize  # number of bytes, of images or of steps that the machine's own integers hold
LARGEST_FLOAT = float(np.finfo(np.float32).max)  # of a setting: layers compute in float32, or may be loaded so
LONGEST = len(str(LARGEST))  # digits
LARGEST_SIDE = 2**31 - 1  # of a window, a stride, or a number of channels: kernels multiply these with sizes of images


def shortened(text: str, most: int = 120) -> str:
    """`text` with at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def whole_number(text: str) -> int | None:
    """The number of at least 0 that `text` writes; None where it writes none. One that is too long to be counted with
    is just above `LARGEST`: Python reads no more than 4300 digits."""
    if not text.isdecimal():  # and not `isdigit`, which \u00b2 is too
        return None
    digits = text.lstrip("0")
    return int(digits or 0) if len(digits) <= LONGEST else LARGEST + 1


def received(name: str, value: Any) -> str:
    """The end of a message: the received value, shortened to one readable line."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an object that is half made must not hide what is wrong with it
        text = f"<{type(value).__name__} object>"
    return f"Received {name}={shortened(text, 80)}"


def must_be(owner: str, name: str, expected: str, value: Any) -> str:
    """The message about an argument that is not what it must be."""
    return f"{owner}: `{name}` must be {expected}. {received(name, value)}"


def shape_text(*axes: object) -> str:
    """A shape as Python writes it, where an axis may be a word: (batch, 28, 28, 1), and (12,) for one axis."""
    return f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"


def check_int(
    owner: str, name: str, value: Any, minimum: int = 1, maximum: int | None = None, largest: float = LARGEST
) -> int:
    """`value` as an int from `minimum` to `maximum`; NumPy integers count, booleans and floats do not.

    Where there is no maximum, `largest` is what can be computed with; a message names it where it is exceeded.
    """
    is_int = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    most = largest if maximum is None else maximum
    if is_int and minimum <= value <= most:
        return int(value)
    unbounded = maximum is None and not (is_int and value > most)
    bounds = f"of at least {minimum}" if unbounded else f"from {minimum} to {most}"
    raise ValueError(must_be(owner, name, f"an integer {bounds}", value))


def check_side(owner: str, name: str, value: Any) -> int:
    """`value` as the side of a window, a stride or a number of channels."""
    return check_int(owner, name, value, largest=LARGEST_SIDE)


def check_flag(owner: str, name: str, value: Any) -> bool:
    """`value` as a bool; NumPy's booleans, 0 and 1 count, and no text does: "no" would be true."""
    if isinstance(value, np.bool_ | numbers.Integral) and value in (0, 1):
        return bool(value)
    raise ValueError(must_be(owner, name, "True or False", value))


def check_path(owner: str, name: str, value: Any, expected: str = "a path, text or a pathlib.Path") -> str:
    """`value` as the text of a path that a file could have."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise TypeError(must_be(owner, name, expected, value))
    if not text or "\0" in text:
        raise ValueError(must_be(owner, name, f"{expected}, not empty and without a NUL character", value))
    return text


def check_number(owner: str, name: str, value: Any, minimum: float | None = None) -> float:
    """`value` as a float that float32 can hold too, at least `minimum` where one is given."""
    if type(value) is float and -LARGEST_FLOAT <= value <= LARGEST_FLOAT and (minimum is None or value >= minimum):
        return value  # as nearly every number is: 1 us shorter, ten times a step
    expected = "a finite number" if minimum is None else f"a finite number of at least {minimum:g}"
    if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
        try:
            number = float(value)
        except OverflowError:  # an integer of 400 digits
            number = np.inf
        if np.isfinite(number) and (minimum is None or number >= minimum):
            if abs(number) <= LARGEST_FLOAT:
                return number
            expected += f", and no larger than float32 can hold, {LARGEST_FLOAT:.1e}"
    raise ValueError(must_be(owner, name, expected, value))


def check_share(owner: str, name: str, value: Any, *, positive: bool = False) -> float:
    """`value` as a float from 0 to 1, and not 0 where it must be `positive`."""
    try:
        number = check_number(owner, name, value, 0)
    except ValueError:
        number = math.inf
    if number <= 1 and (number > 0 or not positive):
        return number
    raise ValueError(must_be(owner, name, "a number above 0, at most 1" if positive else "a number from 0 to 1", value))


def check_choice(owner: str, name: str, value: Any, choices: Iterable[str], others: str = "") -> str:
    """`value` if it is one of `choices`; the error lists them, and `others`, what the caller takes besides."""
    choices = list(choices)
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(must_be(owner, name, f"one of {', '.join(map(repr, choices))}{others}", value))


FLOAT64 = 8  # bytes
IMAGE_AXES = ("height", "width", "channels")
AXES = {2: "(batch, classes)", 4: shape_text("batch", *IMAGE_AXES)}


def check_shape(owner: str, shape: Any, rank: int | None = 4, name: str = "shape") -> tuple[int, ...]:
    """`shape` (list, tuple or integer array) as a tuple of positive ints, of any rank where `rank` is None."""
    try:  # a set has no order
        ordered = isinstance(shape, Sequence | np.ndarray) and not isinstance(shape, str | bytes)
        sizes = [check_int(owner, name, size, largest=math.inf) for size in shape] if ordered else []
    except (TypeError, ValueError):
        sizes = []
    if not sizes or (rank is not None and len(sizes) != rank):
        wanted = "positive integers, the batch size first" if rank is None else f"{AXES[rank]}, all at least 1"
        raise ValueError(must_be(owner, name, wanted, shape))
    if math.prod(sizes) * FLOAT64 > LARGEST:
        raise ValueError(must_be(owner, name, f"smaller: such an array takes {bytes_text(sizes)}", shape))
    return tuple(sizes)


def bytes_text(shape: Sequence[int], itemsize: int = FLOAT64) -> str:
    """How much memory an array takes."""
    size = math.prod(shape) * itemsize
    return f"{size:,} bytes" if size < 10**30 else "more than 10**30 bytes"


def allocate(owner: str, name: str, shape: Sequence[int], dtype: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` returns, an array of `shape`; MemoryError that names it where it does not fit into memory."""
    size = bytes_text(shape, np.dtype(dtype).itemsize)
    text = f"{owner}: `{name}` of the shape {shape_text(*shape)} takes {size}, more memory than there is"
    if math.prod(shape) * FLOAT64 > LARGEST:
        raise MemoryError(text)
    try:
        return make()
    except MemoryError as error:
        raise MemoryError(text) from error


def zeros(owner: str, name: str, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Zeros, by `allocate`."""
    return allocate(owner, name, shape, dtype, lambda: np.zeros(shape, dtype))


def check_features(owner: str, shape: Any, name: str = "shape") -> None:
    """Raise where a checked `shape` has no axis besides the batch."""
    if len(shape) < 2:
        raise ValueError(must_be(owner, name, "(batch, ..., channels), two axes at least", shape))
