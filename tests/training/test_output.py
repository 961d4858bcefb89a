"""A training whose lines cannot be written: it goes on, and its files are whole."""

import io
import logging
import os
import sys

import pytest

from fastcnn import Sequential
from fastcnn.callbacks import Callback, Checkpoint, CSVLogger
from tests.helpers.models import small
from tests.helpers.processes import run_python


class Terminal(io.StringIO):
    """A terminal that takes `left` more writes, and fails then as one whose window was closed."""

    def __init__(self, left=0):
        super().__init__()
        self.left = left

    def isatty(self):
        return True

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise OSError(5, "Input/output error")
        return super().write(text)

    def flush(self):
        if self.left < 0:
            raise OSError(5, "Input/output error")


class Talk(Callback):
    """Prints, and writes to Python's log."""

    def __init__(self):
        self.calls = 0

    def on_batch_end(self, run):
        self.calls += 1
        print("step", run.batch, flush=True)
        print("step", run.batch, file=sys.stderr, flush=True)
        logging.getLogger("talk").warning("step %d", run.batch)


@pytest.mark.parametrize("left", [0, 3])
def test_a_terminal_that_closes(data, tmp_path, monkeypatch, left):
    terminal, output, talk = Terminal(left), Terminal(left), Talk()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", output)
    callbacks = [talk, CSVLogger(tmp_path / "log.csv"), Checkpoint(tmp_path / "c.npz")]
    history = small().fit(*data, 2, 40, callbacks=callbacks)
    assert talk.calls == 10 and len(history["loss"]) == 2 and history.stopped is None
    assert (sys.stderr, sys.stdout) == (terminal, output)
    assert (tmp_path / "log.csv").read_text().count("\n") == 3
    Sequential.load(tmp_path / "c.npz")
    assert "epoch 1/2" in terminal.getvalue() or not left


@pytest.mark.parametrize("missing", ["stdout", "stderr"])
def test_a_stream_that_python_has_not(data, monkeypatch, missing):
    monkeypatch.setattr(sys, missing, None)
    talk = Talk()
    small().fit(*data, 1, 40, callbacks=[talk])
    assert talk.calls == 5 and getattr(sys, missing) is None


def test_a_quantity_whose_name_the_terminal_has_not(data, monkeypatch, tmp_path):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii", newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    metrics = {"精度\udcff": lambda labels, probabilities: 0.5}
    log = tmp_path / "log.csv"
    small().fit(*data, 1, 40, data, metrics=metrics, callbacks=[CSVLogger(log)])
    stream.flush()
    assert rb"val_\u7cbe\u5ea6\udcff 0.5000" in raw.getvalue()
    assert r"val_精度\udcff" in log.read_text(encoding="utf-8")


SCRIPT = """
import logging, sys, warnings
import numpy as np
sys.stdout = open("/dev/full", "w")
sys.stderr = open("/dev/full", "w")
sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
import fastcnn
from fastcnn.callbacks import Callback
from fastcnn.layers import FullyConnect, Softmax

class Talk(Callback):
    def on_epoch_end(self, run):
        print("line")
        warnings.warn("line")
        logging.warning("line")

model = fastcnn.Sequential([FullyConnect((4, 3), 2), Softmax((4, 2))])
model.fit(np.ones((8, 3)), np.arange(8) % 2, 2, 4, callbacks=[Talk()])
model.save("m.npz")
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full")
def test_a_script_on_a_full_disk(tmp_path):
    """Its exit status is 0: what `fit` has printed is not tried once more when the interpreter ends."""
    done = run_python("-W", "default", "-c", SCRIPT, cwd=tmp_path, FASTCNN_BACKEND="numpy")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    Sequential.load(tmp_path / "m.npz")
