"""The state of a training while it runs: what callbacks see, checkpoints keep and diagnosis explains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fastcnn.augmentation import Augmentation
from fastcnn.distributed.group import Group
from fastcnn.network import Network
from fastcnn.optimizers import Optimizer


class History(dict[str, list[float]]):
    """What `fit` returns: for each quantity a list with a number for each epoch.

    `stopped` says why the training ended before its last epoch: 'interrupted' (Ctrl-C, SIGTERM, SIGHUP), the reason
    that a callback gave, or None. `signal` is the number of the signal that came, or 0.
    """

    stopped: str | None = None
    signal: int = 0


class Resumable(Protocol):
    """The part of a callback that a checkpoint keeps; see :class:`fastcnn.callbacks.Callback`."""

    def settings(self) -> str: ...

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any]) -> None: ...


@dataclass
class TrainingRun:
    """The state of a training.

    `epoch` is the number of the present epoch, from 1, and `batch` how many of its batches are done; `loss` and `hits`
    are sums over them and `seconds` what they took. `settings` are, as text, what must be equal for a run to be
    resumed. `group` are the ranks that train together: one, unless `distributed` says otherwise. The other attributes
    are the checked arguments of :func:`fastcnn.training.fit`.
    """

    model: Network
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
    callbacks: Sequence[Resumable]
    failure_file: str | None
    verbose: bool
    sync_batch_norm: bool = False
    validation_batch_size: int = 256
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
        """The dtype of the layers."""
        return self.model.loss_layer.dtype

    @property
    def is_new(self) -> bool:
        """Whether no step has been done: the training does not go on from a checkpoint."""
        return self.epoch == 1 and self.batch == 0

    @property
    def stopping(self) -> str | None:
        """Why the training is to end, as far as this rank knows."""
        return self.history.stopped

    def stop(self, reason: str) -> None:
        """End the training after the present step, or epoch where this is called at its end.

        'interrupted' replaces no other reason: a run that is over does not go on when it is resumed.
        """
        if reason != "interrupted" or self.history.stopped is None:
            self.history.stopped = reason

    @property
    def done(self) -> float:
        """The share of the training that is done."""
        return self.share(self.epoch, self.batch)

    def share(self, epoch: int, batch: int) -> float:
        """The share of the training that is done after `batch` batches of an epoch."""
        count = len(self.x)
        return (epoch - 1 + min(batch * self.batch_size, count) / count) / self.epochs
