"""Model files of all kinds, written and read: plain ones, with an optimizer's state, checkpoints, failures."""

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn import Sequential
from fastcnn.layers import (
    BatchNorm,
    Conv2D,
    Conv2DTranspose,
    DepthwiseConv2D,
    Dropout,
    FullyConnect,
    GlobalAvgPooling,
    PReLU,
    Residual,
    Softmax,
)
from fastcnn.optimizers import Adam
from fastcnn.training import diagnosis
from fastcnn.training.callbacks import Checkpoint

Arrays = list[np.ndarray]
SHAPE = (2, 4, 4, 1)


def made() -> Sequential:
    """A model with a layer of each kind that has arrays or random numbers."""
    np.random.seed(0)
    conv = Conv2D(SHAPE, 2)
    norm, prelu = BatchNorm(conv.output_shape), PReLU(conv.output_shape)
    block = Residual(
        [
            Conv2D(conv.output_shape, 2, (3, 1), method="SAME", groups=2, dilation=(2, 1), bias=False),
            DepthwiseConv2D(conv.output_shape, padding=((1, 0), (0, 1)), ksize=2),
            Conv2DTranspose(conv.output_shape, 2, padding=1),
        ]
    )
    pool, drop = GlobalAvgPooling(conv.output_shape), Dropout((2, 2))
    fc = FullyConnect(drop.output_shape, 3)
    return Sequential([conv, norm, prelu, block, pool, drop, fc, Softmax(fc.output_shape)], {"class_names": ["a"]})


def of_model(model: Any) -> Arrays:
    """All that a file says of a model, as arrays."""
    text = json.dumps([[repr(layer) for layer in model.layers], model.metadata])
    return [np.array(text), *(array for layer in model.layers for array in layer.parameters().values())]


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Whatever a file says of it."""
    state = np.random.get_state()
    try:
        with np.errstate(all="ignore"):  # damaged parameters may be huge
            yield
    finally:
        np.random.set_state(state)


def save_model(path: Path, _: int) -> None:
    made().save(path)


def load_model(path: Path) -> Arrays:
    return of_model(Sequential.load(path))


def save_state(path: Path, _: int) -> None:
    """With the optimizer's state after a step, and random numbers."""
    model = made()
    optimizer = Adam(model)
    for layer in model.layers[:-1]:
        for gradient in layer.gradients().values():
            gradient += 1
    optimizer.step(2)
    model.save(path, optimizer=optimizer, random_state=True)


def load_state(path: Path) -> Arrays:
    optimizer = Adam(made())
    with random_state_kept():
        loaded = Sequential.load(path, random_state=True)
        optimizer.load(path)
    slots = [array for slots in optimizer.state_dict()["kept"].values() for array in slots.values()]
    return [*of_model(loaded), *slots]


def train(path: Path, **options: Any) -> Arrays:
    """One epoch that leaves a checkpoint at `path`, or with `resume` what is left of one."""
    model, x = made(), np.arange(64).reshape(4, *SHAPE[1:]) / 64
    history = model.fit(
        x, [0, 1, 2, 0], 1, 2, seed=1, verbose=False, failure_file=None, callbacks=[Checkpoint(path)], **options
    )
    return [*of_model(model), np.array(repr(dict(history)))]


def save_checkpoint(path: Path, _: int) -> None:
    train(path)


def resume(path: Path) -> Arrays:
    with random_state_kept():
        return train(path.with_name("next.npz"), resume=path)


def save_failure(path: Path, _: int) -> None:
    """What a training leaves when its parameters become infinite."""
    with contextlib.suppress(FloatingPointError), np.errstate(all="ignore"):
        made().fit(np.ones(SHAPE), [0, 1], 9, learning_rate=1e38, verbose=False, failure_file=path)


def replay(path: Path) -> Arrays:
    with random_state_kept():
        return [np.array(str(diagnosis.replay(path)))]


@functools.cache
def parts(save: Callable[[Path, int], None]) -> tuple[bytes, dict[str, np.ndarray]]:
    """The JSON of the file that ``save(path, 0)`` writes, and its arrays."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.npz"
        save(path, 0)
        with np.load(path) as archive:
            arrays = dict(archive)
    return str(arrays.pop("architecture")).encode(), arrays
