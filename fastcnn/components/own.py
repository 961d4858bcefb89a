"""Layers and losses of a script's own, which keep of a batch what they like.

Inference puts back what a pending gradient needs.
"""

import contextlib
import threading
import types
from collections.abc import Collection, Iterator
from typing import Any

from fastcnn.components.attributes import Assignable, is_of_a_script, once_a_class
from fastcnn.components.base import Component, mode


@once_a_class
def may_hold_own(kind: Any) -> bool:
    """Whether a layer of a class is a script's own, or may have one inside."""
    with_children = issubclass(kind, Component) and kind.children is not Component.children
    return with_children or is_of_a_script(kind) or is_model(kind)


def is_model(kind: Any) -> bool:
    """Whether a class is that of a model, which may be a layer of another one."""
    return issubclass(kind, Assignable) and not issubclass(kind, Component)


def own_among(layers: Collection[Any]) -> list[Any]:
    """All layers, and layers inside them, that are a script's own."""
    found: list[Any] = []
    if any(map(may_hold_own, map(type, layers))):
        for layer in layers:
            found += [layer] * is_of_a_script(type(layer))
            inside: Any = layer.children if isinstance(layer, Component) or is_model(type(layer)) else dict
            found += own_among(list(inside().values()))
    return found


@once_a_class
def slots_of(kind: Any) -> list[types.MemberDescriptorType]:
    members = [value for base in kind.__mro__ if "__slots__" in vars(base) for value in vars(base).values()]
    return [member for member in members if isinstance(member, types.MemberDescriptorType)]


@contextlib.contextmanager
def put_back(own: list[Any]) -> Iterator[None]:
    """Inside a ``with`` block these may set what they like: they get back the attributes that they had."""
    before = [(vars(one), vars(one).copy()) for one in own if hasattr(one, "__dict__")]
    slots = [(one, member, value_of(one, member)) for one in own for member in slots_of(type(one))]
    try:
        yield
    finally:
        for now, attributes in before:
            for name in now.keys() - attributes.keys():
                del now[name]
            now.update(attributes)
        for one, member, (*value,) in slots:
            if value:
                member.__set__(one, *value)
            elif value_of(one, member):
                member.__delete__(one)


def value_of(one: Any, member: types.MemberDescriptorType) -> tuple[Any, ...]:
    """(value,), or () where nothing has been assigned."""
    try:
        return (member.__get__(one),)
    except AttributeError:
        return ()


class nothing_kept:
    """Inside a ``with`` block the forward passes of this thread leave all layers of this package as they are.

    A `gradient` that is still to come then belongs to the batch that it is meant for, and no array of a batch lives on.
    """

    def __enter__(self) -> None:
        self.before, mode.keeps = mode.keeps, False

    def __exit__(self, *error: object) -> None:
        mode.keeps = self.before


class marked_pass:
    """A ``with`` block around a pass of a training: another thread's inference sees that it goes on, or was there."""

    def __init__(self, model: Any):
        self.attributes, self.mark = vars(model), (threading.get_ident(), id(model))  # a copy has another `id`

    def __enter__(self) -> None:
        self.attributes["_pass"] = (*self.mark, True)

    def __exit__(self, *error: object) -> None:
        self.attributes["_pass"] = (*self.mark, False)


def left_as_it_is(model: Any) -> contextlib.AbstractContextManager[None]:
    """Inside a ``with`` block forward passes of this thread keep nothing: a `gradient` that is to come belongs to its
    own batch.

    Layers of a script's own may keep what they like. They get back all attributes that they had where a forward pass of
    the model waits for its gradient, and are left alone otherwise. They may keep one batch alone: RuntimeError where
    another thread trains the model meanwhile.
    """
    own = own_among(model.layers)
    return own_left_as_they_are(model, own) if own else nothing_kept()


@contextlib.contextmanager
def own_left_as_they_are(model: Any, own: list[Any]) -> Iterator[None]:
    before, here = model._pass, threading.get_ident()
    if before[0] != here and before[1:] == (id(model), True):
        raise trained_elsewhere(model, own)
    with nothing_kept(), put_back(own if model.waits else []):
        yield
    if model._pass is not before and model._pass[0] != here:
        raise trained_elsewhere(model, own)


def trained_elsewhere(model: Any, own: list[Any]) -> RuntimeError:
    return RuntimeError(
        f"{model.owner}: another thread trains this model, whose {type(own[0]).__name__} is a script's own and may "
        "keep one batch alone: both would be wrong. model = copy.deepcopy(model) makes one for this thread"
    )
