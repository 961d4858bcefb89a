"""Copies of one model on all ranks: made equal at the start, kept equal, and compared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastcnn.distributed.group import Group
from fastcnn.layers import BatchNorm, Dropout
from fastcnn.layers.base import Layer
from fastcnn.layers.chain import walk
from fastcnn.optimizers import Optimizer
from fastcnn.saving import checksum, model_file, random_state


def tensors(layers: list[Any]) -> Iterator[np.ndarray]:
    """All arrays of all layers, parameters and statistics."""
    for _, layer in walk(layers):
        if hasattr(layer, "parameters"):
            yield from model_file.tensors(layer).values()


def described(layers: list[Any]) -> str:
    """Class and arrays of each layer, as text: what must be equal before arrays can be sent."""
    found = []
    for place, layer in walk(layers):
        arrays = model_file.tensors(layer) if hasattr(layer, "parameters") else {}
        shapes = [f"{name} {array.dtype} {array.shape}" for name, array in arrays.items()]
        found.append(f"{place} {type(layer).__name__} ({', '.join(shapes)})")
    return ", ".join(found)


def broadcast(group: Group, layers: list[Any], optimizer: Optimizer) -> None:
    """Give all ranks rank 0's parameters, statistics, optimizer, and random numbers."""
    if group.lead:
        for _, layer in walk(layers):
            if isinstance(layer, Dropout):
                layer.draw_seed()  # now, and not in the first forward: the ranks must draw the same
    group.overwrite(list(tensors(layers)))
    random_state.restore(layers, group.broadcast(random_state.capture(layers)))
    optimizer.load_state_dict(group.broadcast(optimizer.state_dict()))


def fingerprint(layers: list[Any]) -> int:
    """The checksum of all arrays."""
    crc = 0
    for array in tensors(layers):
        crc = checksum.crc32(np.asarray(array), crc)
    return crc


def check_equal(group: Group, layers: list[Any]) -> None:
    """RuntimeError on all ranks where their parameters have come apart."""
    for rank, other in enumerate(found := group.gather(fingerprint(layers))):
        if other != found[0]:
            raise group.agreed(
                RuntimeError(
                    f"fit: the models of the ranks have come apart: that of rank {rank} is not that of rank 0 any "
                    "more. Do the ranks have the same versions of fastcnn, NumPy and Numba, the same FASTCNN_BACKEND, "
                    "and no callback that changes one of the models?"
                )
            )


class Part:
    """What layers must know of the batch of which a rank has a part; `total` adds up an array over the ranks.

    With it each BatchNorm has the statistics of the whole batch, and each Dropout draws for an image what it would draw
    in the whole. They know it in a ``with`` block alone: a model can be copied and used at any other time.
    """

    def __init__(self, layers: list[Any], total: Callable[[np.ndarray], np.ndarray] | None):
        self.total = total
        self.norms = [layer for _, layer in walk(layers) if isinstance(layer, BatchNorm)]
        self.dropouts = [layer for _, layer in walk(layers) if isinstance(layer, Dropout)]

    @contextlib.contextmanager
    def begins_at(self, first: int) -> Iterator[None]:
        """The part whose first image is number `first` of the batch."""
        before = [layer.first_image for layer in self.dropouts]
        for layer in self.norms:
            layer.total = self.total
        for layer in self.dropouts:
            layer.first_image = first
        try:
            yield
        finally:
            for layer in self.norms:
                layer.total = None
            for layer, number in zip(self.dropouts, before, strict=True):
                layer.first_image = number


class Statistics:
    """Arrays that no gradient changes, such as a running mean, each rank's own after a step: they become means over the
    images of the batch. Not those of BatchNorm where these are `synced` anyway, nor whole numbers."""

    def __init__(self, layers: list[Any], synced: bool):
        self.names = [
            (layer, name)
            for _, layer in walk(layers)
            if isinstance(layer, Layer) and not (synced and isinstance(layer, BatchNorm))
            for name in layer.state_names
            if np.asarray(getattr(layer, name)).dtype.kind == "f"
        ]

    def values(self) -> np.ndarray:
        """All of them in one float64 array."""
        arrays = [np.asarray(getattr(layer, name), np.float64).reshape(-1) for layer, name in self.names]
        return np.concatenate(arrays) if arrays else np.empty(0)

    def assign(self, values: np.ndarray) -> None:
        """Take them back from such an array."""
        first = 0
        for layer, name in self.names:
            like = np.asarray(getattr(layer, name))
            piece = values[first : first + like.size]
            setattr(layer, name, piece.reshape(like.shape).astype(like.dtype))
            first += like.size
