"""What layers and losses have in common."""

from fastcnn.components.attributes import (
    Assignable,
    BatchArray,
    Checked,
    Constant,
    Fixed,
    Parameter,
    Setting,
    is_of_a_script,
)
from fastcnn.components.base import Component, mode
from fastcnn.components.stand_ins import HandOver, left_as_they_are, stand_in, twin_of

__all__ = [
    "Assignable",
    "BatchArray",
    "Checked",
    "Component",
    "Constant",
    "Fixed",
    "HandOver",
    "Parameter",
    "Setting",
    "is_of_a_script",
    "left_as_they_are",
    "mode",
    "stand_in",
    "twin_of",
]
