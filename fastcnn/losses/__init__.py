"""The losses: what a training makes small. One may stand at the end of a model."""

from fastcnn.losses.base import Loss
from fastcnn.losses.softmax import Softmax

__all__ = ["Loss", "Softmax"]
