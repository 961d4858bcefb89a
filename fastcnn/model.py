"""Sequential: a list of layers that trains, predicts, and travels as a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from fastcnn import storage, training
from fastcnn.backend import compilation_announced
from fastcnn.errors import FileFormatError
from fastcnn.layer_list import check_layers
from fastcnn.layers import Conv2D, Layer, MaxPooling, Relu, Softmax
from fastcnn.shapes import check_finite, check_int, check_labels, check_number, real_array, shape_text


class Evaluation(NamedTuple):
    """The mean cross-entropy of one image, and the share of images whose likeliest class is right."""

    loss: float
    accuracy: float


def fuses(layers: list[Any], position: int) -> bool:
    """Whether the layer at `position` is a Relu that the next one computes: that saves two passes over the array.

    Exactly these classes: one derived from them may do anything.
    """
    return (
        type(layers[position]) is Relu
        and position + 1 < len(layers)
        and type(layers[position + 1]) in (Conv2D, MaxPooling)
        and layers[position].dtype == layers[position + 1].dtype
    )


def gradient_through(layers: list[Any], eta: Any) -> np.ndarray:
    """The gradient with respect to the input of the first of `layers`."""
    for position in reversed(range(len(layers))):
        if fuses(layers, position) and layers[position + 1].rectified:
            layers[position].eta = eta  # the next layer has let pass what the Relu would
        else:
            eta = layers[position].gradient(eta)
    return eta


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
        Layers that do not fit together, or something else among them; see :func:`fastcnn.layer_list.check_layers`.
    """

    def __init__(self, layers: Iterable[Any], metadata: dict[str, Any] | None = None):
        self.layers = check_layers(layers)
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

    def logits(self, x: Any) -> np.ndarray:
        """The output of the layers before a closing Softmax."""
        body, rectify = self.body, False
        for position, layer in enumerate(body):
            if rectify:
                x = layer.forward_rectified(x)
                rectify = False
            elif fuses(body, position):
                x = layer.keep_x(x)
                rectify = True
            else:
                x = layer.forward(x)
        return x

    def forward(self, x: Any) -> np.ndarray:
        """The output of the last layer: probabilities where it is a Softmax."""
        out = self.logits(x)
        return self.layers[-1].predict(out) if len(self.body) < len(self.layers) else out

    def gradient(self, eta: Any) -> np.ndarray:
        """Take the gradient with respect to `logits`, accumulate parameter gradients, return that of the input."""
        return gradient_through(self.body, eta)

    def parameter_gradient(self, eta: Any) -> None:
        """Accumulate parameter gradients alone: nothing is computed below the first layer that learns."""
        body = self.body
        first = next((i for i, layer in enumerate(body) if hasattr(layer, "backward")), len(body))
        eta = gradient_through(body[first + 1 :], eta)
        for layer in body[first : first + 1]:
            if getattr(type(layer), "gradient", None) is Layer.gradient:
                layer.parameter_gradient(layer.take_eta(eta))
            else:  # a script's own layer, or one that overrides it
                layer.gradient(eta)

    def backward(self, alpha: float, weight_decay: float = 0.0) -> None:
        """Update every layer that learns: ``p *= 1 - weight_decay; p -= alpha * gradient``."""
        for layer in self.body:
            if hasattr(layer, "backward"):
                layer.backward(alpha, weight_decay)

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
        """`train_on_batch` without its checks, for `fit`, which has checked all images at once."""
        logits = self.logits(x)
        loss = self.loss_layer.cal_loss(logits, y)
        hits = np.count_nonzero(logits.argmax(axis=1) == self.loss_layer.label)
        self.parameter_gradient(self.loss_layer.gradient())
        self.backward(learning_rate / len(logits), learning_rate * weight_decay)
        return loss, int(hits)

    def fit(self, x: Any, y: Any, epochs: int = 1, batch_size: int = 64, **options: Any) -> dict[str, list[float]]:
        """Train on images `x` and labels `y`; see :func:`fastcnn.training.fit`."""
        with compilation_announced() if options.get("verbose", True) else contextlib.nullcontext():
            return training.fit(self, x, y, epochs, batch_size, **options)

    def take_data(self, owner: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels, checked whole before the first of them is used."""
        x = self.take_images(owner, x)
        classes = self.loss_layer.input_shape[1]
        return x, check_labels(owner, "y", y, len(x), classes)

    def take_images(self, owner: str, x: Any) -> np.ndarray:
        x = real_array(owner, "x", x)
        wanted = x.shape[1:] if self.input_shape is None else self.input_shape[1:]
        if not x.ndim or x.shape[1:] != wanted or not x.size:
            raise ValueError(
                f"{owner}: `x` must have the shape {shape_text('images', *wanted)}, one image at least. "
                f"Received the shape {x.shape}"
            )
        check_finite(owner, "x", x)
        return x

    def evaluate(self, x: Any, y: Any, batch_size: int = 256) -> Evaluation:
        """The mean loss and the accuracy on images `x` with labels `y`; the last, smaller batch counts in full."""
        x, y = self.take_data("evaluate", x, y)
        batch_size = check_int("evaluate", "batch_size", batch_size)
        loss, hits = 0.0, 0
        for start in range(0, len(x), batch_size):
            labels = y[start : start + batch_size]
            logits = self.logits(x[start : start + batch_size])
            loss += self.loss_layer.cal_loss(logits, labels)
            hits += int(np.count_nonzero(logits.argmax(axis=1) == labels))
        return Evaluation(loss / len(x), hits / len(x))

    def predict(self, x: Any, batch_size: int = 256) -> np.ndarray:
        """The output of the last layer for all images `x`: (images, classes) probabilities after a Softmax."""
        x = self.take_images("predict", x)
        batch_size = check_int("predict", "batch_size", batch_size)
        return np.concatenate([self.forward(x[i : i + batch_size]) for i in range(0, len(x), batch_size)])

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

    def save(self, path: str | os.PathLike) -> None:
        """Write architecture and parameters to `path` (.npz); a file already there is replaced whole or not at all.

        Raises
        ------
        TypeError
            A layer that cannot say how it was made (no ``config()``), or a `path` that is none.
        ValueError
            A parameter that is NaN or infinite.
        OSError
            The path cannot be written; nothing is left behind.
        """
        storage.save(path, self.layers, self.metadata)

    @classmethod
    def load(cls, path: str | os.PathLike, custom_layers: dict[str, type] | None = None) -> Sequential:
        """The model that `save` wrote. Nothing in the file is executed.

        `custom_layers` maps class names to layer classes that are not fastcnn's own. Raises
        :class:`fastcnn.errors.FileFormatError` where the file is no model, is truncated or corrupt, or holds a
        parameter that is NaN or infinite.
        """
        layers, metadata = storage.load(path, custom_layers or {})
        try:
            return cls(layers, metadata)
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"{os.fspath(path)}: {error}") from error
