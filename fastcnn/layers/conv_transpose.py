"""Transposed convolution."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import Fixed, Setting
from fastcnn.layers.convolution import ConvolutionLayer, taps
from fastcnn.shapes import check_side, must_be, received
from fastcnn.windows import Pair, Sides, both, check_both, check_not_negative, padding_pairs, reach_of


def check_output_padding(owner: str, name: str, value: Any) -> Sides:
    return check_both(owner, name, value, check_not_negative, least=0)


class Conv2DTranspose(ConvolutionLayer):
    """Transposed convolution of NHWC images: each pixel adds a kernel to the output, `stride` pixels apart.

    It is the gradient of the input of a `Conv2D` that would turn its output into its input, with the same kernel,
    stride, dilation and padding. Zeiler, Krishnan, Taylor and Fergus, "Deconvolutional Networks" (2010).

    Parameters
    ----------
    shape : (batch, height, width, channels)
        Of the input.
    output_channels : int
    ksize : int or (height, width), default 3
    stride : int or (height, width), default 1
    method : 'VALID', 'SAME' or 'SAME_UPPER'
        With 'VALID' the output has ``(H - 1) * stride + (ksize - 1) * dilation + 1`` rows, with the others ``H *
        stride``, from which those that `Conv2D` pads with zeros are cut off.
    groups, dilation, bias
        As for :class:`Conv2D`.
    padding : int, (rows, columns) or ((top, bottom), (left, right)), optional
        Rows and columns that are cut off the output, instead of what `method` says.
    output_padding : int or (height, width), default 0
        Rows at the bottom and columns at the right that the output is larger by, fewer than `stride`, as several sizes
        become one by a convolution with a stride. With 'VALID' or `padding` alone.
    initializer, rng, dtype
        As for :class:`Conv2D`.

    Attributes
    ----------
    weights : (height, width, output_channels / groups, channels) array
        Those of the `Conv2D` whose input is this layer's output.
    bias : (output_channels,) array; None in a layer without
    w_gradient, b_gradient, eta
        As of :class:`Conv2D`.
    window : the windows over the output, with their padding
    """

    output_padding: Setting[Sides] = Setting(check_output_padding)
    ksize: Fixed[Sides] = Fixed(taps)
    input_channels: Fixed[int] = Fixed(lambda layer: layer.input_shape[3])
    output_channels: Fixed[int] = Fixed(lambda layer: layer.bias_channels)
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.image_shape(layer.input_shape[0]))

    def __init__(  # noqa: PLR0913 - as those of `Conv2D`
        self,
        shape: Sequence[int],
        output_channels: int,
        ksize: Sides = 3,
        stride: Sides = 1,
        method: str = "VALID",
        *,
        groups: int = 1,
        dilation: Sides = 1,
        padding: Any = None,
        output_padding: Sides = 0,
        bias: bool = True,
        initializer: str | float | Callable = "msra",
        rng: Any = None,
        dtype: Any = None,
    ):
        super().__init__(shape, dtype=dtype)
        outputs, sides = (
            check_side(self.name, "output_channels", output_channels),
            check_both(self.name, "ksize", ksize),
        )
        self.set_windows(stride, method, padding, dilation)
        self.output_padding = output_padding
        self.set_groups(groups, self.input_shape[3], outputs)
        self.set_bias(bias)
        self.weights_shape = (*both(sides), outputs // self.groups, self.input_shape[3])
        self.check_settings()
        self.initialize(initializer, rng, math.sqrt(math.prod(self.input_shape) / outputs))

    @property
    def bias_channels(self) -> int:
        return self.weights_shape[2] * self.groups

    def check_settings(self) -> None:
        more, strides = both(self.output_padding), both(self.stride)
        if any(extra >= step for extra, step in zip(more, strides, strict=True)):
            wanted = f"less than `stride`, {self.stride}"
            raise ValueError(must_be(self.name, "output_padding", wanted, self.output_padding))
        if any(more) and self.padding is None and self.method != "VALID":
            wanted = f"0 with `method` {self.method!r}, which says the size of the output"
            raise ValueError(must_be(self.name, "output_padding", wanted, self.output_padding))
        sizes = self.image_sizes()
        if min(sizes) < 1:
            raise ValueError(
                f"{self.name}: `padding` must leave something of the output, which would be {sizes[0]} x {sizes[1]}. "
                f"{received('padding', self.padding)}"
            )
        self.check_room(self.bias_channels, "stride", "dilation")

    def image_sizes(self) -> Pair:
        strides, dilations, more = both(self.stride), both(self.dilation), both(self.output_padding)
        if self.padding is None and self.method != "VALID":
            return self.input_shape[1] * strides[0], self.input_shape[2] * strides[1]
        cut = padding_pairs(self.padding or 0)
        height, width = (
            (self.input_shape[axis + 1] - 1) * strides[axis]
            + reach_of(self.weights_shape[axis], dilations[axis])
            + more[axis]
            - sum(cut[axis])
            for axis in (0, 1)
        )
        return height, width

    def image_shape(self, batch: int) -> tuple[int, ...]:
        """The shape of the output."""
        return batch, *self.image_sizes(), self.bias_channels

    def forward(self, x: Any) -> np.ndarray:
        x = self.keep_x(x)
        shape = self.image_shape(len(x))
        return active().conv_transpose_forward(x, self.weights, self.bias_row, shape, self.window)

    def parameter_gradient(self, eta: np.ndarray) -> None:
        self.keep("eta", eta)
        self.add_parameter_gradients(*active().conv_transpose_weight_gradient(self.x, eta, self.window, self.groups))

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return active().conv_transpose_input_gradient(eta, self.weights, self.window)

    def multiply_adds(self) -> int:
        return math.prod(self.input_shape[1:3]) * math.prod(self.weights_shape)

    def config(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("output_channels", "ksize", "output_padding")}
        return super().config() | own | self.window_config()
