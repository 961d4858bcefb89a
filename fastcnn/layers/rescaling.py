"""Rescaling: raw pixels to the range that a network trains well on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.arrays import check_array, real_array
from fastcnn.components import Setting
from fastcnn.layers.base import Layer
from fastcnn.shapes import check_number


class Rescaling(Layer):
    """``x * scale + offset``: as the first layer it turns 0 to 255 into 0 to 1, and the model file carries it.

    The arithmetic is NumPy on every backend: one pass over the input, which converts its dtype at the same time.
    """

    scale = Setting(check_number)
    offset = Setting(check_number)
    _batch: int | None = None

    def __init__(self, shape: Sequence[int], scale: float = 1 / 255, offset: float = 0.0, *, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        self.scale, self.offset = scale, offset

    def forward(self, x: Any) -> np.ndarray:
        x = real_array(self.name, "x", x)
        wide = x.dtype.kind == "f" and x.dtype.itemsize > self.dtype.itemsize
        x = check_array(self.name, "x", x, self.input_shape, self.dtype if wide else x.dtype)
        self.keep("_batch", len(x))
        out = np.multiply(x, self.dtype.type(self.scale), dtype=self.dtype, casting="unsafe")
        if self.offset:
            out += self.dtype.type(self.offset)
        return out

    def last_batch(self) -> int | None:
        return self._batch

    def forget(self) -> None:
        self._batch = None

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return eta * self.dtype.type(self.scale)

    def config(self) -> dict[str, Any]:
        return super().config() | {"scale": self.scale, "offset": self.offset}
