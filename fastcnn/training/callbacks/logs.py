"""Callbacks that log the history: CSV, TensorBoard, learning curves."""

import contextlib
import csv
import io
import itertools
import math
import os
import secrets
import socket
import time
from typing import Any

from fastcnn.files import check_writable, errors_named, remove_leftovers, write_whole
from fastcnn.shapes import check_path
from fastcnn.training.callbacks.base import Callback
from fastcnn.training.run import TrainingRun


class CSVLogger(Callback):
    """Writes the history to a CSV file, a line for each epoch; replaced atomically after each."""

    rank_0_only = True

    def __init__(self, path: str | os.PathLike):
        self.path = check_path("CSVLogger", "path", path)
        check_writable(path)

    def written_files(self) -> dict[str, str]:
        return {"CSVLogger's `path`": self.path}

    def on_fit_begin(self, run: TrainingRun) -> None:
        remove_leftovers(self.path)

    def on_epoch_end(self, run: TrainingRun) -> None:
        columns = ["epoch", *run.history]
        values = itertools.zip_longest(*run.history.values(), fillvalue="")  # other callbacks may add columns later
        rows = [[i, *row] for i, row in enumerate(values, start=1)]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        write_whole(self.path, lambda file: file.write(text.getvalue().encode(errors="backslashreplace")))


class TensorBoard(Callback):
    """Writes the history as scalars that TensorBoard shows. Requires tensorboardX: the extra `tensorboard`.

    Not by its SummaryWriter, whose thread hides from the training that the disk is full.
    """

    rank_0_only = True

    def __init__(self, folder: str | os.PathLike):
        self.folder = check_path("TensorBoard", "folder", folder)
        try:
            from tensorboardX.record_writer import RecordWriter
        except ModuleNotFoundError as error:
            raise ImportError("TensorBoard logs need tensorboardX: `pip install fastcnn[tensorboard]`") from error
        self.make_writer = RecordWriter
        self.writer: Any = None  # made when a training begins

    def on_fit_begin(self, run: TrainingRun) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog

        os.makedirs(self.folder, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{secrets.token_hex(4)}"
        self.writer = self.make_writer(os.path.join(self.folder, name))
        self.write(0, file_version="brain.Event:2")
        if run.epoch > 1:  # an interrupted run may have logged epochs that are done again: they are shown once
            self.write(run.epoch, session_log=SessionLog(status=SessionLog.START))

    def on_epoch_end(self, run: TrainingRun) -> None:
        from tensorboardX.summary import scalar

        batches = math.ceil(len(run.x) / run.batch_size)
        rate = run.optimizer.rate(run.share(run.epoch - 1, batches - 1))  # of the last step: schedules end below 1
        found = {"training/learning_rate": rate}
        for name, values in run.history.items():
            group = "validation" if name.startswith("val_") else "training"
            found[f"{group}/{name.removeprefix('val_')}"] = values[-1]
        for tag, value in found.items():
            self.write(run.epoch - 1, summary=scalar(tag, value))
        self.flush()

    def on_fit_end(self, run: TrainingRun) -> None:
        self.flush()

    def on_fit_exit(self, run: TrainingRun) -> None:
        if self.writer is not None:
            with contextlib.suppress(OSError):  # what does not fit once does not fit again
                self.writer.close()

    def write(self, step: int, **content: Any) -> None:
        """Add an event, which stays in memory until `flush`."""
        from tensorboardX.proto.event_pb2 import Event

        self.writer.write(Event(step=step, wall_time=time.time(), **content).SerializeToString())

    def flush(self) -> None:
        with errors_named(self.writer.path):
            self.writer.flush()


class LearningCurves(Callback):
    """Draws loss and accuracy after each epoch. Requires matplotlib: the extra `plot`."""

    rank_0_only = True

    def __init__(self, path: str | os.PathLike):
        from fastcnn import plotting

        plotting.new_figure(path)  # an error in it is raised before the training
        self.path, self.draw = path, plotting.learning_curves

    def written_files(self) -> dict[str, str]:
        return {"LearningCurves' `path`": str(self.path)}

    def on_fit_begin(self, run: TrainingRun) -> None:
        remove_leftovers(self.path)

    def on_epoch_end(self, run: TrainingRun) -> None:
        self.draw(run.history, self.path)
