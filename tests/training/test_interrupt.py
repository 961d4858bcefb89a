"""Ctrl-C while a model trains: it ends after the present step, and nothing is lost."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.callbacks import Callback, Checkpoint, EarlyStopping
from tests.helpers.models import small
from tests.helpers.processes import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX")
MESSAGE = "\nstopping after this step; Ctrl-C again stops at once\n"


@pytest.fixture(autouse=True)
def handler():
    """Ctrl-C as in a fresh process: a test run in the background inherits that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Press(Callback):
    """Ctrl-C after a step, or at an epoch's end; each of `steps` once."""

    def __init__(self, *steps, hook="on_batch_end"):
        self.steps, self.count = steps, 0
        setattr(self, hook, self.press)

    def press(self, run):
        self.count += 1
        if self.count in self.steps:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_the_training_after_the_step(data, tmp_path, capfd):
    path, model, press = tmp_path / "c.npz", small(), Press(7)
    history = model.fit(*data, 5, 40, seed=0, callbacks=[press, Checkpoint(path, every_seconds=None)], verbose=False)
    assert history.stopped == "interrupted" and press.count == 7
    assert {len(values) for values in history.values()} == {1}  # the second epoch is not whole
    assert capfd.readouterr() == ("", MESSAGE)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    saved = Sequential.load(path)
    for a, b in zip(model.layers, saved.layers, strict=True):
        for name, array in a.parameters().items():
            np.testing.assert_array_equal(array, b.parameters()[name])
    assert (saved.layers[0].weights != small().layers[0].weights).any()
    assert model.fit(*data, 1, 40, verbose=False).stopped is None


@pytest.mark.parametrize(
    ("press", "epochs"), [(Press(5), 1), (Press(1, hook="on_epoch_end"), 1), (Press(1, hook="on_fit_begin"), 0)]
)
def test_at_the_end_of_an_epoch_it_is_whole(data, press, epochs):
    history = small().fit(*data, 5, 40, callbacks=[press], verbose=False)
    assert history.stopped == "interrupted" and len(history.get("loss", ())) == epochs


@pytest.mark.parametrize("order", [1, -1], ids=["after", "before"])
def test_a_run_that_was_over_anyway_is_over(data, tmp_path, order):
    """Ctrl-C while the checkpoint of the last epoch is written: the run that is resumed does not train on."""
    path, stopping = tmp_path / "c.npz", {"monitor": "loss", "mode": "max", "patience": 1}
    listed = [EarlyStopping(**stopping), Press(2, hook="on_epoch_end")][::order]
    history = small().fit(*data, 5, 40, seed=0, callbacks=[*listed, Checkpoint(path)], verbose=False)
    assert history.stopped == "no better loss for 1 epochs" and len(history["loss"]) == 2
    resumed = small().fit(*data, 5, 40, callbacks=[EarlyStopping(**stopping)], resume=path, verbose=False)
    assert resumed == history and resumed.stopped == history.stopped


def test_the_second_one_raises_at_once(data, tmp_path):
    path = tmp_path / "c.npz"
    with pytest.raises(KeyboardInterrupt):
        small().fit(
            *data, 5, 40, callbacks=[Press(2), Press(2, hook="on_fit_end"), Press(2), Checkpoint(path)], verbose=False
        )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    Sequential.load(path)
    assert os.listdir(tmp_path) == ["c.npz"]


def test_an_error_in_the_training_restores_ctrl_c(data):
    class Fail(Callback):
        def on_batch_end(self, run):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        small().fit(*data, callbacks=[Fail()], verbose=False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("disposition", [signal.SIG_IGN, lambda *_: None], ids=["ignored", "somebody's"])
def test_what_is_somebody_elses_is_left_alone(data, disposition):
    signal.signal(signal.SIGINT, disposition)
    history = small().fit(*data, 1, 40, callbacks=[Press(2)], verbose=False)
    assert history.stopped is None and len(history["loss"]) == 1
    assert signal.getsignal(signal.SIGINT) is disposition


def test_in_another_thread_signals_are_not_touched(data):
    seen, result = [], []

    class Look(Callback):
        def on_batch_end(self, run):
            seen.append(signal.getsignal(signal.SIGINT))

    worker = threading.Thread(
        target=lambda: result.append(small().fit(*data, 1, 40, callbacks=[Look()], verbose=False))
    )
    worker.start()
    worker.join()
    assert set(seen) == {signal.default_int_handler} and len(seen) == 5 and len(result[0]["loss"]) == 1


def test_the_main_thread_is_ctrl_cs_while_another_trains(data):
    """KeyboardInterrupt there, and the training goes on."""
    begun, go, result = threading.Event(), threading.Event(), []

    class Wait(Callback):
        def on_batch_end(self, run):
            begun.set()
            assert go.wait(60)

    worker = threading.Thread(
        target=lambda: result.append(small().fit(*data, 1, 40, callbacks=[Wait()], verbose=False))
    )
    worker.start()
    try:
        assert begun.wait(60)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        go.set()
        worker.join()
    assert result[0].stopped is None and len(result[0]["loss"]) == 1


PRESS = """
import os, signal
from fastcnn.training.loop import Loop

signal.signal(signal.SIGINT, signal.default_int_handler)
train_batch, steps = Loop.train_batch, []

def press(self, index, moves):
    made = train_batch(self, index, moves)
    steps.append(len(index))
    for _ in range({}.count(len(steps))):
        os.kill(os.getpid(), signal.SIGINT)
    return made

Loop.train_batch = press
from fastcnn.cli import main
raise SystemExit(main())
"""


def train(tmp_path, presses, *arguments):
    """``fastcnn train`` on 40 images, of which Ctrl-C ends some steps."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 12, 12)).astype(np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    return subprocess.run(
        [sys.executable, "-c", PRESS.format(presses), "train", "--data", "own.npz", "--epochs", "3", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "FASTCNN_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("checkpoint", [False, True])
def test_command_line(tmp_path, checkpoint):
    options = ["--checkpoint", "c.npz"] if checkpoint else []
    done = train(tmp_path, [4], "--quiet", *options)
    assert done.returncode == 130 and done.stdout == ""
    more = "; `fastcnn train --resume c.npz` goes on" if checkpoint else ""
    end = f"the training was interrupted after 1 of 3 epochs; model saved to lenet-own.npz{more}\n"
    assert done.stderr == f"{MESSAGE}fastcnn train: {end}"
    assert sorted(os.listdir(tmp_path)) == ["c.npz"] * checkpoint + ["lenet-own.npz", "own.npz"]
    model = Sequential.load(tmp_path / "lenet-own.npz")
    assert model.metadata["options"]["epochs"] == 3 and model.output_shape[1] == 4


def test_command_line_ctrl_c_twice(tmp_path):
    """At once, without a model; the checkpoint of the first epoch is whole."""
    done = train(tmp_path, [4, 4], "--quiet", "--checkpoint", "c.npz")
    assert done.returncode == 130 and done.stdout == ""
    assert done.stderr == f"{MESSAGE}fastcnn train: interrupted\n"
    assert sorted(os.listdir(tmp_path)) == ["c.npz", "own.npz"]
    Sequential.load(tmp_path / "c.npz")
