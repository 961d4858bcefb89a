"""Callbacks of `Sequential.fit`: checkpoints, early stopping, logs, learning curves."""

from fastcnn.training.callbacks.base import Callback
from fastcnn.training.callbacks.logs import CSVLogger, LearningCurves, TensorBoard
from fastcnn.training.callbacks.progress import Checkpoint, EarlyStopping

__all__ = ["CSVLogger", "Callback", "Checkpoint", "EarlyStopping", "LearningCurves", "TensorBoard"]
