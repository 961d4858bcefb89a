"""The one place that says how kernels are compiled, cached and launched.

Requires numba. Decorators:

- ``@serial`` compiles a function that kernels call, once for all of them.
- ``@linked`` does so for a large one, whose callers find it by name: it is not compiled again with each of them.
- ``@inline`` compiles a function into each of its callers.
- ``@single`` compiles what Python calls: work that is never worth a second thread.
- ``@task_kernel`` of :mod:`fastcnn.backends.numba.core.tasks` compiles the work of one task, and the loop over tasks.

Compilation is lazy, at the first call for each dtype, and kept on disk.
"""

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir

from fastcnn.backends import helpers
from fastcnn.backends.numba.core.cache import folder_of
from fastcnn.backends.numba.core.memory import ALIGNMENT, aligned
from fastcnn.backends.replay import recorders
from fastcnn.config import get_num_threads, largest_num_threads, settle_threads
from fastcnn.threads import affinity, check_pool, forked_from, pool_size, threading_layer


def make_room_for_threads() -> None:
    """Let numba's pool hold as many threads as `using`, `set_num_threads` or `FASTCNN_NUM_THREADS` ask for, if more
    than its default, the cores. Its size is fixed when numba is imported; threads beyond those in use stay idle."""
    wanted = largest_num_threads()
    if "numba" not in sys.modules and wanted > (pool_size() or len(affinity())):
        os.environ["NUMBA_NUM_THREADS"] = str(wanted)


def wait_politely() -> None:
    """Let a thread that waits for the others spin for some 50 us, and then sleep; GNU OpenMP's default is 5 ms.

    Where another process takes part of a core, a thread that spins keeps the one it waits for from running: 6 epochs of
    LeNet on the digits took 11 to 19 s on a busy machine, and 4 s so; on a quiet one 1.5 to 1.9 s either way. 100 us
    made a step alone 4 % faster, these epochs not at all, and a third slower beside one other process. OpenMP reads the
    variable when it is loaded, by `load_loop`.
    """
    if not (os.environ.get("OMP_WAIT_POLICY") or os.environ.get("GOMP_SPINCOUNT")):
        os.environ["GOMP_SPINCOUNT"] = "3000"


make_room_for_threads()
wait_politely()

import numba  # noqa: E402 - never imported before this
from numba import prange, types  # noqa: E402
from numba.core.compiler_lock import global_compiler_lock  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

from fastcnn.backends.numba.core import compiling, links  # noqa: E402 - they import numba
from fastcnn.backends.numba.core.store import KernelCache  # noqa: E402 - likewise

settle_threads()

if numba.config.DISABLE_JIT:
    raise RuntimeError(
        "the numba backend's vectors exist only in compiled code, and NUMBA_DISABLE_JIT is set: unset it, or select "
        "the NumPy backend with FASTCNN_BACKEND=numpy"
    )

__all__ = ["inline", "linked", "serial", "single"]

# error_model: division by zero gives inf as in NumPy, without a branch in every loop.
# contract: lets LLVM fuse a multiply and an add. Not full fastmath, which deletes isnan and reorders sums.
POLICY = {"error_model": "numpy", "fastmath": {"contract"}}

SMALL_WORK = 3 << 18  # multiply-adds, some 15 us of one core; with a third of it, small steps took a twentieth longer
MOVE = 16  # multiply-adds that take as long as moving one element

# The last argument of a compiled kernel is the number of tasks, above it the number of threads, or 0 where there is
# one, and above that 0 to launch it, or the number of a thread from 1 on: one more argument took a launch 0.1 us.
TASK_BITS, THREAD_BITS = 40, 11

# What compiled kernels know by name: where the address of `call_on_threads` lies, and how many tasks of its share each
# thread has taken, in cache lines of their own.
LOOP, COUNTERS, LINE = "fastcnn_call_on_threads", "fastcnn_counters", ALIGNMENT // 8


class Shared:
    """What there is once in a process, also where this module is loaded again: what lies behind the names and addresses
    that compiled kernels hold."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # not Lock: a signal handler may come between acquiring it and the launch
        self.local = threading.local()
        self.started = False  # numba's threads, in this process
        self.forked = forked_from("omp")  # where GNU OpenMP kills it: from a process that had started them
        self.addressed: list[Any] = []  # compiled functions whose addresses were given away
        self.loop, self.counters = ctypes.c_void_p(), aligned(ALIGNMENT << THREAD_BITS)
        llvm.add_symbol(LOOP, ctypes.addressof(self.loop))
        llvm.add_symbol(COUNTERS, self.counters.ctypes.data)
        if hasattr(os, "register_at_fork"):
            # A child that is forked while another thread compiles waits for ever at its own first compilation, as
            # that thread is not in it: a fork waits for the end of a compilation instead.
            os.register_at_fork(
                before=global_compiler_lock.acquire,
                after_in_parent=global_compiler_lock.release,
                after_in_child=self.after_fork,
            )

    def after_fork(self) -> None:
        """In the child: a lock that another thread of the parent held would stay locked."""
        global_compiler_lock.release()
        self.lock, self.forked = threading.RLock(), self.started or forked_from("omp")


shared: Shared = getattr(numba, "_fastcnn", None) or Shared()
numba._fastcnn = shared


def _kept(compiled: Any, function: Callable) -> Any:
    """`compiled`, a dispatcher of numba's for `function`; what it compiles is kept in the folder of its module."""
    if folder := folder_of(function.__module__):
        compiled._cache = KernelCache(function, folder)  # what `cache=True` puts there is not safe: see `store`
    return compiled


def _njit(function: Callable, **options: Any) -> Any:
    return _kept(numba.njit(function, **POLICY, **options), function)


def serial(function: Callable) -> Any:
    """Compile a function that kernels call, and nobody else."""
    return _njit(function, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def linked(function: Callable) -> Any:
    """Compile a large function that kernels call, once for all of them: see `links`."""
    return links.by_name(function, serial(function))


def inline(function: Callable) -> Any:
    """Compile a function into each of its callers: a micro-kernel whose vectors must stay in registers."""
    return numba.njit(function, inline="always", **POLICY)


def single(function: Callable) -> Any:
    """Compile a function that Python calls for what it does, a loop for one thread."""
    compiled = called(function)

    @functools.wraps(function)
    def call(*args: Any) -> None:
        if recorders and (calls := recorders.get(threading.get_ident())) is not None:
            calls.append(functools.partial(compiled, *args))
        compiled(*args)

    call.compiled = compiled  # type: ignore[attr-defined]
    return call


def called(function: Callable) -> Any:
    """A compiled function that Python calls; in a worker, one that notes its calls."""
    compiled = _njit(function, nogil=True, no_cfunc_wrapper=True)
    return compiled if helpers.calls is None else Noted(compiled)


class Noted:
    """In a process that compiles for others (see `helpers`): a function whose calls are noted, and nothing else."""

    def __init__(self, compiled: Any):
        self.compiled = compiled

    def __call__(self, *args: Any) -> None:
        helpers.calls.append((self.compiled, tuple(map(self.compiled.typeof_pyval, args))))  # type: ignore[union-attr]


def by_address(function: Callable, signature: Any, **options: Any) -> int:
    """Compile a function that kernels call by its address, which this is."""
    # Not numba.cfunc, which compiles before anything can be put into what it returns.
    given = (signature.args, signature.return_type)
    compiled = _kept(compiling.Addressed(function, given, {}, POLICY | options), function)
    if helpers.calls is not None:
        helpers.calls.append((compiled, signature))
        return 0
    compiled.compile()
    shared.addressed.append(compiled)
    return compiled.address


@intrinsic
def call_at(typingctx, function, data, thread):
    """Call the function of two integers at the address `function`."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [arg.type for arg in args[1:]])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def call_on_threads(function: int, data: int, threads: int) -> None:
    """Call ``function(data, thread)``, at an address, on each of `threads` threads: the one loop of all kernels."""
    for thread in prange(threads):
        call_at(function, data, np.int64(thread))  # prange counts unsigned


def threads_for(work: int, most: int = 0) -> int:
    """Threads, `most` or all, for `work` multiply-adds, or `MOVE` for each element of a kernel that only moves data.

    Small work stays on one thread: waking another costs more than it saves.
    """
    return (most or get_num_threads()) if work >= SMALL_WORK else 1


def launcher(function: Callable, compiled: Callable) -> Callable:
    """What Python calls instead of the `compiled` kernel that `function` became: on `threads` threads, or as many as
    suit `work` (see `threads_for`).

    Small work is done without OpenMP, which takes 1 us for a team of one, and telling it that it is one takes 1 us
    more: that was a sixth of LeNet's prediction of one image.

    Launches on threads take turns: numba's `workqueue` layer aborts the process when two Python threads launch at once,
    and a kernel uses all threads anyway.
    """

    @functools.wraps(function)
    def launch(*args: Any, work: int, threads: int = 0) -> None:
        if recorders and (calls := recorders.get(threading.get_ident())) is not None:
            again = functools.partial(compiled, *args)  # a tenth of a microsecond less than by `launch`
            calls.append(again if work < SMALL_WORK else functools.partial(launch, *args, work=work, threads=threads))
        if work < SMALL_WORK or (threads := threads or get_num_threads()) == 1:
            compiled(*args)
            return
        *given, tasks = args
        with shared.lock:
            _before_launch(threads)
            compiled(*given, tasks + (threads << TASK_BITS))

    launch.compiled = compiled  # type: ignore[attr-defined]
    return launch


def load_loop() -> None:
    """Compile `call_on_threads`, or load it; numba chooses its threading layer with it, and starts its threads."""
    with shared.lock:
        shared.started = True
        if shared.loop.value is None:
            shared.loop.value = by_address(call_on_threads, types.void(*[types.int64] * 3), parallel=True)


def _before_launch(threads: int) -> None:
    if getattr(shared.local, "threads", None) != threads:  # numba keeps the number for each Python thread
        check_pool("FASTCNN_NUM_THREADS", threads)
        load_loop()
        numba.set_num_threads(threads)
        shared.local.threads = threads
    if shared.forked and threading_layer() == "omp":
        raise RuntimeError(
            "this process was forked from one that had already run a numba kernel, and GNU OpenMP would kill it at "
            "its first kernel on threads: let it use one, by fastcnn.set_num_threads(1), or start it with "
            "multiprocessing.get_context('spawn'), or set NUMBA_THREADING_LAYER=workqueue, or use the backend 'numpy'"
        )
