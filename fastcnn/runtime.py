"""Threads, dtype and convolution algorithm: the switches besides the backend.

Each has an environment variable, read when first needed, and a function that overrides it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastcnn.shapes import check_choice, check_int, must_be, received

DTYPES = ("float32", "float64")
MAX_THREADS = 1024  # more than any machine has cores; tens of thousands crash OpenMP, where no error can be caught
CONV_ALGORITHMS = ("auto", "winograd", "direct", "im2col")

_dtype: np.dtype | None = None
_threads: int | None = None
_conv: str | None = None


def _float_dtype(owner: str, name: str, value: Any) -> np.dtype:
    try:
        dtype = None if value is None else np.dtype(value)  # None is float64 to NumPy
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in DTYPES:
        raise ValueError(must_be(owner, name, f"one of {', '.join(map(repr, DTYPES))}", value))
    return np.dtype(dtype.name)


def get_dtype() -> np.dtype:
    """The dtype of layers made without `dtype=`: float32 unless `FASTCNN_DTYPE` or `set_dtype` says otherwise."""
    if _dtype is not None:
        return _dtype
    return _float_dtype("environment variable", "FASTCNN_DTYPE", os.environ.get("FASTCNN_DTYPE") or "float32")


def set_dtype(dtype: Any) -> None:
    """Make layers of `dtype` from now on ('float32' or 'float64'); layers that exist keep theirs."""
    global _dtype  # noqa: PLW0603 - a process-wide switch is what this is
    _dtype = _float_dtype("set_dtype", "dtype", dtype)


def layer_dtype(owner: str, dtype: Any = None) -> np.dtype:
    """A layer's dtype: its keyword where given, else the default."""
    return get_dtype() if dtype is None else _float_dtype(owner, "dtype", dtype)


def get_conv_algorithm() -> str:
    """How the numba backend convolves: `set_conv_algorithm`, else `FASTCNN_CONV`, else 'auto', a rule by shape."""
    return _conv or _environment_conv()


@functools.cache
def _environment_conv() -> str:
    """What `FASTCNN_CONV` asks for, read once: a layer asks at each call."""
    name = os.environ.get("FASTCNN_CONV") or "auto"
    return check_choice("environment variable", "FASTCNN_CONV", name, CONV_ALGORITHMS)


def set_conv_algorithm(name: str) -> None:
    """Convolve by 'auto', 'winograd' (3x3 kernels with stride 1 or 2; others directly), 'direct' or 'im2col'."""
    global _conv  # noqa: PLW0603 - a process-wide switch is what this is
    _conv = check_choice("set_conv_algorithm", "name", name, CONV_ALGORITHMS)


@functools.cache
def available_cores() -> int:
    """Processors this process may run on (containers and taskset narrow them); read once, as every kernel asks."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def get_num_threads() -> int:
    """Threads that kernels and BLAS use: `set_num_threads`, else `FASTCNN_NUM_THREADS`, else all cores (or numba's
    pool, where `NUMBA_NUM_THREADS` makes it smaller)."""
    return _threads or _environment_threads() or _all_threads()


@functools.cache
def _all_threads() -> int:
    """All cores, or numba's pool where that is smaller; found anew once the numba backend is imported."""
    return min(available_cores(), pool_size() or available_cores())


def settle_threads() -> None:
    """Numba's pool has its size now."""
    _all_threads.cache_clear()


if hasattr(os, "register_at_fork"):
    for found in (available_cores, _all_threads):  # a worker may be given other cores
        os.register_at_fork(after_in_child=found.cache_clear)


def largest_num_threads() -> int:
    """The larger of `set_num_threads` and `FASTCNN_NUM_THREADS`; 0 where neither was used."""
    return max(_threads or 0, _environment_threads())


@functools.cache
def _environment_threads() -> int:
    """What `FASTCNN_NUM_THREADS` asks for, or 0; read once: every kernel asks."""
    text = os.environ.get("FASTCNN_NUM_THREADS", "").strip()
    if text and not (text.isdecimal() and 1 <= int(text) <= MAX_THREADS):
        raise ValueError(
            must_be("environment variable", "FASTCNN_NUM_THREADS", f"an integer from 1 to {MAX_THREADS}", text)
        )
    return int(text or 0)


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


def set_num_threads(threads: int) -> None:
    """Use `threads` threads for kernels of both backends and for BLAS, from the next call on.

    Raises
    ------
    ValueError
        Not an integer from 1 to 1024, or more than numba's pool, whose size is fixed when numba is first imported
        (the cores, or `FASTCNN_NUM_THREADS` if that is more).
    """
    global _threads  # noqa: PLW0603 - a process-wide switch is what this is
    threads = check_int("set_num_threads", "threads", threads, 1, MAX_THREADS)
    check_pool("set_num_threads: `threads`", threads)
    _threads = threads
    limit_blas(threads)


@contextlib.contextmanager
def at_most_threads(most: int) -> Iterator[None]:
    """Use no more than `most` threads inside a ``with`` block."""
    global _threads  # noqa: PLW0603 - as in `set_num_threads`
    before = _threads
    if get_num_threads() > most:
        set_num_threads(most)
    try:
        yield
    finally:
        if _threads != before:
            _threads = before
            limit_blas(get_num_threads())


def limit_blas(threads: int) -> None:
    """Hold the BLAS that NumPy uses to `threads` threads."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(threads, user_api="blas")
