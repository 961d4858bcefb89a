"""Sequential: layers in a row that train, predict, and travel as a file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastcnn import training
from fastcnn.arrays import check_labels, warn_of_channels_first
from fastcnn.data_range import KEY, DataRange, joined, remember, remembered, scaled_otherwise
from fastcnn.errors import FileFormatError
from fastcnn.inference import Model
from fastcnn.layers.protocol import walk
from fastcnn.optimizers import Optimizer
from fastcnn.predictor import Predictor
from fastcnn.saving import model_file
from fastcnn.shapes import check_flag, check_number, must_be

SEARCHED = 100  # batches of whole numbers, of a training step by step


class Sequential(Model):
    """Layers in a row, and all that is done with them.

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

    owner = "Sequential"

    def train_on_batch(
        self, x: Any, y: Any, learning_rate: float = 0.1, weight_decay: float = 0.0
    ) -> tuple[float, int]:
        """One step of gradient descent on the mean loss of a batch; its summed loss and the number of hits before.

        The layers' gradients are sums over the batch and their decay is that of one step, so they get
        ``alpha = learning_rate / len(batch)`` and ``learning_rate * weight_decay``. The model remembers the range of
        all batches, of whole numbers that of the first hundred.
        """
        learning_rate = check_number("train_on_batch", "learning_rate", learning_rate, 0)
        weight_decay = check_number("train_on_batch", "weight_decay", weight_decay, 0)
        x, _, found = self.check_images("train_on_batch", x)
        y = check_labels("train_on_batch", "y", y, len(x), self.loss_layer.input_shape[1])
        self.learn_batch_range("train_on_batch", x, found)
        return self.step(x, y, learning_rate, weight_decay)

    def learn_batch_range(self, owner: str, x: np.ndarray, found: tuple[float, float] | None) -> None:
        """Remember the range of all batches so far, and of the training before where that was scaled alike.

        The first batch may be black. The range of floats is known already; to search whole numbers takes 6 us between
        two steps, 3 % of LeNet's with one image, so only the first batches of them are.
        """
        known = self.batches if KEY in self.metadata else None
        if found is None:
            self.searched = self.searched + 1 if known else 1
            if self.searched > SEARCHED:
                return
        low, high = (x.min(), x.max()) if found is None else found
        if known and known.low <= low and high <= known.high:
            return
        batch = DataRange(float(low), float(high), x.dtype.name)
        if known is None:
            warn_of_channels_first(owner, "x", x.shape, stacklevel=4)
            before = remembered(self.metadata)
            self.learn_range(owner, batch)
            known = before if before and not scaled_otherwise(before, batch) else batch
        self.batches = joined([known, batch])
        remember(self.metadata, self.batches)

    fit = training.fit  # the function is the method: one signature, documented once

    def frozen(self) -> Predictor:
        """An immutable copy that predicts, faster: see :class:`fastcnn.Predictor`.

        Its probabilities are those of `predict` to the last bit where no `BatchNorm` becomes part of weights, and up to
        rounding otherwise.
        """
        return Predictor(self)

    def save(self, path: str | os.PathLike, optimizer: Any = None, random_state: bool = False) -> None:
        """Write architecture and parameters to `path`; a file already there is replaced whole or not at all.

        The format is `.npz`, or `.safetensors` where the name ends so (the extra of that name). With `optimizer` its
        state is kept as well, for :meth:`Optimizer.load`; with `random_state` NumPy's global one and that of layers.

        Raises
        ------
        TypeError
            A layer that cannot say how it was made (no ``config()``), or a `path` that is none.
        ValueError
            A parameter that is NaN or infinite, or metadata of more than 16 million characters.
        OSError
            The path cannot be written; nothing is left behind.
        """
        random_state = check_flag("save", "random_state", random_state)
        own = {id(layer) for _, layer in walk(self.layers)}
        if optimizer is not None and not (
            isinstance(optimizer, Optimizer) and all(id(layer) in own for layer in optimizer.layers)
        ):
            raise ValueError(must_be("save", "optimizer", "an Optimizer over this model", optimizer))
        model_file.save(path, self.layers, self.metadata, optimizer, random_state)

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
        file = model_file.read_for(path, custom_layers)
        if file.header.get(model_file.FROZEN):
            raise FileFormatError(
                f"{file.where}: it holds a predictor, which is not trained: load it by fastcnn.Predictor.load"
            )
        model = cls.of_file(file, custom_layers)
        if check_flag("load", "random_state", random_state):
            model_file.load_random(file, model.layers)
        return model
