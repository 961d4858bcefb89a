"""The gradients of all ranks, added up in one buffer while the backward pass still goes on.

The buffer is divided into buckets in the order in which the backward pass finishes layers, the last one first, and a
bucket is on its way as soon as its last gradient is there: Li et al., "PyTorch Distributed: Experiences on Accelerating
Data Parallel Training" (VLDB 2020), section 3.2.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fastcnn.distributed.group import Group
from fastcnn.optimizers import Optimizer

BUCKET = 256 << 10  # bytes; docs/scaling.md has what other sizes took


class Bucket:
    """Gradients that travel together: a piece of the buffer, and which layers must be done before it leaves."""

    def __init__(self, dtype: np.dtype):
        self.dtype, self.size = dtype, 0
        self.names: list[tuple[Any, str]] = []  # layer and parameter, in the order in which they lie in the buffer
        self.last = -1  # the position of the top layer whose gradients come last
        self.buffer = np.empty(0, dtype)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def gradients(self) -> list[np.ndarray]:
        """The layers' own arrays."""
        return [layer.gradients()[name] for layer, name in self.names]


class GradientSum:
    """Adds up, over the ranks of a group, the gradients of all layers that an optimizer trains.

    For each step: `begin`, `add` after each top layer's gradient, `finish`.
    """

    def __init__(self, group: Group, optimizer: Optimizer, bucket: int = BUCKET):
        self.group = group
        self.buckets = divided(optimizer, bucket)
        self.next = 0
        self.requests: list[Any] = []
        self.waited = 0.0  # seconds that `finish` has waited in all
        self.bytes = 0  # that were added up in the last step

    def begin(self, news: np.ndarray) -> None:
        """Before the backward pass: send `news`, a float64 array that is added up over the ranks too, ahead."""
        self.next, self.requests, self.bytes = 0, [], 0
        self.send(news)

    def send(self, array: np.ndarray) -> None:
        self.requests.append(self.group.start_sum(array))
        self.bytes += array.nbytes

    def add(self, position: int) -> None:
        """The gradients of the top layer at `position`, and of all behind it, are there."""
        while self.next < len(self.buckets) and self.buckets[self.next].last >= position:
            bucket = self.buckets[self.next]
            np.concatenate([array.reshape(-1) for array in bucket.gradients()], out=bucket.buffer)
            self.send(bucket.buffer)
            self.next += 1
        self.group.poke(self.requests)

    def finish(self) -> None:
        """After the backward pass: each layer has the sums of all ranks as its gradients."""
        self.add(-1)
        start = time.perf_counter()
        self.group.wait(*self.requests)
        self.waited += time.perf_counter() - start
        for bucket in self.buckets:
            first = 0
            for array in bucket.gradients():
                array[...] = bucket.buffer[first : first + array.size].reshape(array.shape)
                first += array.size


def divided(optimizer: Optimizer, size: int) -> list[Bucket]:
    """The buckets of all gradients, each of `size` bytes at least, but the last of a dtype."""
    buckets: list[Bucket] = []
    for place, layer in reversed(optimizer.trained):
        top = int(place.partition(".")[0])
        for name, gradient in lasting_gradients(place, layer).items():
            full = buckets and buckets[-1].nbytes >= size and buckets[-1].last != top
            if not buckets or full or buckets[-1].dtype != gradient.dtype:
                buckets.append(Bucket(gradient.dtype))
            buckets[-1].names.append((layer, name))
            buckets[-1].size += gradient.size
            buckets[-1].last = top
    for bucket in buckets:
        bucket.buffer = np.empty(bucket.size, bucket.dtype)
    return buckets


def lasting_gradients(place: str, layer: Any) -> dict[str, np.ndarray]:
    """The layer's gradients; TypeError where nobody can change them, as sums must."""
    first, second = ((layer.gradients() if hasattr(layer, "gradients") else {}) for _ in range(2))
    if first and all(np.shares_memory(array, second[name]) for name, array in first.items()):
        return first
    what = "returns copies from gradients()" if first else "has no gradients()"
    raise TypeError(
        f"fit: `distributed` needs the gradients of all layers that learn, and the layer {place}, a "
        f"{type(layer).__name__}, {what}: give it parameters() and gradients(), dicts of its own arrays by the same "
        "names"
    )
