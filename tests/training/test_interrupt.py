"""Ctrl-C, SIGTERM and SIGHUP while a model trains: it ends after the present step, and nothing is lost."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastcnn import Sequential, interrupt
from fastcnn.callbacks import Callback, Checkpoint, EarlyStopping
from fastcnn.training import interrupt as training_interrupt
from tests.helpers.models import small
from tests.helpers.processes import ROOT, run_python

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX")
MESSAGE = "\nstopping after this step; Ctrl-C again stops at once\n"
OTHERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
ENDED = "\n{}: stopping after this step; Ctrl-C stops at once\n"


@pytest.fixture(autouse=True)
def handlers():
    """Signals as in a fresh process: a test run in the background inherits that Ctrl-C is ignored."""
    before = {signum: signal.signal(signum, interrupt.python_handler(signum)) for signum in interrupt.SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def apart(monkeypatch):
    """Two signals are two, however soon the second comes."""
    monkeypatch.setattr(interrupt, "TOGETHER", 0)


class Press(Callback):
    """Ctrl-C, or another signal, after a step, or at an epoch's end; each of `steps` once."""

    def __init__(self, *steps, hook="on_batch_end", signum=signal.SIGINT):
        self.steps, self.count, self.signum = steps, 0, signum
        setattr(self, hook, self.press)

    def press(self, run):
        self.count += 1
        if self.count in self.steps:
            os.kill(os.getpid(), self.signum)


def test_ctrl_c_ends_the_training_after_the_step(data, tmp_path, capfd):
    path, model, press = tmp_path / "c.npz", small(), Press(7)
    history = model.fit(*data, 5, 40, seed=0, callbacks=[press, Checkpoint(path, every_seconds=None)], verbose=False)
    assert history.stopped == "interrupted" and press.count == 7
    assert {len(values) for values in history.values()} == {1}  # the second epoch is not whole
    assert history.signal == signal.SIGINT and capfd.readouterr() == ("", MESSAGE)
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


@pytest.mark.parametrize("signum", OTHERS)
def test_other_signals_end_the_process_after_the_step(data, tmp_path, capfd, signum):
    """By SystemExit, as `finally` blocks of the script are to run, and what it has printed is to be written."""
    path, press, ended = tmp_path / "c.npz", Press(7, signum=signum), Notes()
    with pytest.raises(SystemExit) as error:
        small().fit(*data, 5, 40, callbacks=[press, ended, Checkpoint(path, every_seconds=None)], verbose=False)
    assert error.value.code == 128 + signum and press.count == 7 and ended.reasons == ["interrupted"]
    assert capfd.readouterr() == ("", ENDED.format(signal.Signals(signum).name))
    assert signal.getsignal(signum) is signal.SIG_DFL
    resumed = small().fit(*data, 5, 40, callbacks=[Notes()], resume=path, verbose=False)
    assert len(resumed["loss"]) == 5 and resumed.signal == 0


class Notes(Callback):
    """Why each training ended."""

    def __init__(self):
        self.reasons = []

    def on_fit_end(self, run):
        self.reasons.append(run.history.stopped)


def test_signals_that_come_together_are_one(data):
    """`timeout`, systemd and a closing shell send two."""
    press, notes = Press(2, signum=signal.SIGTERM), Notes()
    others = [Press(2, signum=signum) for signum in OTHERS] + [Press(1, hook="on_fit_end", signum=signal.SIGTERM)]
    with pytest.raises(SystemExit) as error:
        small().fit(*data, 5, 40, callbacks=[press, *others, notes], verbose=False)
    assert error.value.code == 143 and notes.reasons == ["interrupted"]


@pytest.mark.parametrize(("signum", "kind"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_another_signal_ends_it_at_once(data, apart, signum, kind):
    notes = Notes()
    with pytest.raises(kind) as error:
        small().fit(*data, callbacks=[Press(2, signum=signal.SIGTERM), Press(2, signum=signum), notes], verbose=False)
    assert notes.reasons == [] and getattr(error.value, "code", 143) == 143
    assert [signal.getsignal(s) for s in interrupt.SIGNALS] == [*map(interrupt.python_handler, interrupt.SIGNALS)]


def test_while_the_second_one_cleans_up_the_third_is_ignored(data, apart):
    """It would leave half of the files behind."""
    cleaned = []

    class Third(Callback):
        def on_batch_end(self, run):
            os.kill(os.getpid(), signal.SIGINT)
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                for signum in interrupt.SIGNALS:
                    os.kill(os.getpid(), signum)
                cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        small().fit(*data, callbacks=[Third()], verbose=False)
    assert cleaned == [True]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("disposition", [signal.SIG_IGN, lambda *_: None], ids=["ignored", "somebody's"])
@pytest.mark.parametrize("signum", OTHERS)
def test_other_signals_that_are_somebody_elses_are_left_alone(data, signum, disposition):
    """`nohup` ignores SIGHUP."""
    signal.signal(signum, disposition)
    history = small().fit(*data, 1, 40, callbacks=[Press(2, signum=signum)], verbose=False)
    assert history.stopped is None and history.signal == 0 and len(history["loss"]) == 1
    assert signal.getsignal(signum) is disposition


def test_in_a_script(tmp_path):
    """Nobody reads the line about it any more. A process that was forked has no training to stop."""
    code = """
import os, signal, sys
import numpy as np
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 2)
import fastcnn
from fastcnn.callbacks import Callback, Checkpoint
from fastcnn.layers import FullyConnect, Softmax

class Hang(Callback):
    def on_batch_end(self, run):
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os.kill(os.getpid(), signal.SIGHUP)

signal.signal(signal.SIGHUP, signal.SIG_DFL)
model = fastcnn.Sequential([FullyConnect((4, 3), 2), Softmax((4, 2))])
try:
    model.fit(np.ones((8, 3)), np.arange(8) % 2, 2, 4, callbacks=[Hang(), Checkpoint("c.npz")])
finally:
    print("finally")
"""
    done = run_python("-W", "ignore", "-c", code, cwd=tmp_path, FASTCNN_BACKEND="numpy")
    assert (done.returncode, done.stdout) == (129, "-15\nfinally\n")
    Sequential.load(tmp_path / "c.npz")


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
signal.signal(signal.SIGHUP, signal.SIG_DFL)
train_batch, steps = Loop.train_batch, []

def press(self, index, moves):
    made = train_batch(self, index, moves)
    steps.append(len(index))
    for signum in {}.get(len(steps), []):
        os.kill(os.getpid(), signum)
    return made

Loop.train_batch = press
{}
from fastcnn.cli import main
raise SystemExit(main())
"""


def train(tmp_path, presses, *arguments, more=""):
    """``fastcnn train`` on 40 images; `presses` are the signals that come after some steps."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 12, 12)).astype(np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    return subprocess.run(
        [sys.executable, "-c", PRESS.format(presses, more), "train", "--data", "own.npz", "--epochs", "3", *arguments],
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
    done = train(tmp_path, {4: [2]}, "--quiet", *options)
    assert done.returncode == 130 and done.stdout == ""
    more = "; `fastcnn train --resume c.npz` goes on" if checkpoint else ""
    end = f"the training was interrupted after 1 of 3 epochs; model saved to lenet-own.npz{more}\n"
    assert done.stderr == f"{MESSAGE}fastcnn train: {end}"
    assert sorted(os.listdir(tmp_path)) == ["c.npz"] * checkpoint + ["lenet-own.npz", "own.npz"]
    model = Sequential.load(tmp_path / "lenet-own.npz")
    assert model.metadata["options"]["epochs"] == 3 and model.output_shape[1] == 4


def test_command_line_ctrl_c_twice(tmp_path):
    """At once, without a model; the checkpoint of the first epoch is whole."""
    done = train(tmp_path, {4: [2, 2]}, "--quiet", "--checkpoint", "c.npz")
    assert done.returncode == 130 and done.stdout == ""
    assert done.stderr == f"{MESSAGE}fastcnn train: interrupted\n"
    assert sorted(os.listdir(tmp_path)) == ["c.npz", "own.npz"]
    Sequential.load(tmp_path / "c.npz")


@pytest.mark.parametrize("signum", OTHERS)
def test_command_line_other_signals(tmp_path, signum):
    """The model is saved too; a second one, which follows at once, is the same request."""
    done = train(tmp_path, {4: [int(signum)] * 2}, "--quiet", "--checkpoint", "c.npz")
    assert done.returncode == 128 + signum and done.stdout == ""
    end = (
        "the training was interrupted after 1 of 3 epochs; model saved to lenet-own.npz; `fastcnn train --resume c.npz`"
    )
    assert done.stderr == f"{ENDED.format(signum.name)}fastcnn train: {end} goes on\n"
    for name in ("c.npz", "lenet-own.npz"):
        Sequential.load(tmp_path / name)


def test_command_line_while_nothing_is_deferred(main, monkeypatch, capsys):
    """A signal ends any command with its status; those that follow are ignored."""
    from fastcnn.commands import info

    def end(arguments):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(info, "run", end)
    assert main(["info", "--backend", "numpy"]) == 143
    assert capsys.readouterr() == ("", "fastcnn info: ended by SIGTERM\n")
    assert [signal.getsignal(s) for s in interrupt.SIGNALS] == [*map(interrupt.python_handler, interrupt.SIGNALS)]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", range(2 * len(interrupt.SIGNALS)))
@pytest.mark.parametrize("block", ["raised_once", "deferred", "deferred, the second"])
def test_a_signal_while_handlers_are_put_back(monkeypatch, block, moment, signum):
    """Each has its own again, whatever the signal does; it does it afterwards."""
    theirs = {s: lambda signum, _: came.append(signum) for s in OTHERS} | {signal.SIGINT: signal.default_int_handler}
    came, calls, set_handler = [], [], signal.signal

    def slowly(*arguments):
        calls.append(arguments)
        if leaving and len(calls) == moment + 1:
            os.kill(os.getpid(), signum)
        return set_handler(*arguments)

    monkeypatch.setattr(interrupt, "python_handler", theirs.get)
    monkeypatch.setattr(interrupt, "TOGETHER", 0)
    for number, handler in theirs.items():
        set_handler(number, handler)
    leaving, raised = False, None
    try:
        with interrupt.raised_once() if block == "raised_once" else training_interrupt.deferred(lambda: None, False):
            if block == "deferred, the second":
                os.kill(os.getpid(), signal.SIGINT)
            leaving = True
            monkeypatch.setattr(signal, "signal", slowly)
    except BaseException as error:
        raised = error
    monkeypatch.undo()
    assert {number: signal.getsignal(number) for number in theirs} == theirs
    if signum == signal.SIGINT:
        assert isinstance(raised, KeyboardInterrupt)
    else:
        assert came == [signum] or isinstance(raised, interrupt.Interruption | interrupt.Termination)


LATE = """
import os, signal, sys
from fastcnn.__main__ import main
from fastcnn.commands import info

class Late:
    def __del__(self, kill=os.kill, process=os.getpid(), signals=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        for signum in signals:
            kill(process, signum)

def end(arguments):
    os.kill(os.getpid(), {signum})

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background ignores it
info.run, late = end, Late()
sys.argv = ["fastcnn", "info", "--backend", "numpy"]
sys.exit(main())
"""


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_command_line_signals_that_come_while_the_interpreter_ends(signum, status):
    """When it has taken the handlers away, and modules are cleared."""
    done = run_python("-c", LATE.format(signum=int(signum)))
    name = "interrupted" if signum == signal.SIGINT else "ended by SIGTERM"
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"fastcnn info: {name}\n")


def test_command_line_ctrl_c_three_times(tmp_path):
    """The second comes while the checkpoint is written, and others while that is cleaned up and the command ends."""
    code = """
import sys
from pathlib import Path
import fastcnn.cli

replace, unlink, end = os.replace, Path.unlink, fastcnn.cli.end

def replace_slowly(*paths):
    if len(steps) == 4:
        os.kill(os.getpid(), signal.SIGINT)
    replace(*paths)

def unlink_slowly(self, *arguments):
    if isinstance(sys.exc_info()[1], KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    unlink(self, *arguments)

def end_slowly(*arguments):
    os.kill(os.getpid(), signal.SIGINT)
    return end(*arguments)

os.replace, Path.unlink, fastcnn.cli.end = replace_slowly, unlink_slowly, end_slowly
signal.signal(signal.SIGINT, fastcnn.cli.interrupt.leave)  # as `python -m fastcnn` does
from fastcnn.cli import main
"""
    done = train(tmp_path, {4: [2]}, "--quiet", "--checkpoint", "c.npz", more=code)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"{MESSAGE}fastcnn train: interrupted\n"
    assert sorted(os.listdir(tmp_path)) == ["c.npz", "own.npz"]
    Sequential.load(tmp_path / "c.npz")
