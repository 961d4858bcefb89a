"""The training loop on several ranks: what differs from :class:`fastcnn.training.loop.Loop`.

All ranks hold the same model and the same history. Each step's batch is the one of a training on one rank; a rank
computes the gradients of its shard of it, and an all-reduce gives all of them the sum. What one rank alone notices (a
loss that is not finite, Ctrl-C, a callback that failed) travels with the next all-reduce, so that all ranks stop after
the same step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastcnn.augmentation import Moves
from fastcnn.distributed.group import data_facts
from fastcnn.saving import model_facts
from fastcnn.training import checkpoint, diagnosis
from fastcnn.training.callbacks import Callback
from fastcnn.training.data_parallel import replicas
from fastcnn.training.data_parallel.gradients import GradientSum
from fastcnn.training.loop import Loop

STATUS = 4  # numbers that are summed over the ranks in each step: loss, hits, losses that are not finite, stop requests


@dataclass
class DistributedLoop(Loop):
    """A training on all ranks of a group of more than one; callbacks see it on each of them."""

    requested: str | None = None  # why this rank wants to stop, until the others know
    error: Exception | None = None  # what a callback raised, until the others know

    def agree_on_arguments(self, any_seed: bool) -> None:
        """ValueError on all ranks where their arguments or data differ; with `any_seed` all take rank 0's seed."""
        facts: dict[str, Any] = {"layers": model_facts.layout(self.model.layers), **checkpoint.course(self)}
        facts |= {"seed": "any" if any_seed else self.seed, "sync_batch_norm": self.sync_batch_norm}
        facts |= data_facts(self.x, self.y)
        if self.validation_data is not None:
            facts |= data_facts(*self.validation_data, suffix=" of validation_data")
        self.group.check_same("fit", facts)
        if any_seed:
            self.seed = self.group.broadcast(self.seed)
        self.verbose = self.verbose and self.group.lead

    def prepare(self, **options: Any) -> None:
        """Broadcast the model of rank 0, and allocate the buffers of the gradients."""
        layers = self.model.layers
        self.sums = self.group.together(lambda: GradientSum(self.group, self.optimizer, **options))
        replicas.broadcast(self.group, layers, self.optimizer)
        self.shard = replicas.Shard(layers, self.group.all_reduce if self.sync_batch_norm else None)
        self.own_shard = replicas.Shard(layers, None)
        self.statistics = replicas.Statistics(layers, self.sync_batch_norm)

    def train(self) -> None:
        self.prepare()
        super().train()

    def stop(self, reason: str) -> None:
        """As `TrainingRun.stop`, once all ranks know."""
        if reason != "interrupted" or self.requested is None:
            self.requested = reason

    @property
    def stopping(self) -> str | None:
        return self.history.stopped or self.requested

    def synchronize(self) -> None:
        """Raise on all ranks what a callback raised on one; stop all where one rank wants to."""
        error, self.error = self.error, None
        self.group.raise_any(error)
        own, self.requested = self.requested, None  # a signal may come during the all-gather
        for reason in filter(None, self.group.all_gather(own)):
            super().stop(reason)

    def call(self, hook: str) -> None:
        """As `Loop.call`. After a step nothing is exchanged: the next step's all-reduce has the status."""
        if hook == "on_batch_end":
            self.try_each(hook, self.callbacks)
            return
        for comes_last in (False, True):  # the last ones write down what the others decide
            self.try_each(hook, [callback for callback in self.callbacks if callback.comes_last == comes_last])
            self.synchronize()

    def try_each(self, hook: str, callbacks: Sequence[Callback]) -> None:
        """`call_each`; the first error is kept for `synchronize`."""
        try:
            self.call_each(hook, callbacks)
        except Exception as error:
            self.error = self.error or error

    def train_batch(self, index: np.ndarray, moves: Moves | None) -> bool:
        """This rank's shard of a step.

        Where a rank has failed or wants to stop, all learn of it from the all-reduce of the next step, which is then
        undone.
        """
        layers, shard = self.model.layers, self.group.shard(len(index))
        x, y = self.take(index[shard], moves)
        before, statistics = diagnosis.before_forward(layers), self.statistics.values()
        with np.errstate(over="ignore", invalid="ignore"):
            with self.shard.begins_at(shard.start):
                loss, hits = self.model.batch_loss(x, y, **self.loss_options)
                finite, troubled = math.isfinite(loss), self.error is not None or self.requested is not None
                change = (self.statistics.values() - statistics) * (len(x) / len(index))
                status = np.concatenate([[loss, hits, not finite, troubled], change])
                self.sums.begin(status)
                self.model.parameter_gradient(self.model.loss_layer.gradient(), self.sums.layer_done)
                self.sums.finish()
            if status[2:STATUS].any():
                self.optimizer.clear_gradients()
                diagnosis.undo_forward(layers, before)
                self.group.raise_any(self.failure(x, y, before, shard.start, finite) if status[2] else None)
                self.synchronize()
                return False
            self.statistics.assign(statistics + status[STATUS:])
            self.optimizer.step(len(index), self.done)
        self.count_step(float(status[0]), int(status[1]))
        return True

    def failure(self, x: np.ndarray, y: np.ndarray, before: Any, first: int, finite: bool) -> Exception | None:
        """The error of a batch, on the first rank that finds one in its own shard; None on the others.

        Where BatchNorm is synchronised the losses of all ranks are NaN, for the images of one of them.
        """
        with self.own_shard.begins_at(first):  # each rank computes its shard again without the others
            found = not finite and diagnosis.explain(self.model, x, y, self.loss_options) is not None
            diagnosis.undo_forward(self.model.layers, before)
            each = self.group.all_gather((found, not finite))
            culprit = max(range(len(each)), key=each.__getitem__)
            return diagnosis.failure(self, x, y, before) if culprit == self.group.rank else None

    def finish_epoch(self) -> None:
        self.synchronize()
        replicas.check_equal(self.group, self.model.layers)
        self.group.on_lead(lambda: diagnosis.check_parameters(self))
        self.seconds = self.group.broadcast(self.seconds)
        super().finish_epoch()
