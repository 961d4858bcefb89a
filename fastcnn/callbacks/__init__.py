"""Callbacks of `Sequential.fit`: checkpoints, early stopping, logs, learning curves."""

from fastcnn.callbacks.base import Callback
from fastcnn.callbacks.logs import CSVLogger, LearningCurves, TensorBoard
from fastcnn.callbacks.progress import Checkpoint, EarlyStopping

__all__ = ["CSVLogger", "Callback", "Checkpoint", "EarlyStopping", "LearningCurves", "TensorBoard"]
