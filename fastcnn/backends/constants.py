"""Arrays that nothing is written to any more, and what kernels have made of them once: weights packed or transformed.

Whoever holds an array here owns it alone and gives no other view of it away: a kernel does not look whether its numbers
are still the same.
"""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

_made: dict[int, dict[Any, Any]] = {}  # of each array that is held, by its id


def constant(array: np.ndarray) -> np.ndarray:
    """A copy that cannot be written to, and of which kernels keep what they make, as long as it is there."""
    own = np.array(array, order="C", copy=True)
    own.setflags(write=False)
    _made[id(own)] = {}
    weakref.finalize(own, _made.pop, id(own), None)
    return own


def made_of(array: np.ndarray) -> dict[Any, Any] | None:
    """What has been made of an array so far, for the kernels to read and to add to; None where it may change."""
    return _made.get(id(array))


def once(made: dict[Any, Any], key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What was made of an array under `key`; made now where this is the first time. Two threads may both make it."""
    found = made.get(key)
    if found is None:
        found = made[key] = make()
    return found
