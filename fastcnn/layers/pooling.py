"""Max and average pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.backend import active
from fastcnn.layers.attributes import Fixed, Setting
from fastcnn.layers.base import Layer
from fastcnn.shapes import check_int, check_window, received


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
    dtype : 'float32' or 'float64', optional
    """

    rank = 4
    ksize = Setting(check_int)
    stride = Setting(check_int)
    output_channels = Fixed(lambda layer: layer.input_shape[3])
    output_shape = Fixed(lambda layer: layer.compute_output_shape())
    _batch: int | None = None

    def __init__(self, shape: Sequence[int], ksize: int = 2, stride: int = 2, *, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        self.ksize, self.stride = ksize, stride
        self.check_settings()

    def check_settings(self) -> None:
        check_window(self.name, self.ksize, self.input_shape)
        height, width = self.input_shape[1:3]
        if self.stride > min(height, width):
            raise ValueError(
                f"{self.name}: `stride` must not be larger than the image, {height} x {width}. "
                f"{received('stride', self.stride)}"
            )

    def compute_output_shape(self) -> tuple[int, ...]:
        batch, height, width, channels = self.input_shape
        return batch, height // self.stride, width // self.stride, channels

    def forget(self) -> None:
        self._batch = None

    def last_batch(self) -> int | None:
        return self._batch

    def image_shape(self) -> tuple[int, ...]:
        """The shape of the last batch; that of the constructor before the first."""
        return (self.input_shape[0] if self._batch is None else self._batch, *self.input_shape[1:])

    def config(self) -> dict[str, Any]:
        return super().config() | {"ksize": self.ksize, "stride": self.stride}


class MaxPooling(Pooling):
    """The maximum of each window and channel; NaN where the window holds one.

    The gradient goes to the first maximum in row-major order of the window; overlapping windows add up.
    Parameters: see :class:`Pooling`.
    """

    rectifies = True
    _argmax: np.ndarray | None = None

    def forward(self, x: Any) -> np.ndarray:
        self.rectified = False
        return self.pool(x)

    def forward_rectified(self, x: Any) -> np.ndarray:
        """``forward(max(x, 0))``; `input_gradient` is then with respect to x."""
        self.rectified = True
        return self.pool(x)

    def pool(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        out, self._argmax = active().max_pool_forward(x, self.ksize, self.stride, self.rectified)
        self._batch = len(x)
        return out

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return active().max_pool_backward(eta, self._argmax, self.image_shape(), self.ksize, self.stride)

    @property
    def index(self) -> np.ndarray:
        """1 at each input element that was the maximum of a window of the last batch, else 0; made when read.

        In a `Sequential`, where a `Relu` before this layer is computed with it, also 0 where the Relu stops the
        gradient.
        """
        if self._argmax is None or self._batch is None:
            return np.zeros(self.input_shape, self.dtype)
        return np.minimum(self.input_gradient(np.ones(self._argmax.shape, self.dtype)), 1)

    @index.setter
    def index(self, value: Any) -> None:
        """Ignored: scripts that cleared the original's mask between batches by hand still run."""


class AvgPooling(Pooling):
    """The mean of each window and channel, over the elements that the clipped window really holds.

    Parameters: see :class:`Pooling`.
    """

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        self._batch = len(x)
        return active().avg_pool_forward(x, self.ksize, self.stride)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return active().avg_pool_backward(eta, self.image_shape(), self.ksize, self.stride)
