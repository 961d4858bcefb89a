"""The base of all callbacks."""

from typing import Any, ClassVar

from fastcnn.training.run import TrainingRun


class Callback:
    """The base of all callbacks: each method is called with the `TrainingRun`, and is a no-op here.

    A callback that remembers something from one epoch to the next returns it from `state`, a dict of numbers, text and
    arrays, so that a resumed run goes on as if it had never been interrupted.
    """

    saves: ClassVar[bool] = False  # whether it writes checkpoints
    rank_0_only: ClassVar[bool] = False  # whether, of several ranks, rank 0 alone calls it: what writes files
    comes_last: ClassVar[bool] = False  # whether it must be called after the others, as it depends on what they decide

    def on_fit_begin(self, run: TrainingRun) -> None:
        """Before the first epoch, or that at which a resumed run goes on."""

    def on_epoch_begin(self, run: TrainingRun) -> None:
        """Before an epoch, or the rest of one."""

    def on_batch_end(self, run: TrainingRun) -> None:
        """After each step."""

    def on_epoch_end(self, run: TrainingRun) -> None:
        """After an epoch: its numbers are the last of `run.history`, and `run.epoch` is that of the next."""

    def on_fit_end(self, run: TrainingRun) -> None:
        """After the last step, also where the run was stopped; `run.history.stopped` says why."""

    def on_fit_exit(self, run: TrainingRun) -> None:
        """Last of all, also where an error or a signal has ended the training: what is open is to be closed."""

    def written_files(self) -> dict[str, str]:
        """The paths of the files that it replaces, by what a message calls them."""
        return {}

    def settings(self) -> str:
        """The arguments on which the results of a training depend, as text that is equal where it is resumed."""
        return ""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: numbers, text and arrays by name."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
