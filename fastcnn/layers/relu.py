"""Activations: Relu and Leaky_Relu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.backend import active
from fastcnn.layers.attributes import BatchArray, Fixed, Setting
from fastcnn.layers.base import Layer
from fastcnn.shapes import check_number


class Relu(Layer):
    """``max(x, 0)`` for inputs of any rank; the gradient passes where ``x >= 0``, at 0 too.

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    """

    x = BatchArray("input_shape")
    eta = BatchArray("output_shape")
    output_shape = Fixed(lambda layer: layer.input_shape)

    def forward(self, x: Any) -> np.ndarray:
        x = self.keep_x(x)
        return active().relu_forward(x)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        self.eta = result = active().relu_backward(self.x, eta)
        return result


class Leaky_Relu(Layer):
    """x where ``x >= 0``, else ``alpha * x``; the gradient follows the same rule.

    Maas, Hannun and Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models" (2013).
    """

    alpha = Setting(check_number)

    x = BatchArray("input_shape")
    eta = BatchArray("output_shape")
    output_shape = Fixed(lambda layer: layer.input_shape)

    def __init__(self, shape: Sequence[int], alpha: float = 0.2, *, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        self.alpha = alpha

    def forward(self, x: Any) -> np.ndarray:
        x = self.keep_x(x)
        return active().leaky_relu_forward(x, self.alpha)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        self.eta = result = active().leaky_relu_backward(self.x, eta, self.alpha)
        return result

    def config(self) -> dict[str, Any]:
        return super().config() | {"alpha": self.alpha}


LeakyRelu = Leaky_Relu
