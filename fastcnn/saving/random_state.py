"""The state of random numbers: NumPy's global generator, and layers such as Dropout."""

from typing import Any

import numpy as np

from fastcnn.layers.protocol import random_numbers_of, walk
from fastcnn.shapes import check_int


def layer_numbers(layers: list[Any]) -> dict[str, dict[str, int | None]]:
    """For each layer with random numbers of its own, the integers from which the next ones follow."""
    found = {place: random_numbers_of(layer) for place, layer in walk(layers)}
    return {place: numbers for place, numbers in found.items() if numbers}


def set_layer_numbers(layers: list[Any], numbers: dict[str, dict[str, int | None]]) -> None:
    """Restore what `layer_numbers` returned for the same layers."""
    for place, layer in walk(layers):
        for name, value in numbers.get(place, {}).items():
            if name in random_numbers_of(layer):
                setattr(layer, name, None if value is None else check_int(layer.name, name, value, 0))


def capture(layers: list[Any]) -> dict[str, Any]:
    """The whole state, as JSON can hold it."""
    name, key, *rest = np.random.get_state()
    return {"numpy": [name, [int(word) for word in key], *rest], "layers": layer_numbers(layers)}


def restore(layers: list[Any], state: dict[str, Any]) -> None:
    """Restore what `capture` returned; where `state` is damaged, an error of any class, and nothing is changed."""
    before, numbers = np.random.get_state(), layer_numbers(layers)
    try:
        name, key, *rest = state["numpy"]
        set_layer_numbers(layers, state["layers"])
        np.random.set_state((name, np.array(key, np.uint32), *rest))
    except BaseException:
        np.random.set_state(before)
        set_layer_numbers(layers, numbers)
        raise
