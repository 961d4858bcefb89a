"""Component: what layers and losses have in common, from shape and dtype to the arrays that a file holds."""

import threading
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from fastcnn.backends import helpers
from fastcnn.components.attributes import Assignable, Checked, Constant, Parameter, is_of_a_script
from fastcnn.config import layer_dtype
from fastcnn.shapes import check_int, check_shape, must_be, received, shape_text

Kept = TypeVar("Kept")


class Mode(threading.local):
    """What a thread does: in inference layers keep nothing of a batch."""

    keeps = True


mode = Mode()


class Component(Assignable):
    """A layer or a loss: made for the shape of its input, computing in one dtype.

    Parameters
    ----------
    shape : sequence of int
        The shape of the input, batch size first. Any batch size is accepted later.
    dtype : 'float32' or 'float64', optional
        Of parameters and results; `fastcnn.get_dtype()` by default. Inputs of any real dtype are converted.
    """

    marked = True
    rank: ClassVar[int | None] = None  # axes of the input; None where any number makes sense
    gradient_names: ClassVar[dict[str, str]] = {}  # each parameter, and the attribute that holds its gradient
    state_names: ClassVar[tuple[str, ...]] = ()  # arrays that a file must hold too, though no gradient changes them
    random_names: ClassVar[tuple[str, ...]] = ()  # integers (or None) from which the next random numbers follow
    shard_names: ClassVar[tuple[str, ...]] = ()  # attributes that say which shard of a batch it sees
    added_later: ClassVar[dict[str, Any]] = {}  # settings that pickles of before lack, and what they then were
    gain_names: ClassVar[tuple[str, ...]] = ()  # parameters of several axes that are no weights: see `is_weight`
    # Arguments that `config` names only where they are not at their default: those that came later than the layer, as
    # scripts have derived classes from it that take none of them.
    unsaid_names: ClassVar[tuple[str, ...]] = ()

    dtype = Constant(lambda owner, name, value: layer_dtype(owner, value))
    batchsize = Checked(check_int)

    def __init__(self, shape: Sequence[int], *, dtype: Any = None):
        self.dtype = layer_dtype(self.name, dtype)
        self.input_shape = check_shape(self.name, shape, self.rank)
        self.batchsize = self.input_shape[0]
        helpers.note(self)

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def input_shape(self) -> tuple[int, ...]:
        """As given to the constructor; another batch size may be assigned."""
        return self._input_shape

    @input_shape.setter
    def input_shape(self, value: Any) -> None:
        shape = check_shape(self.name, value, self.rank, "input_shape")
        made = self.__dict__.get("_input_shape", shape)
        if shape[1:] != made[1:]:
            raise ValueError(
                f"{self.name}: `input_shape` must be {shape_text('batch', *made[1:])} in a layer that was made "
                f"for it; make a new layer for another. {received('input_shape', value)}"
            )
        self._input_shape = shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The input's shape, unless a class says otherwise."""
        return self.__dict__.get("output_shape", self.input_shape)

    @output_shape.setter
    def output_shape(self, value: Any) -> None:
        shape = check_shape(self.name, value, None, "output_shape")
        if not is_of_a_script(type(self)) and shape[1:] != self.input_shape[1:]:
            raise ValueError(must_be(self.name, "output_shape", f"{self.input_shape}, as `input_shape` is", value))
        self.__dict__["output_shape"] = shape

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrays in buffers that pickle does not own arrive read-only: they are copied."""
        if "dtype" not in state:
            raise ValueError(
                f"{self.name}: this pickle is of another code base's layer. Save its arrays where they were made, with "
                "np.save, and assign them to `weights` and `bias`"
            )
        for name, value in (self.added_later | state).items():
            read_only = isinstance(value, np.ndarray) and not value.flags.writeable
            self.__dict__[name] = value.copy() if read_only else value

    def keep(self, name: str, value: Kept) -> Kept:
        """Store in an attribute what the gradient of this batch needs; not in inference, see `nothing_kept`.

        It has been checked or comes from a kernel, and needs no second check.
        """
        if mode.keeps:
            self.__dict__[name] = value
        return value

    def check_settings(self) -> None:
        """Raise ValueError where settings that are right one by one do not fit together."""

    def forget(self) -> None:
        """Drop what the last batch left: a setting was changed, and its shapes no longer fit."""

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them, from which `load` builds the component again."""
        return {"shape": list(self.input_shape), "dtype": self.dtype.name}

    def later_config(self) -> dict[str, Any]:
        """Of the arguments that came later than the class those that are not what they were before."""
        return {name: getattr(self, name) for name, before in self.added_later.items() if getattr(self, name) != before}

    def children(self) -> dict[str, Any]:
        """The layers inside this one, by the names that a file gives them; none for most."""
        return {}

    def draw_seed(self) -> None:
        """Draw the random numbers that the first batch would draw, where they are not there yet."""

    def parameters(self) -> dict[str, np.ndarray]:
        """The arrays that gradients change, by name; none for most."""
        return {name: getattr(self, name) for name in self.gradient_names}

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of each parameter, by the parameter's name: sums over the batches since the last update."""
        return {name: getattr(self, gradient) for name, gradient in self.gradient_names.items()}

    def clear_gradients(self) -> None:
        """Start the sums of gradients anew."""
        for gradient in self.gradient_names.values():
            delattr(self, gradient)

    def tensors(self) -> dict[str, np.ndarray]:
        """All arrays that decide what is computed: parameters, and statistics such as a running mean."""
        return self.parameters() | {name: getattr(self, name) for name in self.state_names}

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of `tensors`, of which this makes none; none where a class says by itself what these are."""
        if type(self).tensors is not Component.tensors or type(self).parameters is not Component.parameters:
            return {}
        kinds = {name: getattr(type(self), name, None) for name in (*self.gradient_names, *self.state_names)}
        return {name: getattr(self, kind.shape_of) for name, kind in kinds.items() if isinstance(kind, Parameter)}

    def parameter_count(self) -> int:
        return sum(array.size for array in self.parameters().values())

    def multiply_adds(self) -> int:
        """Multiply-adds of `forward` for one image; 0 where there are no products."""
        return 0

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.config().items())
        return f"{self.name}({arguments})"
