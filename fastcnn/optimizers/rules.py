"""The update rules: gradient descent, momentum, and rates that adapt to each parameter.

The arithmetic is that of :mod:`fastcnn.backends.numpy.update`; constructors and defaults are PyTorch's, but for
RMSProp's rate.
"""

from typing import Any

import numpy as np

from fastcnn.components import Checked
from fastcnn.optimizers.base import Optimizer
from fastcnn.optimizers.checks import number


class SGD(Optimizer):
    """``p *= 1 - rate * weight_decay; p -= rate * gradient``."""

    plain = True

    def update(
        self,
        kernels: Any,
        parameter: np.ndarray,
        gradient: np.ndarray,
        kept: list[np.ndarray],
        rate: float,
        factors: tuple[float, float],
    ) -> None:
        scale, decay = factors
        kernels.sgd_update(parameter, gradient, rate * scale, 1 - rate * decay)


class Momentum(Optimizer):
    """``v = momentum * v + gradient; p -= rate * v`` (Polyak, "Some methods of speeding up the convergence", 1964)."""

    slots = ("velocity",)
    default_rate = 0.01
    nesterov = False

    momentum = Checked(number(below=1))

    def __init__(self, layers: Any, learning_rate: Any = None, momentum: float = 0.9, **options: Any):
        super().__init__(layers, learning_rate, **options)
        self.momentum = momentum

    def update(
        self,
        kernels: Any,
        parameter: np.ndarray,
        gradient: np.ndarray,
        kept: list[np.ndarray],
        rate: float,
        factors: tuple[float, float],
    ) -> None:
        kernels.momentum_update(parameter, gradient, *kept, rate, factors, self.momentum, self.nesterov)

    def config(self) -> dict[str, Any]:
        return super().config() | {"momentum": self.momentum}


class Nesterov(Momentum):
    """``v = momentum * v + gradient; p -= rate * (gradient + momentum * v)`` (Sutskever et al., 2013, section 2)."""

    nesterov = True


class RMSProp(Optimizer):
    """``s = rho * s + (1 - rho) * gradient**2; p -= rate * gradient / (sqrt(s) + epsilon)`` (Tieleman, 2012)."""

    slots = ("square",)
    default_rate = 1e-3

    rho = Checked(number(below=1))
    epsilon = Checked(number(above=True))

    def __init__(
        self, layers: Any, learning_rate: Any = None, rho: float = 0.99, epsilon: float = 1e-8, **options: Any
    ):
        super().__init__(layers, learning_rate, **options)
        self.rho, self.epsilon = rho, epsilon

    def update(
        self,
        kernels: Any,
        parameter: np.ndarray,
        gradient: np.ndarray,
        kept: list[np.ndarray],
        rate: float,
        factors: tuple[float, float],
    ) -> None:
        kernels.rmsprop_update(parameter, gradient, *kept, rate, factors, self.rho, self.epsilon)

    def config(self) -> dict[str, Any]:
        return super().config() | {"rho": self.rho, "epsilon": self.epsilon}


class Adam(Optimizer):
    """Running means of gradients and of their squares, bias-corrected (Kingma and Ba, "Adam", 2015)."""

    slots = ("mean", "square")
    default_rate = 1e-3
    decoupled = False

    beta1 = Checked(number(below=1))
    beta2 = Checked(number(below=1))
    epsilon = Checked(number(above=True))

    def __init__(
        self,
        layers: Any,
        learning_rate: Any = None,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Any,
    ):
        super().__init__(layers, learning_rate, **options)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def update(
        self,
        kernels: Any,
        parameter: np.ndarray,
        gradient: np.ndarray,
        kept: list[np.ndarray],
        rate: float,
        factors: tuple[float, float],
    ) -> None:
        scale, decay = factors
        decay, keep = (0.0, 1 - rate * decay) if self.decoupled else (decay, 1.0)
        moments = self.steps, self.beta1, self.beta2, self.epsilon
        kernels.adam_update(parameter, gradient, *kept, rate, (scale, decay), moments, keep)

    def config(self) -> dict[str, Any]:
        return super().config() | {"beta1": self.beta1, "beta2": self.beta2, "epsilon": self.epsilon}


class AdamW(Adam):
    """Adam with ``p *= 1 - rate * weight_decay`` apart (Loshchilov and Hutter, "Decoupled Weight Decay", 2019)."""

    decoupled = True

    def __init__(self, layers: Any, learning_rate: Any = None, *args: Any, weight_decay: float = 0.01, **options: Any):
        super().__init__(layers, learning_rate, *args, weight_decay=weight_decay, **options)
