"""Kernels that are cut into tasks: every task once, on any number of threads, and what goes wrong there is said."""

from typing import NamedTuple

import numpy as np
import pytest

from fastcnn.backends.numba.core import jit
from fastcnn.backends.numba.core.tasks import task_kernel
from tests.helpers.processes import run_python
from tests.helpers.switches import threads as on

MUCH = 1 << 40  # work


class Number(NamedTuple):
    value: int


@task_kernel
def count(task, thread, first, number: Number, threads, tasks, np, out):
    """Parameters with names that the code around a task has too, or might have."""
    out[thread, task] += number.value + 10 * threads + 100 * tasks + 1000 * np
    if first:
        out[thread, -1] += 1


@task_kernel
def fail(task, out):
    out[task] = 1
    if task == 2:
        raise ValueError("task 2")


@pytest.mark.parametrize("tasks", [0, 1, 3, 50])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_task_is_done_once(threads, tasks):
    out = np.zeros((threads, tasks + 1), np.int64)
    with on(threads):
        count((5,), 4, 3, 2, out, tasks, work=MUCH)
    assert (out[:, :-1].sum(axis=0) == 2345).all()
    assert out[:, -1].tolist() == [int(done.any()) for done in out[:, :-1]]  # the first task of a thread is one


def test_little_work_is_done_by_the_caller():
    out = np.zeros((1, 4), np.int64)
    with on(2):
        count((5,), 4, 3, 2, out, 3, work=jit.SMALL_WORK - 1)
    assert out.tolist() == [[2345, 2345, 2345, 1]]


def test_a_kernel_that_fails_says_so():
    with on(1), pytest.raises(ValueError, match="task 2"):
        fail(np.zeros(4), 4, work=MUCH)
    with on(2), pytest.raises(RuntimeError, match="with FASTCNN_NUM_THREADS=1 it says why"):
        fail(np.zeros(4), 4, work=MUCH)
    with on(2):
        fail(np.zeros(2), 2, work=MUCH)  # it is the launch that failed, not the kernel


def test_the_package_may_be_loaded_twice():
    """As by a reloader: names that compiled kernels know belong to the process."""
    code = """
import importlib, sys
import numpy as np
from fastcnn.backends import numba as first
x = np.ones(1 << 20, np.float32)
first.relu_forward(x)
for name in [name for name in sys.modules if name.partition(".")[0] == "fastcnn"]:
    del sys.modules[name]
from fastcnn.backends import numba as second
assert first is not second
importlib.reload(sys.modules["fastcnn.backends.numba.core.jit"])
print(*(int(kernels.relu_forward(-x).sum()) for kernels in (first, second, first)), int(first.add(x, x).sum()))
"""
    done = run_python("-c", code, FASTCNN_NUM_THREADS="2")
    assert done.stdout == "0 0 0 2097152\n", done.stderr
