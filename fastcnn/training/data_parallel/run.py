"""A training on several ranks: what differs from :class:`fastcnn.loop.Run`.

All ranks hold the same model and know the same history. Each step's batch is the same as on one rank; a rank computes
the gradients of its part of it, and all get the sum. What one rank alone notices, a loss that is not finite, Ctrl-C, a
callback that failed, it says with the next sum, so that all stop after the same step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn.augmentation import Moves
from fastcnn.distributed.group import data_facts
from fastcnn.training import checkpoint, diagnosis
from fastcnn.training.data_parallel import replicas
from fastcnn.training.data_parallel.gradients import GradientSum
from fastcnn.training.loop import Run

if TYPE_CHECKING:
    from fastcnn.training.callbacks import Callback

NEWS = 4  # numbers that the ranks add up in each step: loss, hits, how many losses are not finite, who wants to stop


@dataclass
class DistributedRun(Run):
    """A training that goes on, on all ranks of a group of more than one; callbacks see it on each of them."""

    wish: str | None = None  # why this rank wants to stop, before the others know
    error: Exception | None = None  # what a callback raised, before the others know

    def meet(self, any_seed: bool) -> None:
        """Make sure that all ranks begin the same training; `any_seed`: with the seed that rank 0 has drawn."""
        facts = {"layers": replicas.described(self.model.layers), **checkpoint.course(self)}
        facts |= {"seed": "any" if any_seed else self.seed, "sync_batch_norm": self.sync_batch_norm}
        facts |= data_facts(self.x, self.y)
        if self.validation_data is not None:
            facts |= data_facts(*self.validation_data, suffix=" of validation_data")
        self.group.check_same("fit", facts)
        if any_seed:
            self.seed = self.group.broadcast(self.seed)
        self.verbose = self.verbose and self.group.lead

    def prepare(self, **options: Any) -> None:
        """Give all ranks the same model."""
        layers = self.model.layers
        self.sums = self.group.together(lambda: GradientSum(self.group, self.optimizer, **options))
        replicas.broadcast(self.group, layers, self.optimizer)
        self.part = replicas.Part(layers, self.group.sum if self.sync_batch_norm else None)
        self.own_part = replicas.Part(layers, None)
        self.statistics = replicas.Statistics(layers, self.sync_batch_norm)

    def train(self) -> None:
        self.prepare()
        super().train()

    def stop(self, reason: str) -> None:
        """As `Run.stop`, once all ranks know."""
        if reason != "interrupted" or self.wish is None:
            self.wish = reason

    @property
    def stopping(self) -> str | None:
        return self.history.stopped or self.wish

    def agree(self) -> None:
        """Raise what a callback raised on some rank, on all of them; stop where some rank wants to."""
        error, self.error = self.error, None
        self.group.raise_any(error)
        own, self.wish = self.wish, None  # a signal may come while the others are waited for
        for wish in filter(None, self.group.gather(own)):
            super().stop(wish)

    def call(self, hook: str) -> None:
        """As `Run.call`. Within an epoch the next step's sums tell what happened, without a word of its own in each."""
        if hook == "on_batch_end":
            self.try_each(hook, self.callbacks)
            return
        for comes_last in (False, True):  # these write down what the others decide
            self.try_each(hook, [callback for callback in self.callbacks if callback.comes_last == comes_last])
            self.agree()

    def try_each(self, hook: str, callbacks: list[Callback]) -> None:
        try:
            self.call_each(hook, callbacks)
        except Exception as error:
            self.error = self.error or error

    def train_batch(self, index: np.ndarray, moves: Moves | None) -> bool:
        """This rank's part of a step. Where a rank has failed or wants to stop, all hear of it in the midst of the next
        step, which is then not made, and all is as it was before."""
        layers, part = self.model.layers, self.group.part(len(index))
        x, y = self.take(index[part], moves)
        before, statistics = diagnosis.before_forward(layers), self.statistics.values()
        with np.errstate(over="ignore", invalid="ignore"):
            with self.part.begins_at(part.start):
                loss, hits = self.model.batch_loss(x, y, **self.loss_options)
                finite, troubled = math.isfinite(loss), self.error is not None or self.wish is not None
                change = (self.statistics.values() - statistics) * (len(x) / len(index))
                news = np.concatenate([[loss, hits, not finite, troubled], change])
                self.sums.begin(news)
                self.model.parameter_gradient(self.model.loss_layer.gradient(), self.sums.add)
                self.sums.finish()
            if news[2:NEWS].any():
                self.optimizer.clear_gradients()
                diagnosis.undo_forward(layers, before)
                self.group.raise_any(self.failure(x, y, before, part.start, finite) if news[2] else None)
                self.agree()
                return False
            self.statistics.assign(statistics + news[NEWS:])
            self.optimizer.step(len(index), self.done)
        self.count_step(float(news[0]), int(news[1]))
        return True

    def failure(self, x: np.ndarray, y: np.ndarray, before: Any, first: int, finite: bool) -> Exception | None:
        """The error of a batch, on the first rank that finds one in its own part; None on the others.

        Where BatchNorm is synchronised the losses of all ranks are NaN, for the images of one of them.
        """
        with self.own_part.begins_at(first):  # none of them waits for another while it computes its part again
            found = not finite and diagnosis.explain(self.model, x, y, self.loss_options) is not None
            diagnosis.undo_forward(self.model.layers, before)
            told = self.group.gather((found, not finite))
            first_of_all = max(range(len(told)), key=told.__getitem__)
            return diagnosis.failure(self, x, y, before) if first_of_all == self.group.rank else None

    def finish_epoch(self) -> None:
        self.agree()
        replicas.check_equal(self.group, self.model.layers)
        self.group.on_lead(lambda: diagnosis.check_parameters(self))
        self.seconds = self.group.broadcast(self.seconds)
        super().finish_epoch()
