"""Softmax with the cross-entropy loss."""

from typing import Any, NamedTuple

import numpy as np

from fastcnn.arrays import check_array, check_labels
from fastcnn.backends.active import active
from fastcnn.losses.base import Loss
from fastcnn.shapes import check_number, must_be, zeros


class Computed(NamedTuple):
    """Of a batch: logits and labels, checked; probabilities; how much each class counts; the loss."""

    logits: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    class_weights: np.ndarray | None
    loss: float


class Softmax(Loss):
    """Class probabilities from logits, and the cross-entropy loss summed over the batch.

    Parameters and attributes are those of :class:`fastcnn.losses.Loss`.
    """

    __module__ = "fastcnn.layers.softmax"  # which pickles name: the module that scripts have always known

    _shown: np.ndarray | None = None  # by the last call, `predict` or `cal_loss`
    _probabilities: np.ndarray | None = None  # what `gradient` starts from
    _label: np.ndarray | None = None
    _smoothing: float = 0.0
    _class_weights: np.ndarray | None = None

    @property
    def softmax(self) -> np.ndarray:
        return zeros(self.name, "softmax", self.input_shape, self.dtype) if self._shown is None else self._shown

    @softmax.setter
    def softmax(self, value: Any) -> None:
        self._shown = self._probabilities = check_array(self.name, "softmax", value, self.input_shape, self.dtype)

    @property
    def label(self) -> np.ndarray | None:
        return self._label

    @label.setter
    def label(self, value: Any) -> None:
        self._label = value if value is None else check_labels(self.name, "label", value, *self.prediction.shape)

    def cal_loss(
        self, prediction: Any, label: Any, *, class_weights: Any = None, label_smoothing: float = 0.0
    ) -> float:
        """The cross-entropy of logits `prediction` (batch, classes), summed over the batch.

        `label` holds integers of any dtype, (batch,) or (batch, 1). The loss is computed from shifted logits,
        ``log(sum(exp(z - max))) - (z[label] - max)``, and never overflows.

        `class_weights` (classes,) multiplies the loss of each image by the weight of its class. With `label_smoothing`
        the target is ``(1 - label_smoothing) * onehot + label_smoothing / classes`` (Szegedy et al., "Rethinking the
        Inception Architecture", 2016, section 7).
        """
        found = self.compute(prediction, label, class_weights, label_smoothing)
        # Past the attributes' checks, as all of it has been checked, and in inference too: a loss is not a layer.
        vars(self).update(
            prediction=found.logits,
            loss=found.loss,
            _label=found.labels,
            _smoothing=label_smoothing,
            _shown=found.probabilities,
            _probabilities=found.probabilities,
            _class_weights=found.class_weights,
        )
        return found.loss

    def measure(self, prediction: Any, label: Any) -> tuple[float, np.ndarray]:
        if type(self) is not Softmax:  # a script's own may define another `cal_loss`
            return super().measure(prediction, label)
        found = self.compute(prediction, label)
        return found.loss, found.probabilities

    def compute(self, prediction: Any, label: Any, class_weights: Any = None, label_smoothing: float = 0.0) -> Computed:
        """What `cal_loss` computes, of which nothing is kept."""
        logits = check_array(self.name, "prediction", prediction, self.input_shape, self.dtype)
        labels = check_labels(self.name, "label", label, *logits.shape)
        smoothing = check_number(self.name, "label_smoothing", label_smoothing, 0)
        if smoothing >= 1:
            raise ValueError(must_be(self.name, "label_smoothing", "a number from 0 to below 1", label_smoothing))
        weights = None
        if class_weights is not None:
            shape = logits.shape[1:]
            weights = check_array(self.name, "class_weights", class_weights, shape, self.dtype, any_batch=False)
            if not (np.isfinite(weights) & (weights >= 0)).all():
                raise ValueError(must_be(self.name, "class_weights", "finite numbers of at least 0", class_weights))
        probabilities, losses = active().softmax_loss(logits, labels)
        if smoothing:  # the mean cross-entropy of all classes is that of the label, and z[label] - mean(z)
            losses = losses + smoothing * (logits[np.arange(len(labels)), labels] - logits.mean(axis=1))
        if weights is not None:
            losses = losses * weights[labels]
        return Computed(logits, labels, probabilities, weights, float(losses.sum(dtype=np.float64)))

    def predict(self, prediction: Any) -> np.ndarray:
        """The probabilities of logits `prediction`, (batch, classes); rows sum to 1."""
        logits = check_array(self.name, "prediction", prediction, self.input_shape, self.dtype)
        return self.keep("_shown", active().softmax_forward(logits))

    def gradient(self) -> np.ndarray:
        """dLoss/dLogits of the last `cal_loss`, ``softmax - onehot(label)``, a sum over the batch; also in `eta`."""
        if self._probabilities is None or self._label is None:
            raise RuntimeError(f"{self.name}: `gradient` needs a call of `cal_loss` first")
        eta, label = self._probabilities.copy(), self._label
        if len(label) != len(eta):
            raise RuntimeError(
                f"{self.name}: `gradient` needs a label for each image. `softmax` has {len(eta)} images and `label` "
                f"{len(label)}: call `cal_loss` with both"
            )
        eta[np.arange(len(eta)), label] -= 1 - self._smoothing
        if self._smoothing:
            eta -= self._smoothing / eta.shape[1]
        if self._class_weights is not None:
            eta *= self._class_weights[label, np.newaxis]
        self.__dict__["eta"] = eta
        return eta
