"""The work that `fastcnn bench` measures, by name; benchmarks/ reads the same definitions.

A workload says how each contestant does it: a function that builds the arrays and returns one or more steps, callables
that do the work once. Where there is more than one, as for PyTorch's two memory layouts, the fastest counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from fastcnn.benchmark import single_layers, torch_side
from fastcnn.benchmark.networks import NETWORKS, epoch, prediction, training_step
from fastcnn.runtime import get_dtype

Step = Callable[[], object]
Steps = dict[str, Step]  # by variant; "" where there is only one


@dataclass(frozen=True)
class Workload:
    """`make[contestant]()` returns its steps. `flops` and `bytes` are what one step must compute and move, at least."""

    name: str
    group: str
    make: dict[str, Callable[[], Steps]] = field(repr=False)
    flops: int = 0
    bytes: int = 0


def ours(function: Callable, *args: object) -> Callable[[], Steps]:
    """One step that calls a kernel of the backend that is on, named by the function `function` of the backend."""
    return lambda: {"": function(*args)}


# Network and batch size of each training step.
TRAININGS = {name: (name, 64) for name in NETWORKS} | {"vgg_small_b8": ("vgg_small", 8)}


def training(name: str, batch: int) -> Workload:
    """A step on a batch: forward, both gradients, update; the first layer's input gradient is not computed."""
    label = name if batch == 64 else f"{name}_b{batch}"
    fast = ours(training_step, name, batch)
    make = {"numba": fast, "torch": partial(torch_side.training_step, name, batch), "numpy": fast}
    if name == "lenet":
        make["original"] = ours(partial(training_step, kit="original"), name, batch)
    if label == "vgg_small":
        make["numba-1"] = fast
    return Workload(label, "training", make)


def predicting(name: str) -> Workload:
    """The probabilities of one image."""
    fast = ours(prediction, name)
    return Workload(
        f"predict_{name}", "prediction", {"numba": fast, "torch": partial(torch_side.prediction, name), "numpy": fast}
    )


def epoch_of(name: str) -> Workload:
    """One epoch of `fit` on the digits of the package."""
    fast = ours(epoch, name)
    make = {"numba": fast, "torch": partial(torch_side.epoch, name), "numpy": fast}
    return Workload(f"epoch_{name}", "epoch", make)


def layer(kind: str) -> Workload:
    """Forward and all gradients of one layer."""
    fast = ours(single_layers.step, kind)
    make = {"numba": fast, "torch": partial(torch_side.layer, kind), "numpy": fast}
    return Workload(f"layer_{kind}", "layer", make)


@dataclass(frozen=True)
class Convolution:
    """A square convolution: batch, side of the image, channels in and out, kernel, stride, padding on each side."""

    batch: int
    side: int
    inputs: int
    outputs: int
    ksize: int
    stride: int = 1
    padding: int = 0

    @property
    def name(self) -> str:
        stride = f"s{self.stride}" if self.stride > 1 else ""
        return f"n{self.batch}_{self.side}x{self.side}_{self.inputs}to{self.outputs}_k{self.ksize}{stride}"

    @property
    def out_side(self) -> int:
        return (self.side + 2 * self.padding - self.ksize) // self.stride + 1

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.out_side**2 * self.outputs * self.ksize**2 * self.inputs

    def arrays(self) -> tuple[np.ndarray, ...]:
        """x, weights, bias and eta, NHWC, of the dtype that is on."""
        rng = np.random.default_rng(0)
        k, o = self.ksize, self.outputs
        shapes = (self.batch, self.side, self.side, self.inputs), (k, k, self.inputs, o), (o,)
        shapes = *shapes, (self.batch, self.out_side, self.out_side, o)
        return tuple(rng.standard_normal(shape, np.float32).astype(get_dtype()) for shape in shapes)

    def step(self, direction: str) -> Step:
        from fastcnn.backend import active

        x, weights, bias, eta = self.arrays()
        padding = (self.padding, self.padding)
        return {
            "forward": lambda: active().conv_forward(x, weights, bias, self.stride, padding),
            "input": lambda: active().conv_input_gradient(eta, weights, x.shape, self.stride, padding),
            "weights": lambda: active().conv_weight_gradient(x, eta, self.ksize, self.stride, padding),
        }[direction]

    def workload(self, direction: str) -> Workload:
        fast = ours(self.step, direction)
        make = {"numba": fast, "torch": partial(torch_side.convolution, self, direction)}
        if self.large and direction == "forward":
            make |= {"direct": fast, "sgemm": ours(matrix_product, self.flops)}
        return Workload(f"{self.name}_{direction}", "convolution", make, self.flops)

    @property
    def large(self) -> bool:
        """One of the shapes by which the rate is compared with that of a matrix product."""
        return self.ksize == 3 and self.stride == 1 and self.inputs == self.outputs >= 64


CONVOLUTIONS = (
    Convolution(32, 56, 64, 64, 3, 1, 1),
    Convolution(32, 28, 128, 128, 3, 1, 1),
    Convolution(32, 14, 256, 256, 3, 1, 1),
    Convolution(32, 56, 64, 128, 1),
    Convolution(32, 56, 64, 128, 3, 2, 1),
    Convolution(64, 28, 1, 12, 5),
    Convolution(64, 12, 12, 24, 3),
    Convolution(8, 224, 3, 64, 7, 2, 3),
    Convolution(64, 32, 3, 32, 3, 1, 1),
    Convolution(16, 28, 30, 50, 3, 1, 1),
)


def matrix_product(flops: int) -> Step:
    """NumPy's BLAS on square matrices: the machine's own rate, in as many operations as the workload has."""
    side = round((flops / 2) ** (1 / 3))
    a = np.random.default_rng(0).standard_normal((side, side), np.float32).astype(get_dtype())
    out = np.empty_like(a)
    return lambda: np.dot(a, a, out=out)


@dataclass(frozen=True)
class Pooling:
    """Windows of `ksize`, `stride` apart, on a batch of 64 square images of 64 channels."""

    kind: str
    side: int
    ksize: int
    stride: int

    def images(self) -> np.ndarray:
        x = np.random.default_rng(0).standard_normal((64, self.side, self.side, 64), np.float32)
        return x.astype(get_dtype())

    def step(self, direction: str) -> Step:
        from fastcnn.backend import active

        x = self.images()
        k, s = self.ksize, self.stride
        if self.kind == "avg":
            eta = active().avg_pool_forward(x, k, s)
            forward, back = partial(active().avg_pool_forward, x, k, s), active().avg_pool_backward
            return forward if direction == "forward" else partial(back, eta, x.shape, k, s)
        eta, index = active().max_pool_forward(x, k, s)
        forward, back = partial(active().max_pool_forward, x, k, s), active().max_pool_backward
        return forward if direction == "forward" else partial(back, eta, index, x.shape, k, s)

    def workload(self, direction: str) -> Workload:
        small = (self.side // self.stride) ** 2
        moved = 64 * 64 * (4 * (self.side**2 + small) + (small if self.kind == "max" else 0))
        make = {
            "numba": ours(self.step, direction),
            "torch": partial(torch_side.pooling, self, direction),
            "copy": ours(copy, moved),
        }
        name = f"{self.kind}_pool_{self.side}x{self.side}_k{self.ksize}s{self.stride}_{direction}"
        return Workload(name, "pooling", make, bytes=moved)


def copy(moved: int) -> Step:
    """A copy that reads half of `moved` bytes and writes the other half, by as many threads as kernels use."""
    from concurrent.futures import ThreadPoolExecutor

    from fastcnn.runtime import get_num_threads

    threads = get_num_threads()
    pool = ThreadPoolExecutor(threads)
    size = moved // 2 // threads
    parts = [(np.zeros(size, np.uint8), np.ones(size, np.uint8)) for _ in range(threads)]
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def columns(kernel: str) -> Workload:
    """im2col or col2im of 16 images of 56 x 56 with 64 channels, 3 x 3 windows, beside a copy of the same bytes."""
    shape, k = (16, 56, 56, 64), 3
    size = math.prod(shape)

    def images() -> np.ndarray:
        return np.random.default_rng(0).standard_normal(shape, np.float32).astype(get_dtype())

    def step() -> Step:
        from fastcnn.backend import active

        x = images()
        if kernel == "im2col":
            return lambda: active().im2col(x, k, 1, (1, 1))
        cols = active().im2col(x, k, 1, (1, 1))
        return lambda: active().col2im(cols, shape, k, 1, (1, 1))

    moved = 4 * size * (1 + k * k)
    make = {
        "numba": ours(step),
        "torch": lambda: torch_side.columns(kernel, images(), k, 1),
        "copy": ours(copy, moved),
    }
    return Workload(kernel, "columns", make, bytes=moved)


def _all() -> list[Workload]:
    found = [training(name, batch) for name, batch in TRAININGS.values()]
    found += [predicting(name) for name in ("lenet", "vgg_small")]
    found += [epoch_of("lenet"), *(layer(kind) for kind in single_layers.KINDS)]
    found += [shape.workload(way) for shape in CONVOLUTIONS for way in ("forward", "input", "weights")]
    windows = [Pooling(kind, *size) for kind in ("max", "avg") for size in ((112, 2, 2), (56, 3, 2))]
    found += [pooling.workload(way) for pooling in windows for way in ("forward", "backward")]
    return [*found, columns("im2col"), columns("col2im")]


WORKLOADS = {workload.name: workload for workload in _all()}
GROUPS = tuple(dict.fromkeys(workload.group for workload in WORKLOADS.values()))
