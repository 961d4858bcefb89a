"""What an optimizer's arguments must be."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastcnn.components import Checked
from fastcnn.shapes import check_choice, check_number, must_be

DECAYS = ("all", "weights")


def number(above: bool = False, below: float = math.inf, optional: bool = False) -> Callable[[str, str, Any], Any]:
    """The check of a number of at least 0, or above 0, and below `below`; None too where it is `optional`."""

    def check(owner: str, name: str, value: Any) -> float | None:
        if value is None and optional:
            return None
        number = check_number(owner, name, value, 0)
        if (above and number == 0) or number >= below:
            bound = f"{'above' if above else 'of at least'} 0{f' and below {below:g}' if below < math.inf else ''}"
            raise ValueError(must_be(owner, name, f"a number {bound}", value))
        return number

    return check


def check_rate(owner: str, name: str, value: Any) -> Any:
    return value if callable(value) else check_number(owner, name, value, 0)


def check_decay(owner: str, name: str, value: Any) -> Any:
    return value if callable(value) else check_choice(owner, name, value, DECAYS, ", or a function of (place, name)")


def check_kept(owner: str, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(must_be(owner, name, "a dict of what is kept for each parameter", value))
    return value


class MadeWith(Checked[list[Any]]):
    """The layers that an optimizer is made with: its steps would go on to train these, whatever else is assigned."""

    def __set__(self, optimizer: Any, value: Any) -> None:
        before = optimizer.__dict__.get(self.name)
        super().__set__(optimizer, value)
        trained = optimizer.trained
        if trained and [id(layer) for _, layer in optimizer.find_trained()] != [id(layer) for _, layer in trained]:
            optimizer.__dict__[self.name] = before
            name = type(optimizer).__name__
            raise ValueError(f"{name}: `{self.name}` stay those of the constructor: make a new optimizer for others")


def check_layers(owner: str, name: str, value: Any) -> list[Any]:
    """The layers of a model, or those in a list."""
    given = getattr(value, "layers", value)
    return list(given) if isinstance(given, Iterable) and not isinstance(given, np.ndarray) else []
