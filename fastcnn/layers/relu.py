"""Activations: Relu and its relatives, Sigmoid and Tanh. Others: :mod:`fastcnn.layers.activations`."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import BatchArray, Checked, Fixed, Parameter, Setting
from fastcnn.layers.base import Layer, LearningLayer
from fastcnn.shapes import check_features, check_flag, check_number


class Rectifier(Layer):
    """A layer whose output is x where x is positive, and whose gradient changes at 0, to which `at_zero` gives a side.

    Parameters
    ----------
    at_zero : bool, default True
        Whether an x of exactly 0 counts as positive in the gradient, as in the original, so that all of it passes; with
        False it counts as negative, as in PyTorch. The output is the same.

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    """

    added_later: ClassVar[dict[str, Any]] = {"at_zero": True}
    unsaid_names: ClassVar[tuple[str, ...]] = ("at_zero",)

    x = BatchArray("input_shape")
    eta = BatchArray("output_shape")
    at_zero = Checked(check_flag)
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.input_shape)

    def __init__(self, shape: Sequence[int], *, at_zero: bool = True, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        self.at_zero = at_zero

    def config(self) -> dict[str, Any]:
        return super().config() | self.later_config()


class Relu(Rectifier):
    """``max(x, 0)`` for inputs of any rank; the gradient passes where ``x >= 0``, at 0 too.

    Parameters
    ----------
    shape : sequence of int
    at_zero : bool, default True
        With False no gradient passes at exactly 0, as in PyTorch. A `Sequential` then computes this layer by itself,
        and not together with the one after it.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    """

    absorbable = True

    def forward(self, x: Any) -> np.ndarray:
        x = self.keep_x(x)
        return active().relu_forward(x)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().relu_backward(self.x, eta, self.at_zero))


class Leaky_Relu(Rectifier):
    """x where ``x >= 0``, else ``alpha * x``; the gradient follows the same rule, or ``x > 0`` with ``at_zero=False``.

    Maas, Hannun and Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models" (2013).
    """

    alpha = Setting(check_number)

    def __init__(self, shape: Sequence[int], alpha: float = 0.2, *, at_zero: bool = True, dtype: Any = None):
        super().__init__(shape, at_zero=at_zero, dtype=dtype)
        self.alpha = alpha

    def forward(self, x: Any) -> np.ndarray:
        x = self.keep_x(x)
        return active().leaky_relu_forward(x, self.alpha)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().leaky_relu_backward(self.x, eta, self.alpha, self.at_zero))

    def config(self) -> dict[str, Any]:
        return super().config() | {"alpha": self.alpha}


LeakyRelu = Leaky_Relu


class ELU(Rectifier):
    """x where ``x >= 0``, else ``alpha * (exp(x) - 1)``; at 0 the slope is 1, with ``at_zero=False`` alpha.

    Clevert, Unterthiner and Hochreiter, "Fast and Accurate Deep Network Learning by Exponential Linear Units" (2016).
    """

    alpha = Setting(check_number)

    def __init__(self, shape: Sequence[int], alpha: float = 1.0, *, at_zero: bool = True, dtype: Any = None):
        super().__init__(shape, at_zero=at_zero, dtype=dtype)
        self.alpha = alpha

    def forward(self, x: Any) -> np.ndarray:
        x = self.keep_x(x)
        return active().elu_forward(x, self.alpha)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().elu_backward(self.x, eta, self.alpha, self.at_zero))

    def config(self) -> dict[str, Any]:
        return super().config() | {"alpha": self.alpha}


class PReLU(Rectifier, LearningLayer):
    """x where ``x >= 0``, else ``alpha * x`` with an alpha for each channel, the last axis, that is learned.

    He et al., "Delving Deep into Rectifiers" (2015), section 2.1.

    Parameters
    ----------
    shape : (batch, ..., channels)
    alpha : float, default 0.25
        Where each channel's starts.
    at_zero : bool, default True
        With False the input's gradient at exactly 0 is ``alpha * eta``, as in PyTorch, and not `eta`.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    alpha : (channels,) array
    a_gradient : an array like it, the gradient accumulated since the last `backward`
    """

    gradient_names: ClassVar[dict[str, str]] = {"alpha": "a_gradient"}

    alpha = Parameter("channels_shape", first=lambda layer: layer._first_alpha)
    a_gradient = Parameter("channels_shape")

    def __init__(self, shape: Sequence[int], alpha: float = 0.25, *, at_zero: bool = True, dtype: Any = None):
        super().__init__(shape, at_zero=at_zero, dtype=dtype)
        check_features(self.name, self.input_shape)
        self._first_alpha = check_number(self.name, "alpha", alpha)

    @property
    def channels_shape(self) -> tuple[int, ...]:
        return self.input_shape[-1:]

    def forward(self, x: Any) -> np.ndarray:
        x = self.keep_x(x)
        return active().prelu_forward(x, self.alpha)

    def parameter_gradient(self, eta: np.ndarray) -> None:
        """Accumulate alpha's gradient; the input's comes with it, and is `eta`."""
        self.eta, dalpha = active().prelu_backward(self.x, eta, self.alpha, self.at_zero)
        self.add_gradients(alpha=dalpha)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.eta

    def config(self) -> dict[str, Any]:
        return super().config() | {"alpha": self._first_alpha}


class OutputActivation(Layer):
    """An activation whose slope follows from its output, which is therefore what it keeps.

    Attributes
    ----------
    y, eta : the last output, and the last gradient that `gradient` returned
    """

    y = BatchArray("output_shape")
    eta = BatchArray("output_shape")
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.input_shape)

    def last_batch(self) -> int | None:
        y = self.__dict__.get("y")
        return None if y is None else len(y)

    def forget(self) -> None:
        self.__dict__.pop("y", None)


class Sigmoid(OutputActivation):
    """``1 / (1 + exp(-x))``, for inputs of any rank and size: nothing overflows."""

    def forward(self, x: Any) -> np.ndarray:
        return self.keep("y", active().sigmoid_forward(self.take_x(x)))

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().sigmoid_backward(self.y, eta))


class Tanh(OutputActivation):
    """The hyperbolic tangent, for inputs of any rank."""

    def forward(self, x: Any) -> np.ndarray:
        return self.keep("y", active().tanh_forward(self.take_x(x)))

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().tanh_backward(self.y, eta))
