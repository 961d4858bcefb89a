"""Layers in a row, of which `Network` and `Residual` are made: their forward and backward passes.

A `Relu` is computed by the layer after it where that can do so: this saves two passes over the array. One that stops
the gradient at exactly 0 is computed by itself: the kernels of the layers after it let the gradient pass there.
"""

from collections.abc import Callable
from typing import Any

from fastcnn.components import once_a_class
from fastcnn.layers.base import Layer
from fastcnn.layers.protocol import has_phases, learns


@once_a_class
def is_absorbable(layer_class: type) -> bool:
    """Whether layers of exactly this class may be computed by the next one.

    What a class inherits does not count, here and below: one derived from `Relu` may do anything.
    """
    return vars(layer_class).get("absorbable", False)


@once_a_class
def absorbs_relu(layer_class: type) -> bool:
    """Whether layers of exactly this class compute a `Relu` before them."""
    return vars(layer_class).get("absorbs_relu", False)


@once_a_class
def traits(layer_class: type) -> tuple[bool, bool]:
    """Whether it has phases, and whether it is absorbable: one question to each layer, 0.1 us less than two."""
    return has_phases(layer_class), is_absorbable(layer_class)


def is_fused(layers: list[Any], position: int) -> bool:
    """Whether the layer at `position`, an absorbable one, is computed by the next one."""
    if position + 1 == len(layers):
        return False
    layer, after = layers[position], layers[position + 1]
    return absorbs_relu(type(after)) and layer.dtype == after.dtype and layer.at_zero


def forward_through(layers: list[Any], x: Any, phase: str) -> Any:
    """The output of the last of `layers`; x itself where there are none."""
    rectify = False
    for position, layer in enumerate(layers):
        phases, absorbable = traits(type(layer))
        if rectify:
            x = layer.forward_rectified(x)
            rectify = False
        elif absorbable and is_fused(layers, position):
            x = layer.keep_x(x)
            rectify = True
        elif phases:
            x = layer.forward(x, phase=phase)
        else:
            x = layer.forward(x)
    return x


def gradient_through(layers: list[Any], eta: Any, after: Callable[[int], Any] | None = None, first: int = 0) -> Any:
    """The gradient with respect to the input of the layer at `first`; `after` is called with each position that is
    done, the last one first."""
    for position in reversed(range(first, len(layers))):
        if is_absorbable(type(layers[position])) and is_fused(layers, position) and layers[position + 1].rectified:
            layers[position].keep("eta", eta)  # the next layer has applied the Relu's gradient too
        else:
            eta = layers[position].gradient(eta)
        if after is not None:
            after(position)
    return eta


def parameter_gradient_through(layers: list[Any], eta: Any, after: Callable[[int], Any] | None = None) -> None:
    """Accumulate parameter gradients alone: nothing is computed below the first layer that learns."""
    first = next((i for i, layer in enumerate(layers) if learns(layer)), len(layers))
    eta = gradient_through(layers, eta, after, first + 1)
    for layer in layers[first : first + 1]:
        if getattr(type(layer), "gradient", None) is Layer.gradient:
            layer.parameter_gradient(layer.take_eta(eta))
        else:  # a script's own layer, or one that overrides it
            layer.gradient(eta)
