"""What a layer must offer, may offer, and what that means: the only place that asks.

A layer is anything with ``forward(x)`` and ``gradient(eta)``, as in the scripts that fastcnn grew out of: no base class
is needed. What else a layer offers is optional, and found out here, so that it means the same to models, optimizers,
files, distributed training and profiles.

It must have::

    forward(x)          the output for a batch; forward(x, phase) where 'train' and 'test' differ
    gradient(eta)       dLoss/dInput from dLoss/dOutput; adds to the parameters' gradients

It may have::

    backward(alpha)     update by the gradients and clear them; backward(alpha, weight_decay) decays too
    parameters()        dict of the arrays that training changes
    gradients()         dict of their gradients by the same names: every optimizer can train the layer
    clear_gradients()   start their sums anew; without it they are set to 0 in place
    config()            the constructor's arguments: with parameters(), the layer can be saved
    from_config()       class method that makes it again where the constructor does not take its config()
    input_shape, output_shape, dtype           what its neighbours must fit
    parameter_count(), multiply_adds()         what a summary shows

A :class:`fastcnn.components.Component`, as fastcnn's own layers are, may also have::

    gradient_names      parameters and the attributes that hold their gradients: gradients() follows from it
    state_names         arrays that a file holds too, though no gradient changes them, such as a running mean
    random_names        integers from which its next random numbers follow
    children()          the layers inside, by name
    draw_seed()         draw now the random seed that the first forward would draw
    shard_names         attributes that say which shard of a batch it sees, see shard_names_of
    gain_names          parameters of several axes that are gains or biases: see is_weight
    unsaid_names        arguments that config() leaves out where they are at their default
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from fastcnn.components import Component, once_a_class
from fastcnn.shapes import check_choice

PHASES = ("train", "test")


class LayerLike(Protocol):
    """What every layer must offer."""

    def forward(self, x: Any) -> Any: ...

    def gradient(self, eta: Any) -> Any: ...


def offers(layer: Any, method: str) -> bool:
    """Whether a layer has a method of that name."""
    return callable(getattr(layer, method, None))


def is_layer(candidate: Any) -> bool:
    """Whether it has what a layer must have."""
    return offers(candidate, "forward") and offers(candidate, "gradient")


def is_half_made(layer: Any) -> bool:
    """Whether it is a `Component` whose class forgot ``super().__init__``."""
    return isinstance(layer, Component) and not (hasattr(layer, "input_shape") and hasattr(layer, "dtype"))


# Shapes and dtype


def input_shape_of(layer: Any) -> tuple[int, ...] | None:
    """The shape that it was made for, batch size first; None where a layer does not say."""
    shape = getattr(layer, "input_shape", None)
    return None if shape is None else tuple(shape)


def output_shape_of(layer: Any) -> tuple[int, ...] | None:
    """The shape that it returns, batch size first; None where a layer does not say."""
    shape = getattr(layer, "output_shape", None)
    return None if shape is None else tuple(shape)


def dtype_of(layer: Any) -> np.dtype | None:
    """The dtype that it computes in; None where a layer does not say."""
    dtype = getattr(layer, "dtype", None)
    return dtype if isinstance(dtype, np.dtype) else None


# Calls


def check_phase(owner: str, phase: Any) -> str:
    """'train' or 'test'; True and False mean the same."""
    if isinstance(phase, bool | np.bool_):
        return PHASES[0] if phase else PHASES[1]
    return check_choice(owner, "phase", phase, PHASES, ", True or False")


def phase_of(forward: Callable) -> inspect.Parameter | None:
    """The argument `phase` of a `forward`; None where it has none, as 'train' and 'test' do not differ."""
    return inspect.signature(forward).parameters.get("phase")


def takes_decay(backward: Callable) -> bool:
    """Whether a `backward` may be called as ``backward(alpha, weight_decay)``: it may take `alpha` alone."""
    try:
        inspect.signature(backward).bind(0.0, 0.0)
    except TypeError:
        return False
    return True


@once_a_class
def has_phases(layer_class: Any) -> bool:
    """Whether layers of a class compute something else in training than in use, as BatchNorm and Dropout do."""
    forward = getattr(layer_class, "forward", None)  # None where each object has one of its own
    return forward is not None and phase_of(forward) is not None


@once_a_class
def has_decay(layer_class: Any) -> bool:
    """Whether layers of a class take a decay beside `alpha`."""
    return takes_decay(functools.partial(layer_class.backward, None))


def call(layer: Any, x: Any, phase: str) -> Any:
    """``layer.forward(x)``, in a phase where the layer has phases."""
    return layer.forward(x, phase=phase) if has_phases(type(layer)) else layer.forward(x)


def update(layer: Any, alpha: float, weight_decay: float) -> None:
    """The layer's own `backward`, where it has one."""
    if not offers(layer, "backward"):
        return
    if has_decay(type(layer)):
        layer.backward(alpha, weight_decay)
    else:
        layer.backward(alpha)


# Learning


def has_gradients(layer: Any) -> bool:
    """Whether it says what the gradients of its parameters are, so that every optimizer can train it.

    A `Component` is asked for their names alone: reading an array that is not there yet would make it.
    """
    if isinstance(layer, Component) and type(layer).gradients is Component.gradients:
        return bool(layer.gradient_names)
    return bool(gradients_of(layer))


def has_own_backward(layer: Any) -> bool:
    """Whether a script's own class says how it is updated."""
    backward = getattr(type(layer), "backward", None)
    return backward is not None and not getattr(backward, "__module__", "").startswith("fastcnn.layers.")


def learns(layer: Any) -> bool:
    """Whether training changes it: it has a `backward`, or gradients for an optimizer."""
    return offers(layer, "backward") or has_gradients(layer)


def gradients_of(layer: Any) -> dict[str, np.ndarray]:
    """The gradients of its parameters by the parameters' names; none where it does not say."""
    return layer.gradients() if offers(layer, "gradients") else {}


def clear_gradients(layer: Any) -> None:
    """Start the sums of its gradients anew."""
    if offers(layer, "clear_gradients"):
        layer.clear_gradients()
    else:  # a script's own
        for gradient in gradients_of(layer).values():
            gradient[...] = 0


# What it holds


def tensors_of(layer: Any) -> dict[str, np.ndarray]:
    """All arrays that decide what it computes, by name: what a file holds. None where a layer does not say."""
    if isinstance(layer, Component):
        return layer.tensors()
    return layer.parameters() if offers(layer, "parameters") else {}


def tensor_shapes_of(layer: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of those of its arrays that its class declares, without making any."""
    return layer.tensor_shapes() if isinstance(layer, Component) else {}


def named(layer: Any, kind: str) -> dict[str, Any]:
    """The attributes that a class attribute of a `Component` names."""
    names = getattr(layer, kind) if isinstance(layer, Component) else ()
    return {name: getattr(layer, name) for name in names} if names else {}  # most have none, and each step asks


def state_of(layer: Any) -> dict[str, np.ndarray]:
    """Those of its arrays that a forward in training changes and no gradient does, such as a running mean."""
    return named(layer, "state_names")


def random_numbers_of(layer: Any) -> dict[str, int | None]:
    """The integers from which its next random numbers follow; None for one that has not been drawn yet."""
    return named(layer, "random_names")


def draw_seed(layer: Any) -> None:
    """Draw now what the first `forward` in training would draw: ranks that are to draw the same share it."""
    if isinstance(layer, Component):
        layer.draw_seed()


def shard_names_of(layer: Any) -> tuple[str, ...]:
    """The attributes that say which shard of a batch the layer sees.

    ``first_image`` is the number of the shard's first image in the batch. ``total`` is None, or an all-reduce: it adds
    up a float64 array over all shards, in place, and returns it; the layer's state is then that of the whole batch.
    """
    return layer.shard_names if isinstance(layer, Component) else ()


def can_be_saved(layer: Any) -> bool:
    """Whether it says how it was made and what its arrays are."""
    return offers(layer, "config") and offers(layer, "parameters")


def config_of(layer: Any) -> dict[str, Any]:
    """How it was made, as a file says it: its class's name and the constructor's arguments."""
    return {"class": type(layer).__name__, "config": layer.config()}


def needs_in_config(layer: Any, arguments: set[str]) -> set[str]:
    """Those of its constructor's `arguments` that `config` must hold; a script's own class may leave out any.

    Sources of random numbers that the arrays of a file replace are never needed, and of `unsaid_names` only what is not
    at its default.
    """
    if not isinstance(layer, Component):
        return set()
    return arguments - {"rng", "initializer", *layer.random_names, *layer.unsaid_names}


def is_weight(layer: Any, name: str, parameter: np.ndarray) -> bool:
    """Whether a parameter is a weight, of two axes or more, and no bias, gain or slope."""
    gains = layer.gain_names if isinstance(layer, Component) else ()
    return np.ndim(parameter) > 1 and name not in gains


def builds_itself(layer_class: type[Any]) -> bool:
    """Whether ``from_config(config, build)`` makes its layers: `build` makes one of what `config_of` returned."""
    return hasattr(layer_class, "from_config")


def walk(layers: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Each layer and each layer inside it, with its place as a name: '0', '1', '1.body.0', ..."""
    for position, layer in enumerate(layers):
        yield from descend(str(position), layer)


def descend(name: str, layer: Any) -> Iterator[tuple[str, Any]]:
    """`layer`, whose place is `name`, and all layers inside it."""
    yield name, layer
    for key, child in layer.children().items() if isinstance(layer, Component) else ():
        yield from descend(f"{name}.{key}", child)


# What a summary shows


def parameter_count_of(layer: Any) -> int:
    """How many numbers training changes; 0 where a layer does not say."""
    return layer.parameter_count() if offers(layer, "parameter_count") else 0


def multiply_adds_of(layer: Any) -> int:
    """Multiply-adds of `forward` for one image; 0 where a layer does not say."""
    return layer.multiply_adds() if offers(layer, "multiply_adds") else 0
