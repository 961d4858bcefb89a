"""The kinds of attributes that layers and losses have: what a script may assign, and what it means.

Kernels check no index. Whatever a script writes into a layer is therefore checked when it is written: arrays for their
shape and dtype, settings for their value, and what follows from something else cannot become something else.

These are descriptors of a :class:`fastcnn.components.Component`, called layer below.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

from fastcnn.arrays import check_array
from fastcnn.shapes import must_be, received, zeros

CLASSES = 256  # of which answers are kept: more than a model has
Answer = TypeVar("Answer")
Value = TypeVar("Value")


def once_a_class(function: Callable[[Any], Answer]) -> Callable[[Any], Answer]:
    """A function of a class whose answers are kept: a step asks each layer's. Not for ever: a program may make classes
    again and again, and what is kept keeps them."""
    return functools.lru_cache(maxsize=CLASSES)(function)


def is_of_a_script(made_by: type) -> bool:
    """Whether a class is a script's own."""
    return not made_by.__module__.startswith("fastcnn.") and made_by is not object


class Assignable:
    """What scripts assign attributes to: a name that nothing reads, such as PyTorch's `lr`, is told of.

    Objects of a script's own classes may have any attributes, and so may private ones of all.
    """

    marked = False  # whether such a name is warned of, as scripts may mark an object with what they like

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dict__:  # asked first, as it takes the least time
            self.tell_unknown(name)
        super().__setattr__(name, value)

    def tell_unknown(self, name: str) -> None:
        """Warn, or raise AttributeError, where nothing reads such an attribute."""
        kind = type(self)
        if hasattr(kind, name) or name.startswith("_") or is_of_a_script(kind):
            return
        names = ", ".join(own for own in dir(kind) if is_settable(getattr(kind, own)))
        message = f"{kind.__name__}: nothing reads an attribute `{name}`. What may be assigned: {names}"
        if not self.marked:
            raise AttributeError(message)
        warnings.warn(message, UserWarning, stacklevel=3)


def is_settable(attribute: Any) -> bool:
    """Whether an attribute of a class means that a script may assign it to an object."""
    return isinstance(attribute, Checked | Parameter) or (isinstance(attribute, property) and bool(attribute.fset))


class BatchArray:
    """An array attribute, (batch, ...) as `shape_of` says: zeros until something is stored, any batch size after."""

    def __init__(self, shape_of: str):
        self.shape_of = shape_of

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, layer: None, owner: type) -> BatchArray: ...

    @overload
    def __get__(self, layer: object, owner: type) -> np.ndarray: ...

    def __get__(self, layer: Any, owner: type) -> Any:
        if layer is None:
            return self
        value = layer.__dict__.get(self.name)
        return zeros(layer.name, self.name, getattr(layer, self.shape_of), layer.dtype) if value is None else value

    def __set__(self, layer: Any, value: Any) -> None:
        shape = getattr(layer, self.shape_of)
        layer.__dict__[self.name] = check_array(layer.name, self.name, value, shape, layer.dtype)


class Parameter(BatchArray):
    """A parameter or its gradient, of exactly the shape that `shape_of` names.

    Until something is assigned it is ``first(layer)`` everywhere, 0 by default, and takes no memory before it is read:
    a file may describe a layer of gigabytes, and is first compared with the arrays that it holds.

    What is assigned is copied: the update works in place, and must not reach into another layer's array. Where there is
    a `minimum`, no number may be less.
    """

    def __init__(self, shape_of: str, first: Callable[[Any], float] | None = None, minimum: float | None = None):
        super().__init__(shape_of)
        self.first, self.minimum = first, minimum

    @overload
    def __get__(self, layer: None, owner: type) -> Parameter: ...

    @overload
    def __get__(self, layer: object, owner: type) -> np.ndarray: ...

    def __get__(self, layer: Any, owner: type) -> Any:
        value = None if layer is None else layer.__dict__.get(self.name)
        if value is None:
            value = super().__get__(layer, owner)
            if layer is not None:
                if self.first is not None:
                    value[...] = self.first(layer)
                value = layer.__dict__.setdefault(self.name, value)  # whole, as other threads may read it too
        return value

    def __set__(self, layer: Any, value: Any) -> None:
        array = check_array(layer.name, self.name, value, getattr(layer, self.shape_of), layer.dtype, any_batch=False)
        if self.minimum is not None and array.size and array.min() < self.minimum:
            raise ValueError(must_be(layer.name, self.name, f"free of numbers below {self.minimum:g}", value))
        layer.__dict__[self.name] = array.copy()

    def __delete__(self, layer: Any) -> None:
        layer.__dict__.pop(self.name, None)

    def accumulate(self, layer: Any, value: np.ndarray) -> None:
        """Add `value`; the first one since the last update is kept as it is."""
        if self.name in layer.__dict__:
            layer.__dict__[self.name] += value
        else:
            layer.__dict__[self.name] = value


class OptionalParameter(Parameter):
    """A parameter that a layer may be made without, where `shape_of` names None: it is None then, and stays so."""

    @overload
    def __get__(self, layer: None, owner: type) -> OptionalParameter: ...

    @overload
    def __get__(self, layer: object, owner: type) -> Any: ...

    def __get__(self, layer: Any, owner: type) -> Any:
        value = None if layer is None else layer.__dict__.get(self.name)
        if value is not None:  # as nearly always: asked before the shape, which takes 1 us
            return value
        if layer is not None and getattr(layer, self.shape_of) is None:
            return None
        return super().__get__(layer, owner)

    def __set__(self, layer: Any, value: Any) -> None:
        if getattr(layer, self.shape_of) is not None:
            super().__set__(layer, value)
        elif value is not None:
            raise ValueError(must_be(layer.name, self.name, "None in a layer that was made without", value))


class Checked(Generic[Value]):
    """A constructor's argument that a script may change later, checked by ``check(owner, name, value)`` both times."""

    def __init__(self, check: Callable[[str, str, Any], Value]):
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    # No __get__: Python then reads the instance's own value by itself, 0.1 us faster, some forty times a step.
    if TYPE_CHECKING:

        @overload
        def __get__(self, layer: None, owner: type) -> Checked[Value]: ...

        @overload
        def __get__(self, layer: object, owner: type) -> Value: ...

        def __get__(self, layer: Any, owner: type) -> Any: ...

    def __set__(self, layer: Any, value: Any) -> None:
        layer.__dict__[self.name] = self.check(type(layer).__name__, self.name, value)


class Setting(Checked[Value]):
    """One that others must fit to: the layer's `check_settings` is asked too, and the layer forgets its last `forward`,
    whose shapes no longer fit."""

    def __set__(self, layer: Any, value: Any) -> None:
        before = layer.__dict__.copy()
        super().__set__(layer, value)
        if self.name in before:
            try:
                layer.check_settings()
            except ValueError:
                layer.__dict__[self.name] = before[self.name]
                raise
            layer.forget()


class Constant(Checked[Value]):
    """An attribute that a layer is made with; a script may assign the value that it has anyway."""

    def __set__(self, layer: Any, value: Any) -> None:
        own, name = layer.__dict__.get(self.name), type(layer).__name__
        if own is None:
            super().__set__(layer, value)
        elif not (value is own or np.array_equal(self.check(name, self.name, value), own)):  # type: ignore[arg-type]
            wanted = f"{own!r}, as in the constructor: make a new layer for another"
            raise ValueError(must_be(name, self.name, wanted, value))


class Fixed(Generic[Value]):
    """An attribute that follows from others; a script may assign the value that it has anyway."""

    def __init__(self, compute: Callable[[Any], Value]):
        self.compute = compute

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, layer: None, owner: type) -> Fixed[Value]: ...

    @overload
    def __get__(self, layer: object, owner: type) -> Value: ...

    def __get__(self, layer: Any, owner: type) -> Any:
        return self if layer is None else self.compute(layer)

    def __set__(self, layer: Any, value: Any) -> None:
        own: Any = self.compute(layer)
        if not np.array_equal(value, own):
            raise ValueError(
                f"{layer.name}: `{self.name}` follows from the layer's other arguments, {own!r}; "
                f"make a new layer for another. {received(self.name, value)}"
            )
