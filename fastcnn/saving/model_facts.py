"""What says whether two processes hold the same model: its layers and arrays as text, and a checksum."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastcnn.layers.protocol import tensors_of, walk
from fastcnn.saving.checksum import crc32


def arrays_of(layers: list[Any]) -> Iterator[np.ndarray]:
    """All arrays of all layers: parameters, and statistics such as a running mean."""
    for _, layer in walk(layers):
        yield from tensors_of(layer).values()


def layout(layers: list[Any]) -> str:
    """The class of each layer, and names, dtypes and shapes of its arrays, as text."""
    found = []
    for place, layer in walk(layers):
        shapes = [f"{name} {array.dtype} {array.shape}" for name, array in tensors_of(layer).items()]
        found.append(f"{place} {type(layer).__name__} ({', '.join(shapes)})")
    return ", ".join(found)


def fingerprint(layers: list[Any]) -> int:
    """The CRC-32 of all arrays."""
    crc = 0
    for array in arrays_of(layers):
        crc = crc32(np.asarray(array), crc)
    return crc
