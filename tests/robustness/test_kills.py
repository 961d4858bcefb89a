"""Processes that are ended at random moments, most of them by kill -9: what they have written is whole, and the next
one goes on from it."""

import os
import random
import shutil
import signal

import pytest

from fastcnn import Sequential
from fastcnn.backends.numba.core import store
from tests.helpers.processes import run_python
from tests.helpers.victims import CommandLine, Count, Script, end_at_random, leftovers

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")

long = pytest.mark.long
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("training", "kills"),
    [
        pytest.param(Script(), 4, marks=slow),
        pytest.param(CommandLine(), 2, marks=slow),
        pytest.param(Script(), 110, marks=long),
        pytest.param(CommandLine(), 40, marks=long),
    ],
    ids=["script", "command line", "script, long", "command line, long"],
)
def test_a_training_that_is_ended_again_and_again(tmp_path, figures, training, kills):
    """Its files are at any moment whole or not there, and in the end those of a training that nobody ended."""
    whole, folder = tmp_path / "whole", tmp_path / "ended"
    whole.mkdir()
    folder.mkdir()
    finish(training, whole)
    moment, count = random.Random(5), Count()
    while count.ended < kills:
        running = end_at_random(training.command(folder), folder, moment, training.longest, count)
        training.check(folder)
        if not running:  # done before: once more from the start
            training.compare(whole, folder)
            shutil.rmtree(folder)
            folder.mkdir()
    finish(training, folder)
    training.compare(whole, folder)
    assert sorted(os.listdir(folder)) == sorted(os.listdir(whole))
    figures(str(count))


def finish(training, folder):
    done = run_python(*training.command(folder), cwd=folder)
    assert done.returncode == 0, done.stderr


def test_a_leftover_is_counted_once(tmp_path):
    """After the process that has left it."""
    count = Count()
    for name in ("first", "first", "second"):
        code = f"import time; open('.{name}.tmp', 'w'); print(1, flush=True); time.sleep(60)"
        assert end_at_random(["-ISc", code], tmp_path, random.Random(0), 0.0, count)
    assert (count.ended, count.halfway) == (3, 2) and leftovers(tmp_path) == ["", ""]


SAVES = """
import sys
import numpy as np
import fastcnn
from fastcnn.layers import FullyConnect
fastcnn.set_backend("numpy")
model = fastcnn.Sequential([FullyConnect((1, 1000), 4000, initializer="zeros")])
print("begun", flush=True)
for number in range(1 << 20):
    model.layers[0].weights[:] = number
    model.metadata["number"] = number
    model.save(sys.argv[1])
"""


@pytest.mark.parametrize("kills", [pytest.param(2, marks=slow), pytest.param(20, marks=long)])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_model_that_is_being_saved(tmp_path, figures, suffix, kills):
    """16 MB, of which nearly every moment lies within a write: the file is an old one or the new one. What was left is
    removed when it is an hour old."""
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    path, moment, count, numbers = tmp_path / f"model.{suffix}", random.Random(6), Count(), []
    while count.ended < kills:
        assert end_at_random(["-c", SAVES, path], tmp_path, moment, 0.4, count)
        if path.exists():
            model = Sequential.load(path)
            numbers.append(model.metadata["number"])
            assert (model.layers[0].weights == numbers[-1]).all()
        for left in tmp_path.glob(".*.tmp"):
            os.utime(left, (0, 0))
    model.save(path)
    assert os.listdir(tmp_path) == [path.name]
    figures(f"{count}, files of {numbers}")


KERNELS = """
import sys, numba
from numba import types
from fastcnn.backends.numba.core.store import KernelCache
def kernel(x):
    return x
cache, payload = KernelCache(kernel, sys.argv[1]), "0123456789abcdef" * (1 << 18)
print("begun", flush=True)
while True:
    for name in (types.float32, types.float64, types.int64):
        cache.save((name, (), ()), (payload, str(name)))
"""


@pytest.mark.parametrize("kills", [pytest.param(2, marks=slow), pytest.param(16, marks=long)])
def test_kernels_that_are_being_kept(tmp_path, figures, kills):
    """4 MB each: a file is whole, and the next process that keeps the same kernel removes what was left of it."""
    moment, count = random.Random(7), Count()
    while count.ended < kills:
        assert end_at_random(["-c", KERNELS, tmp_path], tmp_path, moment, 0.2, count)
        for path in tmp_path.glob(f"*{store.SUFFIX}"):
            assert len(store.read(path)) > 1 << 22
        assert len(leftovers(tmp_path)) <= 3  # one of each kernel
    figures(str(count))


FIRST = """
import sys
import numpy as np
from fastcnn.layers import Conv2D, Relu
print("begun", flush=True)
relu = Relu((1, 2)).forward(np.array([[1, -2]] * 500_000)).sum()
print(relu, *([Conv2D((2, 8, 8, 1), 2, initializer=1.0).forward(np.ones((2, 8, 8, 1))).sum()] if sys.argv[1:] else ()))
"""


@pytest.mark.parametrize(
    ("kills", "longest", "more"), [pytest.param(1, 3.0, (), marks=slow), pytest.param(4, 15.0, ("conv",), marks=long)]
)
def test_a_first_process_that_compiles(tmp_path, figures, kills, longest, more):
    """Of an empty cache: the second process finds nothing that is damaged, and computes what is right."""
    moment, count = random.Random(8), Count()
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "FASTCNN_NUM_THREADS": "2"}
    for _ in range(kills):
        shutil.rmtree(tmp_path / "fastcnn", ignore_errors=True)
        end_at_random(["-c", FIRST, *more], tmp_path, moment, longest, count, **environment)
        done = run_python("-c", FIRST, *more, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split()[1:] == ["500000.0", "1296.0"][: 1 + len(more)]
    kept = [path for path in (tmp_path / "fastcnn").rglob("*") if path.is_file()]
    assert kept and all(path.suffix == store.SUFFIX for path in kept)
    figures(str(count))
