"""What layers and losses have in common."""

from fastcnn.components.attributes import BatchArray, Fixed, Parameter, Setting
from fastcnn.components.base import Component

__all__ = ["BatchArray", "Component", "Fixed", "Parameter", "Setting"]
