"""The training loop.

What a training computes follows from its arguments, its seed, and the numbers of the epoch and of the batch alone: the
order of the images and what augmentation does to them are drawn anew from (seed, epoch). That is why a run that was
killed goes on from a checkpoint to the same bits.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from fastcnn import inference
from fastcnn.augmentation import Moves
from fastcnn.interrupt import Termination
from fastcnn.metrics import measure
from fastcnn.training import diagnosis, interrupt
from fastcnn.training.callbacks import Callback
from fastcnn.training.run import TrainingRun


@dataclass
class Loop(TrainingRun):
    """A training on one rank."""

    callbacks: Sequence[Callback]

    def agree_on_arguments(self, any_seed: bool) -> None:
        """Before the training: RuntimeError or ValueError where ranks differ; a no-op on one rank."""

    def prepare(self) -> None:
        """Before the first step."""

    def call(self, hook: str) -> None:
        """Call a method of all callbacks."""
        self.call_each(hook, self.callbacks)

    def call_each(self, hook: str, callbacks: Sequence[Callback]) -> None:
        """Call a method of those `callbacks` that this rank has to call."""
        for callback in callbacks:
            if self.group.lead or not callback.rank_0_only:
                getattr(callback, hook)(self)

    def train(self) -> None:
        """Run to the end, or until something stops it."""
        with interrupt.deferred(lambda: self.stop("interrupted"), announce=self.group.lead) as received:
            try:
                self.call("on_fit_begin")
                self.train_epochs()
                self.call("on_fit_end")
            finally:
                self.call_each("on_fit_exit", self.callbacks)  # not by `call`: where a rank fails, no other answers it
            self.history.signal = max(self.group.all_gather(max(received, default=0)))
        if interrupt.ends_process(self.history.signal):
            raise self.group.common(Termination(self.history.signal))

    def train_epochs(self) -> None:
        """The rest of the epochs."""
        while self.epoch <= self.epochs and self.history.stopped is None:
            self.call("on_epoch_begin")
            self.train_epoch()
            if self.batch * self.batch_size < len(self.x):
                break
            self.finish_epoch()

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
        """The images of these numbers, changed by the augmentation's `moves`, and their labels."""
        if moves is None or self.augmentation is None:
            return self.x[index], self.y[index]
        return self.augmentation.apply(self.x, index, moves, self.dtype), self.y[index]

    def train_batch(self, index: np.ndarray, moves: Moves | None) -> bool:
        """One step on the images of these numbers; whether it was made. FloatingPointError where the loss is NaN or
        infinite."""
        x, y = self.take(index, moves)
        before = diagnosis.before_forward(self.model.layers)
        self.optimizer.ask(self.done)
        with np.errstate(over="ignore", invalid="ignore"):  # the loss shows it, and numba's kernels do not warn either
            loss, hits = self.model.accumulate(x, y, **self.loss_options)
            if not math.isfinite(loss):
                self.optimizer.clear_gradients()
                raise diagnosis.failure(self, x, y, before)
            self.optimizer.step(len(x), self.done)
        self.count_step(loss, hits)
        return True

    def count_step(self, loss: float, hits: int) -> None:
        """Add the step to the sums of the epoch."""
        self.loss, self.hits, self.batch = self.loss + loss, self.hits + hits, self.batch + 1

    def finish_epoch(self) -> None:
        """Validate, record, report."""
        diagnosis.check_parameters(self)
        count = len(self.x)
        record = {"loss": self.loss / count, "accuracy": self.hits / count}
        if self.validation_data is not None:
            x, labels = self.validation_data
            evaluation, probabilities = inference.measure(self.model, x, labels, self.validation_batch_size, self.group)
            record |= {"val_loss": evaluation.loss, "val_accuracy": evaluation.accuracy}
            probabilities = self.group.all_gather_rows(probabilities) if self.metrics else probabilities
            record |= {
                f"val_{name}": measure(name, metric, labels, probabilities) for name, metric in self.metrics.items()
            }
        pace = count / self.seconds if self.seconds else math.inf  # a clock may stand still for so little
        record |= {"seconds": self.seconds, "images_per_second": pace}
        for key, value in record.items():
            self.history.setdefault(key, []).append(value)
        if self.verbose:
            tqdm.write(f"epoch {self.epoch:>{len(str(self.epochs))}}/{self.epochs}  {epoch_line(record)}")
        self.epoch, self.batch, self.loss, self.hits, self.seconds = self.epoch + 1, 0, 0.0, 0, 0.0
        self.call("on_epoch_end")


def epoch_line(record: dict[str, float]) -> str:
    """The quantities of one epoch in one line."""
    shown = {key: value for key, value in record.items() if key not in ("seconds", "images_per_second")}
    text = "  ".join(
        f"{key} {value:7.2%}" if "accuracy" in key else f"{key} {value:.4f}" for key, value in shown.items()
    )
    return f"{text}  {record['images_per_second']:,.0f} images/s"
