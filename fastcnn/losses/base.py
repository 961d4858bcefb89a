"""What all losses share."""

from typing import Any

import numpy as np

from fastcnn.components import BatchArray, Component, put_back


class Loss(Component):
    """The base of all losses: a number for the logits of a batch and its labels, and its gradient.

    A loss stands at the end of a model. `Sequential` calls `cal_loss` and then `gradient` in a training step, and
    `predict` for what the model returns.

    Parameters
    ----------
    shape : (batch, classes)
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    softmax : (batch, classes) array, the probabilities that `cal_loss` or `predict` computed last
    loss : float, the last loss
    prediction, label : the logits and labels of the last `cal_loss`
    eta : the last gradient with respect to the logits
    """

    rank = 2
    prediction = BatchArray("input_shape")
    eta = BatchArray("input_shape")
    loss: float = 0.0
    label: np.ndarray | None = None
    softmax: Any

    def cal_loss(
        self, prediction: Any, label: Any, *, class_weights: Any = None, label_smoothing: float = 0.0
    ) -> float:
        """The loss of logits `prediction` (batch, classes), a sum over the batch; also kept in `loss`."""
        raise NotImplementedError(f"{self.name} defines no cal_loss")

    def predict(self, prediction: Any) -> np.ndarray:
        """The probabilities of logits `prediction`, (batch, classes); a pending `gradient` is not affected."""
        raise NotImplementedError(f"{self.name} defines no predict")

    def measure(self, prediction: Any, label: Any) -> tuple[float, np.ndarray]:
        """The loss of logits and their probabilities, (batch, classes); a pending `gradient` is not affected."""
        with put_back([self]):
            return self.cal_loss(prediction, label), self.softmax

    def forward(self, x: Any) -> np.ndarray:
        """The same as `predict`."""
        return self.predict(x)

    def gradient(self) -> np.ndarray:
        """dLoss/dLogits of the last `cal_loss`, a sum over the batch; also kept in `eta`."""
        raise NotImplementedError(f"{self.name} defines no gradient")
