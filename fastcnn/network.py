"""Network: layers in a row, what they compute and how their gradients are found."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, ClassVar

import numpy as np

from fastcnn import streams
from fastcnn.arrays import check_finite, check_labels, image_hint, real_array
from fastcnn.components import Assignable, Checked, marked_pass, mode
from fastcnn.data_range import (
    KEY,
    LEARNT,
    DataRange,
    never_otherwise,
    range_of,
    remember,
    remembered,
    scaled_otherwise,
    warn_of_scale,
)
from fastcnn.layers.chain import forward_through, gradient_through, parameter_gradient_through
from fastcnn.layers.layer_list import check_layers
from fastcnn.layers.protocol import (
    LayerLike,
    check_phase,
    dtype_of,
    input_shape_of,
    multiply_adds_of,
    output_shape_of,
    parameter_count_of,
    update,
)
from fastcnn.losses import Loss
from fastcnn.shapes import must_be, shape_text


def check_metadata(owner: str, name: str, value: Any) -> Any:
    if not isinstance(value, MutableMapping):
        raise TypeError(must_be(owner, name, "a dict", value))
    return value


class Network(Assignable):
    """Layers in a row: forward and backward passes, the loss, and a table of what they are.

    It knows nothing of training loops, files and ranks; :class:`fastcnn.Sequential` adds these.

    Parameters
    ----------
    layers : iterable of layers
        Each made for the output shape of the one before; a loss may stand at the end.
    metadata : dict, optional
        Facts that go with the layers, as JSON can hold them.
    """

    owner: ClassVar[str] = "Network"  # the class that messages name
    marked = True
    metadata = Checked(check_metadata)
    _pass: tuple[int, int, bool] = (0, 0, False)  # the last pass of a training: thread, model, whether it goes on
    waits = False  # whether a forward pass waits for its gradient
    warned = False  # of data that are scaled otherwise than those of the training
    batches: DataRange | None = None  # the range of those of a training step by step
    searched = 0  # how many of these, of whole numbers, were searched for it

    def __init__(self, layers: Iterable[LayerLike | Loss], metadata: dict[str, Any] | None = None):
        self.layers = layers
        if not (metadata is None or isinstance(metadata, Mapping)):
            raise TypeError(must_be(self.owner, "metadata", "a dict", metadata))
        self.metadata = dict(metadata or {})

    @property
    def layers(self) -> list[Any]:
        return self._layers

    @layers.setter
    def layers(self, layers: Iterable[LayerLike | Loss]) -> None:
        self._layers: list[Any] = check_layers(self.owner, "layers", layers, loss=True)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The first layer's input shape; None where it does not say."""
        return input_shape_of(self.layers[0])

    @property
    def output_shape(self) -> tuple[int, ...]:
        return tuple(self.layers[-1].output_shape)

    @property
    def body(self) -> list[Any]:
        """All layers but a closing loss."""
        return self.layers[:-1] if isinstance(self.layers[-1], Loss) else self.layers

    @property
    def loss_layer(self) -> Loss:
        """The closing loss; ValueError where there is none."""
        if isinstance(self.layers[-1], Loss):
            return self.layers[-1]
        raise ValueError(
            f"{self.owner}: training and evaluation need a Softmax as the last layer. "
            f"The last layer is {type(self.layers[-1]).__name__}"
        )

    def logits(self, x: Any, phase: str = "test") -> np.ndarray:
        """The output of the layers before a closing loss.

        `phase` is 'train' in a training step of one's own: BatchNorm and Dropout do then what they do in training.
        """
        phase = check_phase("logits", phase)
        if not mode.keeps:
            return forward_through(self.body, x, phase)
        self.waits = False
        with marked_pass(self):
            out = forward_through(self.body, x, phase)
        self.waits = True
        return out

    def forward(self, x: Any) -> np.ndarray:
        """The output of the last layer: probabilities where it is a loss."""
        out = self.logits(x)
        return self.layers[-1].predict(out) if isinstance(self.layers[-1], Loss) else out

    def gradient(self, eta: Any) -> np.ndarray:
        """Take the gradient with respect to `logits`, accumulate parameter gradients, return that of the input."""
        with marked_pass(self):
            found = gradient_through(self.body, eta)
        self.waits = False
        return found

    def parameter_gradient(self, eta: Any, after: Callable[[int], Any] | None = None) -> None:
        """Accumulate parameter gradients alone: nothing is computed below the first layer that learns.

        `after` is called with the position of each layer above that one whose gradients are there, from the last one.
        """
        with marked_pass(self):
            parameter_gradient_through(self.body, eta, after)
        self.waits = False

    def backward(self, alpha: float, weight_decay: float = 0.0) -> None:
        """Update every layer that learns: ``p *= 1 - weight_decay; p -= alpha * gradient``."""
        for layer in self.body:
            update(layer, alpha, weight_decay)

    def children(self) -> dict[str, Any]:
        """The layers, by their places: a model may be a layer of another one."""
        return {str(place): layer for place, layer in enumerate(self.layers)}

    def step(self, x: np.ndarray, y: np.ndarray, learning_rate: float, weight_decay: float) -> tuple[float, int]:
        """One step of gradient descent on a batch, which is not checked; the summed loss and the hits before it."""
        loss, hits = self.accumulate(x, y)
        self.backward(learning_rate / len(x), learning_rate * weight_decay)
        return loss, hits

    def accumulate(self, x: np.ndarray, y: np.ndarray, **loss_options: Any) -> tuple[float, int]:
        """Add the parameter gradients of a batch, which is not checked; its summed loss, and the number of hits."""
        found = self.batch_loss(x, y, **loss_options)
        self.parameter_gradient(self.loss_layer.gradient())
        return found

    def batch_loss(self, x: np.ndarray, y: np.ndarray, **loss_options: Any) -> tuple[float, int]:
        """The forward pass of a training step: the summed loss of a batch, and the number of hits."""
        logits = self.logits(x, "train")
        loss = self.loss_layer.cal_loss(logits, y, **loss_options)
        return loss, int(np.count_nonzero(logits.argmax(axis=1) == self.loss_layer.label))

    def take_data(
        self, owner: str, x: Any, y: Any, shard: Callable[[int], slice] | None = None, used: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels, checked before the first of them is used; `owner` is the function that messages name.

        ``shard(len(x))`` says which images are searched for NaN and infinities; all of them by default. `used` is False
        where the model is trained on them.
        """
        x = self.take_images(owner, x, shard, used)
        return x, check_labels(owner, "y", y, len(x), self.loss_layer.input_shape[1])

    def take_images(
        self, owner: str, x: Any, shard: Callable[[int], slice] | None = None, used: bool = True
    ) -> np.ndarray:
        """Images, checked as by `take_data`; a warning where they are used and scaled otherwise than in training."""
        x, part, found = self.check_images(owner, x, shard)
        trained = remembered(self.metadata) if used and KEY in self.metadata and not self.warned else None
        if trained and not (found is None and never_otherwise(trained, x.dtype)):
            self.compare(owner, range_of(x[part]) if found is None else DataRange(*found, x.dtype.name))
        return x

    def check_images(
        self, owner: str, x: Any, shard: Callable[[int], slice] | None = None
    ) -> tuple[np.ndarray, slice, tuple[float, float] | None]:
        """Images, the part of them that was searched, and its smallest and largest value where they are floats."""
        x = real_array(owner, "x", x)
        wanted = x.shape[1:] if self.input_shape is None else self.input_shape[1:]
        if not x.ndim or x.shape[1:] != wanted or not x.size:
            raise ValueError(
                f"{owner}: `x` must have the shape {shape_text('images', *wanted)}, one image at least. "
                f"Received the shape {x.shape}{image_hint('x', x.shape, tuple(wanted)) if x.size else ''}"
            )
        part = slice(None) if shard is None else shard(len(x))
        return x, part, check_finite(owner, "x", x, part, dtype_of(self.layers[0]))

    def compare(self, owner: str, used: DataRange | None) -> None:
        """Warn, once for a training, of data that are scaled otherwise than those of the training."""
        trained = remembered(self.metadata)
        if trained and used and not self.warned and scaled_otherwise(trained, used):
            self.warned = True
            warn_of_scale(owner, trained, used)

    def learn_range(self, owner: str, images: DataRange, anew: bool = True) -> None:
        """Remember the range of images that the model is trained on.

        Where the training begins `anew`, and does not go on, a warning says if the model was trained on others before.
        """
        before = remembered(self.metadata)
        if anew and before and scaled_otherwise(before, images):
            warn_of_scale(owner, before, images, LEARNT)
        remember(self.metadata, images)
        self.warned, self.batches = False, None

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print a table: layer, output shape, parameters, multiply-adds of one image's forward."""
        rows = [("layer", "output shape", "parameters", "multiply-adds")]
        total = [0, 0]
        for layer in self.layers:
            parameters, products = parameter_count_of(layer), multiply_adds_of(layer)
            total[0] += parameters
            total[1] += products
            shape = ", ".join(map(str, (output_shape_of(layer) or ("?", "?"))[1:]))
            rows.append((type(layer).__name__, f"(batch, {shape})", f"{parameters:,}", f"{products:,}"))
        rows.append(("total", "", f"{total[0]:,}", f"{total[1]:,}"))
        w0, w1, w2, w3 = (max(len(row[column]) for row in rows) for column in range(4))
        lines = [f"{a:<{w0}}  {b:<{w1}}  {c:>{w2}}  {d:>{w3}}" for a, b, c, d in rows]
        rule = "-" * len(lines[0])
        write = streams.print_line if print_fn is print else print_fn
        for line in (lines[0], rule, *lines[1:-1], rule, lines[-1]):
            write(line)
