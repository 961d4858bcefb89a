"""The kernels that are measured: shapes, arrays, and the calls of the backend that is on."""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

import fastcnn
from fastcnn.benchmark.arrays import drawn
from fastcnn.windows import Pooled, Sides, Window, both, padding_pairs, pooled, window_of

Step = Callable[[], object]


def backend() -> ModuleType:
    """The backend that is on."""
    return importlib.import_module(f"fastcnn.backends.{fastcnn.get_backend()}")


@dataclass(frozen=True)
class Convolution:
    """Of square images: batch, side of the image, channels in and out, kernel, stride, padding, groups, dilation."""

    batch: int
    side: int
    inputs: int
    outputs: int
    ksize: Sides
    stride: int = 1
    padding: Any = 0
    groups: int = 1
    dilation: int = 1

    @property
    def name(self) -> str:
        kernel = "x".join(map(str, dict.fromkeys(both(self.ksize)))) if self.ksize != (1, 1) else "1"
        parts = [f"n{self.batch}", f"{self.side}x{self.side}", f"{self.inputs}to{self.outputs}", f"k{kernel}"]
        parts[-1] += f"s{self.stride}" if self.stride > 1 else ""
        parts += [f"g{self.groups}"] * (self.groups > 1) + [f"d{self.dilation}"] * (self.dilation > 1)
        return "_".join(parts)

    @property
    def image(self) -> tuple[int, int, int, int]:
        """The shape of the images that windows slide over."""
        return self.batch, self.side, self.side, self.inputs

    @property
    def window(self) -> Window:
        return window_of(self.image[1:3], self.ksize, self.stride, self.dilation, self.padding)

    @property
    def out(self) -> tuple[int, int, int, int]:
        """The shape that windows make of `image`."""
        rows, columns = self.window.positions(*self.image[1:3])
        return self.batch, rows, columns, self.outputs

    @property
    def weights(self) -> tuple[int, int, int, int]:
        return *self.window.ksize, self.image[3] // self.groups, self.out[3]

    @property
    def flops(self) -> int:
        return 2 * math.prod(self.out[:3]) * math.prod(self.weights)

    @property
    def moved(self) -> int:
        """Bytes of the image and of what windows make of it."""
        return 4 * (math.prod(self.image) + math.prod(self.out))

    @property
    def depthwise(self) -> bool:
        return self.groups == self.inputs > 1

    def arrays(self) -> tuple[np.ndarray, ...]:
        """x, weights, bias and eta, NHWC, of the dtype that is on."""
        return tuple(drawn(self.image, self.weights, (self.outputs,), self.out))

    def step(self, direction: str) -> Step:
        kernels, (x, weights, bias, eta), window = backend(), self.arrays(), self.window
        return {
            "forward": lambda: kernels.conv_forward(x, weights, bias, window),
            "input": lambda: kernels.conv_input_gradient(eta, weights, x.shape, window),
            "weights": lambda: kernels.conv_weight_gradient(x, eta, window, self.groups),
        }[direction]

    @property
    def dense(self) -> bool:
        """One of the shapes that are timed by `FASTCNN_CONV=direct` too."""
        return self.stride == self.groups == self.dilation == 1 and self.outputs >= 32 and self.window.ksize[0] % 2 == 1

    @property
    def large(self) -> bool:
        """One of the shapes by which the rate is compared with that of a matrix product."""
        square = self.ksize == 3 and self.stride == self.groups == self.dilation == 1
        return square and self.inputs == self.outputs >= 64


class Transposed(Convolution):
    """A transposed convolution: `side` and `inputs` are those of what it is given."""

    dense = False

    @property
    def name(self) -> str:
        return f"transposed_{super().name}"

    @property
    def image(self) -> tuple[int, int, int, int]:
        around, reach = sum(padding_pairs(self.padding)[0]), both(self.ksize)[0]
        side = (self.side - 1) * self.stride + reach - around
        return self.batch, side, side, self.outputs

    @property
    def out(self) -> tuple[int, int, int, int]:
        return self.batch, self.side, self.side, self.inputs

    def step(self, direction: str) -> Step:
        kernels, (image, weights, bias, x), window = backend(), self.arrays(), self.window
        return {
            "forward": lambda: kernels.conv_transpose_forward(x, weights, bias, image.shape, window),
            "input": lambda: kernels.conv_transpose_input_gradient(image, weights, window),
            "weights": lambda: kernels.conv_transpose_weight_gradient(x, image, window),
        }[direction]


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
    Convolution(64, 16, 32, 32, 5, 1, 2),
    Convolution(64, 32, 3, 32, 5, 1, 2),
    Convolution(16, 28, 64, 64, 7, 1, 3),
    Convolution(16, 28, 64, 64, 4, 1, (1, 2)),
    Convolution(32, 28, 64, 64, 5, 2, 2),
    Convolution(32, 56, 64, 64, 7, 2, 3),
    Convolution(32, 56, 64, 64, 3, 1, 1, groups=64),
    Convolution(32, 14, 512, 512, 3, 1, 1, groups=512),
    Convolution(8, 112, 96, 96, 3, 2, 1, groups=96),
    Convolution(32, 28, 128, 128, 3, 1, 1, groups=4),
    Convolution(32, 28, 128, 128, 3, 1, 1, groups=32),
    Convolution(32, 28, 256, 256, 3, 1, 1, groups=32),
    Convolution(32, 14, 512, 512, 3, 1, 1, groups=32),
    Convolution(32, 28, 120, 120, 5, 1, 2, groups=120),
    Convolution(16, 28, 64, 64, 3, 1, 2, dilation=2),
    Convolution(16, 28, 64, 64, 3, 1, 4, dilation=4),
    Convolution(16, 17, 128, 128, (1, 7), 1, (0, 3)),
    Convolution(16, 17, 128, 128, (7, 1), 1, (3, 0)),
    Transposed(16, 28, 64, 32, 2, 2),
    Transposed(16, 28, 64, 32, 4, 2, 1),
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
        return drawn((64, self.side, self.side, 64))[0]

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
        wanted = (64, 64) if self.kind == "global_max_pool" else (64, 2 * self.side, 2 * self.side, 64)
        x, eta = drawn((64, self.side, self.side, 64), wanted)
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
