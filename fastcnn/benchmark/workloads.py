"""The work that `fastcnn bench` measures, by name; benchmarks/ reads the same definitions.

A workload says how each contestant does it: a function that builds the arrays and returns one or more steps, callables
that do the work once. Where there is more than one, as for PyTorch's two memory layouts, the fastest counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import fastcnn
from fastcnn.benchmark import jax_side, single_layers, torch_side
from fastcnn.benchmark.arrays import drawn
from fastcnn.benchmark.kernels import CONVOLUTIONS, POOLINGS, RESIZINGS, Convolution, Pooling, Resizing, Step, backend
from fastcnn.benchmark.networks import BATCHES, NETWORKS, epoch, prediction, training_step
from fastcnn.windows import square

Steps = dict[str, Step]  # by variant; "" where there is only one
Make = dict[str, Callable[[], Steps]]  # by contestant


@dataclass(frozen=True)
class Workload:
    """`make[contestant]()` returns its steps. `flops` and `bytes` are what one step must compute and move, at least."""

    name: str
    group: str
    make: Make = field(repr=False)
    flops: int = 0
    bytes: int = 0


def ours(function: Callable, *args: object) -> Callable[[], Steps]:
    """One step, which `function` makes, on the backend that is on."""
    return lambda: {"": function(*args)}


# Network and batch size of each training step.
TRAININGS = {name: (name, BATCHES.get(name, 64)) for name in NETWORKS} | {
    f"{name}_b{batch}": (name, batch) for name, batch in (("lenet", 1), ("lenet", 512), ("vgg_small", 8))
}
PREDICTIONS = ("lenet", "vgg_small", "conv_bn", "strided", "mlp")


def rivals(work: str, *args: Any) -> Make:
    """Whole networks in PyTorch, eager and compiled, and in JAX."""
    theirs = getattr(torch_side, work)
    return {
        "torch": partial(theirs, *args),
        "compile": partial(theirs, *args, compiled=True),
        "jax": partial(getattr(jax_side, work), *args),
    }


def training(name: str, batch: int) -> Workload:
    """A step on a batch: forward, both gradients, update; the first layer's input gradient is not computed."""
    label = name if (name, batch) == TRAININGS[name] else f"{name}_b{batch}"
    fast = ours(training_step, name, batch)
    make: Make = {"numba": fast, **rivals("training_step", name, batch), "numpy": fast}
    if label == "lenet":
        make["original"] = ours(partial(training_step, kit="original"), name, batch)
    if label == "vgg_small":
        make["numba-1"] = fast
    return Workload(label, "training", make)


def predicting(name: str) -> Workload:
    """The probabilities of one image."""
    fast = ours(prediction, name)
    make: Make = {"numba": fast, **rivals("prediction", name), "numpy": fast}
    return Workload(f"predict_{name}", "prediction", make)


def epoch_of(name: str) -> Workload:
    """One epoch of `fit` on the digits of the package."""
    fast = ours(epoch, name)
    make: Make = {"numba": fast, "torch": partial(torch_side.epoch, name), "numpy": fast}
    return Workload(f"epoch_{name}", "epoch", make)


def layer(kind: str) -> Workload:
    """Forward and all gradients of one layer."""
    fast = ours(single_layers.step, kind)
    make: Make = {"numba": fast, "torch": partial(torch_side.layer, kind), "numpy": fast}
    return Workload(f"layer_{kind}", "layer", make)


def convolution(shape: Convolution, direction: str) -> Workload:
    """One of the three kernels of a convolution; the large ones beside the rate of a matrix product."""
    fast = ours(shape.step, direction)
    make: Make = {"numba": fast, "torch": partial(torch_side.convolution, shape, direction)}
    if shape.depthwise:
        make["copy"] = ours(copy, shape.moved)
    if shape.dense:
        make["direct"] = fast
    if shape.large and direction == "forward":
        make["sgemm"] = ours(matrix_product, shape.flops)
    return Workload(f"{shape.name}_{direction}", "convolution", make, shape.flops)


def matrix_product(flops: int) -> Step:
    """NumPy's BLAS on square matrices: the machine's own rate, in as many operations as the workload has."""
    side = round((flops / 2) ** (1 / 3))
    a = drawn((side, side))[0]
    out = np.empty_like(a)
    return lambda: np.dot(a, a, out=out)


def pooling(shape: Pooling, direction: str) -> Workload:
    """Pooling or its gradient, beside a copy of the same bytes."""
    make: Make = {
        "numba": ours(shape.step, direction),
        "torch": partial(torch_side.pooling, shape, direction),
        "copy": ours(copy, shape.moved),
    }
    return Workload(f"{shape.name}_{direction}", "pooling", make, bytes=shape.moved)


def resizing(shape: Resizing, direction: str) -> Workload:
    """A pooling of whole images, or larger images, beside a copy of the same bytes."""
    make: Make = {
        "numba": ours(shape.step, direction),
        "torch": partial(torch_side.resizing, shape, direction),
        "copy": ours(copy, shape.moved),
    }
    return Workload(f"{shape.name}_{direction}", "pooling", make, bytes=shape.moved)


def copy(moved: int) -> Step:
    """A copy that reads half of `moved` bytes and writes the other half, by as many threads as kernels use."""
    from concurrent.futures import ThreadPoolExecutor

    threads = fastcnn.get_num_threads()
    pool = ThreadPoolExecutor(threads)
    size = moved // 2 // threads
    parts = [(np.zeros(size, np.uint8), np.ones(size, np.uint8)) for _ in range(threads)]
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def columns(kernel: str) -> Workload:
    """im2col or col2im of 16 images of 56 x 56 with 64 channels, 3 x 3 windows, beside a copy of the same bytes."""
    shape, k = (16, 56, 56, 64), 3
    size = math.prod(shape)

    def step() -> Step:
        kernels, x = backend(), drawn(shape)[0]
        if kernel == "im2col":
            return lambda: kernels.im2col(x, square(k, 1, 1, 1))
        cols = kernels.im2col(x, square(k, 1, 1, 1))
        return lambda: kernels.col2im(cols, shape, square(k, 1, 1, 1))

    moved = 4 * size * (1 + k * k)
    make: Make = {
        "numba": ours(step),
        "torch": lambda: torch_side.columns(kernel, drawn(shape)[0], k, 1),
        "copy": ours(copy, moved),
    }
    return Workload(kernel, "columns", make, bytes=moved)


def _all() -> list[Workload]:
    found = [training(name, batch) for name, batch in TRAININGS.values()]
    found += [predicting(name) for name in PREDICTIONS]
    found += [epoch_of("lenet"), *(layer(kind) for kind in single_layers.KINDS)]
    found += [convolution(shape, way) for shape in CONVOLUTIONS for way in ("forward", "input", "weights")]
    found += [pooling(shape, way) for shape in POOLINGS for way in ("forward", "backward")]
    found += [resizing(shape, way) for shape in RESIZINGS for way in ("forward", "backward")]
    return [*found, columns("im2col"), columns("col2im")]


WORKLOADS = {workload.name: workload for workload in _all()}
GROUPS = tuple(dict.fromkeys(workload.group for workload in WORKLOADS.values()))
