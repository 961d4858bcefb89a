"""Stand-ins: in inference, a copy does the work of a layer of a script's own, which keeps of a batch what it likes.

Another thread, or the caller, may have the layer's own `gradient` before it: a copy cannot spoil what that needs.
"""

import copy
import os
import threading
from typing import Any, TypeVar

from fastcnn.components.attributes import is_of_a_script
from fastcnn.components.base import Component, mode

Original = TypeVar("Original")


class HandOver:
    """The lock between two threads, of which one begins a forward pass and the other one hands over what it kept."""

    lock = threading.Lock()


def _after_fork() -> None:
    """The thread that may have held it is not in the child."""
    HandOver.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def twin_of(original: Original) -> Original:
    """A shallow copy, with all attributes: a class may leave some out of its copies and pickles."""
    twin = copy.copy(original)
    vars(twin).update(vars(original))
    return twin


class StandIn:
    """A copy of a layer for one thread's inference, and what it held at first."""

    def __init__(self, layer: Any):
        self.layer = layer
        self.twin = twin_of(layer)
        inside = layer.children().values() if isinstance(layer, Component) else ()
        twins = {id(child): stand_in(child) for child in inside if is_of_a_script(type(child))}
        if twins:
            vars(self.twin).update({name: exchanged(value, twins) for name, value in vars(layer).items()})
        self.before = vars(self.twin).copy()

    def hand_over(self) -> None:
        """Give the layer what the copy has set, and no other attribute: it may have got a new one meanwhile."""
        now, missing = vars(self.twin), object()
        for name in self.before.keys() - now.keys():
            vars(self.layer).pop(name, None)
        vars(self.layer).update(
            {name: value for name, value in now.items() if value is not self.before.get(name, missing)}
        )


def exchanged(value: Any, twins: dict[int, Any]) -> Any:
    """The copy of a layer for it, and so in a list, tuple or dict, where a container has its layers."""
    if isinstance(value, list | tuple) and any(id(item) in twins for item in value):
        return [twins.get(id(item), item) for item in value]
    if isinstance(value, dict) and any(id(item) in twins for item in value.values()):
        return {key: twins.get(id(item), item) for key, item in value.items()}
    return twins.get(id(value), value)


def stand_in(layer: Original) -> Original:
    """The copy that this thread's inference uses for `layer`."""
    found = mode.stand_ins.get(id(layer))
    if found is None:
        found = mode.stand_ins[id(layer)] = StandIn(layer)
    return found.twin


class left_as_they_are:
    """Inside a ``with`` block the forward passes of this thread leave all layers as they are.

    A `gradient` that is still to come then belongs to the batch that it is meant for, and no array of a batch lives on.
    What copies of a script's own layers have set is handed over at the end, unless ``owner.waits``: a forward pass of
    this model waits for its gradient.
    """

    def __init__(self, owner: Any):
        self.owner = owner

    def __enter__(self) -> None:
        self.before = mode.keeps, mode.stand_ins
        mode.keeps, mode.stand_ins = False, {}

    def __exit__(self, *error: object) -> None:
        stand_ins = mode.stand_ins.values()
        mode.keeps, mode.stand_ins = self.before
        if stand_ins:
            with HandOver.lock:
                for one in () if self.owner.waits else stand_ins:
                    one.hand_over()
