"""Batch normalisation."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import BatchArray, Checked, Fixed, Parameter, Setting
from fastcnn.layers.base import LearningLayer
from fastcnn.layers.protocol import check_phase
from fastcnn.shapes import check_features, check_number, check_share, must_be


def check_total(owner: str, name: str, value: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    if value is None or callable(value):
        return value
    raise TypeError(must_be(owner, name, "None, or a function that adds up an array over all shards", value))


class BatchNorm(LearningLayer):
    """``(x - mean) / sqrt(var + epsilon) * alpha + beta``, of each channel, the last axis.

    Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift"
    (2015). In the phase 'train' mean and variance are those of the batch over all axes but the last, and the running
    ones follow them; in the phase 'test' they are the running ones, and before the first batch 0 and 1. `phase` may be
    True or False for these. One value has no variance: a batch with a single one for each channel is normalised as in
    the phase 'test', with a warning.

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
    moving_var = Parameter("channels_shape", minimum=0)
    epsilon = Setting(functools.partial(check_number, minimum=1e-12))
    moving_decay = Setting(check_share)
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.input_shape)
    total: Checked[Callable[[np.ndarray], np.ndarray] | None] = Checked(check_total)
    _mean: np.ndarray  # what the last `forward` normalised by,
    _var: np.ndarray
    _of_batch: bool  # whether these are of its batch,
    _count: int  # and of how many values for each channel

    def __init__(self, shape: Sequence[int], *, epsilon: float = 1e-5, moving_decay: float = 0.997, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        check_features(self.name, self.input_shape)
        self.epsilon, self.moving_decay, self.total = epsilon, moving_decay, None

    @property
    def channels_shape(self) -> tuple[int, ...]:
        return self.input_shape[-1:]

    def rows(self, x: np.ndarray) -> np.ndarray:
        """x as (n, channels), as the kernels take it."""
        return x.reshape(-1, self.input_shape[-1])

    def forward(self, x: Any, phase: str = "train") -> np.ndarray:
        train, x = check_phase(self.name, phase) == "train", self.take_x(x)
        mean, var, count = self.batch_statistics(self.rows(x)) if train else (*self.running_statistics(), 0)
        of_batch = train and count != 1
        if of_batch:
            self.follow(mean, var, count)
        elif train:
            self.warn_of_one()
            mean, var = self.running_statistics()
        self.keep("x", x)  # after a warning, which may be an error
        self.keep("_of_batch", of_batch)
        self.keep("_count", count)
        self.keep("_mean", mean)
        self.keep("_var", var)
        out = active().batch_norm_forward(self.rows(x), mean, var, self.alpha, self.beta, self.epsilon)
        return out.reshape(x.shape)

    def batch_statistics(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Mean and variance of a batch, and how many values of each channel it has; those of all shards, if any."""
        mean, var = active().batch_statistics(rows)
        return (mean, var, len(rows)) if self.total is None else self.join_shards(mean, var, len(rows), self.total)

    def running_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies: a script may write into them before `gradient`. Mean 0 and variance 1 before the first batch."""
        var = self.moving_var.copy() if self.has_seen_a_batch() else np.ones_like(self.moving_var)
        return self.moving_mean.copy(), var

    def has_seen_a_batch(self) -> bool:
        return bool(self.moving_mean.any() or self.moving_var.any())

    def warn_of_one(self) -> None:
        """Say that a batch has no variance; `fit` goes on, also where it is the last batch of each epoch."""
        warnings.warn(
            f"{self.name}: a batch with one value for each channel has no variance: it was normalised by the running "
            "statistics, which it leaves as they are. Give a batch two images or more, also the last one of an epoch",
            RuntimeWarning,
            stacklevel=3,
        )

    def join_shards(
        self, mean: np.ndarray, var: np.ndarray, count: int, total: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Make the statistics of a shard those of the whole batch, by one all-reduce.

        Mean and mean square are shifted by the running mean, which all shards know: the variance would lose its digits
        in the difference of two large numbers, and these are small.
        """
        shift = self.moving_mean.astype(np.float64)
        mean = mean - shift
        sums = total(np.concatenate([[1.0], mean, var + mean**2]) * count)
        mean, square = np.split(sums[1:] / sums[0], 2)
        var = np.maximum(square - mean**2, 0).astype(self.dtype)
        return (mean + shift).astype(self.dtype), var, round(sums[0])

    def follow(self, mean: np.ndarray, var: np.ndarray, count: int) -> None:
        """Move the running statistics towards those of a batch of `count` values for each channel."""
        if not count:
            return
        var = var * self.dtype.type(count / max(1, count - 1))
        if self.has_seen_a_batch():
            decay = self.dtype.type(self.moving_decay)
            mean = decay * self.moving_mean + (1 - decay) * mean
            var = decay * self.moving_var + (1 - decay) * var
        vars(self).update(moving_mean=mean.copy(), moving_var=var)  # NaN too, where the batch has some

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
