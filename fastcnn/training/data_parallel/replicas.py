"""Replicas of one model on all ranks: equal from the start, kept equal, and compared after each epoch."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastcnn.distributed.group import Group
from fastcnn.layers.protocol import draw_seed, shard_names_of, state_of, walk
from fastcnn.optimizers import Optimizer
from fastcnn.saving import model_facts, random_state


def broadcast(group: Group, layers: list[Any], optimizer: Optimizer) -> None:
    """Overwrite parameters, statistics, optimizer and random state of all ranks with those of rank 0."""
    if group.lead:
        for _, layer in walk(layers):
            draw_seed(layer)  # now, as in the first forward each rank would draw its own
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
        self.names = [(layer, name) for _, layer in walk(layers) for name in shard_names_of(layer)]

    @contextlib.contextmanager
    def begins_at(self, first: int) -> Iterator[None]:
        """The shard whose first image is number `first` of the batch."""
        shard = {"first_image": first, "total": self.total}
        before = [getattr(layer, name) for layer, name in self.names]
        for layer, name in self.names:
            setattr(layer, name, shard[name])
        try:
            yield
        finally:
            for (layer, name), value in zip(self.names, before, strict=True):
                setattr(layer, name, value)


class Statistics:
    """Arrays that no gradient changes, such as a running mean, and that differ between ranks after a step: they are
    averaged over the images of the batch. Not those of layers that are `synced`, which are equal; nor integers."""

    def __init__(self, layers: list[Any], synced: bool):
        self.names = [
            (layer, name)
            for _, layer in walk(layers)
            if not (synced and "total" in shard_names_of(layer))
            for name, array in state_of(layer).items()
            if np.asarray(array).dtype.kind == "f"
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
