"""Activations that came after the original's: SiLU, GELU, Mish, softplus, and those of straight lines."""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import BatchArray, Checked, Fixed
from fastcnn.layers.base import Layer
from fastcnn.shapes import check_choice, check_number

APPROXIMATIONS = ("none", "tanh")


class InputActivation(Layer):
    """An activation of each number by itself, for inputs of any rank, which keeps its input for the gradient.

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    """

    x = BatchArray("input_shape")
    eta = BatchArray("output_shape")
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.input_shape)


class SiLU(InputActivation):
    """``x * sigmoid(x)``, also called swish.

    Elfwing, Uchibe and Doya, "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in Reinforcement
    Learning" (2018).
    """

    def forward(self, x: Any) -> np.ndarray:
        return active().silu_forward(self.keep_x(x))

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().silu_backward(self.x, eta))


class GELU(InputActivation):
    """x times the probability that a standard normal number is at most x.

    Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)" (2016).

    Parameters
    ----------
    shape : sequence of int
    approximate : 'none' or 'tanh', default 'none'
        The probability by the error function, or by ``(1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``, which is
        off by up to 3e-4. Both take about as long.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    """

    approximate = Checked(functools.partial(check_choice, choices=APPROXIMATIONS))

    def __init__(self, shape: Sequence[int], *, approximate: str = "none", dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        self.approximate = approximate

    def forward(self, x: Any) -> np.ndarray:
        return active().gelu_forward(self.keep_x(x), self.approximate == "tanh")

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().gelu_backward(self.x, eta, self.approximate == "tanh"))

    def config(self) -> dict[str, Any]:
        return super().config() | {"approximate": self.approximate}


class Mish(InputActivation):
    """``x * tanh(log(1 + exp(x)))``: Misra, "Mish: A Self Regularized Non-Monotonic Activation Function" (2020)."""

    def forward(self, x: Any) -> np.ndarray:
        return active().mish_forward(self.keep_x(x))

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().mish_backward(self.x, eta))


class Softplus(InputActivation):
    """``log(1 + exp(x))``, for numbers of any size: nothing overflows."""

    def forward(self, x: Any) -> np.ndarray:
        return active().softplus_forward(self.keep_x(x))

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().softplus_backward(self.x, eta))


class HardSwish(InputActivation):
    """``x * min(max(x + 3, 0), 6) / 6``; at -3 the slope is 0, at 3 it is 1, as in PyTorch.

    Howard et al., "Searching for MobileNetV3" (2019), section 5.2.
    """

    def forward(self, x: Any) -> np.ndarray:
        return active().hard_swish_forward(self.keep_x(x))

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().hard_swish_backward(self.x, eta))


class Ramp(InputActivation):
    """0, then a straight line, then a constant; no gradient passes where either begins, as in PyTorch."""

    most: ClassVar[float] = 1.0

    def line(self) -> tuple[float, float, float]:
        """Its slope, its value at 0, and the constant."""
        return 1.0, 0.0, self.most

    def forward(self, x: Any) -> np.ndarray:
        return active().ramp_forward(self.keep_x(x), *self.line())

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.keep("eta", active().ramp_backward(self.x, eta, *self.line()))


class ReLU6(Ramp):
    """``min(max(x, 0), 6)``; the gradient passes where x is above 0 and below 6, as in PyTorch.

    Krizhevsky, "Convolutional Deep Belief Networks on CIFAR-10" (2010).
    """

    most = 6.0


class HardSigmoid(Ramp):
    """``min(max(alpha * x + beta, 0), 1)``; at 0 and 1 no gradient passes.

    Parameters
    ----------
    shape : sequence of int
    alpha, beta : float, default 1/6 and 0.5
        PyTorch's numbers; `alpha` is at least 1e-12. ONNX has 0.2 where a file does not say it.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    """

    alpha = Checked(functools.partial(check_number, minimum=1e-12))
    beta = Checked(check_number)

    def __init__(self, shape: Sequence[int], alpha: float = 1 / 6, beta: float = 0.5, *, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        self.alpha, self.beta = alpha, beta

    def line(self) -> tuple[float, float, float]:
        return self.alpha, self.beta, self.most

    def config(self) -> dict[str, Any]:
        return super().config() | {"alpha": self.alpha, "beta": self.beta}
