"""Sequential: a list of layers that trains, predicts, and travels as a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastcnn import inference, metrics, storage, training
from fastcnn.backends.active import compilation_announced
from fastcnn.distributed.group import Group, check_comm
from fastcnn.errors import FileFormatError
from fastcnn.inference import Evaluation
from fastcnn.layers import Softmax
from fastcnn.layers.bn import PHASES
from fastcnn.layers.chain import forward_through, gradient_through, parameter_gradient_through, update, walk
from fastcnn.layers.layer_list import check_layers
from fastcnn.optimizers import Optimizer
from fastcnn.shapes import (
    check_choice,
    check_finite,
    check_flag,
    check_int,
    check_labels,
    check_number,
    must_be,
    real_array,
    shape_text,
)


class Sequential:
    """Layers in a row.

    Parameters
    ----------
    layers : iterable of layers
        Each made for the output shape of the one before. Anything with ``forward(x)`` and ``gradient(eta)`` is a
        layer, and one with ``backward(alpha, weight_decay)`` is trained. A `Softmax` may stand at the end, and
        `fit` and `evaluate` need it there.
    metadata : dict, optional
        Facts that a saved model carries, as JSON can hold them; the command line keeps class names here.

    Raises
    ------
    ValueError, TypeError
        Layers that do not fit together, or something else among them.
    """

    def __init__(self, layers: Iterable[Any], metadata: dict[str, Any] | None = None):
        self.layers = check_layers("Sequential", "layers", layers, loss=True)
        self.metadata = dict(metadata or {})

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The first layer's input shape; None where it does not say."""
        shape = getattr(self.layers[0], "input_shape", None)
        return None if shape is None else tuple(shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return tuple(self.layers[-1].output_shape)

    @property
    def body(self) -> list[Any]:
        """All layers but a closing Softmax."""
        return self.layers[:-1] if isinstance(self.layers[-1], Softmax) else self.layers

    @property
    def loss_layer(self) -> Softmax:
        """The closing Softmax."""
        if isinstance(self.layers[-1], Softmax):
            return self.layers[-1]
        raise ValueError(
            "Sequential: training and evaluation need a Softmax as the last layer. "
            f"The last layer is {type(self.layers[-1]).__name__}"
        )

    def logits(self, x: Any, phase: str = "test") -> np.ndarray:
        """The output of the layers before a closing Softmax.

        `phase` is 'train' in a training step of one's own: BatchNorm and Dropout do then what they do in training.
        """
        return forward_through(self.body, x, check_choice("logits", "phase", phase, PHASES))

    def forward(self, x: Any) -> np.ndarray:
        """The output of the last layer: probabilities where it is a Softmax."""
        out = self.logits(x)
        return self.layers[-1].predict(out) if len(self.body) < len(self.layers) else out

    def gradient(self, eta: Any) -> np.ndarray:
        """Take the gradient with respect to `logits`, accumulate parameter gradients, return that of the input."""
        return gradient_through(self.body, eta)

    def parameter_gradient(self, eta: Any, after: Callable[[int], Any] | None = None) -> None:
        """Accumulate parameter gradients alone: nothing is computed below the first layer that learns.

        `after` is called with the position of each layer above that one whose gradients are there, from the last one.
        """
        parameter_gradient_through(self.body, eta, after)

    def backward(self, alpha: float, weight_decay: float = 0.0) -> None:
        """Update every layer that learns: ``p *= 1 - weight_decay; p -= alpha * gradient``."""
        for layer in self.body:
            if hasattr(layer, "backward"):
                update(layer, alpha, weight_decay)

    def train_on_batch(
        self, x: Any, y: Any, learning_rate: float = 0.1, weight_decay: float = 0.0
    ) -> tuple[float, int]:
        """One step of gradient descent on the mean loss of a batch; its summed loss and the number of hits before.

        The layers' gradients are sums over the batch and their decay is that of one step, so they get
        ``alpha = learning_rate / len(batch)`` and ``learning_rate * weight_decay``.
        """
        learning_rate = check_number("train_on_batch", "learning_rate", learning_rate, 0)
        weight_decay = check_number("train_on_batch", "weight_decay", weight_decay, 0)
        x, y = self.take_data("train_on_batch", x, y)
        return self.step(x, y, learning_rate, weight_decay)

    def step(self, x: np.ndarray, y: np.ndarray, learning_rate: float, weight_decay: float) -> tuple[float, int]:
        """`train_on_batch` without its checks."""
        loss, hits = self.accumulate(x, y)
        self.backward(learning_rate / len(x), learning_rate * weight_decay)
        return loss, hits

    def accumulate(self, x: np.ndarray, y: np.ndarray, **loss_options: Any) -> tuple[float, int]:
        """Add the parameter gradients of a batch; its summed loss, and the number of hits. `fit` has checked both."""
        found = self.batch_loss(x, y, **loss_options)
        self.parameter_gradient(self.loss_layer.gradient())
        return found

    def batch_loss(self, x: np.ndarray, y: np.ndarray, **loss_options: Any) -> tuple[float, int]:
        """The forward pass of a training step: the summed loss of a batch, and the number of hits."""
        logits = forward_through(self.body, x, "train")
        loss = self.loss_layer.cal_loss(logits, y, **loss_options)
        return loss, int(np.count_nonzero(logits.argmax(axis=1) == self.loss_layer.label))

    def fit(
        self,
        x: Any,
        y: Any,
        epochs: int = 1,
        batch_size: int = 64,
        validation_data: tuple[Any, Any] | None = None,
        **options: Any,
    ) -> training.History:
        """Train on images `x` and labels `y`; see :func:`fastcnn.training.fit`."""
        comm = options.get("distributed")
        check_comm("fit", comm)
        shown = options.get("verbose", True) and (comm is None or comm.Get_rank() == 0)
        with compilation_announced() if shown else contextlib.nullcontext():
            return training.fit(self, x, y, epochs, batch_size, validation_data, **options)

    def take_data(self, owner: str, x: Any, y: Any, group: Group | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels, checked whole before the first of them is used; by each rank of `group`, its part."""
        x = self.take_images(owner, x, group)
        classes = self.loss_layer.input_shape[1]
        return x, check_labels(owner, "y", y, len(x), classes)

    def take_work(self, owner: str, x: Any, y: Any, batch_size: Any, group: Group) -> tuple[Any, Any, int]:
        """The arguments of `evaluate`, or with y None of `predict`, checked."""
        x, y = (self.take_images(owner, x, group), None) if y is None else self.take_data(owner, x, y, group)
        return x, y, check_int(owner, "batch_size", batch_size)

    def take_images(self, owner: str, x: Any, group: Group | None = None) -> np.ndarray:
        x = real_array(owner, "x", x)
        wanted = x.shape[1:] if self.input_shape is None else self.input_shape[1:]
        if not x.ndim or x.shape[1:] != wanted or not x.size:
            raise ValueError(
                f"{owner}: `x` must have the shape {shape_text('images', *wanted)}, one image at least. "
                f"Received the shape {x.shape}"
            )
        check_finite(owner, "x", x, slice(None) if group is None else group.part(len(x)))
        return x

    def evaluate(self, x: Any, y: Any, batch_size: int = 256, distributed: Any = None) -> Evaluation:
        """The mean loss and the accuracy on images `x` with labels `y`; the last, smaller batch counts in full.

        With `distributed`, an mpi4py communicator whose ranks all call this with the same model and data, each rank
        computes its part, and all return the same.
        """
        with Group.of("evaluate", distributed) as group:
            x, y, batch_size = group.together(lambda: self.take_work("evaluate", x, y, batch_size, group))
            inference.check_same("evaluate", self, x, y, batch_size, group)
            return inference.measure(self, x, y, batch_size, group)[0]

    def report(self, x: Any, y: Any, batch_size: int = 256, distributed: Any = None) -> metrics.Report:
        """The confusion matrix on images `x` with labels `y`, and precision, recall and F1 of each class.

        The classes are named as ``metadata["class_names"]`` says, if it does. `distributed` as in `evaluate`.
        """
        with Group.of("report", distributed) as group:
            x, y, batch_size = group.together(lambda: self.take_work("report", x, y, batch_size, group))
            inference.check_same("report", self, x, y, batch_size, group)
            predicted = inference.outputs(lambda batch: self.logits(batch).argmax(axis=1), x, batch_size, group)
        matrix = metrics.confusion_matrix(y, predicted, self.loss_layer.input_shape[1])
        names = self.metadata.get("class_names")
        return metrics.Report(matrix, names if isinstance(names, list | tuple) else ())

    def predict(self, x: Any, batch_size: int = 256, distributed: Any = None) -> np.ndarray:
        """The output of the last layer for all images `x`: (images, classes) probabilities after a Softmax.

        `distributed` as in `evaluate`: the ranks share the work, and all return the whole.
        """
        with Group.of("predict", distributed) as group:
            x, _, batch_size = group.together(lambda: self.take_work("predict", x, None, batch_size, group))
            inference.check_same("predict", self, x, None, batch_size, group)
            return inference.outputs(self.forward, x, batch_size, group)

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print a table: layer, output shape, parameters, multiply-adds of one image's forward."""
        rows = [("layer", "output shape", "parameters", "multiply-adds")]
        total = [0, 0]
        for layer in self.layers:
            counts = [getattr(layer, name, lambda: 0)() for name in ("parameter_count", "multiply_adds")]
            total = [sum(pair) for pair in zip(total, counts, strict=True)]
            shape = ", ".join(map(str, getattr(layer, "output_shape", ("?", "?"))[1:]))
            rows.append((type(layer).__name__, f"(batch, {shape})", *(f"{count:,}" for count in counts)))
        rows.append(("total", "", *(f"{count:,}" for count in total)))
        w0, w1, w2, w3 = (max(len(row[column]) for row in rows) for column in range(4))
        lines = [f"{a:<{w0}}  {b:<{w1}}  {c:>{w2}}  {d:>{w3}}" for a, b, c, d in rows]
        rule = "-" * len(lines[0])
        for line in (lines[0], rule, *lines[1:-1], rule, lines[-1]):
            print_fn(line)

    def save(self, path: str | os.PathLike, optimizer: Any = None, random_state: bool = False) -> None:
        """Write architecture and parameters to `path`; a file already there is replaced whole or not at all.

        The format is `.npz`, or `.safetensors` where the name ends so (the extra of that name). With `optimizer` its
        state is kept as well, for :meth:`Optimizer.load`; with `random_state` NumPy's global one and that of layers.

        Raises
        ------
        TypeError
            A layer that cannot say how it was made (no ``config()``), or a `path` that is none.
        ValueError
            A parameter that is NaN or infinite.
        OSError
            The path cannot be written; nothing is left behind.
        """
        random_state = check_flag("save", "random_state", random_state)
        own = {id(layer) for _, layer in walk(self.layers)}
        if optimizer is not None and not (
            isinstance(optimizer, Optimizer) and all(id(layer) in own for layer in optimizer.layers)
        ):
            raise ValueError(must_be("save", "optimizer", "an Optimizer over this model", optimizer))
        storage.save(path, self.layers, self.metadata, optimizer, random_state)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        custom_layers: dict[str, type] | None = None,
        random_state: bool = False,
    ) -> Sequential:
        """The model that `save` wrote. Nothing in the file is executed.

        `custom_layers` maps class names to layer classes that are not fastcnn's own. With `random_state`, NumPy's
        global random state and that of layers continue from where they were saved. Raises
        :class:`fastcnn.errors.FileFormatError` where the file is no model, is truncated or corrupt, or holds a
        parameter that is NaN or infinite.
        """
        if not (custom_layers is None or isinstance(custom_layers, dict)):
            raise TypeError(must_be("load", "custom_layers", "a dict of class names and classes", custom_layers))
        file = storage.read(path)
        layers = storage.load_layers(file, custom_layers or {})
        try:
            model = cls(layers, file.header["metadata"])
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"{os.fspath(path)}: {error}") from error
        if check_flag("load", "random_state", random_state):
            storage.load_random(file, layers)
        return model
