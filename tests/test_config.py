"""`fastcnn.using`; and what is stronger: the block, `set_*`, the environment, the default."""

import asyncio
import contextlib
import multiprocessing
import sys
import threading

import numpy as np
import pytest
import threadpoolctl

import fastcnn
from fastcnn import config, threads
from fastcnn.backends.active import active
from fastcnn.layers import Conv2D, Relu
from tests.helpers.processes import run_python
from tests.helpers.switches import switches_kept

# Each switch with a value that no test has by default, one that is wrong, and what the message says.
SWITCHES = {
    "backend": ("numpy", "cuda", "one of 'numba', 'numpy', 'check'"),
    "dtype": (np.dtype("float64"), "int8", "one of 'float32', 'float64'"),
    "threads": (1, 0, "an integer from 1 to 1024"),
    "conv": ("direct", "fft", "one of 'auto', 'winograd', 'lanes', 'direct', 'im2col'"),
}


def state():
    """All that is on, here."""
    return {
        "backend": fastcnn.get_backend(),
        "dtype": fastcnn.get_dtype(),
        "threads": fastcnn.get_num_threads(),
        "conv": fastcnn.get_conv_algorithm(),
    }


def set_all(backend, dtype, threads, conv):
    fastcnn.set_backend(backend)
    fastcnn.set_dtype(dtype)
    fastcnn.set_num_threads(threads)
    fastcnn.set_conv_algorithm(conv)


def blas():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _as_before():
    """Two threads at least, whatever the machine; and every test leaves all as it was."""
    before = state(), blas()
    with switches_kept():
        fastcnn.set_num_threads(2)
        yield
        assert config._blocks.get() == () and config._with_threads == []
    assert (state(), blas()) == before


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_block_changes_one_switch(switch):
    before, value = state(), SWITCHES[switch][0]
    assert before[switch] != value
    with fastcnn.using(**{switch: value}):
        assert state() == before | {switch: value}
    assert state() == before


def test_a_block_changes_all_switches():
    values, before = {name: facts[0] for name, facts in SWITCHES.items()}, state()
    with fastcnn.using(**values):
        assert state() == values
    assert state() == before


def test_what_a_block_chooses_is_what_is_used(rng, monkeypatch):
    x = rng.standard_normal((1, 8, 8, 2))
    with fastcnn.using(dtype="float64", backend="numpy"):
        layer = Conv2D(x.shape, 3)
        assert active().__name__ == "fastcnn.backends.numpy"
        assert layer.forward(x).dtype == np.float64
    assert active().__name__ == "fastcnn.backends.numba"
    assert Relu(x.shape).forward(x).dtype == np.float32
    from fastcnn.backends.numba.core import jit

    launched, before = [], jit._before_launch
    monkeypatch.setattr(jit, "_before_launch", lambda threads: (launched.append(threads), before(threads)))
    with fastcnn.using(threads=1):
        Relu((1, 2)).forward(np.ones((jit.SMALL_WORK, 2)))
        assert launched == []
    Relu((1, 2)).forward(np.ones((jit.SMALL_WORK, 2)))
    assert launched == [2]


def test_blocks_nest():
    with fastcnn.using(backend="numpy", conv="direct"):
        with fastcnn.using(conv="im2col", threads=1):
            assert state() == {"backend": "numpy", "dtype": np.float32, "threads": 1, "conv": "im2col"}
            with fastcnn.use_backend("check"), fastcnn.using(threads=2):
                assert state() == {"backend": "check", "dtype": np.float32, "threads": 2, "conv": "im2col"}
            assert fastcnn.get_backend() == "numpy" and fastcnn.get_num_threads() == 1
        assert state() == {"backend": "numpy", "dtype": np.float32, "threads": 2, "conv": "direct"}


def test_an_empty_block_changes_nothing():
    before = state()
    with fastcnn.using(), fastcnn.using(backend=None, dtype=None, threads=None, conv=None):
        assert state() == before


def test_an_exception_ends_a_block():
    before = state()
    with pytest.raises(KeyError), fastcnn.using(backend="numpy", threads=1):
        raise KeyError
    assert state() == before


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_bad_value_changes_nothing(switch):
    _, wrong, message = SWITCHES[switch]
    others = {name: facts[0] for name, facts in SWITCHES.items() if name != switch}
    before, block = state(), fastcnn.using(**others, **{switch: wrong})
    with pytest.raises(ValueError, match=rf"^using: `{switch}` must be {message}\. Received {switch}={wrong!r}"):
        block.__enter__()
    assert state() == before
    with pytest.raises(TypeError, match="unexpected keyword"):
        fastcnn.using(backends="numpy")


def test_more_threads_than_the_pool_has():
    import numba

    most = numba.config.NUMBA_NUM_THREADS
    with pytest.raises(ValueError, match=f"using: `threads` must be at most {most}, the size of"):
        fastcnn.using(threads=most + 1).__enter__()


def test_a_block_makes_numba_s_pool_as_large_as_it_asks():
    code = """
import fastcnn
from fastcnn.layers import Relu
with fastcnn.using(threads=9, backend="numba"):
    Relu((1, 99999)).forward([[1] * 99999] * 9)
    import numba
    print(numba.get_num_threads())
"""
    done = run_python("-c", code)
    assert done.stdout == "9\n", done.stderr


def test_a_backend_that_cannot_be_loaded_changes_nothing():
    code = """
import sys
sys.modules["numba"] = None
import fastcnn
fastcnn.set_backend("numpy")
for block in (fastcnn.using(backend="numba", threads=1, conv="direct"), fastcnn.use_backend("check")):
    try:
        block.__enter__()
    except ImportError as error:
        print(error, fastcnn.get_backend(), fastcnn.get_num_threads() == 2, fastcnn.get_conv_algorithm())
"""
    lines = run_python("-c", code, FASTCNN_NUM_THREADS="2").stdout.splitlines()
    assert len(lines) == 2 and all("needs numba, which is not installed" in line for line in lines)
    assert all(line.endswith("numpy True auto") for line in lines)


def test_a_block_is_stronger_than_set():
    values = {name: facts[0] for name, facts in SWITCHES.items()}
    others = {"backend": "check", "dtype": np.dtype("float32"), "threads": 2, "conv": "im2col"}
    with fastcnn.using(**values):
        set_all(**others)
        assert state() == values
    assert state() == others


def test_set_is_stronger_than_the_environment_and_that_than_the_default():
    code = """
import fastcnn
def show():
    print(fastcnn.get_backend(), fastcnn.get_dtype(), fastcnn.get_num_threads(), fastcnn.get_conv_algorithm())
show()
with fastcnn.using(backend="check", dtype="float32", threads=4, conv="winograd"):
    show()
show()
fastcnn.set_backend("check"); fastcnn.set_dtype("float32")
fastcnn.set_num_threads(5); fastcnn.set_conv_algorithm("im2col")
show()
"""
    variables = {"BACKEND": "numpy", "DTYPE": "float64", "NUM_THREADS": "6", "CONV": "direct"}
    done = run_python("-c", code, **{f"FASTCNN_{name}": value for name, value in variables.items()})
    assert done.stdout.splitlines() == [
        "numpy float64 6 direct",
        "check float32 4 winograd",
        "numpy float64 6 direct",
        "check float32 5 im2col",
    ], done.stderr
    done = run_python("-c", code.partition("with")[0])
    assert done.stdout == f"numba float32 {threads.available_cores()} auto\n"


def test_a_block_is_of_one_thread(rng):
    """And the thread that it starts has what is set for all."""
    seen, barrier = {}, threading.Barrier(2, timeout=60)

    def work(name, **switches):
        with fastcnn.using(**switches):
            barrier.wait()  # both are in their blocks
            seen[name] = state()
            barrier.wait()
        seen[f"{name} afterwards"] = state()

    before = state()
    with fastcnn.using(dtype="float64"):
        both = [
            threading.Thread(target=work, args=("a",), kwargs={"backend": "numpy", "threads": 1}),
            threading.Thread(target=work, args=("b",), kwargs={"conv": "direct"}),
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert state() == before | {"dtype": np.float64}
    inherited = {"dtype": np.float64} if getattr(sys.flags, "thread_inherit_context", 0) else {}
    assert seen["a"] == before | {"backend": "numpy", "threads": 1} | inherited
    assert seen["b"] == before | {"conv": "direct"} | inherited
    assert seen["a afterwards"] == seen["b afterwards"] == before | inherited


def test_a_block_is_of_one_task():
    """Tasks that take turns in one thread; each begins with what was on where it was made."""

    async def work(backend, threads):
        with fastcnn.using(backend=backend, threads=threads):
            for _ in range(5):
                await asyncio.sleep(0)
                assert (fastcnn.get_backend(), fastcnn.get_num_threads()) == (backend, threads)
        return state()

    async def main():
        before = state()
        with fastcnn.using(conv="direct"):
            found = await asyncio.gather(work("numpy", 1), work("check", 2), work("numba", 1))
        assert found == [before | {"conv": "direct"}] * 3
        assert state() == before

    asyncio.run(main())


def test_a_block_in_a_generator():
    """It is open for the caller while the generator waits in it, and whoever leaves first, nothing is left over."""

    def batches():
        with fastcnn.using(backend="numpy", threads=1):
            yield fastcnn.get_backend()
            yield fastcnn.get_backend()

    before = state()
    assert list(batches()) == ["numpy", "numpy"] and state() == before
    waiting = batches()
    assert next(waiting) == "numpy" == fastcnn.get_backend()
    with fastcnn.using(conv="direct"):
        waiting.close()
        assert state() == before | {"conv": "direct"}
    assert state() == before
    waiting = batches()
    with fastcnn.using(conv="direct"):
        next(waiting)
    assert state() == before | {"backend": "numpy", "threads": 1}
    waiting.close()
    assert state() == before


def test_a_block_as_a_decorator():
    @fastcnn.using(backend="numpy", dtype="float64")
    def work():
        return fastcnn.get_backend(), fastcnn.get_dtype()

    before = state()
    for _ in range(2):
        assert work() == ("numpy", np.float64) and state() == before


def test_blas_has_the_threads_of_the_block_that_was_entered_last():
    with fastcnn.using(threads=1):
        assert blas() <= {1}
        with fastcnn.using(threads=2):
            assert blas() <= {2}
        assert blas() <= {1}
        fastcnn.set_num_threads(2)  # the block is stronger
        assert blas() <= {1}
    assert blas() <= {2}
    block = contextlib.ExitStack()
    entered, left = threading.Event(), threading.Event()

    def work():
        with fastcnn.using(threads=1):
            entered.set()
            left.wait(60)

    thread = threading.Thread(target=work)
    with block:
        block.enter_context(fastcnn.using(threads=2))
        thread.start()
        entered.wait(60)
        assert blas() <= {1} and fastcnn.get_num_threads() == 2
        block.close()
        assert blas() <= {1}  # of the thread that is in its block
        left.set()
        thread.join()
    assert blas() <= {2}


def test_blas_is_left_as_it_was_found():
    """Where nobody has said how many threads for all."""
    code = """
import fastcnn, threadpoolctl, numpy
def blas():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
before = blas()
with fastcnn.using(threads=2, backend="numpy"):
    assert blas() <= {2}
print(blas() == before)
"""
    done = run_python("-c", code, OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    assert done.stdout == "True\n", done.stderr


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="fork")
def test_a_forked_child_has_the_blocks_of_its_thread_alone():
    code = """
import os, threading
import fastcnn
from fastcnn import config, threads
fastcnn.set_backend("numpy")
def other():
    with fastcnn.using(threads=1):
        entered.set()
        left.wait(60)
entered, left = threading.Event(), threading.Event()
thread = threading.Thread(target=other)
thread.start()
entered.wait(60)
with fastcnn.using(threads=2), config._blas_lock:
    child = os.fork()
    if child == 0:
        with fastcnn.using(threads=1):
            pass
        os._exit(len(config._with_threads) * 10 + fastcnn.get_num_threads())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
left.set()
thread.join()
"""
    done = run_python("-W", "ignore", "-c", code, timeout=60)
    assert done.stdout == "12\n", done.stderr


def test_public_names():
    """`dir` has them all, each can be had, and type checkers are told of each."""
    import ast
    import inspect

    assert dir(fastcnn) == sorted(fastcnn.__all__) and "using" in dir(fastcnn)
    for name in fastcnn.__all__:
        assert getattr(fastcnn, name) is not None
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(fastcnn))) if isinstance(node, ast.ImportFrom)]
    told = {alias.asname for node in imports for alias in node.names} - {None}
    assert told | {"__version__"} == set(fastcnn.__all__)


def test_old_names():
    """What scripts and older documents call `fastcnn.backend` and `fastcnn.runtime`."""
    from fastcnn import backend, runtime

    assert backend.active is active and backend.use_backend is fastcnn.use_backend
    assert backend.BACKENDS is config.BACKENDS and backend.load is config.load
    for name in ("get_dtype", "set_dtype", "get_num_threads", "set_num_threads", "get_conv_algorithm"):
        assert getattr(runtime, name) is getattr(fastcnn, name)
    for name in ("available_cores", "pool_size", "check_pool", "limit_blas", "MAX_THREADS"):
        assert getattr(runtime, name) is getattr(threads, name)
    assert runtime.DTYPES == config.DTYPES and runtime.layer_dtype is config.layer_dtype
