"""The kernels that are measured: shapes, arrays, and the calls of the backend that is on."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import numpy as np

import fastcnn
from fastcnn.windows import Pooled, pooled

Step = Callable[[], object]


def backend() -> ModuleType:
    """The backend that is on."""
    return importlib.import_module(f"fastcnn.backends.{fastcnn.get_backend()}")


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
        x, eta = (self.batch, self.side, self.side, self.inputs), (self.batch, self.out_side, self.out_side, o)
        shapes: tuple[tuple[int, ...], ...] = x, (k, k, self.inputs, o), (o,), eta
        return tuple(rng.standard_normal(shape, np.float32).astype(fastcnn.get_dtype()) for shape in shapes)

    def step(self, direction: str) -> Step:
        kernels, (x, weights, bias, eta) = backend(), self.arrays()
        padding = (self.padding, self.padding)
        return {
            "forward": lambda: kernels.conv_forward(x, weights, bias, self.stride, padding),
            "input": lambda: kernels.conv_input_gradient(eta, weights, x.shape, self.stride, padding),
            "weights": lambda: kernels.conv_weight_gradient(x, eta, self.ksize, self.stride, padding),
        }[direction]

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


@dataclass(frozen=True)
class Pooling:
    """Windows of `ksize`, `stride` apart, on a batch of 64 square images of 64 channels; with the geometry 'floor' and
    one pixel of padding where that is asked for."""

    kind: str
    side: int
    ksize: int
    stride: int
    padding: int = 0

    def images(self) -> np.ndarray:
        x = np.random.default_rng(0).standard_normal((64, self.side, self.side, 64), np.float32)
        return x.astype(fastcnn.get_dtype())

    @property
    def windows(self) -> Pooled:
        sizes, geometry = (self.side, self.side), "floor" if self.padding else "original"
        return pooled(sizes, self.ksize, self.stride, 1, self.padding, geometry)

    def step(self, direction: str) -> Step:
        kernels, x, (window, size, _) = backend(), self.images(), self.windows
        if self.kind == "avg":
            eta = kernels.avg_pool_forward(x, window, size)
            forward, back = partial(kernels.avg_pool_forward, x, window, size), kernels.avg_pool_backward
            return forward if direction == "forward" else partial(back, eta, x.shape, window)
        eta, index = kernels.max_pool_forward(x, window, size)
        forward, back = partial(kernels.max_pool_forward, x, window, size), kernels.max_pool_backward
        return forward if direction == "forward" else partial(back, eta, index, x.shape, window)

    @property
    def name(self) -> str:
        around = f"p{self.padding}" if self.padding else ""
        return f"{self.kind}_pool_{self.side}x{self.side}_k{self.ksize}s{self.stride}{around}"

    @property
    def moved(self) -> int:
        """Bytes that are read and written, at least."""
        small = math.prod(self.windows.out)
        return 64 * 64 * (4 * (self.side**2 + small) + (small if self.kind == "max" else 0))


@dataclass(frozen=True)
class Resizing:
    """A layer that changes the size of a batch of 64 square images of 64 channels, and its gradient."""

    kind: str
    side: int

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Images, and the gradient of the output."""
        rng, shape = np.random.default_rng(0), (64, self.side, self.side, 64)
        wanted = (64, 64) if self.kind == "global_max_pool" else (64, 2 * self.side, 2 * self.side, 64)
        x, eta = (rng.standard_normal(size, np.float32).astype(fastcnn.get_dtype()) for size in (shape, wanted))
        return x, eta

    def step(self, direction: str) -> Step:
        from fastcnn import layers

        x, eta = self.arrays()
        mode = self.kind.removeprefix("upsample_")
        pooling = self.kind == "global_max_pool"
        layer = layers.GlobalMaxPooling(x.shape) if pooling else layers.UpSampling(x.shape, mode=mode)
        layer.forward(x)
        return partial(layer.forward, x) if direction == "forward" else partial(layer.gradient, eta)

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.side}x{self.side}"

    @property
    def moved(self) -> int:
        """Bytes that are read and written, at least."""
        return 4 * 64 * 64 * self.side**2 * (1 if self.kind == "global_max_pool" else 5)


RESIZINGS = tuple(Resizing(kind, 56) for kind in ("global_max_pool", "upsample_nearest", "upsample_bilinear"))
POOLINGS = tuple(Pooling(kind, *size) for kind in ("max", "avg") for size in ((112, 2, 2), (56, 3, 2), (112, 3, 2, 1)))
