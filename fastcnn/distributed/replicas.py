"""Copies of one model on all ranks: made equal at the start, kept equal, and compared."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastcnn import checkpoint, random_state, storage
from fastcnn.distributed.group import Group
from fastcnn.layers import BatchNorm, Dropout
from fastcnn.layers.chain import walk
from fastcnn.optimizers import Optimizer


def tensors(layers: list[Any]) -> Iterator[np.ndarray]:
    """All arrays of all layers, parameters and statistics."""
    for _, layer in walk(layers):
        if hasattr(layer, "parameters"):
            yield from storage.tensors(layer).values()


def described(layers: list[Any]) -> str:
    """Class and arrays of each layer, as text: what must be equal before arrays can be sent."""
    found = []
    for place, layer in walk(layers):
        arrays = storage.tensors(layer) if hasattr(layer, "parameters") else {}
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


def check_equal(group: Group, layers: list[Any]) -> None:
    """RuntimeError on all ranks where their parameters have come apart."""
    checksum = 0
    for array in tensors(layers):
        checksum = zlib.crc32(checkpoint.as_bytes(array), checksum)
    found = group.gather(checksum)
    for rank, other in enumerate(found):
        if other != found[0]:
            raise RuntimeError(
                f"fit: the models of the ranks have come apart: that of rank {rank} is not that of rank 0 any more. Do "
                "the ranks have the same versions of fastcnn, NumPy and Numba, and the same FASTCNN_BACKEND?"
            )


@contextlib.contextmanager
def one_batch(layers: list[Any], total: Callable[[np.ndarray], np.ndarray] | None) -> Iterator[None]:
    """Inside a ``with`` block each BatchNorm has the statistics of the whole batch, `total` being what adds up an array
    over the ranks; with None, of this rank's part of it."""
    norms = [layer for _, layer in walk(layers) if isinstance(layer, BatchNorm)]
    before = [layer.total for layer in norms]
    for layer in norms:
        layer.total = total
    try:
        yield
    finally:
        for layer, other in zip(norms, before, strict=True):
            layer.total = other


def place_part(layers: list[Any], first: int) -> None:
    """Tell each Dropout the number of its first image in the batch: a part of it draws what the whole would."""
    for _, layer in walk(layers):
        if isinstance(layer, Dropout):
            layer.first_image = first
