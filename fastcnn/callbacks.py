"""Callbacks of `Sequential.fit`: checkpoints, early stopping, logs, learning curves."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastcnn import checkpoint, containers, diagnosis, storage
from fastcnn.files import check_writable, remove_leftovers, write_whole
from fastcnn.layers.chain import walk
from fastcnn.shapes import check_choice, check_flag, check_int, check_number, check_path, must_be

if TYPE_CHECKING:
    from fastcnn.training import Run


class Callback:
    """The base of all callbacks: each method is called with the `Run`, and does nothing here.

    A callback that remembers something from one epoch to the next returns it from `state`, a dict of numbers, text and
    arrays, so that a resumed run goes on as if it had never been interrupted.
    """

    saves: ClassVar[bool] = False  # whether it writes checkpoints
    comes_last: ClassVar[bool] = False  # whether what others decide must be known first

    def on_fit_begin(self, run: Run) -> None:
        """Before the first epoch, or that at which a resumed run goes on."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before an epoch, or the rest of one."""

    def on_batch_end(self, run: Run) -> None:
        """After each step."""

    def on_epoch_end(self, run: Run) -> None:
        """After an epoch: its numbers are the last of `run.history`, and `run.epoch` is that of the next."""

    def on_fit_end(self, run: Run) -> None:
        """After the last step, also where the run was stopped; `run.history.stopped` says why."""

    def settings(self) -> str:
        """What decides the course of a training, as text that is equal in a run that is resumed."""
        return ""

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""


class Best:
    """The best value so far of a quantity of the history."""

    def __init__(self, owner: str, monitor: str, mode: str | None):
        if not isinstance(monitor, str):
            raise TypeError(must_be(owner, "monitor", "the name of a quantity of the history", monitor))
        self.owner, self.monitor = owner, monitor
        mode = ("min" if "loss" in monitor else "max") if mode is None else mode
        self.mode = check_choice(owner, "mode", mode, ("min", "max"))
        self.sign = 1 if self.mode == "max" else -1
        self.value = -math.inf

    def begin(self, run: Run) -> None:
        """Before a training: ValueError where its history will not have that quantity; nothing is best yet."""
        known = ["loss", "accuracy"]
        if run.validation_data is not None:
            known += ["val_loss", "val_accuracy", *(f"val_{name}" for name in run.metrics)]
        if all(type(callback).__module__ == __name__ for callback in run.callbacks):  # others may add quantities
            self.check(known)
        if is_new(run):
            self.value = -math.inf

    def check(self, known: Iterable[str]) -> None:
        """Raise where the monitored quantity is not among the `known` ones."""
        known = [key for key in known if key not in ("seconds", "images_per_second")]
        if self.monitor not in known:
            hint = "" if "val_loss" in known else " (those that begin with val_ need validation_data)"
            raise ValueError(must_be(self.owner, "monitor", f"one of {', '.join(known)}{hint}", self.monitor))

    def improves(self, run: Run, by: float = 0.0) -> bool:
        """Whether the last epoch is better than all before, by more than `by`; if so, it is the best from now on."""
        self.check(run.history)
        value = self.sign * run.history[self.monitor][-1]
        better = value > self.value + by
        if better:
            self.value = value
        return better


def is_new(run: Run) -> bool:
    """Whether a training begins, and does not go on from a checkpoint: what a callback remembers is of another one."""
    return run.epoch == 1 and run.batch == 0


class Checkpoint(Callback):
    """Keeps the state of the training in a file, from which ``fit(..., resume=path)`` goes on.

    The file is also a model file: `Sequential.load` and the command line read it.

    Parameters
    ----------
    path : path
        Written when the training begins, after every epoch, and when Ctrl-C ends it; replaced whole each time. None for
        `best` alone.
    every_steps : int, optional
    every_seconds : float, optional
        Within an epoch too, after so many steps, or so much time (60 s by default; None for never).
    best : path, optional
        The model of the best epoch so far, by `monitor`.
    monitor, mode :
        A quantity of the history, and whether more ('max') or less ('min') of it is better; by default less of a loss
        and more of anything else.
    """

    saves = comes_last = True

    def __init__(
        self,
        path: str | os.PathLike | None,
        *,
        every_steps: int | None = None,
        every_seconds: float | None = 60.0,
        best: str | os.PathLike | None = None,
        monitor: str = "val_loss",
        mode: str | None = None,
    ):
        self.path = None if path is None else check_path("Checkpoint", "path", path)
        self.every_steps = None if every_steps is None else check_int("Checkpoint", "every_steps", every_steps)
        self.every_seconds = (
            None if every_seconds is None else check_number("Checkpoint", "every_seconds", every_seconds, 0)
        )
        self.best_path = None if best is None else check_path("Checkpoint", "best", best)
        if self.path is self.best_path is None:
            raise ValueError(must_be("Checkpoint", "path", "a path, where there is no `best` either", path))
        self.best = Best("Checkpoint", monitor, mode)
        for target in filter(None, (self.path, self.best_path)):
            containers.check_destination(target)
        if None not in (self.path, self.best_path) and os.path.realpath(path) == os.path.realpath(best):
            raise ValueError(must_be("Checkpoint", "best", "another file than `path`", best))

    def on_fit_begin(self, run: Run) -> None:
        for path in filter(None, (self.path, self.best_path)):
            remove_leftovers(path)
        if self.best_path is not None:
            self.best.begin(run)
        self.write(run)

    def on_batch_end(self, run: Run) -> None:
        due = self.every_steps is not None and run.batch % self.every_steps == 0
        late = self.every_seconds is not None and time.monotonic() - self.written >= self.every_seconds
        if due or late:
            self.write(run)

    def on_epoch_end(self, run: Run) -> None:
        if self.best_path is not None and self.best.improves(run):
            run.model.save(self.best_path)
        self.write(run)

    def on_fit_end(self, run: Run) -> None:
        self.write(run)

    def write(self, run: Run) -> None:
        if self.path is not None:
            if run.batch:  # what `fit` says itself at the end of an epoch
                diagnosis.check_parameters(run)
            checkpoint.write(run, self.path)
        self.written = time.monotonic()

    def state(self) -> dict[str, Any]:
        best = self.best.value if math.isfinite(self.best.value) else None
        return {"best": best, "monitor": self.best.monitor, "mode": self.best.mode}

    def load_state(self, state: dict[str, Any]) -> None:
        """The best value so far; that of another quantity is no yardstick."""
        same = (state["monitor"], state["mode"]) == (self.best.monitor, self.best.mode)
        self.best.value = float(state["best"]) if same and state["best"] is not None else -math.inf


class EarlyStopping(Callback):
    """Ends the training once `monitor` has not improved by more than `min_delta` for `patience` epochs.

    With `restore_best` the model gets the parameters of its best epoch back at the end.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = False,
    ):
        self.best = Best("EarlyStopping", monitor, mode)
        self.patience = check_int("EarlyStopping", "patience", patience)
        self.min_delta = check_number("EarlyStopping", "min_delta", min_delta, 0)
        self.restore_best = check_flag("EarlyStopping", "restore_best", restore_best)
        self.wait = 0
        self.arrays: dict[str, np.ndarray] = {}

    def settings(self) -> str:
        best = f"monitor={self.best.monitor!r}, mode={self.best.mode!r}, restore_best={self.restore_best}"
        return f"EarlyStopping({best}, patience={self.patience}, min_delta={self.min_delta})"

    def on_fit_begin(self, run: Run) -> None:
        self.best.begin(run)
        if is_new(run):
            self.wait, self.arrays = 0, {}

    def on_epoch_end(self, run: Run) -> None:
        if self.best.improves(run, self.min_delta):
            self.wait = 0
            if self.restore_best:
                self.arrays = {
                    f"{place}.{name}": np.array(array)
                    for place, layer in walk(run.model.layers)
                    for name, array in storage.tensors(layer).items()
                }
        else:
            self.wait += 1
            if self.wait >= self.patience:
                run.stop(f"no better {self.best.monitor} for {self.patience} epochs")

    def on_fit_end(self, run: Run) -> None:
        if self.arrays and run.history.stopped != "interrupted":
            for place, layer in walk(run.model.layers):
                for name in storage.tensors(layer):
                    setattr(layer, name, self.arrays[f"{place}.{name}"])

    def state(self) -> dict[str, Any]:
        best = self.best.value if math.isfinite(self.best.value) else None
        return {"best": best, "wait": self.wait, **self.arrays}

    def load_state(self, state: dict[str, Any]) -> None:
        state = dict(state)
        best, self.wait = state.pop("best"), state.pop("wait")
        self.best.value, self.arrays = -math.inf if best is None else float(best), state


class CSVLogger(Callback):
    """Writes the history to a CSV file, a line for each epoch; replaced whole after each, so that it is never torn."""

    def __init__(self, path: str | os.PathLike):
        self.path = check_path("CSVLogger", "path", path)
        check_writable(path)

    def on_epoch_end(self, run: Run) -> None:
        columns = ["epoch", *run.history]
        values = itertools.zip_longest(*run.history.values(), fillvalue="")  # another callback adds its own later
        rows = [[i, *row] for i, row in enumerate(values, start=1)]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        write_whole(self.path, lambda file: file.write(text.getvalue().encode()))


class TensorBoard(Callback):
    """Writes the history as scalars that TensorBoard shows. Requires tensorboardX: the extra `tensorboard`."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = check_path("TensorBoard", "folder", folder)
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            raise ImportError("TensorBoard logs need tensorboardX: `pip install fastcnn[tensorboard]`") from error
        self.make_writer, self.writer = SummaryWriter, None

    def on_fit_begin(self, run: Run) -> None:
        # What an interrupted run wrote about epochs that are done again is not to be shown twice.
        self.writer = self.make_writer(self.folder, purge_step=run.epoch if run.epoch > 1 else None)

    def on_epoch_end(self, run: Run) -> None:
        for name, values in run.history.items():
            group = "validation" if name.startswith("val_") else "training"
            self.writer.add_scalar(f"{group}/{name.removeprefix('val_')}", values[-1], run.epoch - 1)
        batches = math.ceil(len(run.x) / run.batch_size)
        rate = run.optimizer.rate(run.share(run.epoch - 1, batches - 1))  # that of the last step: no schedule knows 1
        self.writer.add_scalar("training/learning_rate", rate, run.epoch - 1)
        self.writer.flush()

    def on_fit_end(self, run: Run) -> None:
        self.writer.close()


class LearningCurves(Callback):
    """Draws loss and accuracy after each epoch. Requires matplotlib: the extra `plot`."""

    def __init__(self, path: str | os.PathLike):
        from fastcnn import plotting

        plotting.new_figure(path)  # what is wrong with it is said before the training
        self.path, self.draw = path, plotting.learning_curves

    def on_epoch_end(self, run: Run) -> None:
        self.draw(run.history, self.path)
