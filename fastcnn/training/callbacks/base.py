"""The base of all callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from fastcnn.training.loop import Run


class Callback:
    """The base of all callbacks: each method is called with the `Run`, and does nothing here.

    A callback that remembers something from one epoch to the next returns it from `state`, a dict of numbers, text and
    arrays, so that a resumed run goes on as if it had never been interrupted.
    """

    saves: ClassVar[bool] = False  # whether it writes checkpoints
    rank_0_only: ClassVar[bool] = False  # whether, where several ranks train, one of them calls it: what writes files
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
