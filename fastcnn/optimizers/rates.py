"""Learning rates as text."""

import re
from collections.abc import Callable


def rate_text(learning_rate: float | Callable[[float], float]) -> float | str:
    """A rate as JSON can hold it, the same in every process: a function by its name, and not by its address."""
    if not callable(learning_rate):
        return learning_rate
    if hasattr(learning_rate, "__qualname__"):
        return f"{learning_rate.__module__}.{learning_rate.__qualname__}"
    return re.sub(" at 0x[0-9a-fA-F]+", "", repr(learning_rate))
