"""Training: `fit` and its arguments, the loop, callbacks, checkpoints, and the same on several ranks."""

from fastcnn.training.fitting import fit
from fastcnn.training.run import History, TrainingRun
from fastcnn.training.schedules import constant, cosine

Run = TrainingRun  # its name in earlier versions

__all__ = ["History", "Run", "TrainingRun", "constant", "cosine", "fit"]
