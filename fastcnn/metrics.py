"""What a classifier does right and wrong, class by class.

A metric is a function of labels (N,) and probabilities (N, classes) that returns a number; `Sequential.fit` takes its
name or the function itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastcnn.arrays import check_labels, real_array
from fastcnn.shapes import allocate, check_choice, check_int, check_side, must_be


def confusion_matrix(labels: Any, predicted: Any, classes: int) -> np.ndarray:
    """(classes, classes) counts: row i, column j says how many images of class i were taken for class j."""
    classes = check_side("confusion_matrix", "classes", classes)
    labels = real_array("confusion_matrix", "labels", labels)
    count = len(labels) if labels.ndim else 1
    labels = check_labels("confusion_matrix", "labels", labels, count, classes)
    predicted = check_labels("confusion_matrix", "predicted", predicted, count, classes)
    pairs, shape = labels * classes + predicted, (classes, classes)
    counts = allocate(
        "confusion_matrix", "classes", shape, np.int64, lambda: np.bincount(pairs, minlength=classes * classes)
    )
    return counts.reshape(shape)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where there is nothing to divide."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


@dataclass(frozen=True)
class Report:
    """A confusion matrix and what follows from it; `str` is a table.

    `precision` is the share of right ones among all that were taken for a class, `recall` among all that belong to it,
    `f1` their harmonic mean: (classes,) arrays, 0 where there is nothing to divide.
    """

    matrix: np.ndarray
    class_names: Sequence[str] = field(default=())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.matrix) / max(1, self.matrix.sum()))

    @property
    def precision(self) -> np.ndarray:
        return ratio(np.diag(self.matrix), self.matrix.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        return ratio(np.diag(self.matrix), self.matrix.sum(axis=1))

    @property
    def f1(self) -> np.ndarray:
        return ratio(2 * self.precision * self.recall, self.precision + self.recall)

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "confusion_matrix": self.matrix.tolist(),
            "precision": self.precision.tolist(),
            "recall": self.recall.tolist(),
            "f1": self.f1.tolist(),
        }

    def __str__(self) -> str:
        given = dict(enumerate(self.class_names))
        names = [str(given.get(i, i)) for i in range(len(self.matrix))]
        width, cell = max(5, *map(len, names)), max(4, len(str(self.matrix.max(initial=0))) + 1)
        numbers = "".join(f"{i:>{cell}}" for i in range(len(names)))
        lines = [f"{'class':<{width}}  {'':>4}{numbers}  precision   recall       f1"]
        columns = zip(names, self.matrix, self.precision, self.recall, self.f1, strict=True)
        for i, (name, row, precision, recall, f1) in enumerate(columns):
            counts = "".join(f"{count:>{cell}}" for count in row)
            lines.append(f"{name:<{width}}  {i:>4}{counts}  {precision:>9.2%}  {recall:>7.2%}  {f1:>7.2%}")
        means = f"{self.precision.mean():>9.2%}  {self.recall.mean():>7.2%}  {self.f1.mean():>7.2%}"
        lines.append(f"{'mean':<{width}}  {'':>4}{'':>{cell * len(names)}}  {means}")
        return "\n".join(lines)


def check_probabilities(owner: str, labels: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    """The arguments of a metric."""
    probabilities = real_array(owner, "probabilities", probabilities)
    if probabilities.ndim != 2 or not probabilities.shape[1]:
        raise ValueError(
            f"{owner}: `probabilities` must have the shape (images, classes). Received the shape {probabilities.shape}"
        )
    return check_labels(owner, "labels", labels, *probabilities.shape), probabilities


def report(labels: Any, probabilities: Any) -> Report:
    labels, probabilities = check_probabilities("report", labels, probabilities)
    return Report(confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1]))


def top_k_accuracy(k: int) -> Callable[[np.ndarray, np.ndarray], float]:
    """The share of images whose class is among the `k` likeliest."""
    k = check_int("top_k_accuracy", "k", k)

    def metric(labels: Any, probabilities: Any) -> float:
        labels, probabilities = check_probabilities(metric.__name__, labels, probabilities)
        own = probabilities[np.arange(len(labels)), labels]
        ahead = (probabilities > own[:, np.newaxis]).sum(axis=1)
        return float(((ahead < k) & ~np.isnan(own)).mean())

    metric.__name__ = f"top_{k}_accuracy"
    return metric


def measure(name: str, metric: Callable, labels: np.ndarray, probabilities: np.ndarray) -> float:
    """What a metric returns, which may be NaN but must be a number."""
    value = metric(labels, probabilities)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(must_be("fit", f"metrics[{name!r}]", "a function that returns a number", value)) from error


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "precision": lambda labels, probabilities: float(report(labels, probabilities).precision.mean()),
    "recall": lambda labels, probabilities: float(report(labels, probabilities).recall.mean()),
    "f1": lambda labels, probabilities: float(report(labels, probabilities).f1.mean()),
    "top_3_accuracy": top_k_accuracy(3),
    "top_5_accuracy": top_k_accuracy(5),
}


def check_metrics(owner: str, metrics: Any) -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """Names, functions, or a dict of functions, as a dict of functions."""
    if isinstance(metrics, dict):
        named = list(metrics.items())
    elif isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise TypeError(must_be(owner, "metrics", "a list of names and functions, or a dict of functions", metrics))
    else:
        named = []
        for i, metric in enumerate(metrics):
            if callable(metric):
                name = getattr(metric, "__name__", "")
                named.append((name if name.isidentifier() else f"metric_{i}", metric))  # no name is <lambda>
            else:
                name = check_choice(owner, f"metrics[{i}]", metric, METRICS, ", or a function (labels, probabilities)")
                named.append((name, METRICS[name]))
    found: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {}
    for name, metric in named:
        if name in (*found, "loss", "accuracy"):
            wanted = "metrics of different names, none of them loss or accuracy (a dict gives names)"
            raise ValueError(must_be(owner, "metrics", wanted, metrics))
        found[name] = metric
    for name, metric in found.items():
        if not callable(metric):
            raise TypeError(must_be(owner, f"metrics[{name!r}]", "a function (labels, probabilities)", metric))
    return found
