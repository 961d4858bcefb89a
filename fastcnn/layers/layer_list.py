"""What a list of layers must be: checked whole when a model is made, not at its first use."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastcnn.components import Component
from fastcnn.layers.protocol import descend, dtype_of, input_shape_of, is_half_made, is_layer, output_shape_of
from fastcnn.losses import Loss
from fastcnn.shapes import must_be, received, shape_text


def listed(layers: Any) -> Any:
    """A layer alone as a list of it."""
    return [layers] if isinstance(layers, Component) else layers


def check_layers(owner: str, name: str, layers: Any, loss: bool) -> list[Any]:
    """`layers`, the argument `name` of `owner`, as a list: each a layer of its own, which takes what the one before
    returns, and has its dtype. With `loss` the last may be a Loss.

    Raises
    ------
    ValueError
        No layers, one layer twice, a Loss before the end, shapes or dtypes that do not fit.
    TypeError
        Something that is not a layer, or a `Layer` whose class forgot ``super().__init__``.
    """
    if not isinstance(layers, Iterable) or isinstance(layers, np.ndarray):
        raise TypeError(must_be(owner, name, "a list of layers", layers))
    layers = list(layers)
    if not layers:
        raise ValueError(f"{owner}: `{name}` must hold at least one layer. Received {name}=[]")
    for position in range(len(layers)):
        check_layer(owner, name, layers, position, loss and position == len(layers) - 1)
    check_once(owner, {f"{name}[{position}]": layer for position, layer in enumerate(layers)})
    check_fit(owner, name, layers)
    check_dtypes(owner, name, layers)
    return layers


def check_layer(owner: str, argument: str, layers: list[Any], position: int, loss: bool) -> None:
    """Raise where the layer at `position` is none, is half made, or stands where it cannot."""
    layer, name = layers[position], f"{argument}[{position}]"
    if isinstance(layer, type):
        raise TypeError(must_be(owner, name, "a layer, and not a class: call it with the shape of its input", layer))
    if not is_layer(layer):
        raise TypeError(must_be(owner, name, "a layer", layer))
    if is_half_made(layer):
        raise TypeError(must_be(owner, name, "a layer whose __init__ calls super().__init__(shape)", layer))
    if isinstance(layer, Loss) and not loss:
        what = f"is a {type(layer).__name__}, which can only be the last layer of a model"
        raise ValueError(f"{owner}: `{name}` {what}. {received(name, layer)}")


def check_once(owner: str, layers: dict[str, Any]) -> None:
    """Raise where one of `layers`, by name, or a layer inside them stands in two places.

    A layer keeps its last input for the gradient: that of one place alone.
    """
    seen: dict[int, str] = {}
    for name, top in layers.items():
        for place, layer in descend(name, top):
            first = seen.setdefault(id(layer), place)
            if first != place:
                raise ValueError(must_be(owner, place, f"another object than `{first}`", layer))


def check_fit(owner: str, name: str, layers: list[Any]) -> None:
    """Raise where a layer was made for another shape than the one before returns; a foreign one need not say."""
    for position, (before, after) in enumerate(itertools.pairwise(layers), start=1):
        made, wanted = output_shape_of(before), input_shape_of(after)
        if made is not None and wanted is not None and made[1:] != wanted[1:]:
            raise ValueError(
                f"{owner}: `{name}[{position}]` takes the shape {shape_text('batch', *wanted[1:])}, "
                f"but `{name}[{position - 1}]` returns {shape_text('batch', *made[1:])}"
            )


def check_dtypes(owner: str, name: str, layers: list[Any]) -> None:
    """Raise where layers compute in two dtypes: one of them was meant for all."""
    typed = [(i, layer) for i, layer in enumerate(layers) if dtype_of(layer) is not None]
    for position, layer in typed[1:]:
        first, other = typed[0]
        if layer.dtype != other.dtype:
            wanted = f"of the dtype of `{name}[{first}]`, a {type(other).__name__} of {other.dtype}"
            raise ValueError(must_be(owner, f"{name}[{position}]", wanted, layer))
