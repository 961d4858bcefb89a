"""Convolution, and the module functions `im2col` and `col2im`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.arrays import check_array, real_array
from fastcnn.backends.active import active
from fastcnn.components import Fixed
from fastcnn.config import layer_dtype
from fastcnn.layers.convolution import ConvolutionLayer, taps
from fastcnn.shapes import check_shape, check_side
from fastcnn.windows import Sides, Window, both, check_both, check_window, conv_output_shape, window_of


class Conv2D(ConvolutionLayer):
    """2-D convolution (cross-correlation) of NHWC images.

    Parameters
    ----------
    shape : (batch, height, width, channels)
        Of the input. Any batch size is accepted later.
    output_channels : int
    ksize : int or (height, width), default 3
        Sides of the kernel, odd or even.
    stride : int or (height, width), default 1
    method : 'VALID', 'SAME' or 'SAME_UPPER'
        'VALID' adds no zeros. 'SAME' gives ``ceil(H / stride)`` rows, and so does 'SAME_UPPER': with r the rows from
        the first of a window to its last, ``(ksize - 1) * dilation + 1``, 'SAME' adds ``(r - 1) // 2`` rows of zeros
        before and ``r // 2`` after, whatever the stride, as the original does; 'SAME_UPPER' as many as the windows
        need, the odd one after, as TensorFlow, Keras and ONNX do. The width follows in the same way.
    groups : int, default 1
        Channels and outputs are divided into so many groups, and each output is made of its group's channels alone.
        It divides both.
    dilation : int or (height, width), default 1
        Pixels from one of a window to the next.
    padding : int, (rows, columns) or ((top, bottom), (left, right)), optional
        Zeros around the image, instead of what `method` adds.
    bias : bool, default True
    initializer : str, number or callable
        See :mod:`fastcnn.initializers`. 'msra' draws standard normal numbers over ``sqrt(prod(shape) /
        output_channels)``, weights first, then bias.
    rng : NumPy generator or seed, optional
        NumPy's global generator by default.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    weights : (height, width, channels / groups, output_channels) array
    bias : (output_channels,) array; None in a layer without
    w_gradient, b_gradient : arrays like these, the gradients accumulated since the last `backward`
    eta : the last gradient with respect to the output
    window : the windows over the image, with all their numbers as (height, width)
    col_image : (batch, OH * OW, height * width * channels) array
        The column matrix of each image of the last batch, computed when read.

    Raises
    ------
    ValueError
        Of arguments that do not fit together: windows larger than the padded image, or groups that do not divide the
        channels.
    """

    absorbs_relu = True
    ksize: Fixed[Sides] = Fixed(taps)
    input_channels: Fixed[int] = Fixed(lambda layer: layer.input_shape[3])
    output_channels: Fixed[int] = Fixed(lambda layer: layer.weights_shape[3])
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.compute_output_shape())

    def __init__(  # noqa: PLR0913 - what a convolution is has so many sides
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
        self.set_groups(groups, self.input_shape[3], outputs)
        self.set_bias(bias)
        self.weights_shape = (*both(sides), self.input_shape[3] // self.groups, outputs)
        self.check_settings()
        self.initialize(initializer, rng, math.sqrt(math.prod(self.input_shape) / outputs))

    def check_settings(self) -> None:
        check_window(self.name, self.find_window(), self.input_shape)
        self.check_room(self.input_shape[3], "dilation", "padding")

    def compute_output_shape(self) -> tuple[int, ...]:
        return conv_output_shape(self.input_shape, self.weights_shape, self.window)

    def forward(self, x: Any) -> np.ndarray:
        return self.convolve(x, False)

    def forward_rectified(self, x: Any) -> np.ndarray:
        """``forward(max(x, 0))``; `input_gradient` is then with respect to x."""
        return self.convolve(x, True)

    def convolve(self, x: Any, rectify: bool) -> np.ndarray:
        x = self.keep_x(x)
        self.keep("_rectified", rectify)
        return active().conv_forward(x, self.weights, self.bias_row, self.window, rectify)

    def parameter_gradient(self, eta: np.ndarray) -> None:
        self.keep("eta", eta)
        gradients = active().conv_weight_gradient(self.x, eta, self.window, self.groups, self._rectified)
        self.add_parameter_gradients(*gradients)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        image_shape = (len(eta), *self.input_shape[1:])
        gate = self.x if self._rectified else None
        return active().conv_input_gradient(eta, self.weights, image_shape, self.window, gate)

    @property
    def col_image(self) -> np.ndarray:
        x = active().relu_forward(self.x) if self._rectified else self.x
        cols = active().im2col(x, self.window)
        return cols.reshape(len(x), -1, cols.shape[1])

    @col_image.setter
    def col_image(self, value: Any) -> None:
        """A no-op: scripts that emptied the original's list by hand still run."""

    def config(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("output_channels", "ksize")}
        return super().config() | own | self.window_config()


class DepthwiseConv2D(Conv2D):
    """Convolution of each channel by itself: as many groups as channels.

    Parameters
    ----------
    shape, ksize, stride, method
        As for :class:`Conv2D`.
    multiplier : int, default 1
        Outputs of each channel: those of channel c are ``c * multiplier`` and the next ones.
    dilation, padding, bias, initializer, rng, dtype
        As for :class:`Conv2D`.

    Attributes
    ----------
    weights : (height, width, 1, channels * multiplier) array
    bias, w_gradient, b_gradient, eta, window
        As of :class:`Conv2D`.
    """

    multiplier: Fixed[int] = Fixed(lambda layer: layer.weights_shape[3] // layer.input_shape[3])

    def __init__(  # noqa: PLR0913 - as those of `Conv2D`
        self,
        shape: Sequence[int],
        ksize: Sides = 3,
        stride: Sides = 1,
        method: str = "VALID",
        multiplier: int = 1,
        *,
        dilation: Sides = 1,
        padding: Any = None,
        bias: bool = True,
        initializer: str | float | Callable = "msra",
        rng: Any = None,
        dtype: Any = None,
    ):
        channels = check_shape(self.name, shape)[3]
        outputs = channels * check_side(self.name, "multiplier", multiplier)
        options = {"dilation": dilation, "padding": padding, "bias": bias}
        drawn = {"initializer": initializer, "rng": rng, "dtype": dtype}
        super().__init__(shape, outputs, ksize, stride, method, groups=channels, **options, **drawn)

    def config(self) -> dict[str, Any]:
        own = super().config() | {"multiplier": self.multiplier}
        return {name: value for name, value in own.items() if name not in ("groups", "output_channels")}


def _window(owner: str, name: str, shape: Any, ksize: Any, stride: Any) -> tuple[tuple[int, ...], Window]:
    shape = check_shape(owner, shape, name=name)
    sides, steps = (check_both(owner, key, value) for key, value in (("ksize", ksize), ("stride", stride)))
    window = window_of((shape[1], shape[2]), sides, steps)
    check_window(owner, window, shape)
    return shape, window


def _kernel_dtype(array: np.ndarray) -> np.dtype:
    """float64 stays float64; every other dtype becomes the default."""
    return array.dtype.newbyteorder("=") if array.dtype.name == "float64" else layer_dtype("im2col")


def im2col(image: Any, ksize: Sides, stride: Sides) -> np.ndarray:
    """The windows of `image` (B, H, W, C) as rows: (B * OH * OW, height * width * C), without padding.

    Rows run over images, output rows, output columns; within a row, over kernel rows, kernel columns, channels.
    `ksize` and `stride` are integers or pairs, (height, width).
    """
    image = real_array("im2col", "image", image)
    shape, window = _window("im2col", "image.shape", image.shape, ksize, stride)
    image = check_array("im2col", "image", image, shape, _kernel_dtype(image))
    return active().im2col(image, window)


def col2im(cols: Any, image_shape: Sequence[int], ksize: Sides, stride: Sides) -> np.ndarray:
    """The adjoint of `im2col`: each column entry added to the pixel it came from, (B, H, W, C)."""
    shape, window = _window("col2im", "image_shape", image_shape, ksize, stride)
    cols = real_array("col2im", "cols", cols)
    rows = (shape[0] * math.prod(window.positions(*shape[1:3])), math.prod(window.ksize) * shape[3])
    cols = check_array("col2im", "cols", cols, rows, _kernel_dtype(cols), any_batch=False)
    return active().col2im(cols, shape, window)
