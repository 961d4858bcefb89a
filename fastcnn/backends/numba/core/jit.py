"""The one place that says how kernels are compiled, cached and launched.

Requires numba. Decorators:

- ``@serial`` compiles a function that kernels call, once for all of them.
- ``@inline`` compiles a function into each of its callers.
- ``@single`` compiles work that is never worth a second thread.
- ``@task_kernel`` of :mod:`fastcnn.backends.numba.core.tasks` compiles the work of one task, and the loops over tasks.
- ``@kernel`` compiles a ``prange`` loop that is written out, and the same loop without threads.

Compilation is lazy, at the first call for each dtype, and kept on disk.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from fastcnn.backends.numba.core.cache import folder_of
from fastcnn.config import get_num_threads, largest_num_threads, settle_threads
from fastcnn.threads import available_cores, check_pool, pool_size


def make_room_for_threads() -> None:
    """Let numba's pool hold as many threads as `using`, `set_num_threads` or `FASTCNN_NUM_THREADS` ask for, if more
    than its default, the cores. Its size is fixed when numba is imported; threads beyond those in use stay idle."""
    wanted = largest_num_threads()
    if "numba" not in sys.modules and wanted > (pool_size() or available_cores()):
        os.environ["NUMBA_NUM_THREADS"] = str(wanted)


def wait_politely() -> None:
    """Let a thread that waits for the others spin for some 50 us, and then sleep; GNU OpenMP's default is 5 ms.

    Where another process takes part of a core, a thread that spins keeps the one it waits for from running: 6 epochs of
    LeNet on the digits took 11 to 19 s on a busy machine, and 4 s so; on a quiet one 1.5 to 1.9 s either way. 100 us
    made a step alone 4 % faster, these epochs not at all, and a third slower beside one other process. OpenMP reads the
    variable when it is loaded, with the first kernel.
    """
    if not (os.environ.get("OMP_WAIT_POLICY") or os.environ.get("GOMP_SPINCOUNT")):
        os.environ["GOMP_SPINCOUNT"] = "3000"


make_room_for_threads()
wait_politely()

import numba  # noqa: E402
from numba import prange  # noqa: E402 - kernels take them from here: numba is never imported before this

settle_threads()

if numba.config.DISABLE_JIT:
    raise RuntimeError(
        "the numba backend's vectors exist only in compiled code, and NUMBA_DISABLE_JIT is set: unset it, or select "
        "the NumPy backend with FASTCNN_BACKEND=numpy"
    )

__all__ = ["inline", "kernel", "prange", "serial", "single"]

# error_model: division by zero gives inf as in NumPy, without a branch in every loop.
# contract: lets LLVM fuse a multiply and an add. Not full fastmath, which deletes isnan and reorders sums.
POLICY = {"error_model": "numpy", "fastmath": {"contract"}}

SMALL_WORK = 3 << 18  # multiply-adds, some 15 us of one core; with a third of it, small steps took a twentieth longer
MOVE = 16  # multiply-adds that take as long as moving one element

_lock = threading.RLock()  # not Lock: a signal handler may come between acquiring it and the launch
_local = threading.local()
_launched = _forked = False  # a kernel on threads in this process; the process, from one that had done so
_addressed: list[Any] = []  # compiled functions whose addresses were given away: they live as long as the process
_both = False  # whether each launch runs a kernel without threads and with them


def _cached(decorator: Callable, function: Callable, *given: Any, **options: Any) -> Any:
    """``decorator(*given, **options)(function)``; what it compiles is kept in the folder of the function's module."""
    folder = folder_of(function.__module__)
    if folder is None:
        return decorator(*given, **POLICY, **options)(function)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = folder  # read while decorating; the caller's own functions keep theirs
    try:
        return decorator(*given, cache=True, **POLICY, **options)(function)
    finally:
        numba.config.CACHE_DIR = before


def _njit(function: Callable, **options: Any) -> Any:
    return _cached(numba.njit, function, **options)


def serial(function: Callable) -> Any:
    """Compile a function that kernels call, and nobody else."""
    return _njit(function, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inline(function: Callable) -> Any:
    """Compile a function into each of its callers: a micro-kernel whose vectors must stay in registers."""
    return numba.njit(function, inline="always", **POLICY)


def single(function: Callable) -> Any:
    """Compile a loop that Python calls and that stays on one thread: it needs no turn at the threads."""
    return _njit(function, nogil=True, no_cfunc_wrapper=True)


def threaded(function: Callable) -> Any:
    """Compile a ``prange`` loop for threads; to be called in turn, by a `launcher`."""
    return _njit(function, parallel=True, no_cfunc_wrapper=True)


def by_address(function: Callable, signature: Any) -> int:
    """Compile a function that kernels call by its address, which this is: one of several that they may be given."""
    _addressed.append(_cached(numba.cfunc, function, signature))
    return _addressed[-1].address


def threads_for(work: int, most: int = 0) -> int:
    """Threads, `most` or all, for `work` multiply-adds, or `MOVE` for each element of a kernel that only moves data.

    Small work stays on one thread: waking another costs more than it saves.
    """
    return (most or get_num_threads()) if work >= SMALL_WORK else 1


def launcher(function: Callable, alone: Callable, parallel: Callable, *, counted: bool = False) -> Callable:
    """What Python calls instead of a kernel: it runs the loop `alone`, or the loop `parallel` on `threads` threads, or
    as many as suit `work` (see `threads_for`). The latter takes the number of threads as well where it is `counted`.

    Small work is done by the loop compiled without threads, as OpenMP takes 1 us for a team of one, and telling it
    that it is one takes 1 us more: that was a sixth of LeNet's prediction of one image. The work alone decides, never
    the number of threads: compiled twice, a sum may be rounded in two ways.

    Launches on threads take turns: numba's `workqueue` layer aborts the process when two Python threads launch at once,
    and a kernel uses all threads anyway.
    """

    @functools.wraps(function)
    def launch(*args: Any, work: int, threads: int = 0) -> None:
        if work < SMALL_WORK or _both:
            alone(*args)
        if work >= SMALL_WORK or _both:
            threads = threads or threads_for(work)
            with _lock:
                _before_launch(threads)
                parallel(*args, threads) if counted else parallel(*args)

    launch.versions = (alone, parallel)  # type: ignore[attr-defined]
    return launch


def kernel(function: Callable) -> Callable:
    """Compile a ``prange`` loop, and the same without threads; launch it by ``name(*args, work=, threads=)``."""
    twin = types.FunctionType(function.__code__, function.__globals__, function.__name__)
    twin.__module__, twin.__qualname__ = function.__module__, f"{function.__qualname__}_alone"  # its name in the cache
    return launcher(function, single(twin), threaded(function))


@contextlib.contextmanager
def both_versions() -> Iterator[None]:
    """Inside a ``with`` block every launch runs both versions of a kernel: to compile them."""
    global _both  # noqa: PLW0603 - one process, one cache
    _both = True
    try:
        yield
    finally:
        _both = False


def _before_launch(threads: int) -> None:
    global _launched  # noqa: PLW0603 - one process, one pool
    if getattr(_local, "threads", None) != threads:  # numba keeps the number for each Python thread
        check_pool("FASTCNN_NUM_THREADS", threads)
        numba.set_num_threads(threads)
        _local.threads = threads
    _launched = True
    if _forked and threading_layer() == "omp":
        raise RuntimeError(
            "this process was forked from one that had already run a numba kernel, and GNU OpenMP would kill it at "
            "its first kernel: start it with multiprocessing.get_context('spawn'), or set "
            "NUMBA_THREADING_LAYER=workqueue, or use the backend 'numpy'"
        )


def _after_fork() -> None:
    """In the child: a lock that another thread of the parent held would stay locked."""
    global _lock, _forked
    _lock, _forked = threading.RLock(), _launched


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threading_layer() -> str | None:
    """numba's threading layer ('tbb', 'omp' or 'workqueue'); None before the first kernel has run."""
    try:
        return numba.threading_layer()
    except ValueError:
        return None
