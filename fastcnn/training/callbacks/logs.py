"""Callbacks that write down what happened: CSV, TensorBoard, learning curves."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
from typing import TYPE_CHECKING

from fastcnn.files import check_writable, write_whole
from fastcnn.shapes import check_path
from fastcnn.training.callbacks.base import Callback

if TYPE_CHECKING:
    from fastcnn.training.loop import Run


class CSVLogger(Callback):
    """Writes the history to a CSV file, a line for each epoch; replaced whole after each, so that it is never torn."""

    rank_0_only = True

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

    rank_0_only = True

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

    rank_0_only = True

    def __init__(self, path: str | os.PathLike):
        from fastcnn import plotting

        plotting.new_figure(path)  # what is wrong with it is said before the training
        self.path, self.draw = path, plotting.learning_curves

    def on_epoch_end(self, run: Run) -> None:
        self.draw(run.history, self.path)
