"""Flatten: images as rows of features."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.components import Fixed
from fastcnn.layers.base import Layer
from fastcnn.shapes import check_features


class Flatten(Layer):
    """(batch, ...) as (batch, features), in row-major order: the same numbers, of which nothing is copied.

    A `FullyConnect` flattens its input by itself; this is for what else takes rows.
    """

    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: (layer.input_shape[0], math.prod(layer.input_shape[1:])))
    _batch: int | None = None

    def __init__(self, shape: Sequence[int], *, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        check_features(self.name, self.input_shape)

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        self.keep("_batch", len(x))
        return x.reshape(len(x), self.output_shape[1])

    def last_batch(self) -> int | None:
        return self._batch

    def forget(self) -> None:
        self._batch = None

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return eta.reshape(len(eta), *self.input_shape[1:])
