"""Compilation by several processes, into one cache: nothing is compiled twice, and what is loaded is whole."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastcnn import Sequential
from fastcnn.backends import helpers
from fastcnn.backends.numba import compilation
from fastcnn.backends.numba.core import claims
from fastcnn.layers import Conv2D, FullyConnect, Relu, Softmax
from tests.helpers.processes import ROOT, run_python

STEP = """
import hashlib, sys
import numpy as np
from numba.core import event
from fastcnn import Sequential
from fastcnn.backends import helpers
from fastcnn.backends.numba.core.compiling import KIND, Compilations
from fastcnn.layers import FullyConnect, Softmax
compiled, rng = Compilations(), np.random.default_rng(0)
with event.install_listener(KIND, compiled):
    model = Sequential([FullyConnect((8, 6), 5, rng=0), Softmax((8, 5))])
    model.train_on_batch(rng.standard_normal((8, 6)), np.arange(8) % 5)
print(hashlib.sha256(b"".join(array.tobytes() for array in model.layers[0].parameters().values())).hexdigest())
print(len(compiled.seconds), [process.wait(200) for process in helpers._running])
"""

needs_locks = pytest.mark.skipif(claims.fcntl is None, reason="files cannot be locked")


def worker(layers, folder, last_first=False):
    """A worker that has done its work; the functions that it compiled."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(folder)}
    work = json.dumps({"layers": layers, "last_first": last_first}) + "\n"
    command = [sys.executable, "-c", helpers.WORKER]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write(work)
        process.stdin.flush()
        return [json.loads(line)[0] for line in process.stdout]


@pytest.mark.slow
@needs_locks
def test_a_helper_compiles_all_that_a_step_needs(tmp_path):
    """And a step with a helper has the bits of one without; what is lost of the shared functions is made again."""
    made = FullyConnect((8, 6), 5), Softmax((8, 5))
    layers = [json.dumps({"class": layer.name, "config": layer.config()}) for layer in made]
    compiled = worker(layers, tmp_path / "worker")
    assert "gemm.multiply_rows" in compiled and "update.sgd_chunks" in compiled
    alone = run_python("-c", STEP, NUMBA_CACHE_DIR=str(tmp_path / "worker"), FASTCNN_COMPILE_PROCESSES="2")
    digest, rest = alone.stdout.splitlines()
    assert rest == "0 []", alone.stderr  # no helper is started where nothing is compiled
    both = run_python("-c", STEP, NUMBA_CACHE_DIR=str(tmp_path / "both"), FASTCNN_COMPILE_PROCESSES="2")
    assert both.stdout.startswith(digest) and both.stdout.endswith("[0]\n"), both.stdout + both.stderr
    found = [sorted(path.name for path in (tmp_path / name).rglob("*.*")) for name in ("worker", "both")]
    assert set(found[0]) >= set(found[1]) and not any(name.endswith(claims.SUFFIX) for name in found[1])
    (kept,) = (tmp_path / "both").rglob("gemm.multiply_rows-*.nbc")
    kept.unlink()
    again = run_python("-c", STEP, NUMBA_CACHE_DIR=str(tmp_path / "both"))
    assert again.stdout.startswith(digest) and again.stderr == "" and kept.exists()


def test_a_worker_imports_nothing_from_the_folder_it_is_in(tmp_path):
    script, folder = tmp_path / "script.py", tmp_path / "folder"
    folder.mkdir()
    for name in ("json", "numpy", "numba", "fastcnn"):
        (folder / f"{name}.py").write_text("open('imported', 'w').close()")
    script.write_text(
        "from fastcnn.backends import helpers\n"
        "with helpers.worker({'layers': [], 'last_first': True}) as process:\n"
        "    process.stdin.close()\n"
    )
    done = run_python(script, cwd=folder)
    assert done.returncode == 0 and done.stderr == "" and not (folder / "imported").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_worker_ends_with_whom_it_works_for(tmp_path):
    script = """
import sys
from fastcnn import zoo
from fastcnn.backends import helpers
model = zoo.vgg_small((4, 32, 32, 3))
print(helpers.worker({"layers": helpers.described(), "last_first": True}).pid, flush=True)
sys.stdin.read()
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, **pipes) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    state = Path(f"/proc/{pid}/stat")
    for _ in range(400):
        if not state.exists() or state.read_text().split()[2] == "Z":  # "Z": nobody has asked for its status
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("it goes on")


def test_layers_are_described_once_and_as_they_can_be_made():
    """Whatever other tests have left."""

    class Own(Relu):
        pass

    kept = [Conv2D((2, 5, 5, 31), 37), Conv2D((2, 5, 5, 31), 37), Own((2, 41))]
    found = [json.loads(text) for text in helpers.described()]
    mine = [entry for entry in found if entry["config"]["shape"] in ([2, 5, 5, 31], [2, 41])]
    assert [(entry["class"], entry["config"]["output_channels"]) for entry in mine] == [("Conv2D", 37)]
    assert len(kept) == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_number_of_processes_that_is_none(monkeypatch, text):
    monkeypatch.setenv(helpers.VARIABLE, text)
    with pytest.raises(
        ValueError, match=rf"`FASTCNN_COMPILE_PROCESSES` must be a positive integer. Received .*='{text}'"
    ):
        helpers.processes()


def test_nobody_is_started_from_what_is_no_python(monkeypatch):
    assert helpers.can_start()
    for name in ("", "/usr/bin/blender", None):
        monkeypatch.setattr(sys, "executable", name)
        assert not helpers.can_start()
    monkeypatch.undo()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not helpers.can_start()


CLAIM = """
import pathlib, sys
from fastcnn.backends.numba import compilation
from fastcnn.backends.numba.core import claims
assert claims.claim(pathlib.Path(sys.argv[1]))
print("claimed", flush=True)
sys.stdin.readline()
"""


@needs_locks
@pytest.mark.parametrize("ending", ["made", "killed"])
def test_a_claim(tmp_path, ending):
    path = tmp_path / "folder" / "kernel.nbc"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", CLAIM, str(path)], env=environment, **pipes) as other:
        assert other.stdout.readline() == "claimed\n"
        assert not claims.claim(path, 0)  # it is being made
        if ending == "made":
            path.touch()
        other.kill()
    if ending == "made":
        assert not claims.claim(path)
        path.unlink()
    assert claims.claim(path) and claims.claim(path)  # one's own is no obstacle
    claims.release_all()
    assert not list(path.parent.iterdir())


def test_a_folder_that_cannot_be_written_needs_no_claims(tmp_path):
    (tmp_path / "file").touch()
    assert claims.claim(tmp_path / "file" / "kernel.nbc")


def test_a_model_that_is_gone_is_not_compiled():
    model = Sequential([Relu((2, 43))])
    assert any('"shape": [2, 43]' in text for text in helpers.described())
    del model
    assert not any('"shape": [2, 43]' in text for text in helpers.described())


def test_blocks_inside_each_other_share_one_notice(monkeypatch):
    """The command line's, and that of `fit`."""
    registered = []
    monkeypatch.setattr(compilation.event, "register", lambda kind, listener: registered.append(listener))
    monkeypatch.setattr(compilation.event, "unregister", lambda kind, listener: registered.remove(listener))
    with compilation.announced():
        with compilation.announced():
            assert registered == [compilation.notice]
        assert registered == [compilation.notice]
    assert registered == []


class Happening:
    """What numba tells of a function of this package."""

    def __init__(self):
        self.data = {"dispatcher": type("Dispatcher", (), {"py_func": helpers.processes})}


def test_a_bar_counts_what_takes_long(monkeypatch, capsys):
    """While a kernel is compiled, and gone between two."""
    shown = []

    class Bar:
        def __init__(self, **options):
            shown.append(options["desc"])

        def close(self):
            shown.append("closed")

    monkeypatch.setattr(compilation, "tqdm", Bar)
    clock = iter((0, 2, 10, 13, 20, 21))
    monkeypatch.setattr(compilation.time, "perf_counter", lambda: next(clock))
    notice = compilation.Notice()
    for _ in range(3):
        notice.on_start(Happening())
        notice.on_start(Happening())  # a function that it calls
        notice.on_end(Happening())
        notice.on_end(Happening())
    assert shown == ["compiling kernels: 2 in 5 s", "closed"]
    assert capsys.readouterr().err.count("fastcnn: compiling kernels for this processor") <= 1
