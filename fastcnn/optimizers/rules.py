"""The update rules: gradient descent, momentum, and rates that adapt to each parameter.

The arithmetic is that of :mod:`fastcnn.backends.numpy.update`; constructors and defaults are PyTorch's, but for
RMSProp's rate.
"""

from typing import Any

import numpy as np

from fastcnn.optimizers.base import Optimizer


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
        scale: float,
    ) -> None:
        kernels.sgd_update(parameter, gradient, rate * scale, 1 - rate * self.weight_decay)


class Momentum(Optimizer):
    """``v = momentum * v + gradient; p -= rate * v`` (Polyak, "Some methods of speeding up the convergence", 1964)."""

    slots = ("velocity",)
    default_rate = 0.01
    nesterov = False

    def __init__(self, layers: Any, learning_rate: Any = None, momentum: float = 0.9, **options: Any):
        super().__init__(layers, learning_rate, **options)
        self.momentum = self.check("momentum", momentum, below=1)

    def update(
        self,
        kernels: Any,
        parameter: np.ndarray,
        gradient: np.ndarray,
        kept: list[np.ndarray],
        rate: float,
        scale: float,
    ) -> None:
        factors = scale, self.weight_decay
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

    def __init__(
        self, layers: Any, learning_rate: Any = None, rho: float = 0.99, epsilon: float = 1e-8, **options: Any
    ):
        super().__init__(layers, learning_rate, **options)
        self.rho, self.epsilon = self.check("rho", rho, below=1), self.check("epsilon", epsilon, above=True)

    def update(
        self,
        kernels: Any,
        parameter: np.ndarray,
        gradient: np.ndarray,
        kept: list[np.ndarray],
        rate: float,
        scale: float,
    ) -> None:
        factors = scale, self.weight_decay
        kernels.rmsprop_update(parameter, gradient, *kept, rate, factors, self.rho, self.epsilon)

    def config(self) -> dict[str, Any]:
        return super().config() | {"rho": self.rho, "epsilon": self.epsilon}


class Adam(Optimizer):
    """Running means of gradients and of their squares, bias-corrected (Kingma and Ba, "Adam", 2015)."""

    slots = ("mean", "square")
    default_rate = 1e-3
    decoupled = False

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
        self.beta1, self.beta2 = self.check("beta1", beta1, below=1), self.check("beta2", beta2, below=1)
        self.epsilon = self.check("epsilon", epsilon, above=True)

    def update(
        self,
        kernels: Any,
        parameter: np.ndarray,
        gradient: np.ndarray,
        kept: list[np.ndarray],
        rate: float,
        scale: float,
    ) -> None:
        decay, keep = (0.0, 1 - rate * self.weight_decay) if self.decoupled else (self.weight_decay, 1.0)
        moments = self.steps, self.beta1, self.beta2, self.epsilon
        kernels.adam_update(parameter, gradient, *kept, rate, (scale, decay), moments, keep)

    def config(self) -> dict[str, Any]:
        return super().config() | {"beta1": self.beta1, "beta2": self.beta2, "epsilon": self.epsilon}


class AdamW(Adam):
    """Adam with ``p *= 1 - rate * weight_decay`` apart (Loshchilov and Hutter, "Decoupled Weight Decay", 2019)."""

    decoupled = True

    def __init__(self, layers: Any, learning_rate: Any = None, *args: Any, weight_decay: float = 0.01, **options: Any):
        super().__init__(layers, learning_rate, *args, weight_decay=weight_decay, **options)
