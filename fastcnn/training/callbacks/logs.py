"""Callbacks that log the history: CSV, TensorBoard, learning curves."""

import csv
import io
import itertools
import math
import os
from typing import Any

from fastcnn.files import check_writable, write_whole
from fastcnn.shapes import check_path
from fastcnn.training.callbacks.base import Callback
from fastcnn.training.run import TrainingRun


class CSVLogger(Callback):
    """Writes the history to a CSV file, a line for each epoch; replaced atomically after each."""

    rank_0_only = True

    def __init__(self, path: str | os.PathLike):
        self.path = check_path("CSVLogger", "path", path)
        check_writable(path)

    def on_epoch_end(self, run: TrainingRun) -> None:
        columns = ["epoch", *run.history]
        values = itertools.zip_longest(*run.history.values(), fillvalue="")  # other callbacks may add columns later
        rows = [[i, *row] for i, row in enumerate(values, start=1)]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        write_whole(self.path, lambda file: file.write(text.getvalue().encode(errors="backslashreplace")))


class TensorBoard(Callback):
    """Writes the history as scalars that TensorBoard shows. Requires tensorboardX: the extra `tensorboard`."""

    rank_0_only = True

    def __init__(self, folder: str | os.PathLike):
        self.folder = check_path("TensorBoard", "folder", folder)
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            raise ImportError("TensorBoard logs need tensorboardX: `pip install fastcnn[tensorboard]`") from error
        self.make_writer = SummaryWriter
        self.writer: Any = None  # made when a training begins

    def on_fit_begin(self, run: TrainingRun) -> None:
        # An interrupted run may have logged epochs that are done again: they are shown once.
        self.writer = self.make_writer(self.folder, purge_step=run.epoch if run.epoch > 1 else None)

    def on_epoch_end(self, run: TrainingRun) -> None:
        for name, values in run.history.items():
            group = "validation" if name.startswith("val_") else "training"
            self.writer.add_scalar(f"{group}/{name.removeprefix('val_')}", values[-1], run.epoch - 1)
        batches = math.ceil(len(run.x) / run.batch_size)
        rate = run.optimizer.rate(run.share(run.epoch - 1, batches - 1))  # of the last step: schedules end below 1
        self.writer.add_scalar("training/learning_rate", rate, run.epoch - 1)
        self.writer.flush()

    def on_fit_end(self, run: TrainingRun) -> None:
        self.writer.close()


class LearningCurves(Callback):
    """Draws loss and accuracy after each epoch. Requires matplotlib: the extra `plot`."""

    rank_0_only = True

    def __init__(self, path: str | os.PathLike):
        from fastcnn import plotting

        plotting.new_figure(path)  # an error in it is raised before the training
        self.path, self.draw = path, plotting.learning_curves

    def on_epoch_end(self, run: TrainingRun) -> None:
        self.draw(run.history, self.path)
