"""Learning rates: as text, and the share of the training by which a schedule says them."""

import re
from collections.abc import Callable
from typing import Any

from fastcnn.shapes import check_share

ROUNDING = 1e-9  # of a share that a script adds up


def rate_text(learning_rate: float | Callable[[float], float]) -> float | str:
    """A rate as JSON can hold it, the same in every process: a function by its name, and not by its address."""
    if not callable(learning_rate):
        return learning_rate
    if hasattr(learning_rate, "__qualname__"):
        return f"{learning_rate.__module__}.{learning_rate.__qualname__}"
    return re.sub(" at 0x[0-9a-fA-F]+", "", repr(learning_rate))


def check_done(owner: str, done: Any) -> float:
    """`done` as a share of the training, from 0 to 1: no epoch's number, of which a schedule would make some rate."""
    above = isinstance(done, float) and 1 < done < 1 + ROUNDING
    return check_share(owner, "done", 1.0 if above else done)
