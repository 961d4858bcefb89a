"""Layers in a row: forward with a phase, gradients, and what a ReLU's neighbour computes for it.

`Sequential` and `Residual` are built from these.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastcnn.layers.base import Layer
from fastcnn.layers.base_conv import Conv2D
from fastcnn.layers.pooling import MaxPooling
from fastcnn.layers.relu import Relu


@functools.cache
def takes_phase(layer_class: type) -> bool:
    """Whether ``forward(x, phase=...)`` exists: 'train' and 'test' differ in layers such as BatchNorm and Dropout."""
    return "phase" in inspect.signature(layer_class.forward).parameters


@functools.cache
def takes_decay(layer_class: type) -> bool:
    """Whether ``backward(alpha, weight_decay)`` may be called: a BatchNorm of one's own may take `alpha` alone."""
    signature = inspect.signature(layer_class.backward)
    try:
        signature.bind(None, 0.0, 0.0)
    except TypeError:
        return False
    return True


def update(layer: Any, alpha: float, weight_decay: float) -> None:
    """The layer's own `backward`."""
    if takes_decay(type(layer)):
        layer.backward(alpha, weight_decay)
    else:
        layer.backward(alpha)


def fuses(layers: list[Any], position: int) -> bool:
    """Whether the layer at `position` is a Relu that the next one computes: that saves two passes over the array.

    Exactly these classes: one derived from them may do anything.
    """
    return (
        type(layers[position]) is Relu
        and position + 1 < len(layers)
        and type(layers[position + 1]) in (Conv2D, MaxPooling)
        and layers[position].dtype == layers[position + 1].dtype
    )


def call(layer: Any, x: Any, phase: str) -> Any:
    """``layer.forward(x)``, in a phase where the layer has phases."""
    return layer.forward(x, phase=phase) if takes_phase(type(layer)) else layer.forward(x)


def forward_through(layers: list[Any], x: Any, phase: str) -> Any:
    """The output of the last of `layers`; x itself where there are none."""
    rectify = False
    for position, layer in enumerate(layers):
        if rectify:
            x = layer.forward_rectified(x)
            rectify = False
        elif fuses(layers, position):
            x = layer.keep_x(x)
            rectify = True
        else:
            x = call(layer, x, phase)
    return x


def gradient_through(layers: list[Any], eta: Any, after: Callable[[int], Any] | None = None, first: int = 0) -> Any:
    """The gradient with respect to the input of the layer at `first`; `after` is called with each position that is
    done, the last one first."""
    for position in reversed(range(first, len(layers))):
        if fuses(layers, position) and layers[position + 1].rectified:
            layers[position].keep("eta", eta)  # the next layer has let pass what the Relu would
        else:
            eta = layers[position].gradient(eta)
        if after is not None:
            after(position)
    return eta


def learns(layer: Any) -> bool:
    """Whether a layer has parameters: a `backward` of its own, or gradients for an optimizer."""
    return hasattr(layer, "backward") or bool(hasattr(layer, "gradients") and layer.gradients())


def parameter_gradient_through(layers: list[Any], eta: Any, after: Callable[[int], Any] | None = None) -> None:
    """Accumulate parameter gradients alone: nothing is computed below the first layer that learns."""
    first = next((i for i, layer in enumerate(layers) if learns(layer)), len(layers))
    eta = gradient_through(layers, eta, after, first + 1)
    for layer in layers[first : first + 1]:
        if getattr(type(layer), "gradient", None) is Layer.gradient:
            layer.parameter_gradient(layer.take_eta(eta))
        else:  # a script's own layer, or one that overrides it
            layer.gradient(eta)


def walk(layers: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Each layer and each layer inside it, with its place as a name: '0', '1', '1.body.0', ..."""
    for position, layer in enumerate(layers):
        yield from descend(str(position), layer)


def descend(name: str, layer: Any) -> Iterator[tuple[str, Any]]:
    """`layer`, and all that are inside it."""
    yield name, layer
    for key, child in layer.children().items() if isinstance(layer, Layer) else ():
        yield from descend(f"{name}.{key}", child)
