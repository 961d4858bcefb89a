"""The all-reduce of the gradients, overlapped with the backward pass.

Gradients are copied into buckets in the order in which the backward pass finishes layers, the last one first, and the
all-reduce of a bucket starts as soon as its last gradient is there: Li et al., "PyTorch Distributed: Experiences on
Accelerating Data Parallel Training" (VLDB 2020), section 3.2.
"""

import time
from typing import Any

import numpy as np

from fastcnn.distributed.group import Group
from fastcnn.layers.protocol import gradients_of
from fastcnn.optimizers import Optimizer

BUCKET = 256 << 10  # bytes; docs/scaling.md has what other sizes took


class Bucket:
    """Gradients that are summed in one all-reduce, and the last of the layers that must be done before it starts."""

    def __init__(self, dtype: np.dtype):
        self.dtype, self.size = dtype, 0
        self.names: list[tuple[Any, str]] = []  # layer and parameter, in the order of the buffer
        self.last = -1  # position in the model of the layer whose gradients come last
        self.buffer = np.empty(0, dtype)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def gradients(self) -> list[np.ndarray]:
        """The layers' own arrays."""
        return [layer.gradients()[name] for layer, name in self.names]


class GradientSum:
    """Sums, over the ranks of a group, the gradients of all layers that an optimizer trains.

    In each step: `begin`, `layer_done` after the gradients of each layer of the model, `finish`.
    """

    def __init__(self, group: Group, optimizer: Optimizer, bucket: int = BUCKET):
        self.group = group
        self.buckets = into_buckets(optimizer, bucket)
        self.next = 0
        self.requests: list[Any] = []
        self.waited = 0.0  # seconds that `finish` has waited in all
        self.bytes = 0  # summed in the last step

    def begin(self, status: np.ndarray) -> None:
        """Before the backward pass: start the all-reduce of `status`, a float64 array."""
        self.next, self.requests, self.bytes = 0, [], 0
        self.start(status)

    def start(self, array: np.ndarray) -> None:
        """Start the all-reduce of `array`."""
        self.requests.append(self.group.start_all_reduce(array))
        self.bytes += array.nbytes

    def layer_done(self, position: int) -> None:
        """The gradients of the model's layer at `position`, and of all after it, are there."""
        while self.next < len(self.buckets) and self.buckets[self.next].last >= position:
            bucket = self.buckets[self.next]
            np.concatenate([array.reshape(-1) for array in bucket.gradients()], out=bucket.buffer)
            self.start(bucket.buffer)
            self.next += 1
        self.group.progress(self.requests)

    def finish(self) -> None:
        """After the backward pass: wait, and give each layer the sums of all ranks as its gradients."""
        self.layer_done(-1)
        start = time.perf_counter()
        self.group.wait(*self.requests)
        self.waited += time.perf_counter() - start
        for bucket in self.buckets:
            first = 0
            for array in bucket.gradients():
                array[...] = bucket.buffer[first : first + array.size].reshape(array.shape)
                first += array.size


def into_buckets(optimizer: Optimizer, size: int) -> list[Bucket]:
    """The buckets of all gradients, each of at least `size` bytes, but for the last one of a dtype."""
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
    """The layer's gradients; TypeError where they cannot be overwritten by the sums, as they are copies."""
    first, second = (gradients_of(layer) for _ in range(2))
    if first and all(np.shares_memory(array, second[name]) for name, array in first.items()):
        return first
    what = "returns copies from gradients()" if first else "has no gradients()"
    raise TypeError(
        f"fit: `distributed` needs the gradients of all layers that learn, and the layer {place}, a "
        f"{type(layer).__name__}, {what}: give it parameters() and gradients(), dicts of its own arrays by the same "
        "names"
    )
