"""Processes that are ended at random moments: trainings, and programs that write the same files again and again."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastcnn import Sequential
from fastcnn.saving import model_file
from tests.helpers.processes import ROOT

KILLED = ROOT / "tests/helpers/killed.py"
SIGNALS = (*(signal.SIGKILL,) * 5, signal.SIGTERM, signal.SIGINT)  # of seven processes, in random order
RANDOM = ("seconds", "images_per_second")  # columns that no two trainings share


def statuses(signum):
    """What a process may end with that was sent a signal: killed by it, cleaned up, or done before."""
    return {0, -signum} if signum == signal.SIGKILL else {0, -signum, 128 + signum}


@dataclass
class Count:
    """What has happened to the processes of a test."""

    ended: int = 0  # by the signal
    halfway: int = 0  # after which a temporary file was left: in the midst of a write
    signals: dict = field(default_factory=dict)

    def __str__(self):
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(self.signals.items()))
        return f"{self.ended} processes ended ({kinds}), {self.halfway} in the midst of a write"


def end_at_random(command, folder, moment, longest, count, **environment):
    """Start a program, wait until it prints a line and for up to `longest` seconds more, and end it. Whether that came
    before its own end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | environment
    command = [sys.executable, *map(str, command)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_interrupts}
    before = temporary_files(folder)
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as process:
        signum = moment.choice(SIGNALS)
        try:
            assert process.stdout.readline(), process.stderr.read()
            time.sleep(moment.uniform(0, longest))
            process.send_signal(signum)
            error = process.communicate(timeout=300)[1]
        finally:
            process.kill()
    assert process.returncode in statuses(signum), (signum, process.returncode, error)
    if process.returncode == 0:
        return False
    count.ended += 1
    count.halfway += bool(temporary_files(folder) - before)
    count.signals[signum.name] = count.signals.get(signum.name, 0) + 1
    return True


def heed_interrupts():
    """In a new process: a shell's job in the background ignores Ctrl-C, and all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def leftovers(folder):
    """Temporary files, by the file that they were to become: `.NAME.TOKEN.tmp`, and of kernels `NAME.tmp.TOKEN`."""
    names = [path.name for path in temporary_files(folder)]
    return [
        name[1:].rpartition(".tmp")[0].rpartition(".")[0] if name.endswith(".tmp") else name.partition(".tmp.")[0]
        for name in names
    ]


def temporary_files(folder):
    return {*Path(folder).glob(".*.tmp"), *Path(folder).rglob("*.nbc.tmp.*")}


def assert_same_arrays(first, second):
    with np.load(first) as a, np.load(second) as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def table(path):
    """A CSV file without the columns that differ from run to run; each line is whole."""
    lines = [line.split(",") for line in Path(path).read_text().splitlines()]
    columns = [number for number, name in enumerate(lines[0]) if name not in RANDOM]
    assert {len(line) for line in lines} == {len(lines[0])}
    return [[line[number] for number in columns] for line in lines]


@dataclass
class Training:
    """A training that writes to its folder, and goes on from what is there."""

    results: tuple  # the files that it is about
    longest: float  # seconds until it is ended, at most
    checkpoint: str = "run.npz"

    def command(self, folder):
        raise NotImplementedError

    def check(self, folder):
        """What is there is whole, whatever moment it was; a training that goes on leaves no second temporary file."""
        if (folder / self.checkpoint).exists():
            file = model_file.read(folder / self.checkpoint)
            assert "training" in file.header
            model_file.load_layers(file, {})
        left = leftovers(folder)
        assert len(left) == len(set(left)), left

    def compare(self, whole, folder):
        """The results in two folders are equal, bit by bit."""
        for name in self.results:
            if name.endswith(".csv"):
                assert table(whole / name) == table(folder / name)
            else:
                assert_same_arrays(whole / name, folder / name)


class Script(Training):
    """`fit` with a Checkpoint every five steps."""

    def __init__(self):
        super().__init__(("result.npz",), 0.25)

    def command(self, folder):
        return [KILLED, self.checkpoint, "result.npz"]


class CommandLine(Training):
    """`fastcnn train` with all files that it writes again and again."""

    def __init__(self):
        super().__init__(("out.npz", "best.npz", "log.csv"), 2.0)

    def command(self, folder):
        options = ("--batch-size", "500", "--epochs", "4", "--lr", "0.2", "--seed", "3", "--patience", "4")
        files = ("--out", "out.npz", "--best", "best.npz", "--csv", "log.csv", "--checkpoint", self.checkpoint)
        resumed = ("--resume", self.checkpoint)
        return ["-m", "fastcnn", "train", *(resumed if (folder / self.checkpoint).exists() else (*options, *files))]

    def check(self, folder):
        super().check(folder)
        for name in ("out.npz", "best.npz"):
            if (folder / name).exists():
                Sequential.load(folder / name)
        if (folder / "log.csv").exists():
            table(folder / "log.csv")
