"""Where the random numbers of a training stand: NumPy's global generator, and layers such as Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn.layers.base import Layer
from fastcnn.layers.chain import walk
from fastcnn.shapes import check_int


def layer_numbers(layers: list[Any]) -> dict[str, dict[str, int | None]]:
    """For each layer with random numbers of its own, the integers from which the next ones follow."""
    return {
        place: {name: getattr(layer, name) for name in layer.random_names}
        for place, layer in walk(layers)
        if isinstance(layer, Layer) and layer.random_names
    }


def set_layer_numbers(layers: list[Any], numbers: dict[str, dict[str, int | None]]) -> None:
    """What `layer_numbers` returned, for the same layers."""
    for place, layer in walk(layers):
        for name, value in numbers.get(place, {}).items():
            if name in layer.random_names:
                setattr(layer, name, None if value is None else check_int(layer.name, name, value, 0))


def capture(layers: list[Any]) -> dict[str, Any]:
    """All of it, as JSON can hold it."""
    name, key, *rest = np.random.get_state()
    return {"numpy": [name, [int(word) for word in key], *rest], "layers": layer_numbers(layers)}


def restore(layers: list[Any], state: dict[str, Any]) -> None:
    """Continue where `capture` stood; where `state` is damaged, an error of any class, and nothing is changed."""
    before, numbers = np.random.get_state(), layer_numbers(layers)
    try:
        name, key, *rest = state["numpy"]
        set_layer_numbers(layers, state["layers"])
        np.random.set_state((name, np.array(key, np.uint32), *rest))
    except BaseException:
        np.random.set_state(before)
        set_layer_numbers(layers, numbers)
        raise
