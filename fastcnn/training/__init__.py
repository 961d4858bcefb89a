"""Training: `fit`, its arguments, the loop, callbacks, checkpoints, and the same on several ranks."""

from fastcnn.training.fitting import fit
from fastcnn.training.loop import History, Run
from fastcnn.training.schedules import constant, cosine

__all__ = ["History", "Run", "constant", "cosine", "fit"]
