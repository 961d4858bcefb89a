"""What all layers share: entry of arrays, gradients, parameters and their update.

A layer is thin: it checks its arguments, calls the backend that is on, and keeps what the gradient needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.backends.active import active
from fastcnn.config import layer_dtype
from fastcnn.initializers import initial_parameters
from fastcnn.layers.attributes import Parameter
from fastcnn.shapes import check_array, check_number, check_shape, is_ready, received, shape_text


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
    gradient_names: ClassVar[dict[str, str]] = {}  # each parameter, and the attribute that holds its gradient
    state_names: ClassVar[tuple[str, ...]] = ()  # arrays that a file must hold too, though no gradient changes them
    random_names: ClassVar[tuple[str, ...]] = ()  # integers (or None) from which the layer's next random numbers follow
    rectifies: ClassVar[bool] = False  # whether `forward_rectified` exists
    rectified = False  # whether the last input stands for ``max(x, 0)``: a ReLU before this layer is computed in it

    def __init__(self, shape: Sequence[int], *, dtype: Any = None):
        self.dtype = layer_dtype(self.name, dtype)
        self.input_shape = check_shape(self.name, shape, self.rank)
        self.batchsize = self.input_shape[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """As given to the constructor; another batch size may be assigned."""
        return self._input_shape

    @input_shape.setter
    def input_shape(self, value: Any) -> None:
        shape = check_shape(self.name, value, self.rank, "input_shape")
        made = self.__dict__.get("_input_shape", shape)
        if shape[1:] != made[1:]:
            raise ValueError(
                f"{self.name}: `input_shape` must be {shape_text('batch', *made[1:])} in a layer that was made "
                f"for it; make a new layer for another. {received('input_shape', value)}"
            )
        self._input_shape = shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The input's shape, unless a layer says otherwise."""
        return self.__dict__.get("output_shape", self.input_shape)

    @output_shape.setter
    def output_shape(self, value: Any) -> None:
        self.__dict__["output_shape"] = check_shape(self.name, value, None, "output_shape")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrays in buffers that pickle does not own arrive read-only: they are copied."""
        if "dtype" not in state:
            raise ValueError(
                f"{self.name}: this pickle is of another code base's layer. Save its arrays where they were made, with "
                "np.save, and assign them to `weights` and `bias`"
            )
        for name, value in state.items():
            read_only = isinstance(value, np.ndarray) and not value.flags.writeable
            self.__dict__[name] = value.copy() if read_only else value

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
        if is_ready(x, self.input_shape, self.dtype):  # a prediction of one image asks a dozen times
            return x
        return check_array(self.name, "x", x, self.input_shape, self.dtype)

    def keep(self, name: str, array: np.ndarray) -> np.ndarray:
        """Store in an attribute what has been checked or comes from a kernel, and needs no second check."""
        self.__dict__[name] = array
        return array

    def keep_x(self, x: Any) -> np.ndarray:
        """`take_x`, and keep it for the gradient."""
        return self.keep("x", self.take_x(x))

    def take_eta(self, eta: Any) -> np.ndarray:
        """The entry of `gradient`: as `take_x`, and the batch must be that of the last `forward`."""
        batch = self.last_batch()
        if batch is None:
            raise RuntimeError(f"{self.name}: `gradient` needs a call of `forward` first")
        return check_array(self.name, "eta", eta, (batch, *self.output_shape[1:]), self.dtype, any_batch=False)

    def last_batch(self) -> int | None:
        """The batch size of the last `forward`; None before the first."""
        x = self.__dict__.get("x")
        return None if x is None else len(x)

    def check_settings(self) -> None:
        """Raise ValueError where settings that are right one by one do not fit together."""

    def forget(self) -> None:
        """Behave as before the first `forward`."""
        self.__dict__.pop("x", None)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them, from which `load` builds the layer again."""
        return {"shape": list(self.input_shape), "dtype": self.dtype.name}

    def children(self) -> dict[str, Any]:
        """The layers inside this one, by the names that a file gives them; none for most layers."""
        return {}

    def parameters(self) -> dict[str, np.ndarray]:
        """The arrays that gradients change, by name; none for most layers."""
        return {name: getattr(self, name) for name in self.gradient_names}

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of each parameter, by the parameter's name: sums over the batches since the last update."""
        return {name: getattr(self, gradient) for name, gradient in self.gradient_names.items()}

    def clear_gradients(self) -> None:
        """Start the sums of gradients anew."""
        for gradient in self.gradient_names.values():
            delattr(self, gradient)

    def tensors(self) -> dict[str, np.ndarray]:
        """All arrays that make the layer compute what it does: parameters, and statistics such as a running mean."""
        return self.parameters() | {name: getattr(self, name) for name in self.state_names}

    def parameter_count(self) -> int:
        return sum(array.size for array in self.parameters().values()) + sum(
            child.parameter_count() for child in self.children().values()
        )

    def multiply_adds(self) -> int:
        """Multiply-adds of `forward` for one image; layers without products count none."""
        return 0

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.config().items())
        return f"{self.name}({arguments})"


class LearningLayer(Layer):
    """A layer with parameters: their gradients and update. Each is a `Parameter`, and so is its gradient."""

    def add_gradients(self, **gradients: np.ndarray) -> None:
        """Add to the gradient of each parameter that is named."""
        for name, value in gradients.items():
            getattr(type(self), self.gradient_names[name]).accumulate(self, value)

    def backward(self, alpha: float = 1e-5, weight_decay: float = 4e-4) -> None:
        """Update by the accumulated gradients and clear them: ``p *= 1 - weight_decay; p -= alpha * gradient``.

        Raises ValueError where `alpha` or `weight_decay` is not a finite number; nothing is changed then.
        """
        alpha = check_number(self.name, "alpha", alpha)
        keep = 1 - check_number(self.name, "weight_decay", weight_decay)
        for name, gradient in self.gradients().items():
            active().sgd_update(getattr(self, name), gradient, alpha, keep)
        self.clear_gradients()


class WeightedLayer(LearningLayer):
    """A layer with `weights` and `bias`, and their initialisation."""

    gradient_names: ClassVar[dict[str, str]] = {"weights": "w_gradient", "bias": "b_gradient"}

    weights = Parameter("weights_shape")
    bias = Parameter("bias_shape")
    w_gradient = Parameter("weights_shape")
    b_gradient = Parameter("bias_shape")
    weights_shape: tuple[int, ...]

    def initialize(self, initializer: Any, rng: Any, msra_scale: float) -> None:
        self.weights, self.bias = initial_parameters(
            self.name, self.weights_shape, initializer, rng, msra_scale, self.dtype
        )

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return self.weights_shape[-1:]

    def multiply_adds(self) -> int:
        return math.prod(self.output_shape[1:-1]) * math.prod(self.weights_shape)
