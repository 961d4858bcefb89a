"""Arrays that users pass: real numbers of the right shape and dtype, and every message about those that are not.

As in :mod:`fastcnn.shapes`: which argument, what was expected, what was received; and the line that mends it.
"""

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.shapes import allocate, received, shape_text

PICTURE_CHANNELS = 4  # at most: red, green, blue, alpha
LARGEST_NUMBER = {np.dtype(name): float(np.finfo(name).max) for name in ("float32", "float64")}


def real_array(owner: str, name: str, value: Any, names_hint: str = "") -> np.ndarray:
    """`value` as an array of real numbers (booleans, integers of any width, floats).

    `names_hint`, with {0} for `name`, is the line that makes numbers of text.
    """
    check_unmasked(owner, name, value)
    try:
        array = np.asarray(value)
    except ValueError as error:  # ragged nested lists
        raise ValueError(f"{owner}: `{name}` must be an array of numbers: {error}") from None
    if array.dtype.kind not in "buif":
        is_object = array.dtype.kind == "O" and not isinstance(value, np.ndarray)  # None, for one
        shown = received(name, value) if is_object else f"Received an array of dtype {array.dtype}"
        is_text = array.dtype.kind in "US" or (array.dtype.kind == "O" and all(isinstance(v, str) for v in array.flat))
        hint = names_hint.format(name) if is_text and array.size else ""
        raise TypeError(f"{owner}: `{name}` must hold real numbers. {shown}{hint}")
    return array


def check_unmasked(owner: str, name: str, value: Any) -> None:
    """Raise where a masked value lies in an array, or in lists of such: NumPy would use the number under the mask."""
    todo, seen = [value], set()
    while todo:
        item = todo.pop()
        if isinstance(item, np.ma.MaskedArray) and (masked := np.count_nonzero(np.ma.getmaskarray(item))):
            raise TypeError(
                f"{owner}: `{name}` must hold no masked values: nothing here computes with a mask. Fill them, as in "
                f"{name}.filled(0). Received {masked} masked of {item.size} values"
            )
        if isinstance(item, list | tuple) and id(item) not in seen:  # a list may hold itself
            seen.add(id(item))
            todo += [inner for inner in item if isinstance(inner, list | tuple | np.ma.MaskedArray)]


def is_ready(value: Any, shape: Sequence[int], dtype: np.dtype) -> bool:
    """Whether `value` is the array that kernels take, whatever the batch, as nearly every array is: asked first."""
    usual = type(value) is np.ndarray and value.dtype == dtype and value.ndim == len(shape)
    return usual and value.shape[1:] == shape[1:] and value.flags.carray


def warn_of_channels_first(owner: str, name: str, shape: tuple[int, ...], stacklevel: int = 3) -> None:
    """Warn of images that seem to be (images, channels, height, width), as other libraries have them: they are taken
    for images of 1 or 3 rows."""
    if len(shape) == 4 and shape[1] in (1, 3) and shape[2] == shape[3] > 4:
        warnings.warn(
            f"{owner}: `{name}` has the shape {shape}, which is taken for (images, height, width, channels) and seems "
            f"to have channels first: {name} = {channels_last(name)}",
            UserWarning,
            stacklevel,
        )


def channels_last(name: str) -> str:
    return f"{name}.transpose(0, 2, 3, 1) puts channels last"


def image_hint(name: str, received: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """The line that makes of what was received, by its shape, images of the shape `wanted`; '' where none is known."""
    height, width, channels = wanted if len(wanted) == 3 else (0, 0, 0)
    resized = f"PIL.Image.fromarray(np.float32(plane)).resize(({width}, {height}))"  # of any dtype, one channel
    lines = [
        (received == wanted, f"{name}[np.newaxis] makes a batch of one"),
        (received[1:] == (height, width) and channels == 1, f"{name}[..., np.newaxis] adds the axis of channels"),
        (
            received[1:] == (math.prod(wanted),),
            f"{name}.reshape(-1, {height}, {width}, {channels}) makes images of rows",
        ),
        (received[1:] == (channels, height, width), channels_last(name)),
        (received[1:] == (width, height, channels), f"{name}.transpose(0, 2, 1, 3) exchanges height and width"),
        (received[1:] == (height, width, 1), f"{name}.repeat({channels}, axis=3) makes grey images coloured"),
        (
            received[1:] == (height, width, 3) and channels == 1,
            f"({name} @ [0.299, 0.587, 0.114])[..., np.newaxis] makes coloured images grey",
        ),
        (
            len(received) == 4 and received[3] == channels <= PICTURE_CHANNELS,
            f"np.stack([np.stack([{resized} for plane in np.moveaxis(image, 2, 0)], axis=2) for image in {name}]) "
            "makes pictures of another size fit",
        ),
    ]
    line = next((line for holds, line in lines if holds and (channels or received == wanted)), "")
    return line and f" ({name} = {line})"


def check_array(
    owner: str, name: str, value: Any, shape: Sequence[int], dtype: np.dtype, *, any_batch: bool = True
) -> np.ndarray:
    """`value` as the array that kernels take: real, of `dtype` and `shape`, C-contiguous, aligned, writeable.

    With `any_batch` the first axis, the batch, may have any size. Nothing is copied when nothing must change.
    Read-only and unaligned arrays are other types to numba, so they are copied rather than letting every kernel
    compile once more for them.
    """
    first = int(any_batch)
    if is_ready(value, shape, dtype) and (any_batch or len(value) == shape[0]):
        return value
    array = real_array(owner, name, value)
    if array.ndim != len(shape) or array.shape[first:] != tuple(shape[first:]):
        expected = shape_text(*["batch"] * first, *shape[first:])
        hint = image_hint(name, array.shape, tuple(shape[1:])) if any_batch else ""
        raise ValueError(f"{owner}: `{name}` must have the shape {expected}. Received the shape {array.shape}{hint}")
    try:
        with np.errstate(over="raise" if array.dtype.kind == "f" else None):
            ready = functools.partial(np.require, array, dtype, ("C_CONTIGUOUS", "ALIGNED", "WRITEABLE"))
            return allocate(owner, name, array.shape, dtype, ready)
    except FloatingPointError:
        check_finite(owner, name, np.where(np.isfinite(array), array, 0), dtype=dtype)
        raise


def check_labels(owner: str, name: str, label: Any, count: int, classes: int) -> np.ndarray:
    """Class labels of any integer dtype and of shape (count,) or (count, 1), as an int64 array of (count,)."""
    usual = type(label) is np.ndarray and label.dtype == np.int64 and label.shape == (count,)
    if usual and count and label.view(np.uint64).max() < classes:  # a number below 0 is a huge one to this view
        return label.copy()
    array = real_array(owner, name, label, " ({0} = np.unique({0}, return_inverse=True)[1] numbers the classes)")
    if array.shape not in ((count,), (count, 1)):
        rows = array.ndim == 2 and len(array) == count and array.shape[1] == classes
        hint = f" ({name} = {name}.argmax(axis=1) turns one-hot rows into labels)" if rows else ""
        raise ValueError(
            f"{owner}: `{name}` must have the shape ({count},) or ({count}, 1), one label for each image. "
            f"Received the shape {array.shape}{hint}"
        )
    if array.dtype.kind not in "iu":
        whole = array.dtype.kind == "b" or (np.isfinite(array) & (array == np.round(array))).all()
        hint = f" ({name} = {name}.astype(int) makes them integers)" if whole else ""
        raise TypeError(
            f"{owner}: `{name}` must hold integers: a label is the number of a class. "
            f"Received an array of dtype {array.dtype}{hint}"
        )
    array = array.reshape(count)
    wrong = np.flatnonzero((array < 0) | (array >= classes))
    if wrong.size:
        first = int(wrong[0])
        from_one = array.min() == 1 and array.max() == classes
        one = f". They seem to count from 1: {name} = {name} - 1 makes them count from 0" if from_one else ""
        raise ValueError(
            f"{owner}: `{name}` must lie in 0 to {classes - 1} for {classes} classes. "
            f"Received {name}[{first}]={array[first]} ({wrong.size} of {count} are out of range){one}"
        )
    return array.astype(np.int64)


def check_finite(
    owner: str, name: str, array: np.ndarray, part: slice = slice(None), dtype: np.dtype | None = None
) -> tuple[float, float] | None:
    """The smallest and the largest value of floats, or of a part of them; None of data that are always finite.

    Raises ValueError where there is NaN, an infinity, or a number that would be infinite in `dtype`; the message says
    where the first one is.
    """
    offset, array = part.start or 0, array[part] if array.ndim else array
    if array.dtype.kind != "f" or not array.size:
        return None
    low, high = float(array.min()), float(array.max())  # NaN where there is one
    limit = math.inf if dtype is None else LARGEST_NUMBER[dtype]
    if -limit <= low and high <= limit and math.isfinite(low) and math.isfinite(high):
        return low, high
    right = np.isfinite(array) & (np.abs(array) <= limit)
    where = tuple(int(i) for i in np.unravel_index(int(np.argmin(right)), array.shape))
    place = (where[0] + offset, *where[1:]) if where else ()
    at = f"[{', '.join(map(str, place))}]" if where else ""
    count = int(array.size - np.count_nonzero(right))
    wanted, what = "finite", "NaN or infinite"
    if np.isfinite(array[where]):
        wanted, what = f"at most {limit:.4g} in size, the largest {dtype}", "NaN or larger"
    raise ValueError(
        f"{owner}: `{name}` must be {wanted}. Received {name}{at}={array[where]} ({count} of {array.size} values are "
        f"{what})"
    )
