"""The training loop behind `Sequential.fit`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from fastcnn.shapes import check_flag, check_int, check_number, must_be, received

if TYPE_CHECKING:
    from fastcnn.model import Sequential


def constant(learning_rate: float) -> Callable[[float], float]:
    """The same rate at every step."""
    learning_rate = check_number("constant", "learning_rate", learning_rate, 0)
    return lambda done: learning_rate


def cosine(learning_rate: float) -> Callable[[float], float]:
    """From `learning_rate` to 0 along half a cosine (Loshchilov and Hutter, "SGDR", 2017, eq. 5, one cycle)."""
    learning_rate = check_number("cosine", "learning_rate", learning_rate, 0)
    return lambda done: learning_rate * (1 + math.cos(math.pi * done)) / 2


def fit(
    model: Sequential,
    x: Any,
    y: Any,
    epochs: int = 1,
    batch_size: int = 64,
    validation_data: tuple[Any, Any] | None = None,
    *,
    learning_rate: float | Callable[[float], float] = 0.1,
    weight_decay: float = 0.0,
    shuffle: bool = True,
    seed: int | None = None,
    verbose: bool = True,
) -> dict[str, list[float]]:
    """Train by stochastic gradient descent.

    Parameters
    ----------
    x : (images, height, width, channels) array of any real dtype
    y : (images,) or (images, 1) integer labels
    epochs, batch_size : int
        Every image is used once in an epoch; the last, smaller batch too.
    validation_data : (x, y), optional
        Evaluated after each epoch.
    learning_rate : float or callable
        Of the mean loss of a batch, so that it suits any batch size. A callable gets the share of the training that
        is done, from 0 to below 1, before each step and returns that step's rate; see :func:`cosine`.
    weight_decay : float
        Of the L2 penalty ``weight_decay / 2 * sum(p ** 2)`` on the mean loss, as in PyTorch's SGD: each step multiplies
        all parameters by ``1 - learning_rate * weight_decay`` before the gradient is subtracted.
    shuffle, seed :
        Whether images are put in a new order for each epoch, and the seed of those orders.
    verbose : bool
        A progress bar with loss, accuracy and images/s where stderr is a terminal, and a line for each epoch.

    Returns
    -------
    dict of lists
        For each epoch `loss` and `accuracy` (running means over the epoch, as the weights change), `seconds`,
        `images_per_second`, and `val_loss` and `val_accuracy` where there is validation data.

    Raises
    ------
    ValueError, TypeError
        Bad arguments or data; nothing has been trained then.
    FloatingPointError
        The loss or a parameter became NaN or infinite.
    """
    x, y = model.take_data("fit", x, y)
    epochs = check_int("fit", "epochs", epochs)
    batch_size = check_int("fit", "batch_size", batch_size)
    if not callable(learning_rate):
        learning_rate = constant(check_number("fit", "learning_rate", learning_rate, 0))
    weight_decay = check_number("fit", "weight_decay", weight_decay, 0)
    if seed is not None:
        seed = check_int("fit", "seed", seed, 0)
    shuffle, verbose = check_flag("fit", "shuffle", shuffle), check_flag("fit", "verbose", verbose)
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise ValueError(must_be("fit", "validation_data", "a pair (x, y)", validation_data))
        validation_data = model.take_data("fit, validation_data", *validation_data)

    generator = np.random.default_rng(seed)
    history: dict[str, list[float]] = {}
    for epoch in range(1, epochs + 1):
        order = generator.permutation(len(x)) if shuffle else np.arange(len(x))
        start = time.perf_counter()
        title = f"epoch {epoch:>{len(str(epochs))}}/{epochs}"
        with tqdm(total=len(x), desc=title, unit="img", leave=False, disable=None if verbose else True) as bar:
            done = (epoch - 1) / epochs
            loss, accuracy = run_epoch(
                model,
                x,
                y,
                order,
                batch_size,
                lambda share, done=done: learning_rate(done + share / epochs),
                weight_decay,
                bar,
            )
        check_parameters(model, epoch)
        seconds = time.perf_counter() - start
        record = {"loss": loss, "accuracy": accuracy}
        if validation_data is not None:
            evaluation = model.evaluate(*validation_data)
            record |= {"val_loss": evaluation.loss, "val_accuracy": evaluation.accuracy}
        record |= {"seconds": seconds, "images_per_second": len(x) / seconds}
        for key, value in record.items():
            history.setdefault(key, []).append(value)
        if verbose:
            tqdm.write(f"{title}  {describe(record)}")
    return history


def run_epoch(
    model: Sequential,
    x: np.ndarray,
    y: np.ndarray,
    order: np.ndarray,
    batch_size: int,
    learning_rate: Callable[[float], float],
    weight_decay: float,
    bar: tqdm,
) -> tuple[float, float]:
    """One pass over the images in `order`; the running mean loss and accuracy.

    `learning_rate` maps the share of the epoch that is done to the rate of the next step.
    """
    loss, hits, seen = 0.0, 0, 0
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        rate = check_number("fit", "learning_rate", learning_rate(first / len(order)), 0)
        with np.errstate(over="ignore", invalid="ignore"):  # the loss tells, and numba's kernels do not warn either
            batch_loss, batch_hits = model.step(x[batch], y[batch], rate, weight_decay)
        if not math.isfinite(batch_loss):
            raise FloatingPointError(
                f"fit: the loss is {batch_loss} after {first} images of this epoch; a smaller `learning_rate` "
                f"usually helps. {received('learning_rate', rate)}"
            )
        loss, hits, seen = loss + batch_loss, hits + batch_hits, seen + len(batch)
        if not bar.disable:
            bar.set_postfix(loss=f"{loss / seen:.4f}", accuracy=f"{hits / seen:.2%}", refresh=False)
            bar.update(len(batch))
    return loss / seen, hits / seen


def check_parameters(model: Sequential, epoch: int) -> None:
    """Raise where the last step of an epoch, whose loss nobody has seen, made a parameter NaN or infinite."""
    for position, layer in enumerate(model.layers):
        for name, array in getattr(layer, "parameters", dict)().items():
            if not np.isfinite(array).all():
                raise FloatingPointError(
                    f"fit: `{name}` of `layers[{position}]`, a {type(layer).__name__}, became NaN or infinite in epoch "
                    f"{epoch}; a smaller `learning_rate` usually helps"
                )


def describe(record: dict[str, float]) -> str:
    """One epoch in one line."""
    text = f"loss {record['loss']:.4f}  accuracy {record['accuracy']:7.2%}"
    if "val_loss" in record:
        text += f"  val_loss {record['val_loss']:.4f}  val_accuracy {record['val_accuracy']:7.2%}"
    return f"{text}  {record['images_per_second']:,.0f} images/s"
