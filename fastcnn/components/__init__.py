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
    once_a_class,
)
from fastcnn.components.base import Component, mode
from fastcnn.components.own import NO_TURN, nothing_kept, own_among, put_back, turn_of

__all__ = [
    "NO_TURN",
    "Assignable",
    "BatchArray",
    "Checked",
    "Component",
    "Constant",
    "Fixed",
    "Parameter",
    "Setting",
    "is_of_a_script",
    "mode",
    "nothing_kept",
    "once_a_class",
    "own_among",
    "put_back",
    "turn_of",
]
