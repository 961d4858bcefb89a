"""A model in use, on many images, in batches; where there are several ranks, each computes a shard of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastcnn.components import left_as_it_is
from fastcnn.distributed.group import Group, data_facts
from fastcnn.errors import FileFormatError
from fastcnn.metrics import Report, confusion_matrix
from fastcnn.network import Network
from fastcnn.saving import model_facts, model_file
from fastcnn.shapes import check_int

if TYPE_CHECKING:
    from typing import Self


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


class Model(Network):
    """A network and what is done with it without training it."""

    def take_work(self, owner: str, x: Any, y: Any, batch_size: Any, group: Group) -> tuple[Any, Any, int]:
        """The arguments of `evaluate` and `report`, checked."""
        x, y = self.take_data(owner, x, y, group.shard)
        return x, y, check_int(owner, "batch_size", batch_size)

    def evaluate(self, x: Any, y: Any, batch_size: int = 256, distributed: Any = None) -> Evaluation:
        """The mean loss and the accuracy on images `x` with labels `y`; the last, smaller batch counts in full.

        With `distributed`, an mpi4py communicator whose ranks all call this with the same model and data, each rank
        computes its shard, and all return the same.
        """
        with Group.of("evaluate", distributed) as group:
            x, y, batch_size = group.together(lambda: self.take_work("evaluate", x, y, batch_size, group))
            check_same("evaluate", self, x, y, batch_size, group)
            return measure(self, x, y, batch_size, group)[0]

    def report(self, x: Any, y: Any, batch_size: int = 256, distributed: Any = None) -> Report:
        """The confusion matrix on images `x` with labels `y`, and precision, recall and F1 of each class.

        The classes are named as ``metadata["class_names"]`` says, if it does. `distributed` as in `evaluate`.
        """
        with Group.of("report", distributed) as group:
            x, y, batch_size = group.together(lambda: self.take_work("report", x, y, batch_size, group))
            check_same("report", self, x, y, batch_size, group)
            predicted = outputs(self, lambda batch: self.logits(batch).argmax(axis=1), x, batch_size, group)
        matrix = confusion_matrix(y, predicted, self.loss_layer.input_shape[1])
        names = self.metadata.get("class_names")
        return Report(matrix, names if isinstance(names, list | tuple) else ())

    def predict(self, x: Any, batch_size: int = 256, distributed: Any = None) -> np.ndarray:
        """The output of the last layer for all images `x`: (images, classes) probabilities after a Softmax.

        `distributed` as in `evaluate`: the ranks share the work, and all return the whole.
        """
        with Group.of("predict", distributed) as group:
            x = group.together(lambda: self.take_images("predict", x, group.shard))
            batch_size = group.together(lambda: check_int("predict", "batch_size", batch_size))
            check_same("predict", self, x, None, batch_size, group)
            return outputs(self, self.forward, x, batch_size, group)

    @classmethod
    def of_file(cls, file: model_file.ModelFile, custom_layers: dict[str, type] | None) -> Self:
        """The model in a file that was read, whatever kind of model it is."""
        layers = model_file.load_layers(file, custom_layers or {})
        try:
            return cls(layers, file.header["metadata"])
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"{file.where}: {error}") from error
