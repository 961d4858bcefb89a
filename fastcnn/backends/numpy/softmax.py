"""Softmax and cross-entropy in NumPy. Shapes and meaning: :mod:`fastcnn.backends`."""

from __future__ import annotations

import numpy as np


def exponentials(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits minus the largest of their row, their exponentials, and the sum of these for each row.

    What overflows becomes the dtype's lowest number, whose exponential is 0. Logits that are infinite or NaN, of a
    training that diverges, give NaN without a warning: the loss tells.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        np.maximum(shifted, np.finfo(logits.dtype).min, out=shifted)
        powers = np.exp(shifted)
    return shifted, powers, powers.sum(axis=1, keepdims=True)


def softmax_forward(logits: np.ndarray) -> np.ndarray:
    _, powers, sums = exponentials(logits)
    return powers / sums


def softmax_loss(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shifted, powers, sums = exponentials(logits)
    return powers / sums, np.log(sums[:, 0]) - shifted[np.arange(len(labels)), labels]
