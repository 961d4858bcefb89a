"""A training that goes on: its state, the loop, and what it returns.

What a training computes follows from its arguments, its seed, and the numbers of the epoch and of the batch alone: the
order of the images and what augmentation does to them are drawn anew from (seed, epoch). That is why a run that was
killed goes on from a checkpoint to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from fastcnn import inference
from fastcnn.augmentation import Augmentation, Moves
from fastcnn.distributed.group import Group
from fastcnn.metrics import measure
from fastcnn.optimizers import Optimizer
from fastcnn.training import diagnosis, interrupt

if TYPE_CHECKING:
    from fastcnn.model import Sequential
    from fastcnn.training.callbacks import Callback


class History(dict):
    """What `fit` returns: for each quantity a list with a number for each epoch.

    `stopped` says why the training ended before its last epoch: 'interrupted' (Ctrl-C), the reason that a callback
    gave, or None.
    """

    stopped: str | None = None


@dataclass
class Run:
    """A training that goes on: what callbacks see.

    `epoch` is the number of the present epoch, from 1, and `batch` how many of its batches are done; `loss` and `hits`
    are sums over them and `seconds` what they took. `settings` are, as text, what must be equal for a run to be
    resumed. `group` are the ranks that train together: one, unless `distributed` says otherwise. The other attributes
    are the arguments of :func:`fit`, checked.
    """

    model: Sequential
    optimizer: Optimizer
    x: np.ndarray
    y: np.ndarray
    epochs: int
    batch_size: int
    validation_data: tuple[np.ndarray, np.ndarray] | None
    shuffle: bool
    seed: int
    augmentation: Augmentation | None
    loss_options: dict[str, Any]
    metrics: dict[str, Callable]
    callbacks: list[Callback]
    failure_file: str | None
    verbose: bool
    sync_batch_norm: bool = False
    group: Group = field(default_factory=Group)
    epoch: int = 1
    batch: int = 0
    loss: float = 0.0
    hits: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=History)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype:
        """That of the layers."""
        return self.model.loss_layer.dtype

    def meet(self, any_seed: bool) -> None:
        """Before the training begins: there is nobody else who would have to know."""

    @property
    def stopping(self) -> str | None:
        """Why the training is to end, as far as is known here."""
        return self.history.stopped

    def prepare(self) -> None:
        """Before the first step."""

    def stop(self, reason: str) -> None:
        """End the training after the present step, or epoch where this is called at its end.

        A reason of one's own stays where Ctrl-C comes too: a run that is over does not go on when it is resumed.
        """
        if reason != "interrupted" or self.history.stopped is None:
            self.history.stopped = reason

    @property
    def done(self) -> float:
        """The share of the training that is done."""
        return self.share(self.epoch, self.batch)

    def share(self, epoch: int, batch: int) -> float:
        """The share of the training that is done after so many batches of an epoch."""
        count = len(self.x)
        return (epoch - 1 + min(batch * self.batch_size, count) / count) / self.epochs

    def call(self, hook: str) -> None:
        """Call a method of all callbacks."""
        self.call_each(hook, self.callbacks)

    def call_each(self, hook: str, callbacks: list[Callback]) -> None:
        for callback in callbacks:
            if self.group.lead or not callback.rank_0_only:
                getattr(callback, hook)(self)

    def train(self) -> None:
        """Run to the end, or until something stops it."""
        with interrupt.deferred(lambda: self.stop("interrupted"), tell=self.group.lead):
            self.call("on_fit_begin")
            while self.epoch <= self.epochs and self.history.stopped is None:
                self.call("on_epoch_begin")
                self.train_epoch()
                if self.batch * self.batch_size < len(self.x):
                    break
                self.finish_epoch()
            self.call("on_fit_end")

    def train_epoch(self) -> None:
        """The rest of the present epoch."""
        start = time.perf_counter() - self.seconds
        count, image_shape = len(self.x), self.x.shape[1:]
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(count) if self.shuffle else np.arange(count)
        moves = self.augmentation.draw(generator, count, image_shape) if self.augmentation else None
        title = f"epoch {self.epoch:>{len(str(self.epochs))}}/{self.epochs}"
        hidden = None if self.verbose else True
        done = self.batch * self.batch_size
        with tqdm(total=count, initial=done, desc=title, unit="img", leave=False, disable=hidden) as bar:
            while done < count and self.history.stopped is None:
                index = order[done : done + self.batch_size]
                if not self.train_batch(index, moves):
                    break
                done += len(index)
                self.seconds = time.perf_counter() - start
                if not bar.disable:
                    accuracy = self.hits / done
                    bar.set_postfix(loss=f"{self.loss / done:.4f}", accuracy=f"{accuracy:.2%}", refresh=False)
                    bar.update(len(index))
                self.call("on_batch_end")

    def take(self, index: np.ndarray, moves: Moves | None) -> tuple[np.ndarray, np.ndarray]:
        """The images of these numbers, each changed as augmentation's `moves` say, and their labels."""
        x = self.x[index] if moves is None else self.augmentation.apply(self.x, index, moves, self.dtype)
        return x, self.y[index]

    def train_batch(self, index: np.ndarray, moves: Moves | None) -> bool:
        """One step on the images of these numbers; whether it was made. FloatingPointError where the loss is NaN or
        infinite."""
        x, y = self.take(index, moves)
        before = diagnosis.before_forward(self.model.layers)
        with np.errstate(over="ignore", invalid="ignore"):  # the loss tells, and numba's kernels do not warn either
            loss, hits = self.model.accumulate(x, y, **self.loss_options)
            if not math.isfinite(loss):
                self.optimizer.clear_gradients()
                raise diagnosis.failure(self, x, y, before)
            self.optimizer.step(len(x), self.done)
        self.count_step(loss, hits)
        return True

    def count_step(self, loss: float, hits: int) -> None:
        self.loss, self.hits, self.batch = self.loss + loss, self.hits + hits, self.batch + 1

    def finish_epoch(self) -> None:
        """Validate, record, report."""
        diagnosis.check_parameters(self)
        count = len(self.x)
        record = {"loss": self.loss / count, "accuracy": self.hits / count}
        if self.validation_data is not None:
            x, labels = self.validation_data
            evaluation, probabilities = inference.measure(self.model, x, labels, 256, self.group)
            record |= {"val_loss": evaluation.loss, "val_accuracy": evaluation.accuracy}
            probabilities = self.group.gather_rows(probabilities) if self.metrics else probabilities
            record |= {
                f"val_{name}": measure(name, metric, labels, probabilities) for name, metric in self.metrics.items()
            }
        record |= {"seconds": self.seconds, "images_per_second": count / self.seconds}
        for key, value in record.items():
            self.history.setdefault(key, []).append(value)
        if self.verbose:
            tqdm.write(f"epoch {self.epoch:>{len(str(self.epochs))}}/{self.epochs}  {describe(record)}")
        self.epoch, self.batch, self.loss, self.hits, self.seconds = self.epoch + 1, 0, 0.0, 0, 0.0
        self.call("on_epoch_end")


def describe(record: dict[str, float]) -> str:
    """One epoch in one line."""
    shown = {key: value for key, value in record.items() if key not in ("seconds", "images_per_second")}
    text = "  ".join(
        f"{key} {value:7.2%}" if "accuracy" in key else f"{key} {value:.4f}" for key, value in shown.items()
    )
    return f"{text}  {record['images_per_second']:,.0f} images/s"
