"""What all layers share: entry of arrays, gradients, and the update of parameters.

A layer is thin: it checks its arguments, calls the active backend, and keeps what the gradient needs.
"""

import math
from typing import Any, ClassVar

import numpy as np

from fastcnn.arrays import check_array, is_ready
from fastcnn.backends.active import active
from fastcnn.components import Component, Constant, OptionalParameter, Parameter
from fastcnn.initializers import LATER, initial_parameters
from fastcnn.layers.protocol import parameter_count_of
from fastcnn.shapes import check_number


class Layer(Component):
    """The base of all layers. Parameters and what else it has: see :class:`fastcnn.components.Component`."""

    # A Relu before a layer that absorbs it is computed there: see `fastcnn.layers.chain`.
    absorbable: ClassVar[bool] = False  # whether it is that Relu
    absorbs_relu: ClassVar[bool] = False  # whether ``forward_rectified(x)``, which is ``forward(max(x, 0))``, exists
    _rectified = False

    @property
    def rectified(self) -> bool:
        """Whether the last forward was ``forward_rectified(x)``."""
        return self._rectified

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
        """The argument of `forward`, validated and converted to the layer's dtype."""
        if is_ready(x, self.input_shape, self.dtype):  # a shortcut: asked by each layer, also for one image
            return x
        return check_array(self.name, "x", x, self.input_shape, self.dtype)

    def keep_x(self, x: Any) -> np.ndarray:
        """`take_x`, and keep it for the gradient."""
        return self.keep("x", self.take_x(x))

    def take_eta(self, eta: Any) -> np.ndarray:
        """The argument of `gradient`, validated as by `take_x`; its batch size must be that of the last `forward`."""
        batch = self.last_batch()
        if batch is None:
            raise RuntimeError(f"{self.name}: `gradient` needs a call of `forward` first")
        return check_array(self.name, "eta", eta, (batch, *self.output_shape[1:]), self.dtype, any_batch=False)

    def last_batch(self) -> int | None:
        """The batch size of the last `forward`; None before the first."""
        x = self.__dict__.get("x")
        return None if x is None else len(x)

    def forget(self) -> None:
        """Behave as before the first `forward`."""
        self.__dict__.pop("x", None)

    def parameter_count(self) -> int:
        """How many numbers training changes, those of the layers inside too."""
        return super().parameter_count() + sum(map(parameter_count_of, self.children().values()))


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
    """A layer with `weights` and `bias`, and their initialisation; without bias where `bias_shape` is None."""

    gradient_names: ClassVar[dict[str, str]] = {"weights": "w_gradient", "bias": "b_gradient"}

    weights = Parameter("weights_shape")
    bias = OptionalParameter("bias_shape")
    w_gradient = Parameter("weights_shape")
    b_gradient = OptionalParameter("bias_shape")
    weights_shape: Constant[tuple[int, ...]] = Constant(lambda owner, name, value: value)

    def initialize(self, initializer: Any, rng: Any, msra_scale: float) -> None:
        """Draw weights and bias; `LATER` leaves them to who makes the layer, and takes no memory."""
        if initializer is LATER:
            return
        self.weights, self.bias = initial_parameters(
            self.name, self.weights_shape, initializer, rng, msra_scale, self.dtype, self.bias_shape
        )

    @property
    def bias_shape(self) -> tuple[int, ...] | None:
        return self.weights_shape[-1:]

    def multiply_adds(self) -> int:
        return math.prod(self.output_shape[1:-1]) * math.prod(self.weights_shape)
