"""What all layers share: entry of arrays, gradients, parameters and their update.

A layer is thin: it checks its arguments, calls the backend that is on, and keeps what the gradient needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.initializers import initial_parameters
from fastcnn.runtime import layer_dtype
from fastcnn.shapes import check_array, check_number, check_shape, real_array


class BatchArray:
    """An array attribute, (batch, ...) as `shape_of` says: zeros until something is stored, any batch size after."""

    def __init__(self, shape_of: str):
        self.shape_of = shape_of

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: Layer | None, owner: type) -> Any:
        if layer is None:
            return self
        if self.name not in layer.__dict__:
            layer.__dict__[self.name] = np.zeros(getattr(layer, self.shape_of), layer.dtype)
        return layer.__dict__[self.name]

    def __set__(self, layer: Layer, value: Any) -> None:
        shape = getattr(layer, self.shape_of)
        layer.__dict__[self.name] = check_array(layer.name, self.name, value, shape, layer.dtype)


class Parameter(BatchArray):
    """A parameter or its gradient, of exactly the shape that `shape_of` names; an assigned array is converted."""

    def __set__(self, layer: Layer, value: Any) -> None:
        shape = getattr(layer, self.shape_of)
        layer.__dict__[self.name] = check_array(layer.name, self.name, value, shape, layer.dtype, any_batch=False)

    def __delete__(self, layer: Layer) -> None:
        layer.__dict__.pop(self.name, None)

    def accumulate(self, layer: Layer, value: np.ndarray) -> None:
        """Add `value`; the first one since the last update is kept as it is."""
        if self.name in layer.__dict__:
            layer.__dict__[self.name] += value
        else:
            layer.__dict__[self.name] = value


class Layer:
    """The base of all layers.

    Parameters
    ----------
    shape : sequence of int
        The shape of the input, batch size first. The layer accepts any batch size all the same.
    dtype : 'float32' or 'float64', optional
        Of parameters and results; `fastcnn.get_dtype()` by default. Inputs of any real dtype are converted.
    """

    rank: ClassVar[int | None] = None  # axes of the input; None where any number makes sense
    parameter_names: ClassVar[tuple[str, ...]] = ()

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def __init__(self, shape: Sequence[int], *, dtype: Any = None):
        self.dtype = layer_dtype(self.name, dtype)
        self.input_shape = check_shape(self.name, shape, self.rank)
        self.output_shape = self.input_shape

    @property
    def name(self) -> str:
        return type(self).__name__

    def forward(self, x: Any) -> np.ndarray:
        """The layer's output for a batch `x` of any size."""
        raise NotImplementedError(f"{self.name} defines no forward")

    def gradient(self, eta: Any) -> np.ndarray:
        """Take dLoss/dOutput of the last `forward`, accumulate parameter gradients, return dLoss/dInput.

        Gradients are sums over the batch.
        """
        eta = self.take_eta(eta)
        self.parameter_gradient(eta)
        return self.input_gradient(eta)

    def parameter_gradient(self, eta: np.ndarray) -> None:
        """Accumulate the gradients of the parameters; nothing where there are none."""

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        """dLoss/dInput."""
        raise NotImplementedError(f"{self.name} defines no input_gradient")

    def take_x(self, x: Any) -> np.ndarray:
        """The entry of `forward`: checked, and converted to the layer's dtype."""
        return check_array(self.name, "x", x, self.input_shape, self.dtype)

    def take_eta(self, eta: Any) -> np.ndarray:
        """The entry of `gradient`: as `take_x`, and the batch must be that of the last `forward`."""
        batch = self.last_batch()
        if batch is None:
            raise RuntimeError(f"{self.name}: `gradient` needs a call of `forward` first")
        eta = real_array(self.name, "eta", eta)
        return check_array(self.name, "eta", eta, (batch, *self.output_shape[1:]), self.dtype, any_batch=False)

    def last_batch(self) -> int | None:
        """The batch size of the last `forward`; None before the first."""
        x = self.__dict__.get("x")
        return None if x is None else len(x)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them, from which `load` builds the layer again."""
        return {"shape": list(self.input_shape), "dtype": self.dtype.name}

    def parameters(self) -> dict[str, np.ndarray]:
        """The arrays that training changes, by name; none for most layers."""
        return {name: getattr(self, name) for name in self.parameter_names}

    def parameter_count(self) -> int:
        return sum(array.size for array in self.parameters().values())

    def multiply_adds(self) -> int:
        """Multiply-adds of `forward` for one image; layers without products count none."""
        return 0

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.config().items())
        return f"{self.name}({arguments})"


class WeightedLayer(Layer):
    """A layer with `weights` and `bias`: their gradients, update and initialisation."""

    parameter_names = ("weights", "bias")

    weights = Parameter("weights_shape")
    bias = Parameter("bias_shape")
    w_gradient = Parameter("weights_shape")
    b_gradient = Parameter("bias_shape")
    weights_shape: tuple[int, ...]

    def initialize(self, shape: tuple[int, ...], initializer: Any, rng: Any, msra_scale: float) -> None:
        self.weights_shape = shape
        self.weights, self.bias = initial_parameters(self.name, shape, initializer, rng, msra_scale, self.dtype)

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return self.weights_shape[-1:]

    @property
    def batchsize(self) -> int:
        """The batch size of the shape that the layer was made with."""
        return self.input_shape[0]

    def add_gradients(self, dw: np.ndarray, db: np.ndarray) -> None:
        WeightedLayer.w_gradient.accumulate(self, dw)
        WeightedLayer.b_gradient.accumulate(self, db)

    def backward(self, alpha: float = 1e-5, weight_decay: float = 4e-4) -> None:
        """Update by the accumulated gradients and clear them: ``p *= 1 - weight_decay; p -= alpha * gradient``.

        Raises ValueError where `alpha` or `weight_decay` is not a finite number; nothing is changed then.
        """
        alpha = check_number(self.name, "alpha", alpha)
        decay = 1 - check_number(self.name, "weight_decay", weight_decay)
        for parameter, gradient in ((self.weights, self.w_gradient), (self.bias, self.b_gradient)):
            parameter *= decay
            parameter -= alpha * gradient
        del self.w_gradient, self.b_gradient

    def multiply_adds(self) -> int:
        return math.prod(self.output_shape[1:-1]) * math.prod(self.weights_shape)
