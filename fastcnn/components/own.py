"""Layers and losses of a script's own, which keep of a batch what they like.

Inference puts back what a pending gradient needs; where several threads use a model with such layers, their passes take
turns.
"""

import contextlib
import os
import threading
import types
from collections.abc import Collection, Iterator
from typing import Any

from fastcnn.components.attributes import is_of_a_script, once_a_class
from fastcnn.components.base import Component, mode

NO_TURN = contextlib.nullcontext()


class Turn:
    """A model's lock; its copies have others, and so has a forked child, where no thread would release it."""

    def __init__(self) -> None:
        self.lock, self.process = threading.RLock(), os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return Turn, ()


@once_a_class
def may_hold_own(kind: Any) -> bool:
    """Whether a layer of a class is a script's own, or may have one inside."""
    return is_of_a_script(kind) or (issubclass(kind, Component) and kind.children is not Component.children)


def own_among(layers: Collection[Any]) -> list[Any]:
    """All layers, and layers inside them, that are a script's own."""
    found: list[Any] = []
    if any(map(may_hold_own, map(type, layers))):
        for layer in layers:
            found += [layer] * is_of_a_script(type(layer))
            found += own_among(layer.children().values()) if isinstance(layer, Component) else []
    return found


def turn_of(model: Any) -> contextlib.AbstractContextManager[Any]:
    """The lock that one thread at a time holds in a pass of `model`."""
    kept = vars(model)
    if "_turn" in kept and kept["_turn"].process != os.getpid():
        del kept["_turn"]
    return kept.setdefault("_turn", Turn()).lock


@once_a_class
def slots_of(kind: Any) -> list[types.MemberDescriptorType]:
    members = [value for base in kind.__mro__ if is_of_a_script(base) for value in vars(base).values()]
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
