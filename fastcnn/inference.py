"""A model on many images, in batches; where there are several ranks, each computes a shard of them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from fastcnn.components import left_as_it_is
from fastcnn.distributed.group import Group, data_facts
from fastcnn.network import Network
from fastcnn.saving import model_facts


class Evaluation(NamedTuple):
    """The mean cross-entropy of one image, and the share of images whose likeliest class is right."""

    loss: float
    accuracy: float


def batches(shard: slice, batch_size: int) -> Iterator[slice]:
    """`shard` in batches; an empty one is a single empty batch, so that shape and dtype of a result are known."""
    for first in range(shard.start, max(shard.stop, shard.start + 1), batch_size):
        yield slice(first, min(first + batch_size, shard.stop))


def check_same(owner: str, model: Network, x: np.ndarray, y: np.ndarray | None, batch_size: int, group: Group) -> None:
    """ValueError on all ranks where models or arguments differ between them."""
    if group.size > 1:
        weights = f"CRC-32 {model_facts.fingerprint(model.layers):08x}"
        facts = {"layers": model_facts.layout(model.layers), "weights of the model": weights}
        group.check_same(owner, facts | data_facts(x, y) | {"batch_size": batch_size})


def collect(function: Callable[[slice], np.ndarray], shard: slice, batch_size: int) -> np.ndarray:
    """The rows that `function` returns for each batch of `shard`, in one array that is allocated once."""
    todo = batches(shard, batch_size)
    found = np.asarray(function(next(todo)))
    rows = np.empty((shard.stop - shard.start, *found.shape[1:]), found.dtype)
    rows[: len(found)] = found
    for batch in todo:
        rows[batch.start - shard.start : batch.stop - shard.start] = function(batch)
    return rows


def outputs(
    model: Network, function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, batch_size: int, group: Group
) -> np.ndarray:
    """What `function`, of the model, returns for all images, on all ranks."""

    def rows_of(batch: slice) -> np.ndarray:
        with left_as_it_is(model):
            return function(x[batch])

    return group.all_gather_rows(collect(rows_of, group.shard(len(x)), batch_size))


def measure(
    model: Network, x: np.ndarray, y: np.ndarray, batch_size: int, group: Group
) -> tuple[Evaluation, np.ndarray]:
    """Loss and accuracy on all images, and the probabilities of this rank's shard of them, (images, classes)."""
    loss_layer, sums = model.loss_layer, np.zeros(2)

    def probabilities_of(batch: slice) -> np.ndarray:
        with left_as_it_is(model):
            logits = model.logits(x[batch])
            loss, probabilities = loss_layer.measure(logits, y[batch])
        sums[0] += loss
        sums[1] += np.count_nonzero(logits.argmax(axis=1) == y[batch])
        return probabilities

    probabilities = collect(probabilities_of, group.shard(len(x)), batch_size)
    loss, hits = group.all_reduce(sums) / len(x)
    return Evaluation(float(loss), float(hits)), probabilities
