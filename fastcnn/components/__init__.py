"""What layers and losses have in common."""

from fastcnn.components.attributes import (
    Assignable,
    BatchArray,
    Checked,
    Constant,
    Fixed,
    OptionalParameter,
    Parameter,
    Setting,
    is_of_a_script,
    once_a_class,
)
from fastcnn.components.base import Component, mode
from fastcnn.components.own import left_as_it_is, marked_pass, put_back

__all__ = [
    "Assignable",
    "BatchArray",
    "Checked",
    "Component",
    "Constant",
    "Fixed",
    "OptionalParameter",
    "Parameter",
    "Setting",
    "is_of_a_script",
    "left_as_it_is",
    "marked_pass",
    "mode",
    "once_a_class",
    "put_back",
]
