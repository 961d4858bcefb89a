"""Larger images: each pixel several times, or pixels in between."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import Fixed, Setting
from fastcnn.layers.global_pooling import OfImages
from fastcnn.resampling import bilinear_gradient, bilinear_taps
from fastcnn.shapes import check_choice, check_flag, must_be
from fastcnn.windows import Window, both, check_both

MODES = ("nearest", "bilinear")


class UpSampling(OfImages):
    """Images `factor` times as high and wide: (batch, H, W, C) becomes (batch, H * factor, W * factor, C).

    PyTorch's nn.Upsample of whole factors, and Keras's UpSampling2D.

    Parameters
    ----------
    shape : (batch, height, width, channels)
    factor : int or (height, width), default 2
    mode : 'nearest' or 'bilinear'
        'nearest': each pixel factor * factor times. 'bilinear': what lies between two pixels is a mean of both by the
        distance, on each axis.
    align_corners : bool, default False
        Of 'bilinear': whether the pixels at the corners stay where they are. Else the borders of the image do, and a
        pixel of the output lies at ``(o + 0.5) / factor - 0.5``.
    dtype : 'float32' or 'float64', optional
    """

    factor = Setting(check_both)
    mode = Setting(lambda owner, name, value: check_choice(owner, name, value, MODES))
    align_corners = Setting(check_flag)
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.larger(layer.input_shape[0]))

    def __init__(
        self,
        shape: Sequence[int],
        factor: Any = 2,
        *,
        mode: str = "nearest",
        align_corners: bool = False,
        dtype: Any = None,
    ):
        super().__init__(shape, dtype=dtype)
        self.factor, self.mode, self.align_corners = factor, mode, align_corners
        self.check_settings()

    def check_settings(self) -> None:
        if self.align_corners and self.mode != "bilinear":
            raise ValueError(must_be(self.name, "align_corners", "False unless `mode` is 'bilinear'", True))
        self.check_output("factor")

    def larger(self, batch: int) -> tuple[int, ...]:
        """The shape of so many images of the output."""
        (height, width, channels), (down, across) = self.input_shape[1:], both(self.factor)
        return batch, height * down, width * across, channels

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        self.keep("_batch", len(x))
        if self.mode == "nearest":  # what the gradient of a sum over windows is
            return active().avg_pool_backward(x, self.larger(len(x)), self.window(), False, 1)
        down, across = (bilinear_taps(*axis, self.align_corners) for axis in self.axes())
        return active().resample(x, *down, *across)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        if self.mode == "nearest":
            return active().avg_pool_forward(eta, self.window(), self.input_shape[1:3], False, 1)
        down, across = (bilinear_gradient(*axis, self.align_corners) for axis in self.axes())
        return active().resample(eta, *down, *across)

    def window(self) -> Window:
        """The pixels of the output that are one of the input."""
        return Window(both(self.factor), both(self.factor))

    def axes(self) -> list[tuple[int, int]]:
        """Size and factor of rows and columns."""
        return list(zip(self.input_shape[1:3], both(self.factor), strict=True))

    def multiply_adds(self) -> int:
        return 4 * math.prod(self.output_shape[1:]) if self.mode == "bilinear" else 0

    def config(self) -> dict[str, Any]:
        return super().config() | {"factor": self.factor, "mode": self.mode, "align_corners": self.align_corners}
