"""Replicas of one model on all ranks: equal from the start, kept equal, and compared after each epoch."""

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
from fastcnn.saving import model_facts, random_state


def broadcast(group: Group, layers: list[Any], optimizer: Optimizer) -> None:
    """Overwrite parameters, statistics, optimizer and random state of all ranks with those of rank 0."""
    if group.lead:
        for _, layer in walk(layers):
            if isinstance(layer, Dropout):
                layer.draw_seed()  # now, as in the first forward each rank would draw its own
    group.broadcast_arrays(list(model_facts.arrays_of(layers)))
    random_state.restore(layers, group.broadcast(random_state.capture(layers)))
    optimizer.load_state_dict(group.broadcast(optimizer.state_dict()))


def check_equal(group: Group, layers: list[Any]) -> None:
    """RuntimeError on all ranks where their replicas differ."""
    for rank, other in enumerate(found := group.all_gather(model_facts.fingerprint(layers))):
        if other != found[0]:
            raise group.common(
                RuntimeError(
                    f"fit: the models of the ranks have come apart: that of rank {rank} is not that of rank 0 any "
                    "more. Do the ranks have the same versions of fastcnn, NumPy and Numba, the same FASTCNN_BACKEND, "
                    "and no callback that changes one of the models?"
                )
            )


class Shard:
    """What layers must know while they compute a shard of a batch; `total` is an all-reduce of an array.

    With it each BatchNorm has the statistics of the whole batch, and each Dropout draws for an image what it would draw
    in the whole batch. It is set in a ``with`` block alone: at any other time a model can be copied and used.
    """

    def __init__(self, layers: list[Any], total: Callable[[np.ndarray], np.ndarray] | None):
        self.total = total
        self.norms = [layer for _, layer in walk(layers) if isinstance(layer, BatchNorm)]
        self.dropouts = [layer for _, layer in walk(layers) if isinstance(layer, Dropout)]

    @contextlib.contextmanager
    def begins_at(self, first: int) -> Iterator[None]:
        """The shard whose first image is number `first` of the batch."""
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
    """Arrays that no gradient changes, such as a running mean, and that differ between ranks after a step: they are
    averaged over the images of the batch. Not those of a BatchNorm that is `synced`, which are equal; nor integers."""

    def __init__(self, layers: list[Any], synced: bool):
        self.names = [
            (layer, name)
            for _, layer in walk(layers)
            if isinstance(layer, Layer) and not (synced and isinstance(layer, BatchNorm))
            for name in layer.state_names
            if np.asarray(getattr(layer, name)).dtype.kind == "f"
        ]

    def values(self) -> np.ndarray:
        """All values in one float64 array."""
        arrays = [np.asarray(getattr(layer, name), np.float64).reshape(-1) for layer, name in self.names]
        return np.concatenate(arrays) if arrays else np.empty(0)

    def assign(self, values: np.ndarray) -> None:
        """Take them from such an array."""
        first = 0
        for layer, name in self.names:
            like = np.asarray(getattr(layer, name))
            piece = values[first : first + like.size]
            setattr(layer, name, piece.reshape(like.shape).astype(like.dtype))
            first += like.size
