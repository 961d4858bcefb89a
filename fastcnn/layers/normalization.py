"""Normalisation of each image by itself: the same in training and in use, and for any batch size."""

import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import BatchArray, Constant, Fixed, Parameter, Setting
from fastcnn.layers.base import LearningLayer
from fastcnn.shapes import check_features, check_int, check_number, must_be


class ImageNormalization(LearningLayer):
    """What `LayerNorm` and `GroupNorm` share: gain and bias, and the gradients, which one kernel computes together.

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    alpha, beta : arrays, gain and bias, 1 and 0 at first
    a_gradient, b_gradient : arrays like these, the gradients accumulated since the last `backward`
    """

    gradient_names: ClassVar[dict[str, str]] = {"alpha": "a_gradient", "beta": "b_gradient"}
    gain_names: ClassVar[tuple[str, ...]] = ("alpha", "beta")

    x = BatchArray("input_shape")
    eta = BatchArray("output_shape")
    alpha = Parameter("features_shape", first=lambda _: 1.0)
    beta = Parameter("features_shape")
    a_gradient = Parameter("features_shape")
    b_gradient = Parameter("features_shape")
    epsilon = Setting(functools.partial(check_number, minimum=1e-12))
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.input_shape)
    _mean: np.ndarray  # what the last `forward` normalised by: means,
    _deviation: np.ndarray  # and inverse deviations

    @property
    def features_shape(self) -> tuple[int, ...]:
        """That of gain and bias."""
        return self.input_shape[-1:]

    def as_kernels_take_it(self, x: np.ndarray) -> np.ndarray:
        """x as an array of the kernels' shape."""
        raise NotImplementedError(f"{self.name} defines no as_kernels_take_it")

    def keep_statistics(self, x: np.ndarray, result: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        """Keep what the gradient needs of a kernel's result, and return its output in the shape of x."""
        out, mean, deviation = result
        self.keep("x", x)
        self.keep("_mean", mean)
        self.keep("_deviation", deviation)
        return out.reshape(x.shape)

    def keep_gradients(self, dx: np.ndarray, dgain: np.ndarray, dbias: np.ndarray) -> None:
        """Accumulate those of gain and bias; the input's is `eta`."""
        self.eta = dx.reshape(self.x.shape)
        self.add_gradients(alpha=dgain.reshape(self.features_shape), beta=dbias.reshape(self.features_shape))

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.eta

    def backward(self, alpha: float = 1e-4, weight_decay: float = 0.0) -> None:
        """Update by the accumulated gradients and clear them, as every layer does; no decay by default."""
        super().backward(alpha, weight_decay)


def check_axis(owner: str, shape: Sequence[int], value: Any) -> int:
    """`value` as the number of an axis of `shape`, from the end, and not that of the batch."""
    rank = len(shape)
    axis = check_int(owner, "axis", value, -rank, rank - 1)
    axis = axis - rank if axis >= 0 else axis
    if axis == -rank:
        raise ValueError(must_be(owner, "axis", f"an axis of {tuple(shape)} after the first, the batch", value))
    return axis


class LayerNorm(ImageNormalization):
    """``(x - mean) / sqrt(var + epsilon) * alpha + beta`` over the channels of each pixel, or over more axes.

    Ba, Kiros and Hinton, "Layer Normalization" (2016). Each place has a mean and a variance of its own, whatever else
    is in the batch.

    Parameters
    ----------
    shape : (batch, ..., channels)
    axis : int, default -1
        The first axis that is normalised over; all after it are too, as in ONNX. -1 is the channels alone, as in Keras;
        1 the whole image. PyTorch's `normalized_shape` is ``shape[axis:]``.
    epsilon : float, default 1e-5
        Added to the variance; at least 1e-12.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    alpha, beta : arrays of ``shape[axis:]``, gain and bias, 1 and 0 at first
    a_gradient, b_gradient : arrays like these, the gradients accumulated since the last `backward`
    """

    axis: Constant[int] = Constant(lambda owner, name, value: value)

    def __init__(self, shape: Sequence[int], *, axis: int = -1, epsilon: float = 1e-5, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        check_features(self.name, self.input_shape)
        self.axis = check_axis(self.name, self.input_shape, axis)
        self.epsilon = epsilon

    @property
    def features_shape(self) -> tuple[int, ...]:
        return self.input_shape[self.axis :]

    def as_kernels_take_it(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, math.prod(self.features_shape))

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        gain, bias = self.alpha.reshape(-1), self.beta.reshape(-1)
        result = active().layer_norm_forward(self.as_kernels_take_it(x), gain, bias, self.epsilon)
        return self.keep_statistics(x, result)

    def parameter_gradient(self, eta: np.ndarray) -> None:
        """Accumulate both gradients; the input's comes with them, and is `eta`."""
        x, slope = self.as_kernels_take_it(self.x), self.as_kernels_take_it(eta)
        gain = self.alpha.reshape(-1)
        self.keep_gradients(*active().layer_norm_backward(x, slope, self._mean, self._deviation, gain))

    def config(self) -> dict[str, Any]:
        return super().config() | {"axis": self.axis, "epsilon": self.epsilon}


class GroupNorm(ImageNormalization):
    """``(x - mean) / sqrt(var + epsilon) * alpha + beta`` over the pixels and the channels of each group of an image.

    Wu and He, "Group Normalization" (2018). With one group it normalises whole images, with as many as there are
    channels it is instance normalisation (Ulyanov, Vedaldi and Lempitsky, "Instance Normalization", 2016).

    Parameters
    ----------
    shape : (batch, ..., channels)
    groups : int
        Of neighbouring channels, all of one size: a divisor of their number.
    epsilon : float, default 1e-5
        Added to the variance; at least 1e-12.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    x, eta : the last input, and the last gradient that `gradient` returned
    alpha, beta : (channels,) arrays, gain and bias, 1 and 0 at first
    a_gradient, b_gradient : arrays like these, the gradients accumulated since the last `backward`
    """

    groups: Constant[int] = Constant(lambda owner, name, value: value)

    def __init__(self, shape: Sequence[int], groups: int, *, epsilon: float = 1e-5, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        check_features(self.name, self.input_shape)
        channels = self.input_shape[-1]
        number = check_int(self.name, "groups", groups, 1, channels)
        if channels % number:
            raise ValueError(must_be(self.name, "groups", f"a divisor of the {channels} channels", groups))
        self.groups, self.epsilon = number, epsilon

    def as_kernels_take_it(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), math.prod(self.input_shape[1:-1]), self.input_shape[-1])

    def forward(self, x: Any) -> np.ndarray:
        x = self.take_x(x)
        images = self.as_kernels_take_it(x)
        result = active().group_norm_forward(images, self.alpha, self.beta, self.groups, self.epsilon)
        return self.keep_statistics(x, result)

    def parameter_gradient(self, eta: np.ndarray) -> None:
        """Accumulate both gradients; the input's comes with them, and is `eta`."""
        x, slope = self.as_kernels_take_it(self.x), self.as_kernels_take_it(eta)
        self.keep_gradients(*active().group_norm_backward(x, slope, self._mean, self._deviation, self.alpha))

    def config(self) -> dict[str, Any]:
        return super().config() | {"groups": self.groups, "epsilon": self.epsilon}
