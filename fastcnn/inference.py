"""A model on many images: in batches, and where several ranks have a part each, with what all of them found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastcnn.distributed.group import Group, data_facts
from fastcnn.training.data_parallel import replicas

if TYPE_CHECKING:
    from fastcnn.model import Sequential


class Evaluation(NamedTuple):
    """The mean cross-entropy of one image, and the share of images whose likeliest class is right."""

    loss: float
    accuracy: float


def batches(part: slice, batch_size: int) -> Iterator[slice]:
    """A part of the images in batches: one, and be it empty, at least."""
    for first in range(part.start, max(part.stop, part.start + 1), batch_size):
        yield slice(first, min(first + batch_size, part.stop))


def check_same(
    owner: str, model: Sequential, x: np.ndarray, y: np.ndarray | None, batch_size: int, group: Group
) -> None:
    """ValueError on all ranks where they are asked for different work."""
    if group.size > 1:
        weights = f"CRC-32 {replicas.fingerprint(model.layers):08x}"
        model_facts = {"layers": replicas.described(model.layers), "weights of the model": weights}
        group.check_same(owner, model_facts | data_facts(x, y) | {"batch_size": batch_size})


def outputs(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, batch_size: int, group: Group) -> np.ndarray:
    """What `function` makes of all images."""
    return group.gather_rows(np.concatenate([function(x[batch]) for batch in batches(group.part(len(x)), batch_size)]))


def measure(
    model: Sequential, x: np.ndarray, y: np.ndarray, batch_size: int, group: Group
) -> tuple[Evaluation, np.ndarray]:
    """Loss and accuracy on all images; and the probabilities of this rank's part of them, (images, classes)."""
    sums, probabilities = np.zeros(2), []
    for batch in batches(group.part(len(x)), batch_size):
        logits = model.logits(x[batch])
        sums += model.loss_layer.cal_loss(logits, y[batch]), np.count_nonzero(logits.argmax(axis=1) == y[batch])
        probabilities.append(model.loss_layer.softmax)
    loss, hits = group.sum(sums) / len(x)
    return Evaluation(float(loss), float(hits)), np.concatenate(probabilities)
