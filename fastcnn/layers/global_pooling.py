"""Poolings whose output has the same size for images of any: over the whole image, or over so many parts of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import Fixed, Setting
from fastcnn.layers.base import Layer
from fastcnn.resampling import adaptive_gradient, adaptive_taps
from fastcnn.shapes import check_shape, must_be, zeros
from fastcnn.windows import Window, both, check_both


class OfImages(Layer):
    """A layer that keeps of a batch how many images it had."""

    rank = 4
    output_channels: Fixed[int] = Fixed(lambda layer: layer.input_shape[3])
    _batch: int | None = None

    def check_output(self, setting: str) -> None:
        """Raise where the images that a `setting` asks for are of a size that no array has."""
        try:
            check_shape(self.name, self.output_shape)
        except ValueError:
            wanted = f"smaller: images of the shape {self.output_shape[1:]} would take too much memory"
            raise ValueError(must_be(self.name, setting, wanted, getattr(self, setting))) from None

    def last_batch(self) -> int | None:
        return self._batch

    def forget(self) -> None:
        self._batch = None


class GlobalAvgPooling(OfImages):
    """The mean of each channel over the whole image: (batch, height, width, channels) becomes (batch, channels).

    Lin, Chen and Yan, "Network in Network" (2014), section 3.2.
    """

    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: (layer.input_shape[0], layer.input_shape[3]))

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        self.keep("_batch", len(x))
        return active().global_avg_pool_forward(x)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return active().global_avg_pool_backward(eta, (len(eta), *self.input_shape[1:]))


class GlobalMaxPooling(OfImages):
    """The maximum of each channel over the whole image: (batch, height, width, channels) becomes (batch, channels).

    NaN where the image holds one. The gradient goes to the first maximum in row-major order.
    """

    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: (layer.input_shape[0], layer.input_shape[3]))
    _argmax: np.ndarray | None = None

    def window(self) -> Window:
        """The one window, as large as the image."""
        sizes = self.input_shape[1], self.input_shape[2]
        return Window(sizes, sizes)

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        out, argmax = active().max_pool_forward(x, self.window(), (1, 1))
        self.keep("_argmax", argmax)
        self.keep("_batch", len(x))
        return out.reshape(len(x), x.shape[3])

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        (batch, channels), shape = eta.shape, (len(eta), *self.input_shape[1:])
        return active().max_pool_backward(eta.reshape(batch, 1, 1, channels), self._argmax, shape, self.window())

    @property
    def index(self) -> np.ndarray:
        """1 at each input element that was a maximum of the last batch, else 0; made when read."""
        if self._argmax is None or self._batch is None:
            return zeros(self.name, "index", self.input_shape, self.dtype)
        return self.input_gradient(np.ones((self._batch, self.input_shape[3]), self.dtype))


class AdaptiveAvgPooling(OfImages):
    """Means over `output_size` parts of the image, which differ by a pixel in size and overlap where they must.

    Part i of n along an axis of size s is from ``floor(i * s / n)`` to ``ceil((i + 1) * s / n)``: PyTorch's
    AdaptiveAvgPool2d. Where n divides s, the parts are the windows of an `AvgPooling`.

    Parameters
    ----------
    shape : (batch, height, width, channels)
    output_size : int or (height, width)
        Larger than the image too: parts then have one pixel or two.
    dtype : 'float32' or 'float64', optional
    """

    output_size = Setting(check_both)
    output_shape: Fixed[tuple[int, ...]] = Fixed(
        lambda layer: (layer.input_shape[0], *both(layer.output_size), layer.input_shape[3])
    )

    def __init__(self, shape: Sequence[int], output_size: Any, *, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        self.output_size = output_size
        self.check_settings()

    def check_settings(self) -> None:
        self.check_output("output_size")

    def parts(self) -> Window | None:
        """The parts as windows side by side, where they are alike."""
        (height, width), (rows, columns) = self.input_shape[1:3], both(self.output_size)
        sides = height // rows, width // columns
        return Window(sides, sides) if height % rows == width % columns == 0 else None

    def forward(self, x: Any) -> np.ndarray:
        x, size = self.take_x(x), both(self.output_size)
        self.keep("_batch", len(x))
        if parts := self.parts():
            return active().avg_pool_forward(x, parts, size)
        down, across = (adaptive_taps(x.shape[axis + 1], size[axis]) for axis in (0, 1))
        return active().resample(x, *down, *across)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        shape, size = (len(eta), *self.input_shape[1:]), both(self.output_size)
        if parts := self.parts():
            return active().avg_pool_backward(eta, shape, parts)
        down, across = (adaptive_gradient(shape[axis + 1], size[axis]) for axis in (0, 1))
        return active().resample(eta, *down, *across)

    def config(self) -> dict[str, Any]:
        return super().config() | {"output_size": self.output_size}
