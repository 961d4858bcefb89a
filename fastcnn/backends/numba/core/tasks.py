"""Tasks that threads take one by one. Requires numba.

numba gives each thread an equal share of a ``prange`` beforehand. On a machine where something else runs too, or whose
cores are not alike, all then wait for the slowest. Kernels run one iteration for each thread instead, which takes the
next task until none is left:

    counters = task_counters(threads)
    for it in prange(threads):
        thread = np.int64(it)
        task = next_task(counters, thread, count)
        while task < count:
            ...
            task = next_task(counters, thread, count)

A thread has its own share, in order, and helps the others when it is done: kernel after kernel works on the same images
with the same core, in whose caches they are. Who does a task does not change its result, so results stay the same bit
for bit.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcnn.backends.numba.core.jit import serial
from fastcnn.backends.numba.core.vectors import address

LINE = 8  # integers in a cache line: counters of different threads do not share one


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
