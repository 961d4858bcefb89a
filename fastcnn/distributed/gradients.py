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
from fastcnn.layers.base import Layer
from fastcnn.layers.chain import walk
from fastcnn.optimizers import Optimizer

BUCKET = 256 << 10  # bytes; docs/scaling.md has what other sizes took


class Bucket:
    """Arrays that travel together: a piece of the buffer, and which layers must be done before it leaves."""

    def __init__(self, dtype: np.dtype):
        self.dtype, self.size = dtype, 0
        self.layers: list[Any] = []  # what has the gradients, in the order in which they lie in the buffer
        self.last = -1  # the position of the top layer whose gradients come last
        self.buffer = np.empty(0, dtype)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


class GradientSum:
    """Adds up, over the ranks of a group, the gradients of all layers that an optimizer trains.

    For each step: `begin`, `add` after each top layer's gradient, `finish`. Statistics that the ranks keep of their own
    parts of the batch, such as a running mean, travel ahead, to become means over the images.
    """

    def __init__(self, group: Group, layers: list[Any], optimizer: Optimizer, bucket: int = BUCKET):
        self.group = group
        self.buckets = self.divided(optimizer, bucket)
        self.states = [layer for _, layer in walk(layers) if isinstance(layer, Layer) and layer.state_names]
        self.next = 0
        self.requests: list[Any] = []
        self.averages: list[tuple[Any, str, np.ndarray]] = []
        self.waited = 0.0  # seconds that `finish` has waited in all
        self.bytes = 0  # that were added up in the last step

    def divided(self, optimizer: Optimizer, size: int) -> list[Bucket]:
        """The buckets, each of `size` bytes at least, but the last of a dtype."""
        buckets: list[Bucket] = []
        for place, layer in reversed(optimizer.trained):
            gradients = layer.gradients() if hasattr(layer, "gradients") else {}
            if not gradients:
                raise TypeError(
                    f"fit: `distributed` needs the gradients of all layers that learn, and the layer {place}, a "
                    f"{type(layer).__name__}, has no gradients(): give it parameters() and gradients(), dicts of "
                    "arrays by the same names"
                )
            dtype = next(iter(gradients.values())).dtype
            top = int(place.partition(".")[0])
            full = buckets and buckets[-1].nbytes >= size and buckets[-1].last != top
            if not buckets or full or buckets[-1].dtype != dtype:
                buckets.append(Bucket(dtype))
            bucket = buckets[-1]
            bucket.layers.append(layer)
            bucket.size += sum(array.size for array in gradients.values())
            bucket.last = top
        for bucket in buckets:
            bucket.buffer = np.empty(bucket.size, bucket.dtype)
        return buckets

    def begin(self, news: np.ndarray, share: float) -> None:
        """Before the backward pass: send `news`, an array that is added up over the ranks too, and the statistics.
        `share` is this rank's part of the images of the batch."""
        self.next, self.requests, self.averages, self.bytes = 0, [], [], 0
        self.send(news)
        for layer in self.states:
            for name in layer.state_names:
                mean = getattr(layer, name) * layer.dtype.type(share)
                self.averages.append((layer, name, mean))
                self.send(mean)

    def send(self, array: np.ndarray) -> None:
        self.requests.append(self.group.start_sum(array))
        self.bytes += array.nbytes

    def add(self, position: int) -> None:
        """The gradients of the top layer at `position`, and of all behind it, are there."""
        while self.next < len(self.buckets) and self.buckets[self.next].last >= position:
            bucket = self.buckets[self.next]
            arrays = [array.reshape(-1) for layer in bucket.layers for array in layer.gradients().values()]
            np.concatenate(arrays, out=bucket.buffer)
            self.send(bucket.buffer)
            self.next += 1
        self.group.poke(self.requests)

    def finish(self) -> None:
        """After the backward pass: each layer has the sums of all ranks as its gradients, and the mean statistics."""
        self.add(-1)
        start = time.perf_counter()
        self.group.wait(*self.requests)
        self.waited += time.perf_counter() - start
        for layer, name, mean in self.averages:
            setattr(layer, name, mean)
        for bucket in self.buckets:
            first = 0
            for layer in bucket.layers:
                for array in layer.gradients().values():
                    array[...] = bucket.buffer[first : first + array.size].reshape(array.shape)
                    first += array.size
