"""Residual connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import Constant, Fixed
from fastcnn.layers.base import Layer
from fastcnn.layers.chain import forward_through, gradient_through
from fastcnn.layers.layer_list import check_layers, check_once, listed
from fastcnn.layers.protocol import check_phase, config_of, input_shape_of, multiply_adds_of, output_shape_of, update
from fastcnn.shapes import must_be, received, shape_text


class Residual(Layer):
    """``body(x) + shortcut(x)``: layers in a row, and a way around them.

    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2016).

    Parameters
    ----------
    body : layer or list of layers
        Each made for the output shape of the one before; the first says the shape of the input.
    shortcut : layer or list of layers, optional
        What x passes on the other way: a 1x1 convolution where the body changes its shape. x itself by default.

    Raises
    ------
    ValueError, TypeError
        Layers that do not fit together, or ways that return different shapes.
    """

    body = Constant(lambda owner, name, value: value)
    shortcut = Constant(lambda owner, name, value: value)
    input_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.body[0].input_shape)
    batchsize: Fixed[int] = Fixed(lambda layer: layer.input_shape[0])
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.body[-1].output_shape)

    def __init__(self, body: Any, shortcut: Any = None):
        self.body = check_layers(self.name, "body", listed(body), loss=False)
        shortcut = [] if shortcut is None else listed(shortcut)
        none = isinstance(shortcut, list | tuple) and not shortcut
        self.shortcut = [] if none else check_layers(self.name, "shortcut", shortcut, loss=False)
        if not isinstance(self.body[0], Layer) or output_shape_of(self.body[-1]) is None:
            raise TypeError(must_be(self.name, "body", "a list of layers that say their shapes", body))
        if self.shortcut and None in (input_shape_of(self.shortcut[0]), output_shape_of(self.shortcut[-1])):
            raise TypeError(must_be(self.name, "shortcut", "a list of layers that say their shapes", shortcut))
        check_once(self.name, self.children())
        self.dtype = self.body[0].dtype
        if any(getattr(layer, "dtype", self.dtype) != self.dtype for layer in self.shortcut):
            raise ValueError(must_be(self.name, "shortcut", f"of the dtype {self.dtype}, as `body` is", shortcut))
        self._batch: int | None = None
        ends = tuple(self.shortcut[-1].output_shape if self.shortcut else self.input_shape)
        starts = tuple(self.shortcut[0].input_shape if self.shortcut else self.input_shape)
        for what, wanted, got in (("take", self.input_shape, starts), ("return", self.output_shape, ends)):
            if tuple(wanted[1:]) != got[1:]:
                raise ValueError(
                    f"{self.name}: `shortcut` must {what} {shape_text('batch', *wanted[1:])}, as `body` does. "
                    f"It would {what} {shape_text('batch', *got[1:])}. {received('shortcut', shortcut)}"
                )

    def children(self) -> dict[str, Any]:
        ways = {"body": self.body, "shortcut": self.shortcut}
        return {f"{way}.{i}": layer for way, layers in ways.items() for i, layer in enumerate(layers)}

    def forward(self, x: Any, phase: str = "train") -> np.ndarray:
        x, phase = self.take_x(x), check_phase(self.name, phase)
        self.keep("_batch", len(x))
        return active().add(forward_through(self.body, x, phase), forward_through(self.shortcut, x, phase))

    def gradient(self, eta: Any) -> np.ndarray:
        eta = self.take_eta(eta)
        return active().add(gradient_through(self.body, eta), gradient_through(self.shortcut, eta))

    def backward(self, alpha: float = 1e-5, weight_decay: float = 4e-4) -> None:
        """Update every layer inside that learns."""
        for layer in self.children().values():
            update(layer, alpha, weight_decay)

    def last_batch(self) -> int | None:
        return self._batch

    def multiply_adds(self) -> int:
        return sum(map(multiply_adds_of, self.children().values()))

    def config(self) -> dict[str, Any]:
        return {
            way: [config_of(layer) for layer in layers]
            for way, layers in (("body", self.body), ("shortcut", self.shortcut))
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], build: Callable[[Any], Any]) -> Residual:
        return cls(*([build(entry) for entry in config[way]] for way in ("body", "shortcut")))

    def __repr__(self) -> str:
        names: list[Sequence[str]] = [[type(layer).__name__ for layer in way] for way in (self.body, self.shortcut)]
        return f"Residual(body=[{', '.join(names[0])}], shortcut=[{', '.join(names[1])}])"
