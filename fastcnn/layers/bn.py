"""Batch normalisation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import BatchArray, Fixed, Parameter, Setting
from fastcnn.layers.base import LearningLayer
from fastcnn.layers.protocol import PHASES
from fastcnn.shapes import check_choice, check_features, check_number, check_share


class BatchNorm(LearningLayer):
    """``(x - mean) / sqrt(var + epsilon) * alpha + beta``, of each channel, the last axis.

    Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift"
    (2015). In the phase 'train' mean and variance are those of the batch over all axes but the last, and the running
    ones follow them; in the phase 'test' they are the running ones.

    Parameters
    ----------
    shape : (batch, ..., channels)
    epsilon : float, default 1e-5
        Added to the variance; at least 1e-12.
    moving_decay : float, default 0.997
        The share of the running statistics that stays: ``moving = decay * moving + (1 - decay) * batch``. The first
        batch, while both are all 0, initialises them.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    x : the last input
    alpha, beta : (channels,) arrays, gain and bias, 1 and 0 at first
    a_gradient, b_gradient : arrays like these, the gradients accumulated since the last `backward`
    moving_mean, moving_var : (channels,) arrays; the variance is that of the population, ``sum / (n - 1)``, while a
        batch is normalised by its own, ``sum / n``
    total : None, or an all-reduce: a function that adds up a float64 array over all shards of a batch, in place, and
        returns it. Statistics and gradients are then those of the whole batch (see :mod:`fastcnn.distributed`)
    """

    gradient_names: ClassVar[dict[str, str]] = {"alpha": "a_gradient", "beta": "b_gradient"}
    state_names: ClassVar[tuple[str, ...]] = ("moving_mean", "moving_var")
    shard_names: ClassVar[tuple[str, ...]] = ("total",)

    x = BatchArray("input_shape")
    alpha = Parameter("channels_shape", first=lambda _: 1.0)
    beta = Parameter("channels_shape")
    a_gradient = Parameter("channels_shape")
    b_gradient = Parameter("channels_shape")
    moving_mean = Parameter("channels_shape")
    moving_var = Parameter("channels_shape")
    epsilon = Setting(functools.partial(check_number, minimum=1e-12))
    moving_decay = Setting(check_share)
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.input_shape)
    total: Callable[[np.ndarray], np.ndarray] | None = None

    def __init__(self, shape: Sequence[int], *, epsilon: float = 1e-5, moving_decay: float = 0.997, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        check_features(self.name, self.input_shape)
        self.epsilon, self.moving_decay = epsilon, moving_decay

    @property
    def channels_shape(self) -> tuple[int, ...]:
        return self.input_shape[-1:]

    def rows(self, x: np.ndarray) -> np.ndarray:
        """x as (n, channels), as the kernels take it."""
        return x.reshape(-1, self.input_shape[-1])

    def forward(self, x: Any, phase: str = "train") -> np.ndarray:
        self._of_batch = check_choice(self.name, "phase", phase, PHASES) == "train"
        x = self.keep_x(x)
        if self._of_batch:
            self._mean, self._var = active().batch_statistics(self.rows(x))
            self._count = x.size // self.input_shape[-1]
            if self.total is not None:
                self.join_shards(self.total)
            self.follow(self._mean, self._var, self._count)
        else:  # copies: a script may write into the running statistics before `gradient`
            self._mean, self._var = self.moving_mean.copy(), self.moving_var.copy()
        out = active().batch_norm_forward(self.rows(x), self._mean, self._var, self.alpha, self.beta, self.epsilon)
        return out.reshape(x.shape)

    def join_shards(self, total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Make the statistics of a shard those of the whole batch, by one all-reduce.

        Mean and mean square are shifted by the running mean, which all shards know: the variance would lose its digits
        in the difference of two large numbers, and these are small.
        """
        shift = self.moving_mean.astype(np.float64)
        mean = self._mean - shift
        sums = total(np.concatenate([[1.0], mean, self._var + mean**2]) * self._count)
        mean, square = np.split(sums[1:] / sums[0], 2)
        self._count = round(sums[0])
        self._mean = (mean + shift).astype(self.dtype)
        self._var = np.maximum(square - mean**2, 0).astype(self.dtype)

    def follow(self, mean: np.ndarray, var: np.ndarray, count: int) -> None:
        """Move the running statistics towards those of a batch of `count` values for each channel."""
        if not count:
            return
        var = var * self.dtype.type(count / max(1, count - 1))
        if self.moving_mean.any() or self.moving_var.any():
            decay = self.dtype.type(self.moving_decay)
            mean = decay * self.moving_mean + (1 - decay) * mean
            var = decay * self.moving_var + (1 - decay) * var
        self.moving_mean, self.moving_var = mean, var

    def parameter_gradient(self, eta: np.ndarray) -> None:
        """Accumulate both gradients; those of this batch alone are kept for `input_gradient`."""
        dgain, dbias = active().batch_norm_parameter_gradient(
            self.rows(self.x), self.rows(eta), self._mean, self._var, self.epsilon
        )
        self._batch_gradients = dgain.copy(), dbias.copy()
        self.add_gradients(alpha=dgain, beta=dbias)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        """Through the batch's statistics in the phase 'train'; in 'test' they are constants."""
        dgain, dbias = self._batch_gradients if self._of_batch else (np.zeros_like(self._mean),) * 2
        if self._of_batch and self.total is not None:  # the kernel divides by the rows of this shard
            sums = self.total(np.concatenate([dgain, dbias]).astype(np.float64))
            rows = eta.size // self.input_shape[-1]
            dgain, dbias = np.split((sums * (rows / self._count)).astype(self.dtype), 2)
        result = active().batch_norm_input_gradient(
            self.rows(self.x), self.rows(eta), self._mean, self._var, self.alpha, dgain, dbias, self.epsilon
        )
        return result.reshape(eta.shape)

    def backward(self, alpha: float = 1e-4, weight_decay: float = 0.0) -> None:
        """Update by the accumulated gradients and clear them, as every layer does; no decay by default."""
        super().backward(alpha, weight_decay)

    def config(self) -> dict[str, Any]:
        return super().config() | {"epsilon": self.epsilon, "moving_decay": self.moving_decay}
