"""Processes and threads in numbers: forks before and after kernels have run, workers as data loaders start them, layers
in eight threads at once, and eight processes on one empty kernel cache."""

import importlib
import multiprocessing
import os
import subprocess
import sys

import pytest

from fastcnn.backends.numba.core import store
from tests.helpers.processes import ROOT, run_python


def has(layer):
    """Whether numba can use a threading layer here: OpenMP and TBB need their libraries."""
    try:
        return bool(importlib.import_module(f"numba.np.ufunc.{layer}"))
    except ImportError:
        return False


LAYERS = [name for name, module in (("omp", "omppool"), ("workqueue", "workqueue"), ("tbb", "tbbpool")) if has(module)]
FORK = "fork" in multiprocessing.get_all_start_methods()
REFUSED = "this process was forked from one that had already run a numba kernel"

# What processes and threads compute, small work and work for two threads.
WORK = """
import hashlib, os, sys
import numpy as np
import fastcnn
from fastcnn import zoo
from fastcnn.layers import Conv2D

def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]

def work(seed=0):
    r = np.random.default_rng(seed)
    conv, x = Conv2D((8, 28, 28, 4), 16, 3, 1, method="SAME", rng=seed), r.random((8, 28, 28, 4))
    y = conv.forward(x)
    return digest(y, conv.gradient(y), conv.w_gradient, conv.forward(x[:1]))

def train(seed):
    model, r = zoo.lenet((16, 28, 28, 1), rng=seed), np.random.default_rng(seed)
    model.fit(r.random((32, 28, 28, 1)), r.integers(0, 10, 32), 1, 16, seed=seed, verbose=False)
    return digest(*(array for layer in model.layers for array in layer.parameters().values()))

def attempt(threads=2):
    try:
        with fastcnn.using(threads=threads):
            return work()
    except RuntimeError as error:
        return "refused" if "forked from one that had already run a numba kernel" in str(error) else repr(error)
"""
FORKS = (
    WORK
    + """
import multiprocessing
import fastcnn.backends.numba  # which takes each child a quarter of a second

def forked(threads, compute=attempt):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(compute(threads)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        found = pipe.read()
    return found or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def show(when, threads):
    print(when, threads, "os.fork", forked(threads))
    print(when, threads, "grandchild", forked(threads, forked))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(when, threads, "fork", *set(pool.map(attempt, [threads] * 4)))

if __name__ == "__main__":
    show("before", 2)
    print("here", 1, "itself", attempt(1))
    show("small", 2)  # kernels have run, and none on threads
    print("here", 2, "itself", attempt(2))
    show("after", 1)
    show("after", 2)
    for method in sys.argv[1:]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            print("after", 2, method, pool.apply(attempt))
"""
)


@pytest.fixture(scope="module")
def _compiled():
    """Each process that finds no kernels would compile them again."""
    scope = {}
    exec(WORK, scope)
    scope["work"](), scope["train"](0)


def forks(tmp_path, layer, *methods):
    """What each kind of process computed: {(when, threads, kind): digest}, and the digest of one thread."""
    path = tmp_path / "forks.py"
    path.write_text(FORKS)
    options = {"NUMBA_THREADING_LAYER": layer, "FASTCNN_NUM_THREADS": "2"}
    done = run_python("-W", "ignore", path, *methods, timeout=120, **options)
    found = {tuple(line.split()[:3]): line.split()[3] for line in done.stdout.splitlines()}
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 14 + len(methods), done.stdout + done.stderr
    return found, found["here", "1", "itself"]


@pytest.mark.usefixtures("_compiled")
@pytest.mark.skipif(not FORK, reason="fork")
@pytest.mark.parametrize(
    ("layer", "methods"),
    [(layer, ()) for layer in LAYERS]
    + [pytest.param(layer, ("spawn", "forkserver"), marks=pytest.mark.slow) for layer in LAYERS],
)
def test_processes_compute_the_same_or_are_refused(tmp_path, layer, methods):
    """On one thread everywhere; on two not after OpenMP's threads were started in an ancestor."""
    found, expected = forks(tmp_path, layer, *methods)
    refused = {key for key, value in found.items() if value == "refused"}
    assert {value for key, value in found.items() if key not in refused} == {expected}
    kinds = {("after", "2", kind) for kind in ("os.fork", "fork", "grandchild")}
    assert refused == (kinds if layer == "omp" else set())


@pytest.mark.skipif(not FORK or "omp" not in LAYERS, reason="fork, OpenMP")
@pytest.mark.parametrize("loaded", ["fastcnn.layers", "fastcnn.backends.numba"])
def test_a_fork_after_another_s_use_of_openmp_is_refused(loaded):
    """GNU OpenMP killed the child, whoever had started its threads, and though no kernel of fastcnn's had run."""
    code = f"""
import os
import numba
import {loaded}
from numba.np.ufunc.parallel import _launch_threads
_launch_threads()  # what numba does before a parallel function of anybody's runs
child = os.fork()
if child == 0:
    import numpy as np
    from fastcnn.layers import Relu
    try:
        Relu((1, 2)).forward(np.ones((500_000, 2)))
    except RuntimeError as error:
        print(str(error), flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run_python("-W", "ignore", "-c", code, NUMBA_THREADING_LAYER="omp", FASTCNN_NUM_THREADS="2")
    assert done.stdout.startswith(REFUSED) and done.stdout.endswith("\n0\n"), done.stdout + done.stderr
    assert "fastcnn.set_num_threads(1)" in done.stdout and "get_context('spawn')" in done.stdout


@pytest.mark.skipif(not FORK, reason="fork")
def test_a_fork_waits_for_a_compilation_of_another_thread():
    """The child had a lock that nobody in it could release, and hung at its first kernel."""
    code = """
import os, threading, time
import fastcnn.backends.numba
from numba.core.compiler_lock import global_compiler_lock
entered = threading.Event()
def compile():
    with global_compiler_lock:
        entered.set()
        time.sleep(0.3)
        ended.append(True)
ended = []
thread = threading.Thread(target=compile)
thread.start()
entered.wait(60)
child = os.fork()
if child == 0:
    os._exit(0 if ended and global_compiler_lock._lock.acquire(timeout=5) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread.join()
with global_compiler_lock:
    print("free")
"""
    done = run_python("-W", "ignore", "-c", code, timeout=60)
    assert done.stdout == "0\nfree\n", done.stderr


THREADS = (
    WORK
    + """
import threading

shared, images = zoo.lenet((16, 28, 28, 1), rng=9), np.random.default_rng(9).random((8, 24, 28, 28, 1))
conv = Conv2D((8, 28, 28, 4), 16, 3, 1, method="SAME", rng=9)
inputs = np.random.default_rng(9).random((8, 8, 28, 28, 4))
JOBS = [lambda i: work(i), lambda i: train(i), lambda i: digest(shared.predict(images[i])),
        lambda i: digest(conv.forward(inputs[i]))]
rounds = int(sys.argv[1])
with fastcnn.using(threads=1):
    expected = [[job(i) for job in JOBS] for i in range(8)]
wrong, barrier = [], threading.Barrier(8)

def run(i):
    for number in range(rounds):
        barrier.wait(60)
        for k in range(len(JOBS)):
            k = (k + i * (number % 2)) % len(JOBS)  # all do the same, or each another
            if JOBS[k](i) != expected[i][k]:
                wrong.append((i, k))

threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(wrong, fastcnn.get_num_threads())
"""
)


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rounds", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_eight_threads_compute_what_one_does(layer, rounds):
    """Layers and models of their own, training, and one model and one layer that all share."""
    options = {"NUMBA_THREADING_LAYER": layer, "FASTCNN_NUM_THREADS": "3"}
    done = run_python("-c", THREADS, rounds, timeout=300, **options)
    assert done.stdout == "[] 3\n", done.stdout + done.stderr


BUSY = (
    WORK
    + """
import threading, time

def launch():
    conv, x = Conv2D((16, 64, 64, 8), 16, 3, 1, method="SAME", rng=0), np.ones((16, 64, 64, 8), np.float32)
    while not ended:
        conv.forward(x)

ended, found, expected = [], set(), attempt(1)
attempt(2)
thread = threading.Thread(target=launch)
thread.start()
for _ in range(20):
    time.sleep(0.003)
    child = os.fork()
    if child == 0:
        found = attempt(2)
        os._exit({expected: 10, "refused": 11}.get(found, 12))
    found.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
ended.append(True)
thread.join()
print(found)
"""
)


@pytest.mark.slow
@pytest.mark.usefixtures("_compiled")
@pytest.mark.skipif(not FORK, reason="fork")
@pytest.mark.parametrize("layer", LAYERS)
def test_forks_while_another_thread_runs_kernels(layer):
    options = {"NUMBA_THREADING_LAYER": layer, "FASTCNN_NUM_THREADS": "2"}
    done = run_python("-W", "ignore", "-c", BUSY, timeout=120, **options)
    assert done.stdout == ("{11}\n" if layer == "omp" else "{10}\n"), done.stdout + done.stderr


COLD = """
import sys
import numpy as np
from numba.core import event
from fastcnn.backends.numba.core.compiling import Compilations
from fastcnn.layers import Relu
compiled = Compilations()
with event.install_listener("numba:compile", compiled):
    layer = Relu((1, 2), dtype=sys.argv[1])
    print(layer.forward(np.array([[1, -2]] * 500_000)).sum(), layer.gradient(np.ones((500_000, 2))).sum())
print(len(compiled.seconds))
"""


@pytest.mark.slow
def test_eight_processes_on_one_empty_cache(tmp_path):
    """Of two dtypes: each kernel is kept for both, and the next process compiles nothing."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "FASTCNN_NUM_THREADS": "2",
    }

    def start(dtype):
        command = [sys.executable, "-c", COLD, dtype]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    running = [start(("float32", "float64")[i % 2]) for i in range(8)]
    for process in running:
        out, error = process.communicate(timeout=200)
        assert process.returncode == 0 and out.startswith("500000.0 500000.0\n") and error == "", error
    for dtype in ("float32", "float64"):
        out, error = start(dtype).communicate(timeout=60)
        assert out == "500000.0 500000.0\n0\n" and error == ""
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) >= 5 and {path.suffix for path in kept} == {store.SUFFIX}
    assert all(store.read(path) for path in kept)
