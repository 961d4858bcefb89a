"""The range of a model's training data, which it remembers, and what it says of data that are scaled otherwise.

A network that was trained on pixels from 0 to 255 answers as if by chance where it is given the same pixels from 0 to
1, and the other way round. No error follows from it: the shapes fit.
"""

import functools
import math
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

KEY = "training_data"  # in a model's metadata, and so in its file
FAR = 4  # ranges of the training data outside it: a few outliers lie nearer, and 0 to 255 is further from 0 to 1
SMALL = 50  # times smaller: 0 to 1 is, of 0 to 255, and a dark picture hardly
USED = "It takes data that are scaled as these were"
LEARNT = "The training goes on, from weights that were made for data that are scaled as these were"


class DataRange(NamedTuple):
    """The smallest and the largest value of images, and their dtype by name."""

    low: float
    high: float
    dtype: str

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g} ({self.dtype})"


def range_of(x: np.ndarray) -> DataRange | None:
    """That of images; None where there are none."""
    return DataRange(float(x.min()), float(x.max()), x.dtype.name) if x.size else None


def joined(parts: Iterable[DataRange | None]) -> DataRange:
    """The range of images of which these are those of all parts, of which one at least is not empty."""
    known = [part for part in parts if part is not None]
    return DataRange(min(part.low for part in known), max(part.high for part in known), known[0].dtype)


def remember(metadata: dict[str, Any], trained: DataRange) -> None:
    """Keep the range of training images in a model's metadata."""
    metadata[KEY] = trained._asdict()


def remembered(metadata: dict[str, Any]) -> DataRange | None:
    """What `remember` kept; None where there is nothing, or nothing of that form."""
    kept = metadata.get(KEY)
    try:
        found = DataRange(float(kept["low"]), float(kept["high"]), str(kept["dtype"])) if kept else None
    except (KeyError, TypeError, ValueError):
        return None
    return found if found and -math.inf < found.low <= found.high < math.inf else None


def scaled_otherwise(trained: DataRange, used: DataRange) -> bool:
    """Whether data that are used cannot be scaled as those of the training; of equal values nothing is known."""
    if trained.low == trained.high:
        return False
    span, largest = trained.high - trained.low, max(abs(trained.low), abs(trained.high))
    far = used.low < trained.low - FAR * span or used.high > trained.high + FAR * span
    small = 0 < max(abs(used.low), abs(used.high)) <= largest / SMALL
    return far or (small and largest_of(np.dtype(used.dtype)) < largest)


@functools.lru_cache(maxsize=64)
def never_otherwise(trained: DataRange, dtype: np.dtype) -> bool:
    """Whether no data of a dtype are scaled otherwise, such as bytes where the training had 0 to 255: they need not be
    searched, which takes 6 us, a tenth of LeNet's prediction of one image."""
    largest = largest_of(dtype)
    if not largest or largest < max(abs(trained.low), abs(trained.high)):
        return False
    lowest = int(np.iinfo(dtype).min) if dtype.kind == "i" else 0
    return not scaled_otherwise(trained, DataRange(lowest, largest, dtype.name))


def largest_of(dtype: np.dtype) -> int:
    """The largest whole number of a dtype: bytes are no dark picture of a training on 16 bits. 0 of floats."""
    if dtype.kind == "f":
        return 0
    return 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)


def warn_of_scale(owner: str, trained: DataRange, used: DataRange, why: str = USED) -> None:
    """Warn of data that are used, or learnt, and scaled otherwise than those of the training before."""
    warnings.warn(
        f"{owner}: `x` ranges from {used}, and the model was trained on {trained}. {why}{hint(trained, used)}",
        UserWarning,
        stacklevel=2,
    )


def hint(trained: DataRange, used: DataRange) -> str:
    """The line that brings pixels from 0 to 255 to 0 to 1, or back, where that is what is missing."""
    if min(trained.low, used.low) < 0:
        return ""
    if 1 < used.high <= 255 and trained.high <= 1:
        return ": x = x / 255"
    return ": x = x * 255" if used.high <= 1 and 1 < trained.high <= 255 else ""
