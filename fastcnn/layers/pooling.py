"""Max and average pooling, of windows. Of whole images: :mod:`fastcnn.layers.global_pooling`."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import Fixed, Setting
from fastcnn.layers.base import Layer
from fastcnn.layers.global_pooling import AdaptiveAvgPooling, GlobalAvgPooling, GlobalMaxPooling
from fastcnn.shapes import check_choice, check_flag, check_int, must_be, zeros
from fastcnn.windows import GEOMETRIES, Pooled, check_both, check_padding, check_pooling, pooled, window_of

__all__ = ["AdaptiveAvgPooling", "AvgPooling", "GlobalAvgPooling", "GlobalMaxPooling", "MaxPooling", "Pooling"]

MOST_PIXELS = 2**24  # of a window whose maximum is asked for: float32, in which kernels count them, holds no more


def check_geometry(owner: str, name: str, value: Any) -> str:
    return check_choice(owner, name, value, GEOMETRIES)


class Pooling(Layer):
    """What both poolings share: windows of `ksize`, `stride` apart.

    Parameters
    ----------
    shape : (batch, height, width, channels)
    ksize : int or (height, width), default 2
        Sides of the window; not larger than the image and its padding, but with 'ceil'.
    stride : int or (height, width), default 2
        From one window to the next. They overlap where it is smaller than `ksize`. None: as `ksize`.
    padding : int, (rows, columns) or ((top, bottom), (left, right)), default 0
        Pixels around the image, fewer than a window spans. What they are, `geometry` says.
    geometry : 'original', 'floor' or 'ceil', default 'original'
        'original': ``H // stride`` by ``W // stride`` windows, clipped at the bottom and right border. The padding is
        zeros that are values like others, of a maximum and in the size of a mean's window; the image is from then on
        that much larger. 'floor': the windows that fit into the image and its padding, which no maximum sees. 'ceil':
        and one more that crosses the end, if it begins inside the image or in the padding before it. Both as PyTorch
        and ONNX define them, where `padding` may be at most half of `ksize`.
    dilation : int or (height, width), default 1
        From one pixel of a window to the next.
    dtype : 'float32' or 'float64', optional
    """

    rank = 4
    ksize = Setting(lambda owner, name, value: check_both(owner, name, value, check_int))
    stride = Setting(lambda owner, name, value: check_both(owner, name, value, check_int))
    padding = Setting(check_padding)
    added_later: ClassVar[dict[str, Any]] = {"geometry": "original", "dilation": 1}
    unsaid_names: ClassVar[tuple[str, ...]] = (*added_later,)

    geometry = Setting(check_geometry)
    dilation = Setting(lambda owner, name, value: check_both(owner, name, value, check_int))
    output_channels: Fixed[int] = Fixed(lambda layer: layer.input_shape[3])
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.compute_output_shape())
    _pooled: Pooled
    _batch: int | None = None

    def __init__(
        self,
        shape: Sequence[int],
        ksize: Any = 2,
        stride: Any = 2,
        *,
        padding: Any = 0,
        geometry: str = "original",
        dilation: Any = 1,
        dtype: Any = None,
    ):
        super().__init__(shape, dtype=dtype)
        self.ksize, self.padding, self.geometry, self.dilation = ksize, padding, geometry, dilation
        self.stride = self.ksize if stride is None else stride
        self.check_settings()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        Pooling.check_settings(self)

    def check_settings(self) -> None:
        sizes = self.input_shape[1], self.input_shape[2]
        given = self.ksize, self.stride, self.dilation, self.padding
        check_pooling(self.name, sizes, self.padding, window_of(sizes, *given), self.geometry)
        self.__dict__["_pooled"] = pooled(sizes, *given, self.geometry)

    def compute_output_shape(self) -> tuple[int, ...]:
        return self.input_shape[0], *self._pooled.out, self.input_shape[3]

    def forget(self) -> None:
        self._batch = None

    def last_batch(self) -> int | None:
        return self._batch

    def image_shape(self) -> tuple[int, ...]:
        """The shape of the last batch with the zeros around it; that of the constructor before the first."""
        batch, height, width, channels = self.input_shape
        rows, columns = self._pooled.zeros
        batch = batch if self._batch is None else self._batch
        return batch, height + sum(rows), width + sum(columns), channels

    def take_image(self, x: Any) -> np.ndarray:
        """`take_x`, with zeros around the image."""
        x, around = self.take_x(x), self._pooled.zeros
        return active().pad(x, around) if around != ((0, 0), (0, 0)) else x

    def without_padding(self, image: np.ndarray) -> np.ndarray:
        """A gradient with respect to the image alone."""
        around = self._pooled.zeros
        return active().unpad(image, around) if around != ((0, 0), (0, 0)) else image

    def config(self) -> dict[str, Any]:
        own = {"ksize": self.ksize, "stride": self.stride, "padding": self.padding}
        return super().config() | own | self.later_config()


class MaxPooling(Pooling):
    """The maximum of each window and channel; NaN where the window holds one.

    The gradient goes to the first maximum in row-major order of the window; overlapping windows add up.
    Parameters: see :class:`fastcnn.layers.pooling.Pooling`.
    """

    absorbs_relu = True
    _argmax: np.ndarray | None = None

    def check_settings(self) -> None:
        super().check_settings()
        if math.prod(self._pooled.window.ksize) > MOST_PIXELS:
            raise ValueError(must_be(self.name, "ksize", f"smaller: at most {MOST_PIXELS:,} pixels", self.ksize))

    def forward(self, x: Any) -> np.ndarray:
        return self.pool(x, False)

    def forward_rectified(self, x: Any) -> np.ndarray:
        """``forward(max(x, 0))``; `input_gradient` is then with respect to x."""
        return self.pool(x, True)

    def pool(self, x: Any, rectify: bool) -> np.ndarray:
        x, (window, out, _) = self.take_image(x), self._pooled
        self.keep("_rectified", rectify)
        out, argmax = active().max_pool_forward(x, window, out, rectify)
        self.keep("_argmax", argmax)
        self.keep("_batch", len(x))
        return out

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        image = active().max_pool_backward(eta, self._argmax, self.image_shape(), self._pooled.window)
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

    Parameters
    ----------
    shape, ksize, stride, padding, geometry, dilation, dtype
        See :class:`Pooling`.
    count_padding : bool, default True
        Whether a mean is also over the padding, as zeros, that its window holds; with the geometry 'ceil' not over what
        the window holds beyond that. PyTorch's `count_include_pad`.
    """

    added_later: ClassVar[dict[str, Any]] = Pooling.added_later | {"count_padding": True}
    unsaid_names: ClassVar[tuple[str, ...]] = (*added_later,)

    count_padding = Setting(check_flag)

    def __init__(
        self,
        shape: Sequence[int],
        ksize: Any = 2,
        stride: Any = 2,
        *,
        padding: Any = 0,
        geometry: str = "original",
        dilation: Any = 1,
        count_padding: bool = True,
        dtype: Any = None,
    ):
        self.__dict__["count_padding"] = True
        super().__init__(shape, ksize, stride, padding=padding, geometry=geometry, dilation=dilation, dtype=dtype)
        self.count_padding = count_padding

    def check_settings(self) -> None:
        super().check_settings()
        if self.geometry == "original" and not self.count_padding:
            wanted = "True with the `geometry` 'original', where padding is zeros like others"
            raise ValueError(must_be(self.name, "count_padding", wanted, self.count_padding))

    def counted(self) -> bool:
        """Whether the kernels' windows count padding: the zeros of the original's geometry are image to them."""
        return self.count_padding and self.geometry != "original"

    def forward(self, x: Any) -> np.ndarray:
        x, (window, out, _) = self.take_image(x), self._pooled
        self.keep("_batch", len(x))
        return active().avg_pool_forward(x, window, out, self.counted())

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        image = active().avg_pool_backward(eta, self.image_shape(), self._pooled.window, self.counted())
        return self.without_padding(image)
