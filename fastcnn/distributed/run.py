"""A training on several ranks: what differs from :class:`fastcnn.loop.Run`.

All ranks hold the same model and know the same history. Each step's batch is the same as on one rank; a rank computes
the gradients of its part of it, and all get the sum. What one rank alone notices, a loss that is not finite, Ctrl-C, a
callback that failed, it says with the next sum, so that all stop after the same step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastcnn import checkpoint, diagnosis
from fastcnn.augmentation import Moves
from fastcnn.distributed import replicas
from fastcnn.distributed.gradients import GradientSum
from fastcnn.loop import Run


@dataclass
class DistributedRun(Run):
    """A training that goes on, on all ranks of a group of more than one; callbacks see it on each of them."""

    wish: str | None = None  # why this rank wants to stop, before the others know
    error: Exception | None = None  # what a callback raised, before the others know

    def meet(self, any_seed: bool) -> None:
        """Make sure that all ranks begin the same training; `any_seed`: with the seed that rank 0 has drawn."""
        if any_seed:
            self.seed = self.group.broadcast(self.seed)
        facts = {"layers": replicas.described(self.model.layers), **checkpoint.course(self), "seed": self.seed}
        arrays = {"x": self.x, "y": self.y, **dict(zip(("x_test", "y_test"), self.validation_data or (), strict=False))}
        facts |= {name: f"{array.dtype} {array.shape}" for name, array in arrays.items()}
        self.group.check_same("fit", facts)
        if not self.group.lead:
            self.verbose = False
            self.callbacks = [callback for callback in self.callbacks if not callback.rank_0_only]

    def prepare(self, **options: Any) -> None:
        """Give all ranks the same model."""
        layers = self.model.layers
        replicas.broadcast(self.group, layers, self.optimizer)
        self.sums = self.group.together(lambda: GradientSum(self.group, layers, self.optimizer, **options))

    def train(self) -> None:
        self.prepare()
        layers = self.model.layers
        with replicas.one_batch(layers, self.group.sum if self.sync_batch_norm else None):
            super().train()
        replicas.place_part(layers, 0)

    def stop(self, reason: str) -> None:
        """As `Run.stop`, once all ranks know."""
        if reason != "interrupted" or self.wish is None:
            self.wish = reason

    def agree(self) -> None:
        """Raise what a callback raised on some rank, on all of them; stop where some rank wants to."""
        error, self.error = self.error, None
        self.group.raise_any(error)
        for wish in filter(None, self.group.gather(self.wish)):
            super().stop(wish)
        self.wish = None

    def call(self, hook: str) -> None:
        try:
            super().call(hook)
        except Exception as error:
            self.error = error
        if hook != "on_batch_end":  # the next step's sums tell, without a word of its own in each step
            self.agree()

    def train_batch(self, index: np.ndarray, moves: Moves | None) -> bool:
        """This rank's part of a step. Where the step is the last news of one that failed or was to stop, it is not
        made, and all is as it was before."""
        layers, part = self.model.layers, self.group.part(len(index))
        x, y = self.take(index[part], moves)
        before = diagnosis.before_forward(layers)
        replicas.place_part(layers, part.start)
        with np.errstate(over="ignore", invalid="ignore"):
            loss, hits = self.model.batch_loss(x, y, **self.loss_options)
            news = np.array([loss, hits, not math.isfinite(loss), self.error is not None or self.wish is not None])
            self.sums.begin(news, len(x) / len(index))
            self.model.parameter_gradient(self.model.loss_layer.gradient(), self.sums.add)
            self.sums.finish()
        if news[2:].any():
            self.optimizer.clear_gradients()
            if news[2]:
                self.group.raise_any(None if math.isfinite(loss) else self.failure(x, y, before))
            diagnosis.undo_forward(layers, before)
            self.agree()
            return False
        self.optimizer.step(len(index), self.done)
        self.count_step(float(news[0]), int(news[1]))
        return True

    def failure(self, x: np.ndarray, y: np.ndarray, before: Any) -> FloatingPointError:
        """The error of this rank's part of a batch."""
        with replicas.one_batch(self.model.layers, None):  # the others compute nothing again
            return diagnosis.failure(self, x, y, before)

    def finish_epoch(self) -> None:
        self.agree()
        replicas.check_equal(self.group, self.model.layers)
        self.seconds = self.group.broadcast(self.seconds)
        super().finish_epoch()
