"""What limits the number of threads: the cores, numba's pool, BLAS."""

import functools
import os
import sys
from typing import Any

from fastcnn.shapes import received

MAX_THREADS = 1024  # more than any machine has cores; tens of thousands crash OpenMP, where no error can be caught


@functools.cache
def available_cores() -> int:
    """Processors this process may run on (containers and taskset narrow them); read once, as every kernel asks."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=available_cores.cache_clear)  # a worker may be given other cores


def all_threads() -> int:
    """All cores, or numba's pool where that is smaller."""
    return min(available_cores(), pool_size() or available_cores())


def pool_size() -> int:
    """Threads in numba's pool: fixed when numba is imported, before that what `NUMBA_NUM_THREADS` asks for, or 0."""
    if numba := sys.modules.get("numba"):
        return numba.config.NUMBA_NUM_THREADS
    text = os.environ.get("NUMBA_NUM_THREADS", "")
    return int(text) if text.isdigit() else 0


def check_pool(source: str, threads: int) -> None:
    """Raise ValueError where numba is imported and its pool is smaller than `threads`, which `source` asks for."""
    if sys.modules.get("numba") and threads > pool_size():
        raise ValueError(
            f"{source} must be at most {pool_size()}, the size of numba's thread pool in this process. For more, start "
            f"it with FASTCNN_NUM_THREADS={threads} and import fastcnn before numba. {received('threads', threads)}"
        )


_found_blas: Any = None  # the limits of BLAS before the first call


def limit_blas(threads: int) -> None:
    """Hold the BLAS that NumPy uses to `threads` threads, in the whole process; 0: as it was found."""
    global _found_blas  # noqa: PLW0603 - BLAS has one number of threads in a process
    import threadpoolctl

    openblas: Any = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(openblas, "clear_controlling_thread"):  # since 3.8 only the thread that came first is heeded otherwise
        openblas.clear_controlling_thread(force=True)
    if threads:
        limits = threadpoolctl.ThreadpoolController().select(user_api="blas").limit(limits=threads)
        _found_blas = _found_blas or limits
    elif _found_blas:
        _found_blas.restore_original_limits()
