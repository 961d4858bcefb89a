"""Callbacks that monitor a quantity of the history: checkpoints and early stopping."""

import math
import os
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastcnn.files import remove_leftovers
from fastcnn.layers.protocol import learns, offers, tensors_of, walk
from fastcnn.saving import containers, model_file
from fastcnn.shapes import check_choice, check_flag, check_int, check_number, check_path, must_be
from fastcnn.training import checkpoint, diagnosis
from fastcnn.training.callbacks.base import Callback
from fastcnn.training.run import TrainingRun


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

    def begin(self, run: TrainingRun) -> None:
        """Before a training: ValueError where its history will not have that quantity."""
        known = ["loss", "accuracy"]
        if run.validation_data is not None:
            known += ["val_loss", "val_accuracy", *(f"val_{name}" for name in run.metrics)]
        if all(
            type(callback).__module__.startswith("fastcnn.training.callbacks.") for callback in run.callbacks
        ):  # others may add quantities
            self.check(known)
        if run.is_new:  # else the best value is in the checkpoint
            self.value = -math.inf

    def check(self, known: Iterable[str]) -> None:
        """ValueError where the monitored quantity is not among the `known` ones."""
        known = [key for key in known if key not in ("seconds", "images_per_second")]
        if self.monitor not in known:
            hint = "" if "val_loss" in known else " (those that begin with val_ need validation_data)"
            raise ValueError(must_be(self.owner, "monitor", f"one of {', '.join(known)}{hint}", self.monitor))

    def improves(self, run: TrainingRun, by: float = 0.0) -> bool:
        """Whether the last epoch is better than all before, by more than `by`; if so, it is the best from now on."""
        self.check(run.history)
        value = self.sign * run.history[self.monitor][-1]
        better = value > self.value + by
        if better:
            self.value = value
        return better

    def kept(self) -> float | None:
        """What a checkpoint keeps of it."""
        return self.value if math.isfinite(self.value) else None

    def load(self, kept: Any) -> None:
        """Go on from what `kept` returned."""
        self.value = -math.inf if kept is None else check_number(self.owner, "best", kept)


def named_tensors(run: TrainingRun) -> dict[str, Any]:
    """The arrays of the model, by the place of their layer."""
    return {
        f"{place}.{name}": array for place, layer in walk(run.model.layers) for name, array in tensors_of(layer).items()
    }


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

    saves = comes_last = rank_0_only = True

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
        if path is not None and best is not None and os.path.realpath(path) == os.path.realpath(best):
            raise ValueError(must_be("Checkpoint", "best", "another file than `path`", best))

    def written_files(self) -> dict[str, str]:
        named = {"Checkpoint's `path`": self.path, "Checkpoint's `best`": self.best_path}
        return {name: path for name, path in named.items() if path is not None}

    def on_fit_begin(self, run: TrainingRun) -> None:
        for path in self.written_files().values():
            remove_leftovers(path)
        if self.best_path is not None:
            self.best.begin(run)
        self.write(run)

    def on_batch_end(self, run: TrainingRun) -> None:
        due = self.every_steps is not None and run.batch % self.every_steps == 0
        late = self.every_seconds is not None and time.monotonic() - self.written >= self.every_seconds
        if due or late:
            self.write(run)

    def on_epoch_end(self, run: TrainingRun) -> None:
        if self.best_path is not None and self.best.improves(run):
            model_file.save(self.best_path, run.model.layers, run.model.metadata)
        self.write(run)

    def on_fit_end(self, run: TrainingRun) -> None:
        self.write(run)

    def write(self, run: TrainingRun) -> None:
        if self.path is not None:
            if run.batch:  # at the end of an epoch `fit` has checked them
                diagnosis.check_parameters(run)
            checkpoint.write(run, self.path)
        self.written = time.monotonic()

    def state(self) -> dict[str, Any]:
        return {"best": self.best.kept(), "monitor": self.best.monitor, "mode": self.best.mode}

    def load_state(self, state: dict[str, Any]) -> None:
        """The best value so far, unless it is that of another quantity."""
        same = (state["monitor"], state["mode"]) == (self.best.monitor, self.best.mode)
        self.best.load(state["best"] if same else None)


class EarlyStopping(Callback):
    """Ends the training once `monitor` has not improved by more than `min_delta` for `patience` epochs.

    With `restore_best` the model gets the parameters of its best epoch back at the end; TypeError where a custom layer
    that learns has no `parameters()` to copy them from.
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

    def on_fit_begin(self, run: TrainingRun) -> None:
        self.best.begin(run)
        if run.is_new:
            self.wait, self.arrays = 0, {}
        for place, layer in walk(run.model.layers) if self.restore_best else ():
            if learns(layer) and not offers(layer, "parameters"):
                what = f"of the layer {place}, a {type(layer).__name__}, which learns and has no parameters()"
                raise TypeError(f"EarlyStopping: `restore_best` cannot restore the weights {what}")
        if self.arrays and {name: a.shape for name, a in self.arrays.items()} != {
            name: np.shape(array) for name, array in named_tensors(run).items()
        }:
            raise ValueError("EarlyStopping: the best weights that `resume` holds are not those of this model")

    def on_epoch_end(self, run: TrainingRun) -> None:
        if self.best.improves(run, self.min_delta):
            self.wait = 0
            if self.restore_best:
                self.arrays = {name: np.array(array) for name, array in named_tensors(run).items()}
        else:
            self.wait += 1
            if self.wait >= self.patience:
                run.stop(f"no better {self.best.monitor} for {self.patience} epochs")

    def on_fit_end(self, run: TrainingRun) -> None:
        if self.arrays and run.history.stopped != "interrupted":
            for place, layer in walk(run.model.layers):
                for name in tensors_of(layer):
                    setattr(layer, name, self.arrays[f"{place}.{name}"])

    def state(self) -> dict[str, Any]:
        return {"best": self.best.kept(), "wait": self.wait, **self.arrays}

    def load_state(self, state: dict[str, Any]) -> None:
        state = dict(state)
        self.best.load(state.pop("best"))
        self.wait = check_int("EarlyStopping", "wait", state.pop("wait"), 0)
        for name, array in state.items():
            if not isinstance(array, np.ndarray):
                raise TypeError(must_be("EarlyStopping", name, "an array", array))
        self.arrays = state
