"""Max and average pooling, of windows and of whole images."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import Fixed, Setting
from fastcnn.layers.base import Layer
from fastcnn.shapes import check_int, check_window, must_be, received, zeros


class Pooling(Layer):
    """What both poolings share: windows of `ksize`, `stride` apart, ``H // stride`` by ``W // stride`` of them.

    A window that crosses the bottom or right border is clipped.

    Parameters
    ----------
    shape : (batch, height, width, channels)
    ksize : int, default 2
        Side of the window; not larger than the image.
    stride : int, default 2
        Windows overlap where it is smaller than `ksize`.
    padding : int, default 0, smaller than `ksize`
        Rows and columns of zeros on each side of the image, which is from then on that much larger: the zeros are
        values like others, of a maximum and in the size of a mean's window.
    dtype : 'float32' or 'float64', optional
    """

    rank = 4
    ksize = Setting(check_int)
    stride = Setting(check_int)
    padding = Setting(functools.partial(check_int, minimum=0))
    output_channels: Fixed[int] = Fixed(lambda layer: layer.input_shape[3])
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.compute_output_shape())
    _batch: int | None = None

    def __init__(self, shape: Sequence[int], ksize: int = 2, stride: int = 2, *, padding: int = 0, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        self.ksize, self.stride, self.padding = ksize, stride, padding
        self.check_settings()

    def check_settings(self) -> None:
        if self.padding >= self.ksize:
            smaller = f"an integer from 0 to {self.ksize - 1}, smaller than `ksize`"
            raise ValueError(must_be(self.name, "padding", smaller, self.padding))
        check_window(self.name, self.ksize, self.padded(self.input_shape))
        height, width = self.padded(self.input_shape)[1:3]
        if self.stride > min(height, width):
            raise ValueError(
                f"{self.name}: `stride` must not be larger than the image, {height} x {width}. "
                f"{received('stride', self.stride)}"
            )

    def padded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of images with the zeros around them."""
        batch, height, width, channels = shape
        return batch, height + 2 * self.padding, width + 2 * self.padding, channels

    def compute_output_shape(self) -> tuple[int, ...]:
        batch, height, width, channels = self.padded(self.input_shape)
        return batch, height // self.stride, width // self.stride, channels

    def forget(self) -> None:
        self._batch = None

    def last_batch(self) -> int | None:
        return self._batch

    def image_shape(self) -> tuple[int, ...]:
        """The shape of the last batch with its zeros; that of the constructor before the first."""
        batch = self.input_shape[0] if self._batch is None else self._batch
        return self.padded((batch, *self.input_shape[1:]))

    def take_image(self, x: Any) -> np.ndarray:
        """`take_x`, with zeros around the image."""
        x = self.take_x(x)
        return active().pad(x, (self.padding, self.padding)) if self.padding else x

    def without_padding(self, image: np.ndarray) -> np.ndarray:
        """A gradient with respect to the image alone."""
        return active().unpad(image, (self.padding, self.padding)) if self.padding else image

    def config(self) -> dict[str, Any]:
        return super().config() | {"ksize": self.ksize, "stride": self.stride, "padding": self.padding}


class MaxPooling(Pooling):
    """The maximum of each window and channel; NaN where the window holds one.

    The gradient goes to the first maximum in row-major order of the window; overlapping windows add up.
    Parameters: see :class:`Pooling`.
    """

    absorbs_relu = True
    _argmax: np.ndarray | None = None

    def forward(self, x: Any) -> np.ndarray:
        return self.pool(x, False)

    def forward_rectified(self, x: Any) -> np.ndarray:
        """``forward(max(x, 0))``; `input_gradient` is then with respect to x."""
        return self.pool(x, True)

    def pool(self, x: Any, rectify: bool) -> np.ndarray:
        x = self.take_image(x)
        self.keep("_rectified", rectify)
        out, argmax = active().max_pool_forward(x, self.ksize, self.stride, rectify)
        self.keep("_argmax", argmax)
        self.keep("_batch", len(x))
        return out

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        image = active().max_pool_backward(eta, self._argmax, self.image_shape(), self.ksize, self.stride)
        return self.without_padding(image)

    @property
    def index(self) -> np.ndarray:
        """1 at each input element that was the maximum of a window of the last batch, else 0; made when read.

        In a `Sequential`, where this layer also computes a `Relu` before it, 0 too where the Relu stops the gradient.
        """
        if self._argmax is None or self._batch is None:
            return zeros(self.name, "index", self.input_shape, self.dtype)
        return np.minimum(self.input_gradient(np.ones(self._argmax.shape, self.dtype)), 1)

    @index.setter
    def index(self, value: Any) -> None:
        """A no-op: scripts that cleared the original's mask between batches by hand still run."""


class AvgPooling(Pooling):
    """The mean of each window and channel, over the elements that the clipped window really holds.

    Parameters: see :class:`Pooling`.
    """

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_image(x)
        self.keep("_batch", len(x))
        return active().avg_pool_forward(x, self.ksize, self.stride)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.without_padding(active().avg_pool_backward(eta, self.image_shape(), self.ksize, self.stride))


class GlobalAvgPooling(Layer):
    """The mean of each channel over the whole image: (batch, height, width, channels) becomes (batch, channels).

    Lin, Chen and Yan, "Network in Network" (2014), section 3.2.
    """

    rank = 4
    output_channels: Fixed[int] = Fixed(lambda layer: layer.input_shape[3])
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: (layer.input_shape[0], layer.input_shape[3]))
    _batch: int | None = None

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        self.keep("_batch", len(x))
        return active().global_avg_pool_forward(x)

    def last_batch(self) -> int | None:
        return self._batch

    def forget(self) -> None:
        self._batch = None

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return active().global_avg_pool_backward(eta, (len(eta), *self.input_shape[1:]))
