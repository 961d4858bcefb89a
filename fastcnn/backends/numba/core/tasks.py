"""Kernels that are cut into tasks, which threads take one by one. Requires numba.

numba gives each thread an equal share of a ``prange`` beforehand. On a machine where something else runs too, or whose
cores are not alike, all then wait for the slowest. Kernels run one iteration for each thread instead, which takes the
next task until none is left. A thread has its own share, in order, and helps the others when it is done: kernel after
kernel works on the same images with the same core, in whose caches they are. Who does a task does not change its
result, so results stay the same bit for bit; tasks are cut by shape alone.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcnn.backends.numba.core.hints import Shape
from fastcnn.backends.numba.core.jit import inline, launcher, prange, serial, single, threaded
from fastcnn.backends.numba.core.vectors import address

LINE = 8  # integers in a cache line: counters of different threads do not share one
CHUNK = 16384  # elements of one task of a flat array at least: 64 KiB of float32, long enough to hide the launch
TASK_BYTES = 48 << 10  # of an image at least, where a task is some of its rows: 3 us, as each costs 0.1 us by itself
MANY = 128  # tasks, with which any number of threads end together


@intrinsic
def fetch_and_add(typingctx, array, index):
    """array.flat[index], and add 1 to it: one atomic operation."""

    def codegen(context, builder, signature, args):
        place = address(context, builder, signature.args[0], *args)
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(array, types.intp), codegen


@serial
def task_counters(threads):
    """How many tasks of each thread's share are taken.

    A call: of `np.zeros` in the kernel itself, numba makes another parallel loop, which takes 1 to 2 us and 0.5 s to
    compile.
    """
    return np.zeros((threads, LINE), np.int64)


@serial
def next_task(counters, thread, count):
    """The next of `count` tasks for a thread, or `count` where none is left."""
    threads = counters.shape[0]
    for i in range(threads):
        owner = (thread + i) % threads
        task = owner * count // threads + fetch_and_add(counters, owner * LINE)
        if task < (owner + 1) * count // threads:
            return task
    return count


LOOPS = """
def {name}_share({parameters}, tasks, counters, thread):
    task = next_task(counters, thread, tasks)
    while task < tasks:
        work({arguments})
        task = next_task(counters, thread, tasks)

def {name}({parameters}, tasks, threads):
    counters = task_counters(threads)
    for it in prange(threads):
        share({parameters}, tasks, counters, np.int64(it))  # prange counts unsigned

def {name}_alone({parameters}, tasks):
    thread = np.int64(0)
    for task in range(tasks):
        work({arguments})
"""


def task_kernel(function: Callable) -> Callable:
    """Compile ``function(task, thread, ...)``, the work of one task, and the loops over all tasks.

    Launch it by ``name(..., tasks, work=, threads=)``: what `function` takes apart from the task's number and, where it
    asks for it, the thread's; then how many tasks there are. For `work` and `threads` see `jit.launcher`.

    An argument whose annotation is a NamedTuple is launched as a plain tuple, which the loop names: a NamedTuple from
    Python takes numba 1.5 us longer. In compiled code, naming costs nothing.
    """
    hints, names = typing.get_type_hints(function), list(inspect.signature(function).parameters)
    named = {name: hint for name, hint in hints.items() if issubclass(hint, tuple)}
    passed = [f"{named[name].__name__}(*{name})" if name in named else name for name in names]
    parameters = [name for name in names if name not in ("task", "thread")]
    loops = LOOPS.format(name=function.__name__, parameters=", ".join(parameters), arguments=", ".join(passed))
    scope: dict[str, Any] = {hint.__name__: hint for hint in named.values()} | {"__name__": function.__module__}
    scope |= {"np": np, "prange": prange, "task_counters": task_counters, "next_task": next_task}
    # Inlined: a call hands over every field of every array, and counts references to these, 0.2 us for each task. Not
    # into the loop on threads, where it is more than numba's array analysis can follow.
    scope["work"] = inline(function)
    code = function.__code__
    exec(compile(loops, code.co_filename, "exec"), scope)
    loop, alone = scope[function.__name__], scope[f"{function.__name__}_alone"]
    scope["share"] = serial(scope[f"{function.__name__}_share"])
    launch = launcher(function, single(alone), threaded(loop), counted=True)
    launch.versions += (scope["share"],)  # type: ignore[attr-defined]
    return launch


def chunks(size: int) -> int:
    """Tasks of a flat array of `size` elements: see `chunk`."""
    return -(-size // (CHUNK * max(1, size // (CHUNK * MANY))))


@inline
def chunk(task, size):
    """The first and the last of `size` elements that make a task: whole vectors but for the very last."""
    length = CHUNK * max(1, size // (CHUNK * MANY))
    return task * length, min(size, (task + 1) * length)


def task_rows(shape: Shape, itemsize: int) -> int:
    """Rows of images of `shape` that make a task."""
    row = max(1, shape[2] * shape[3]) * itemsize
    return max(1, TASK_BYTES // row, shape[0] * shape[1] // MANY)


def even_share(total: int, largest: int, multiple: int = 1) -> int:
    """Items of one task, `largest` at most, such that tasks are nearly alike and their number a `multiple`."""
    tasks = -(-total // largest)
    tasks = -(-tasks // multiple) * multiple
    return max(1, -(-total // max(1, tasks)))
