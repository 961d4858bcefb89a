"""The fully-connected layer."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import BatchArray, Fixed
from fastcnn.layers.base import WeightedLayer
from fastcnn.shapes import check_side, received


class FullyConnect(WeightedLayer):
    """``x @ weights + bias``, the input flattened to (batch, features) first.

    Parameters
    ----------
    shape : (batch, ...)
        Of the input, two axes or more; an image is flattened in row-major order.
    output_num : int, default 2
    initializer, rng, dtype :
        As for :class:`Conv2D`; here 'msra' draws standard normal numbers over 100.

    Attributes
    ----------
    x : (batch, features) array, the last input
    weights : (features, output_num) array
    bias : (output_num,) array
    w_gradient, b_gradient : arrays like these, the gradients accumulated since the last `backward`
    """

    x = BatchArray("matrix_shape")
    output_num: Fixed[int] = Fixed(lambda layer: layer.weights_shape[1])
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: (layer.input_shape[0], layer.output_num))

    def __init__(
        self,
        shape: Sequence[int],
        output_num: int = 2,
        *,
        initializer: str | float | Callable = "msra",
        rng: Any = None,
        dtype: Any = None,
    ):
        super().__init__(shape, dtype=dtype)
        if len(self.input_shape) < 2:
            raise ValueError(f"{self.name}: `shape` must be (batch, features, ...). {received('shape', shape)}")
        self.weights_shape = (math.prod(self.input_shape[1:]), check_side(self.name, "output_num", output_num))
        self.initialize(initializer, rng, 100.0)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(batch, features) of the flattened input."""
        return self.input_shape[0], self.weights_shape[0]

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        x = self.keep("x", x.reshape(len(x), self.weights_shape[0]))
        return active().dense_forward(x, self.weights, self.bias)

    def parameter_gradient(self, eta: np.ndarray) -> None:
        dw, db = active().dense_weight_gradient(self.x, eta)
        self.add_gradients(weights=dw, bias=db)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return active().dense_input_gradient(eta, self.weights).reshape(len(eta), *self.input_shape[1:])

    def config(self) -> dict[str, Any]:
        return super().config() | {"output_num": self.output_num}
