"""What limits the number of threads: the cores, a container's quota, OpenMP's variable, numba's pool; and BLAS."""

import functools
import os
import sys
from typing import Any, NamedTuple

from fastcnn.quota import Quota, cpu_quota
from fastcnn.shapes import received, shortened, whole_number
from fastcnn.streams import say_once

MAX_THREADS = 1024  # more than any machine has cores; tens of thousands crash OpenMP, where no error can be caught


class Limit(NamedTuple):
    """A number of threads, and where it comes from."""

    threads: int
    source: str


def affinity() -> set[int]:
    """The cores that this process may run on: `taskset`, a batch system or a container's cpuset narrow them."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


@functools.cache
def quota() -> Quota | None:
    """The container's CPU quota; read once."""
    return cpu_quota()


@functools.cache
def available_cores() -> int:
    """Cores that this process may keep busy: those that it may run on, or its CPU quota; read once."""
    limit = quota()
    return min(len(affinity()), limit.threads if limit else MAX_THREADS)


def _forget() -> None:
    """In a forked child, which may be given other cores."""
    quota.cache_clear()
    available_cores.cache_clear()


_forked_layers: set[str] = set()


def forked_from(layer: str) -> bool:
    """Whether this process was forked from one in which anybody, not only fastcnn, had started the threads of numba's
    threading layer `layer`."""
    return layer in _forked_layers


def _after_fork() -> None:
    _forget()
    if layer := threading_layer():
        _forked_layers.add(layer)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def openmp_threads() -> int:
    """What `OMP_NUM_THREADS` asks for, of a list such as ``4,2`` the first, for the outermost loop; 0 where nothing."""
    text = os.environ.get("OMP_NUM_THREADS", "").strip()
    first = text.partition(",")[0].strip()
    threads = whole_number(first) or 0
    if text and not threads:
        shown = shortened(repr(text))
        say_once("OMP_NUM_THREADS", f"fastcnn: OMP_NUM_THREADS={shown} is not a number of threads, and is ignored")
    return threads


def default_limit() -> Limit:
    """The least of all that limits the number of threads where the user has not said how many."""
    limits = [Limit(min(len(affinity()), MAX_THREADS), "the cores that this process may run on")]
    if limit := quota():
        limits.append(Limit(limit.threads, f"the CPU quota of {limit.cores:g} cores in {limit.file}"))
    if threads := openmp_threads():
        limits.append(Limit(threads, "OMP_NUM_THREADS"))
    if threads := pool_size():
        limits.append(Limit(threads, "numba's thread pool (NUMBA_NUM_THREADS)"))
    return min(limits, key=lambda limit: limit.threads)


def quota_for_blas() -> int:
    """Threads that BLAS should have at most, as it knows of cores alone; 0 where its own default is good."""
    return available_cores() if available_cores() < len(affinity()) else 0


def pool_size() -> int:
    """Threads in numba's pool: fixed when numba is imported, before that what `NUMBA_NUM_THREADS` asks for, or 0."""
    if numba := sys.modules.get("numba"):
        return numba.config.NUMBA_NUM_THREADS
    return whole_number(os.environ.get("NUMBA_NUM_THREADS", "")) or 0


def threading_layer() -> str | None:
    """numba's threading layer ('tbb', 'omp' or 'workqueue'); None before its threads are started."""
    try:
        return sys.modules["numba"].threading_layer()
    except (KeyError, AttributeError, ValueError):  # not imported, halfway imported, not started
        return None


def check_pool(source: str, threads: int) -> None:
    """Raise ValueError where numba is imported and its pool is smaller than `threads`, which `source` asks for."""
    if sys.modules.get("numba") and threads > pool_size():
        raise ValueError(
            f"{source} must be at most {pool_size()}, the size of numba's thread pool in this process. For more, start "
            f"it with FASTCNN_NUM_THREADS={threads} and import fastcnn before numba. {received('threads', threads)}"
        )


_found_blas: Any = None  # the limits of BLAS before the first call


def limit_blas(threads: int, most: int = 0) -> None:
    """Hold the BLAS that NumPy uses to `threads` threads, in the whole process; 0: as it was found, but to `most`."""
    global _found_blas  # noqa: PLW0603 - BLAS has one number of threads in a process
    import threadpoolctl

    openblas: Any = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(openblas, "clear_controlling_thread"):  # since 3.8 only the thread that came first is heeded otherwise
        openblas.clear_controlling_thread(force=True)
    if not threads and _found_blas:
        _found_blas.restore_original_limits()
    if threads or most:
        libraries = threadpoolctl.ThreadpoolController().select(user_api="blas")
        if threads or any(library["num_threads"] > most for library in libraries.info()):
            limits = libraries.limit(limits=threads or most)
            _found_blas = _found_blas or limits
