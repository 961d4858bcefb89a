"""What all convolutions share: windows over images, groups of channels, weights, and an optional bias."""

import math
from typing import Any, ClassVar

import numpy as np

from fastcnn.components import BatchArray, Constant, Setting
from fastcnn.layers.base import WeightedLayer
from fastcnn.shapes import FLOAT64, LARGEST, check_flag, check_side, received
from fastcnn.windows import Pair, Sides, Window, check_both, check_method, check_padding, window_of

WEIGHTS_ALONE = {"weights": "w_gradient"}  # parameters of a layer without bias


def optional_padding(owner: str, name: str, value: Any) -> Any:
    """None: `method` says it."""
    return None if value is None else check_padding(owner, name, value)


def taps(layer: Any) -> Sides:
    """Height and width of a kernel as one integer where they are equal."""
    kh, kw = layer.weights_shape[:2]
    return kh if kh == kw else (kh, kw)


class ConvolutionLayer(WeightedLayer):
    """The base of `Conv2D`, `DepthwiseConv2D` and `Conv2DTranspose`."""

    added_later: ClassVar[dict[str, Any]] = {"dilation": 1, "padding": None, "groups": 1}
    unsaid_names: ClassVar[tuple[str, ...]] = (*added_later, "bias")

    rank = 4
    x = BatchArray("input_shape")
    eta = BatchArray("output_shape")
    stride: Setting[Sides] = Setting(check_both)
    dilation: Setting[Sides] = Setting(check_both)
    padding: Setting[Any] = Setting(optional_padding)
    method = Setting(check_method)
    groups = Constant(check_side)
    _window: Window | None = None

    def set_windows(self, stride: Any, method: Any, padding: Any, dilation: Any) -> None:
        """Keep these settings, checked one by one."""
        self.stride, self.dilation, self.padding, self.method = stride, dilation, padding, method

    def set_groups(self, groups: Any, inputs: int, outputs: int) -> None:
        """Keep the groups of channels, which must divide both numbers."""
        self.groups = groups
        for what, channels in (("channels of `shape`", inputs), ("`output_channels`", outputs)):
            if channels % self.groups:
                must = f"{self.name}: `groups` must divide the {what}, {channels}"
                raise ValueError(f"{must}. {received('groups', groups)}")

    def set_bias(self, bias: Any) -> None:
        """Be a layer without bias where that is False."""
        if not check_flag(self.name, "bias", bias):
            vars(self)["gradient_names"] = WEIGHTS_ALONE

    @property
    def has_bias(self) -> bool:
        return "bias" in self.gradient_names

    @property
    def bias_row(self) -> np.ndarray:
        """The bias, or zeros in a layer without: what kernels add."""
        bias = self.bias
        return np.zeros(self.bias_channels, self.dtype) if bias is None else bias

    @property
    def bias_channels(self) -> int:
        return self.weights_shape[3]

    @property
    def bias_shape(self) -> tuple[int, ...] | None:
        return (self.bias_channels,) if self.has_bias else None

    @property
    def window(self) -> Window:
        """The windows over the images that are convolved, with their padding."""
        if self._window is None:
            self._window = self.find_window()
        return self._window

    def image_sizes(self) -> Pair:
        """Height and width of the images that windows slide over."""
        return self.input_shape[1], self.input_shape[2]

    def check_room(self, channels: int, *names: str) -> None:
        """Raise where the images that windows slide over, of so many channels, are larger with their padding than an
        array can be; `names` are the settings that may be why."""
        window, sizes = self.find_window(), self.image_sizes()
        padded = [size + sum(around) for size, around in zip(sizes, window.padding, strict=True)]
        if math.prod((self.input_shape[0], *padded, channels)) * FLOAT64 > LARGEST:
            large = {name: getattr(self, name) for name in names if getattr(self, name) not in (1, None)}
            quoted, sides = " and ".join(f"`{name}`" for name in large or ("ksize",)), f"{padded[0]} x {padded[1]}"
            texts = ", ".join(f"{name}={value!r}" for name, value in (large or {"ksize": taps(self)}).items())
            raise ValueError(
                f"{self.name}: {quoted} must be smaller: images of {sides} fit into no memory. Received {texts}"
            )

    def find_window(self) -> Window:
        kh, kw = self.weights_shape[:2]
        return window_of(self.image_sizes(), (kh, kw), self.stride, self.dilation, self.padding, self.method)

    def forget(self) -> None:
        super().forget()
        self._window = None

    def add_parameter_gradients(self, dw: np.ndarray, db: np.ndarray) -> None:
        if self.has_bias:
            self.add_gradients(weights=dw, bias=db)
        else:
            self.add_gradients(weights=dw)

    def window_config(self) -> dict[str, Any]:
        """The arguments of all convolutions, apart from those that are at their default and came later."""
        own = {"stride": self.stride, "method": self.method} | self.later_config()
        return own if self.has_bias else own | {"bias": False}
