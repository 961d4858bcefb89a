"""Softmax with the cross-entropy loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn.backend import active
from fastcnn.layers.attributes import BatchArray
from fastcnn.layers.base import Layer
from fastcnn.shapes import check_array, check_labels


class Softmax(Layer):
    """Class probabilities from logits, and the cross-entropy loss summed over the batch.

    Parameters
    ----------
    shape : (batch, classes)

    Attributes
    ----------
    softmax : (batch, classes) array, the probabilities last computed
    loss : float, the last loss
    prediction, label : the logits and labels of the last `cal_loss`
    eta : the last gradient with respect to the logits
    """

    rank = 2
    prediction = BatchArray("input_shape")
    eta = BatchArray("input_shape")
    loss: float = 0.0
    label: np.ndarray | None = None
    _shown: np.ndarray | None = None  # by the last call, `predict` or `cal_loss`
    _probabilities: np.ndarray | None = None  # what `gradient` starts from

    @property
    def softmax(self) -> np.ndarray:
        return np.zeros(self.input_shape, self.dtype) if self._shown is None else self._shown

    @softmax.setter
    def softmax(self, value: Any) -> None:
        self._shown = self._probabilities = check_array(self.name, "softmax", value, self.input_shape, self.dtype)

    def cal_loss(self, prediction: Any, label: Any) -> float:
        """The cross-entropy of logits `prediction` (batch, classes), summed over the batch.

        `label` holds integers of any dtype, (batch,) or (batch, 1). The loss is computed from shifted logits,
        ``log(sum(exp(z - max))) - (z[label] - max)``, and never overflows.
        """
        logits = check_array(self.name, "prediction", prediction, self.input_shape, self.dtype)
        labels = check_labels(self.name, "label", label, *logits.shape)
        probabilities, losses = active().softmax_loss(logits, labels)
        self._shown = self._probabilities = probabilities
        self.prediction, self.label = logits, labels
        self.loss = loss = float(losses.sum(dtype=np.float64))
        return loss

    def predict(self, prediction: Any) -> np.ndarray:
        """The probabilities of logits `prediction`, (batch, classes); rows sum to 1."""
        logits = check_array(self.name, "prediction", prediction, self.input_shape, self.dtype)
        self._shown = probabilities = active().softmax_forward(logits)
        return probabilities

    def forward(self, x: Any) -> np.ndarray:
        """The same as `predict`."""
        return self.predict(x)

    def gradient(self) -> np.ndarray:
        """dLoss/dLogits of the last `cal_loss`, ``softmax - onehot(label)``, a sum over the batch; also in `eta`."""
        if self._probabilities is None or self.label is None:
            raise RuntimeError(f"{self.name}: `gradient` needs a call of `cal_loss` first")
        eta = self._probabilities.copy()
        eta[np.arange(len(eta)), self.label] -= 1
        self.eta = eta
        return eta
