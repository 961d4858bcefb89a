"""Predictor: a model that only predicts, with all that can be done beforehand done once."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.arrays import is_ready
from fastcnn.backends.constants import constant
from fastcnn.backends.replay import Replayed
from fastcnn.components import Component, is_of_a_script, left_as_it_is
from fastcnn.inference import Evaluation, Model
from fastcnn.layers import BatchNorm, Conv2D, Conv2DTranspose, DepthwiseConv2D, FullyConnect, Rescaling, Residual
from fastcnn.layers.chain import forward_through
from fastcnn.layers.protocol import walk
from fastcnn.losses import Loss
from fastcnn.metrics import Report
from fastcnn.saving import model_file
from fastcnn.shapes import must_be

LINEAR = {Conv2D: 3, DepthwiseConv2D: 3, Conv2DTranspose: 2, FullyConnect: 1}  # exactly these; weights' axis of outputs


class Frozen(Model):
    """The model of a `Predictor`: of small batches it repeats the calls of kernels (see `fastcnn.backends.replay`)."""

    def __init__(self, layers: Sequence[Any], metadata: dict[str, Any] | None = None):
        super().__init__(layers, metadata)
        # What they compute is NumPy's, and no kernel's call.
        self._scaled = next((k for k, layer in enumerate(self.layers) if type(layer) is not Rescaling), 0)
        own = any(is_of_a_script(type(layer)) for _, layer in walk(self.layers))
        self._replayed = None if own else Replayed(self.after_scaling)

    def after_scaling(self, x: np.ndarray) -> np.ndarray:
        out = forward_through(self.body[self._scaled :], x, "test")
        return self.layers[-1].predict(out) if isinstance(self.layers[-1], Loss) else out

    def forward(self, x: Any) -> np.ndarray:
        with left_as_it_is(self):
            for layer in self.layers[: self._scaled]:
                x = layer.forward(x)
            first = self.layers[self._scaled]
            if self._replayed is not None and is_ready(x, first.input_shape, first.dtype):
                return self._replayed(x)
            return self.after_scaling(x)


class Predictor:
    """What :meth:`fastcnn.Sequential.frozen` returns: the model as it is in use, whose numbers nothing changes.

    Each `BatchNorm` after a convolution or a fully-connected layer becomes part of its weights, and weights are packed
    or transformed once, when a kernel first needs them. Batches may be of any size, and threads may predict at once.
    What is trained afterwards is the model that it was made of, never this.

    Parameters
    ----------
    model : Sequential

    Attributes
    ----------
    input_shape, output_shape : (batch, ...), as of the model
    metadata : dict, a copy
    """

    __slots__ = ("_model",)
    _model: Frozen

    def __init__(self, model: Model):
        if not isinstance(model, Model):
            raise TypeError(must_be("Predictor", "model", "a Sequential", model))
        object.__setattr__(self, "_model", Frozen(folded(model.layers), copy.deepcopy(model.metadata)))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"Predictor: `{name}` cannot be assigned: a predictor does not change. Change the model, and make another "
            "by frozen()"
        )

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Predictor, (Model(self._model.layers, self._model.metadata),)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        return self._model.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self._model.output_shape

    @property
    def metadata(self) -> dict[str, Any]:
        return copy.deepcopy(self._model.metadata)

    def forward(self, x: Any) -> np.ndarray:
        """The output of the last layer for one batch, of any size; `predict` also cuts and checks what it is given."""
        return self._model.forward(x)

    __call__ = forward

    def predict(self, x: Any, batch_size: int = 256, distributed: Any = None) -> np.ndarray:
        """As :meth:`Sequential.predict`: (images, classes) probabilities after a Softmax."""
        return self._model.predict(x, batch_size, distributed)

    def evaluate(self, x: Any, y: Any, batch_size: int = 256, distributed: Any = None) -> Evaluation:
        """As :meth:`Sequential.evaluate`: the mean loss and the accuracy."""
        return self._model.evaluate(x, y, batch_size, distributed)

    def report(self, x: Any, y: Any, batch_size: int = 256, distributed: Any = None) -> Report:
        """As :meth:`Sequential.report`: the confusion matrix, precision, recall and F1 of each class."""
        return self._model.report(x, y, batch_size, distributed)

    def architecture(self) -> list[dict[str, Any]]:
        """Class and constructor's arguments of each layer that is left, as a file has them."""
        return model_file.architecture(self._model.layers)

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print a table of the layers that are left."""
        self._model.summary(print_fn)

    def save(self, path: str | os.PathLike) -> None:
        """Write it to `path`, as :meth:`Sequential.save` does a model; for :meth:`load`."""
        model_file.save(path, self._model.layers, self._model.metadata, more={model_file.FROZEN: True})

    @classmethod
    def load(cls, path: str | os.PathLike, custom_layers: dict[str, type] | None = None) -> Predictor:
        """The predictor that `save` wrote, or one of the model that :meth:`Sequential.save` wrote; `custom_layers` and
        errors as of :meth:`Sequential.load`."""
        return cls(Model.of_file(model_file.read_for(path, custom_layers), custom_layers))

    def __repr__(self) -> str:
        return f"Predictor({', '.join(type(layer).__name__ for layer in self._model.layers)})"


def folded(layers: Sequence[Any]) -> list[Any]:
    """Layers that return what `layers` do in the phase 'test', with arrays of their own."""
    made: list[Any] = []
    for layer in layers:
        if type(layer) is BatchNorm and made and takes_norm(made[-1], layer):
            fold_into(made[-1], layer)
        elif type(layer) is Residual:
            made.append(Residual(folded(layer.body), folded(layer.shortcut)))
        else:
            made.append(twin_of(layer))
    return made


def takes_norm(layer: Any, norm: BatchNorm) -> bool:
    """Whether what `norm` does can become part of a layer's weights: of a transposed convolution's in groups, each
    output has its own part of them in every group."""
    grouped = type(layer) is Conv2DTranspose and layer.groups > 1
    return type(layer) in LINEAR and layer.dtype == norm.dtype and not grouped


def twin_of(layer: Any) -> Any:
    """A layer like another one, whose arrays are constants; of a script's own class a copy of everything."""
    if not isinstance(layer, Component) or is_of_a_script(type(layer)):
        return copy.deepcopy(layer)
    twin, tensors = copy.copy(layer), layer.tensors()
    for name in [name for name, value in vars(twin).items() if isinstance(value, np.ndarray)]:
        del vars(twin)[name]  # batches and gradients too
    vars(twin).update({name: constant(array) for name, array in tensors.items() if array is not None})
    return twin


def fold_into(layer: Any, norm: BatchNorm) -> None:
    """Let `layer`, a twin, compute what `norm` computes of its output in the phase 'test', too."""
    mean, var = (array.astype(np.float64) for array in norm.running_statistics())
    scale = norm.alpha / np.sqrt(var + norm.epsilon)
    bias = 0.0 if layer.bias is None else layer.bias
    vars(layer).pop("gradient_names", None)  # a layer without bias has one from here on
    sides = [1] * layer.weights.ndim
    sides[LINEAR[type(layer)]] = scale.size
    new = {"weights": layer.weights * scale.reshape(sides), "bias": (bias - mean) * scale + norm.beta}
    vars(layer).update({name: constant(array.astype(layer.dtype)) for name, array in new.items()})
