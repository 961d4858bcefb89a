"""Threads, dtype, processes, caches: what does not show in a single result."""

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import threadpoolctl

import fastcnn
from fastcnn import zoo
from fastcnn.backends.numba.core import jit
from fastcnn.layers import Conv2D, Relu
from fastcnn.threads import MAX_THREADS, available_cores
from tests.helpers.processes import ROOT, run_fastcnn, run_python
from tests.helpers.switches import threads

TRAIN = """
import hashlib, sys
import numpy as np
import fastcnn
from fastcnn import zoo
digests = set()
for threads in map(int, sys.argv[1:]):
    fastcnn.set_num_threads(threads)
    for dtype in ("float32", "float64"):
        model = zoo.lenet((32, 28, 28, 1), rng=0, dtype=dtype)
        r = np.random.default_rng(0)
        model.fit(r.integers(0, 256, (150, 28, 28, 1)), r.integers(0, 10, 150), 2, 40, seed=1, verbose=False)
        digest = hashlib.sha256()
        for layer in model.layers:
            for array in layer.parameters().values():
                digest.update(array.tobytes())
        print(dtype, digest.hexdigest())
"""


def test_results_are_bitwise_equal_at_every_thread_count():
    lines = []
    for counts in ((1, 2, 3, 7), (2,)):  # and from process to process
        done = run_python("-c", TRAIN, *counts, FASTCNN_NUM_THREADS="7")
        assert done.returncode == 0, done.stderr
        lines += done.stdout.splitlines()
    assert len(lines) == 10 and len(set(lines)) == 2  # one digest for each dtype


def test_num_threads(threads_variable, monkeypatch):
    launched, before = [], jit._before_launch
    monkeypatch.setattr(jit, "_before_launch", lambda threads: (launched.append(threads), before(threads)))
    assert fastcnn.get_num_threads() == available_cores()
    with threads(1):
        assert fastcnn.get_num_threads() == 1
        blas = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        assert set(blas) <= {1}
        Relu((1, 2)).forward(np.ones((jit.SMALL_WORK, 2)))
        assert launched == []  # the caller does it alone
    with threads(2):
        Relu((1, 2)).forward(np.ones((jit.SMALL_WORK, 2)))
        assert launched == [2]
    threads_variable("3")
    assert fastcnn.get_num_threads() == 3
    threads_variable("many")
    with pytest.raises(ValueError, match=r"`FASTCNN_NUM_THREADS` must be an integer from 1 to 1024. Received .*'many'"):
        fastcnn.get_num_threads()
    for wrong in (0, -1, 1.5, True, "2", 1025):
        with pytest.raises(ValueError, match="`threads` must be an integer from 1 to 1024"):
            fastcnn.set_num_threads(wrong)


@pytest.mark.slow
def test_a_smaller_pool_of_numba_is_respected():
    code = "import fastcnn; from fastcnn.layers import Relu; print(Relu((1, 99999)).forward([[-1] * 99999]).sum(), {})"
    done = run_python("-c", code.format("fastcnn.get_num_threads()"), NUMBA_NUM_THREADS="1")
    assert done.stdout == "0.0 1\n", done.stderr
    done = run_python("-c", "import numba; " + code.format(0), NUMBA_NUM_THREADS="1", FASTCNN_NUM_THREADS="4")
    assert "ValueError: FASTCNN_NUM_THREADS must be at most 1, the size of numba's thread pool" in done.stderr
    done = run_fastcnn("info", "--json", NUMBA_NUM_THREADS="1")
    assert json.loads(done.stdout.splitlines()[-1])["threads"] == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_a_forked_worker_counts_its_own_cores():
    script = """
import os
import fastcnn
fastcnn.get_num_threads()
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(fastcnn.get_num_threads(), flush=True)
    os._exit(0)
"""
    assert run_python("-c", script).stdout == "1\n"


def test_numba_without_its_compiler():
    done = run_fastcnn("info", NUMBA_DISABLE_JIT="1")
    assert done.returncode == 1 and "NUMBA_DISABLE_JIT is set: unset it, or select the NumPy backend" in done.stderr


def test_a_signal_handler_may_run_kernels():
    code = """
import signal
import numpy as np
from fastcnn.layers import Relu
relu, inner = Relu((64, 400)), Relu((64, 400))
x = np.ones(relu.input_shape, np.float32)
inner.forward(x)
handled = []
signal.signal(signal.SIGALRM, lambda *_: handled.append(inner.forward(x).sum()))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
while len(handled) < 300:
    assert relu.forward(x).sum() == x.size
signal.setitimer(signal.ITIMER_REAL, 0)
print(set(handled) == {x.size})
"""
    done = run_python("-c", code, timeout=60)
    assert done.stdout == "True\n", done.stderr


def test_a_child_forked_in_the_midst_of_a_launch_has_its_own_locks():
    code = """
import os, sys
from fastcnn.backends.numba.core import jit, memory
jit.shared.lock.acquire()
memory.POOL.lock.acquire()
import threading
def fork():
    child = os.fork()
    if child == 0:
        os._exit(0 if jit.shared.lock.acquire(timeout=5) and memory.POOL.lock.acquire(timeout=5) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""
    done = run_python("-W", "ignore", "-c", code)
    assert done.stdout == "0\n", done.stderr


def test_more_threads_than_the_pool_holds():
    import numba

    with pytest.raises(
        ValueError, match=rf"at most {numba.config.NUMBA_NUM_THREADS}.*For more, start it with FASTCNN_NUM_THREADS=99"
    ):
        fastcnn.set_num_threads(99)
    code = """
import fastcnn
fastcnn.set_num_threads(9)  # before numba is imported: the pool is made to hold them
from fastcnn.layers import Relu
Relu((1, 99999)).forward([[1] * 99999])  # little work stays on one thread
import numba
print(numba.get_num_threads())
"""
    assert run_python("-c", code).stdout == "9\n"


def test_environment_variable_reaches_blas():
    code = """
import fastcnn, threadpoolctl, numpy
fastcnn.layers.Relu((1, 2)).forward([[1, 2]])
print({pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"})
"""
    done = run_python("-c", code, FASTCNN_NUM_THREADS="1", FASTCNN_BACKEND="numpy")
    assert done.stdout == "{1}\n"


@pytest.mark.parametrize("dtype", ["int32", "float16", "nonsense", object])
def test_bad_dtype(dtype):
    with pytest.raises(ValueError, match=r"must be one of 'float32', 'float64'. Received dtype="):
        fastcnn.set_dtype(dtype)
    with pytest.raises(ValueError, match=r"Relu: `dtype` must be one of"):
        Relu((1, 2), dtype=dtype)


def test_dtype_environment_variable():
    show = "import fastcnn; print(fastcnn.layers.FullyConnect((1, 2)).weights.dtype)"
    assert run_python("-c", show, FASTCNN_DTYPE="float64").stdout == "float64\n"
    assert "Received FASTCNN_DTYPE='half'" in run_python("-c", show, FASTCNN_DTYPE="half").stderr


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_python_threads_may_run_kernels_at_once(layer):
    code = """
import threading, numpy as np
from fastcnn.layers import Conv2D
def work(seed):
    conv = Conv2D((2, 12, 12, 3), 8, rng=seed)
    x = np.random.default_rng(seed).random((2, 12, 12, 3))
    wanted = conv.forward(x)
    for _ in range(50):
        conv.gradient(wanted)
        assert (conv.forward(x) == wanted).all()
    done.append(seed)
done = []
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(done))
"""
    result = run_python("-c", code, NUMBA_THREADING_LAYER=layer)
    assert result.stdout == "[0, 1, 2, 3]\n", result.stderr


def forward_here(layer, x):
    return layer.forward(x)


def test_layers_travel_between_processes(rng):
    conv = Conv2D((2, 6, 6, 1), 3)
    x = rng.random((2, 6, 6, 1))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(forward_here, (conv, x)), conv.forward(x))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="fork")
def test_a_forked_child_fails_with_words_or_works():
    code = """
import multiprocessing, sys
from fastcnn.layers import Relu
relu = Relu((1, 2))
few, many = [[1, -2]], [[1, -2]] * 100_000
relu.forward(many)
def child(queue):
    try:
        assert relu.forward(few).tolist() == [[1, 0]]
        queue.put(relu.forward(many)[:1].tolist())
    except RuntimeError as error:
        queue.put(str(error))
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    print(queue.get(timeout=60))
    process.join()
"""
    omp = run_python("-W", "ignore", "-c", code, NUMBA_THREADING_LAYER="omp").stdout
    assert "was forked from one that had already run a numba kernel" in omp and "get_context('spawn')" in omp
    assert run_python("-W", "ignore", "-c", code, NUMBA_THREADING_LAYER="workqueue").stdout == "[[1.0, 0.0]]\n"
    # What starts OpenMP counts, and not that a kernel has run.
    started = code.replace("relu.forward(many)\ndef", "from fastcnn.commands import info\ninfo.numba_facts()\ndef")
    omp = run_python("-W", "ignore", "-c", started, NUMBA_THREADING_LAYER="omp").stdout
    assert started != code and "get_context('spawn')" in omp


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path):
    """No home at all, or a cache path that is a file: kernels compile and are not kept."""
    (tmp_path / "file").write_text("")
    code = """
from fastcnn.backends.numba.core import cache
from fastcnn.layers import Relu
print(cache.CACHE_FOLDER, Relu((1, 2)).forward([[1, -2]]))
"""
    done = run_python("-c", code, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert done.stdout == "None [[1. 0.]]\n", done.stderr


def test_kernels_are_kept_in_folders_named_by_their_sources_and_width(tmp_path):
    from fastcnn.backends.numba.core import width

    code = """
from fastcnn.layers import Relu
Relu((1, 2)).forward([[1, -2]])
from fastcnn.backends.numba.core.cache import sources_of
print(*sorted(sources_of("fastcnn.backends.numba.pointwise.elementwise")))
"""
    done = run_python("-c", code, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    sources = hashlib.sha256(str(width.VECTOR_BYTES).encode())
    for name in done.stdout.split():
        sources.update(hashlib.sha256((ROOT / f"{name.replace('.', '/')}.py").read_bytes()).digest())
    (folder,) = (tmp_path / "fastcnn").glob("elementwise-*")
    assert folder.name == f"elementwise-{sources.hexdigest()[:16]}"
    assert list(folder.rglob("*.nbc"))


KEYS = """
import importlib, json, pkgutil, sys
import fastcnn.backends.numba as backend
from fastcnn.backends.numba.core import cache
names = [module.name for module in pkgutil.walk_packages(backend.__path__, f"{backend.__name__}.")]
modules = [importlib.import_module(name) for name in names]
keys = [name for name in names if any("numba" in type(thing).__module__ for thing in vars(sys.modules[name]).values())]
print(json.dumps({name[len(backend.__name__) + 1 :]: cache.folder_of(name) for name in keys}))
"""
EDITS = {  # a file in which a comment is added, and modules whose kernels are then compiled again, and are not
    "backends/numba/pooling/forward.py": (
        {"pooling.forward", "pooling.gradient"},
        {"product.gemm", "convolution.direct"},
    ),
    "backends/numba/core/arithmetic.py": ({"pooling.forward", "product.gemm", "convolution.direct"}, set()),
    "backends/numba/core/tasks.py": ({"pooling.forward", "product.gemm", "pointwise.dropout"}, set()),
    "splitmix.py": ({"pointwise.dropout"}, {"pointwise.elementwise", "product.gemm", "pooling.forward"}),
    "config.py": (set(), {"pointwise.dropout", "product.gemm", "pooling.forward", "convolution.direct"}),
}


@pytest.mark.slow
def test_an_edit_compiles_what_it_reaches_and_nothing_else(tmp_path):
    """The key of a module is made of all sources that it imports: constants are frozen into kernels too."""
    shutil.copytree(ROOT / "fastcnn", tmp_path / "fastcnn", ignore=shutil.ignore_patterns("__pycache__", "data"))

    def keys():
        done = run_python("-c", KEYS, PYTHONPATH=str(tmp_path), cwd=tmp_path, NUMBA_CACHE_DIR=str(tmp_path))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    before = keys()
    assert len(set(before.values())) == len(before) > 20
    for name, (reached, others) in EDITS.items():
        path = tmp_path / "fastcnn" / name
        text = path.read_text()
        path.write_text(f"{text}# edited\n")
        changed = {module for module, folder in keys().items() if folder != before[module]}
        path.write_text(text)
        assert reached <= changed and not others & changed, (name, changed)
        if "pooling" in name:
            assert {module.split(".")[0] for module in changed} == {"pooling"}


@pytest.mark.slow
def test_both_backends_learn_the_same(digits):
    accuracies = []
    for name in ("numpy", "numba"):
        with fastcnn.use_backend(name):
            model = zoo.lenet((32, 28, 28, 1), rng=0)
            model.fit(digits.train_images, digits.train_labels, 3, 32, learning_rate=0.1, seed=0, verbose=False)
            accuracies.append(model.evaluate(digits.test_images, digits.test_labels).accuracy)
    assert min(accuracies) > 0.94
    assert abs(accuracies[0] - accuracies[1]) <= 0.01


def test_works_without_docstrings_and_asserts():
    done = subprocess.run([sys.executable, "-OO", "-c", "import fastcnn.layers, fastcnn.cli"], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_any_number_of_threads_fits_into_an_argument():
    assert MAX_THREADS < 1 << jit.THREAD_BITS and jit.TASK_BITS + 2 * jit.THREAD_BITS < 64


WARM = """
import itertools, sys
import numpy as np
from fastcnn import Sequential, using, zoo
from fastcnn.backends.numba.compilation import call_all
from fastcnn.backends.numba.core import jit
from fastcnn.layers import ELU, AvgPooling, BatchNorm, Conv2D, Dropout, FullyConnect, GlobalAvgPooling, LeakyRelu
from fastcnn.layers import Conv2DTranspose, DepthwiseConv2D, MaxPooling, PReLU, Sigmoid, Softmax, Tanh

def signatures():
    modules = [module for name, module in sys.modules.items() if name.startswith("fastcnn.backends.numba.")]
    things = [thing for module in modules for thing in vars(module).values()]
    compiled = [getattr(thing, "compiled", thing) for thing in things]
    return {str(c.py_func): list(map(str, c.signatures)) for c in compiled if hasattr(c, "signatures")}


call_all("float32")
assert jit.shared.loop.value
before, addresses = signatures(), len(jit.shared.addressed)
for batch, jit.SMALL_WORK in itertools.product((1, 3, 40), (1 << 60, 0)):  # without threads, and with them
    shape, y = (batch, 16, 16, 3), np.zeros(batch, int)
    odd = [Conv2D(shape, 5, 4, 2), LeakyRelu((batch, 7, 7, 5)), AvgPooling((batch, 7, 7, 5), 3, 2)]
    odd += [FullyConnect((batch, 3, 3, 5), 10), Softmax((batch, 10))]
    newer = [kind(shape) for kind in (BatchNorm, ELU, Tanh, Dropout, Sigmoid, PReLU)]
    newer += [MaxPooling(shape, 3, 2, padding=1), GlobalAvgPooling((batch, 9, 9, 3)), Softmax((batch, 3))]
    convs = [Conv2D(shape, 24, (1, 5), (2, 1), padding=((0, 1), (2, 2)))]
    convs += [DepthwiseConv2D(convs[-1].output_shape, 3, 1, "SAME", bias=False)]
    convs += [Conv2D(convs[-1].output_shape, 64, 3, 1, "SAME_UPPER", dilation=2, groups=2)]
    convs += [DepthwiseConv2D(convs[-1].output_shape, 3, 2, "SAME")]
    convs += [Conv2D(convs[-1].output_shape, 64, 3, 1, "SAME", groups=8)]
    convs += [Conv2DTranspose(convs[-1].output_shape, 8, 4, 2, padding=1, groups=2)]
    convs += [Conv2DTranspose(convs[-1].output_shape, 3, 2, 2, bias=False)]
    convs += [FullyConnect(convs[-1].output_shape, 10), Softmax((batch, 10))]
    for model in (zoo.lenet(shape), zoo.vgg_small(shape), Sequential(odd), Sequential(newer), Sequential(convs)):
        model.fit(np.ones(shape), y, verbose=False)
        model.gradient(np.ones_like(model.logits(np.ones(shape))))
        model.predict(np.ones(shape))
    with using(conv="winograd"):
        strided = Sequential([Conv2D(shape, 5, 3, 2), FullyConnect((batch, 7, 7, 5), 10), Softmax((batch, 10))])
        strided.fit(np.ones(shape), y, verbose=False)
        strided.gradient(np.ones_like(strided.logits(np.ones(shape))))
print(*sorted(found._library.name for found in jit.shared.addressed[addresses:]), end="")
for name, found in signatures().items():
    if found != before[name]:
        print(name, found, before[name])
"""


def test_nothing_is_left_to_compile_after_all_kernels():
    """Whatever the cache holds: what a function is compiled for is also what is read from there. Of channels by
    themselves only usual kernels, as each side, stride and dilation has its own code."""
    done = run_python("-c", WARM)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_fit_says_that_it_compiles(tmp_path):
    script = """
import sys
import numpy as np
from fastcnn import Sequential
from fastcnn.layers import FullyConnect, Softmax
model = Sequential([FullyConnect((4, 3), 2), Softmax((4, 2))])
model.fit(np.ones((4, 3)), np.zeros(4, int), verbose=sys.argv[1] == "aloud")
"""
    silent = run_python("-c", script, "silent", NUMBA_CACHE_DIR=str(tmp_path / "one"))
    assert silent.returncode == 0 and silent.stderr == ""
    for count in (1, 0):
        aloud = run_python("-c", script, "aloud", NUMBA_CACHE_DIR=str(tmp_path / "two"))
        assert aloud.stderr.count("fastcnn: compiling kernels") == count


@pytest.mark.parametrize(
    ("variables", "expected"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "")]
)
def test_waiting_threads_soon_sleep(variables, expected):
    """Unless the user has said how they wait."""
    code = "import fastcnn.backends.numba, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = run_python("-c", code, **{"GOMP_SPINCOUNT": "", "OMP_WAIT_POLICY": ""} | variables)
    assert done.stdout.strip() == expected
