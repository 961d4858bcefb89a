"""What layers and losses have in common."""

from fastcnn.components.attributes import BatchArray, Checked, Constant, Fixed, Parameter, Setting
from fastcnn.components.base import Component, mode, nothing_kept

__all__ = ["BatchArray", "Checked", "Component", "Constant", "Fixed", "Parameter", "Setting", "mode", "nothing_kept"]
