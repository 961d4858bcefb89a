"""Convolution, and the module functions `im2col` and `col2im`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.arrays import check_array, real_array
from fastcnn.backends.active import active
from fastcnn.components import BatchArray, Fixed, Setting
from fastcnn.config import layer_dtype
from fastcnn.layers.base import WeightedLayer
from fastcnn.shapes import (
    PADDING_METHODS,
    check_choice,
    check_shape,
    check_side,
    check_window,
    conv_output_shape,
    conv_output_size,
    conv_padding,
)


class Conv2D(WeightedLayer):
    """2-D convolution (cross-correlation) of NHWC images with square kernels.

    Parameters
    ----------
    shape : (batch, height, width, channels)
        Of the input. Any batch size is accepted later.
    output_channels : int
    ksize : int, default 3
        Side of the kernel, odd or even.
    stride : int, default 1
    method : 'VALID' or 'SAME'
        'VALID' gives ``(H - ksize) // stride + 1`` rows, 'SAME' ``ceil(H / stride)``: zeros are added, ``(ksize - 1)
        // 2`` before and ``ksize // 2`` after. The width follows in the same way.
    initializer : str, number or callable
        See :mod:`fastcnn.initializers`. 'msra' draws standard normal numbers over ``sqrt(prod(shape) /
        output_channels)``, weights first, then bias.
    rng : NumPy generator or seed, optional
        NumPy's global generator by default.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    weights : (ksize, ksize, channels, output_channels) array
    bias : (output_channels,) array
    w_gradient, b_gradient : arrays like these, the gradients accumulated since the last `backward`
    eta : the last gradient with respect to the output
    col_image : (batch, OH * OW, ksize * ksize * channels) array
        The column matrix of each image of the last batch, computed when read.
    """

    rank = 4
    absorbs_relu = True
    x = BatchArray("input_shape")
    eta = BatchArray("output_shape")
    stride = Setting(check_side)
    method = Setting(lambda owner, name, value: check_choice(owner, name, value, PADDING_METHODS))
    ksize: Fixed[int] = Fixed(lambda layer: layer.weights_shape[0])
    input_channels: Fixed[int] = Fixed(lambda layer: layer.weights_shape[2])
    output_channels: Fixed[int] = Fixed(lambda layer: layer.weights_shape[3])
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.compute_output_shape())

    def __init__(
        self,
        shape: Sequence[int],
        output_channels: int,
        ksize: int = 3,
        stride: int = 1,
        method: str = "VALID",
        *,
        initializer: str | float | Callable = "msra",
        rng: Any = None,
        dtype: Any = None,
    ):
        super().__init__(shape, dtype=dtype)
        outputs = check_side(self.name, "output_channels", output_channels)
        ksize = check_side(self.name, "ksize", ksize)
        self.stride, self.method = stride, method
        self.weights_shape = (ksize, ksize, self.input_shape[3], outputs)
        self.check_settings()
        self.initialize(initializer, rng, math.sqrt(math.prod(self.input_shape) / outputs))

    def check_settings(self) -> None:
        if self.method == "VALID":
            check_window(self.name, self.ksize, self.input_shape)

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after each image axis."""
        return conv_padding(self.weights_shape[0], self.method)

    def compute_output_shape(self) -> tuple[int, ...]:
        return conv_output_shape(self.input_shape, self.weights_shape, self.stride, self.padding)

    def forward(self, x: Any) -> np.ndarray:
        return self.convolve(x, False)

    def forward_rectified(self, x: Any) -> np.ndarray:
        """``forward(max(x, 0))``; `input_gradient` is then with respect to x."""
        return self.convolve(x, True)

    def convolve(self, x: Any, rectify: bool) -> np.ndarray:
        x = self.keep_x(x)
        self.keep("_rectified", rectify)
        return active().conv_forward(x, self.weights, self.bias, self.stride, self.padding, rectify)

    def parameter_gradient(self, eta: np.ndarray) -> None:
        self.keep("eta", eta)
        dw, db = active().conv_weight_gradient(self.x, eta, self.ksize, self.stride, self.padding, self._rectified)
        self.add_gradients(weights=dw, bias=db)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        image_shape = (len(eta), *self.input_shape[1:])
        gate = self.x if self._rectified else None
        return active().conv_input_gradient(eta, self.weights, image_shape, self.stride, self.padding, gate)

    @property
    def col_image(self) -> np.ndarray:
        x = active().relu_forward(self.x) if self._rectified else self.x
        cols = active().im2col(x, self.ksize, self.stride, self.padding)
        return cols.reshape(len(x), -1, cols.shape[1])

    @col_image.setter
    def col_image(self, value: Any) -> None:
        """A no-op: scripts that emptied the original's list by hand still run."""

    def config(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("output_channels", "ksize", "stride", "method")}
        return super().config() | own


def _check_windows(owner: str, name: str, shape: Any, ksize: int, stride: int) -> tuple[tuple[int, ...], int, int]:
    shape = check_shape(owner, shape, name=name)
    ksize, stride = check_side(owner, "ksize", ksize), check_side(owner, "stride", stride)
    check_window(owner, ksize, shape)
    return shape, ksize, stride


def _kernel_dtype(array: np.ndarray) -> np.dtype:
    """float64 stays float64; every other dtype becomes the default."""
    return array.dtype.newbyteorder("=") if array.dtype.name == "float64" else layer_dtype("im2col")


def im2col(image: Any, ksize: int, stride: int) -> np.ndarray:
    """The windows of `image` (B, H, W, C) as rows: (B * OH * OW, ksize * ksize * C), without padding.

    Rows run over images, output rows, output columns; within a row, over kernel rows, kernel columns, channels.
    """
    image = real_array("im2col", "image", image)
    shape, ksize, stride = _check_windows("im2col", "image.shape", image.shape, ksize, stride)
    image = check_array("im2col", "image", image, shape, _kernel_dtype(image))
    return active().im2col(image, ksize, stride, (0, 0))


def col2im(cols: Any, image_shape: Sequence[int], ksize: int, stride: int) -> np.ndarray:
    """The adjoint of `im2col`: each column entry added to the pixel it came from, (B, H, W, C)."""
    shape, ksize, stride = _check_windows("col2im", "image_shape", image_shape, ksize, stride)
    oh, ow = (conv_output_size(size, ksize, stride, (0, 0)) for size in shape[1:3])
    cols = real_array("col2im", "cols", cols)
    rows = (shape[0] * oh * ow, ksize * ksize * shape[3])
    cols = check_array("col2im", "cols", cols, rows, _kernel_dtype(cols), any_batch=False)
    return active().col2im(cols, shape, ksize, stride, (0, 0))
