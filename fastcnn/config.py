"""The switches: backend, dtype, threads, convolution algorithm.

Each is looked up whenever it is needed, in this order: the innermost block of :func:`using` that names it, `set_*`, the
environment variable (read once, when it is first needed), the default. Kernels ask several times in each launch, and a
prediction of one image by LeNet takes 44 us: a look-up takes some 50 ns.
"""

import contextlib
import functools
import importlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from fastcnn.shapes import check_choice, check_int, must_be, whole_number
from fastcnn.threads import MAX_THREADS, Limit, check_pool, default_limit, limit_blas, quota_for_blas

BACKENDS = {
    "numba": "fastcnn.backends.numba",
    "numpy": "fastcnn.backends.numpy",
    "check": "fastcnn.backends.check",
}
DTYPES = ("float32", "float64")
CONV_ALGORITHMS = ("auto", "winograd", "lanes", "direct", "im2col")


@dataclass(eq=False, slots=True)
class Config:
    """What one block, or `set_*`, has chosen; None where it has not."""

    backend: str | None = None
    dtype: np.dtype | None = None
    threads: int | None = None
    conv: str | None = None


process = Config()  # what `set_*` has chosen
_NOTHING = Config()
_blocks: ContextVar[tuple[Config, ...]] = ContextVar("fastcnn_blocks", default=())  # that are open, innermost last
_here: ContextVar[Config] = ContextVar("fastcnn_config", default=_NOTHING)  # what they choose together


def get_backend() -> str:
    """The name of the backend that the next call will use."""
    return _here.get().backend or process.backend or _environment_backend()


def get_dtype() -> np.dtype:
    """The dtype of layers made without `dtype=`: what `using`, `set_dtype` or `FASTCNN_DTYPE` says, else float32."""
    return _here.get().dtype or process.dtype or _environment_dtype()


def get_num_threads() -> int:
    """Threads that kernels and BLAS use: what `using`, `set_num_threads` or `FASTCNN_NUM_THREADS` says, else the least
    of the cores that this process may run on, the container's CPU quota, `OMP_NUM_THREADS` and `NUMBA_NUM_THREADS`."""
    return _here.get().threads or process.threads or _default_threads()


def get_conv_algorithm() -> str:
    """How the numba backend convolves: what `using`, `set_conv_algorithm` or `FASTCNN_CONV` says, else 'auto', a rule
    by shape."""
    return _here.get().conv or process.conv or _environment_conv()


def set_backend(name: str) -> None:
    """Use the backend `name` in this process from now on: 'numba', 'numpy' or 'check'.

    Raises
    ------
    ValueError
        An unknown name.
    ImportError
        numba is not installed and `name` needs it; nothing is changed.
    """
    load(check_choice("set_backend", "name", name, BACKENDS))
    process.backend = name


def set_dtype(dtype: Any) -> None:
    """Make layers of `dtype` from now on ('float32' or 'float64'); layers that exist keep theirs."""
    process.dtype = _float_dtype("set_dtype", "dtype", dtype)


def set_num_threads(threads: int) -> None:
    """Use `threads` threads for kernels of both backends and for BLAS, from the next call on.

    Raises
    ------
    ValueError
        Not an integer from 1 to 1024, or more than numba's pool, whose size is fixed when numba is first imported
        (the cores, or `FASTCNN_NUM_THREADS` if that is more).
    """
    process.threads = _thread_count("set_num_threads", threads)
    _settle_blas()


def set_conv_algorithm(name: str) -> None:
    """Convolve by 'auto', 'winograd' (kernels that its table has; others directly), 'direct' or 'im2col'."""
    process.conv = check_choice("set_conv_algorithm", "name", name, CONV_ALGORITHMS)


@contextlib.contextmanager
def using(
    *, backend: str | None = None, dtype: Any = None, threads: int | None = None, conv: str | None = None
) -> Iterator[None]:
    """Choose the backend, the dtype, the threads and the convolution algorithm inside a ``with`` block.

    The block holds in this thread or async task alone, and is stronger than `set_*`. Blocks nest: what one does not
    name stays as it is outside. A generator that leaves a block open at a ``yield`` leaves it open for its caller.

    Parameters
    ----------
    backend : {'numba', 'numpy', 'check'}, optional
    dtype : {'float32', 'float64'}, optional
        Of the layers that are made inside; layers that exist keep theirs.
    threads : int, optional
        Of the kernels that this thread or task launches. BLAS has one number for the whole process: that of the block
        that was entered last, in any thread, until it is left.
    conv : {'auto', 'winograd', 'direct', 'im2col'}, optional
        How the numba backend convolves, as in `set_conv_algorithm`.

    Raises
    ------
    ValueError
        On entering, where a value is none of these, or `threads` more than numba's pool has; nothing is changed.
    ImportError
        On entering, where numba is not installed and `backend` needs it; nothing is changed.

    Examples
    --------
    >>> import fastcnn
    >>> with fastcnn.using(backend="numpy", threads=1):
    ...     print(fastcnn.get_backend(), fastcnn.get_num_threads())
    numpy 1
    """
    block = Config(
        backend=None if backend is None else check_choice("using", "backend", backend, BACKENDS),
        dtype=None if dtype is None else _float_dtype("using", "dtype", dtype),
        threads=None if threads is None else _thread_count("using", threads),
        conv=None if conv is None else check_choice("using", "conv", conv, CONV_ALGORITHMS),
    )
    _surround((*_blocks.get(), block))
    try:
        if block.backend:
            load(block.backend)  # after `threads`, which numba's pool then has room for
        if block.threads:
            _with_threads.append(block)
            _settle_blas()
        yield
    finally:
        # Not by the tokens of ContextVar: a generator may leave its block after its caller has entered another one, and
        # in another thread.
        _surround(other for other in _blocks.get() if other is not block)
        if block in _with_threads:
            _with_threads.remove(block)
            _settle_blas()


def _surround(blocks: Iterable[Config]) -> None:
    """Be inside `blocks`, and no others."""
    _blocks.set(tuple(blocks))
    together = Config()
    for block in _blocks.get():
        for name in Config.__slots__:
            if getattr(block, name) is not None:
                setattr(together, name, getattr(block, name))
    _here.set(together)


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use the backend `name` inside a ``with`` block: in this thread or async task alone, nested blocks included."""
    with using(backend=check_choice("use_backend", "name", name, BACKENDS)):
        yield


def at_most_threads(most: int) -> contextlib.AbstractContextManager[None]:
    """Use no more than `most` threads inside a ``with`` block."""
    return using(threads=most if get_num_threads() > most else None)


@functools.cache
def load(name: str) -> ModuleType:
    """The module of a backend, imported at first use. There is no fallback to another one."""
    if os.environ.get("FASTCNN_NUM_THREADS") or quota_for_blas():
        _settle_blas()
    try:
        return importlib.import_module(BACKENDS[name])
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("numba", "llvmlite"):
            raise
        raise ImportError(
            f"the backend {name!r} needs numba, which is not installed: `pip install numba`, or select the NumPy "
            "backend with FASTCNN_BACKEND=numpy"
        ) from error


def thread_limit() -> Limit:
    """How many threads are used where neither `using` nor `set_num_threads` says so, and where that comes from."""
    asked = _environment_threads()
    return Limit(asked, "FASTCNN_NUM_THREADS") if asked else default_limit()


@functools.cache
def _default_threads() -> int:
    return thread_limit().threads


def settle_threads() -> None:
    """Numba's pool has its size now."""
    _default_threads.cache_clear()


def largest_num_threads() -> int:
    """The largest of what `using`, `set_num_threads` and `FASTCNN_NUM_THREADS` ask for; 0 where none was used."""
    return max(_here.get().threads or 0, process.threads or 0, _environment_threads())


def layer_dtype(owner: str, dtype: Any = None) -> np.dtype:
    """A layer's dtype: its keyword where given, else the default."""
    return get_dtype() if dtype is None else _float_dtype(owner, "dtype", dtype)


def _float_dtype(owner: str, name: str, value: Any) -> np.dtype:
    try:
        dtype = None if value is None else np.dtype(value)  # None is float64 to NumPy
    except Exception:  # of any class, as NumPy takes text for a language of its own
        dtype = None
    if dtype is None or dtype.name not in DTYPES:
        raise ValueError(must_be(owner, name, f"one of {', '.join(map(repr, DTYPES))}", value))
    return np.dtype(dtype.name)


def _thread_count(owner: str, value: Any) -> int:
    threads = check_int(owner, "threads", value, 1, MAX_THREADS)
    check_pool(f"{owner}: `threads`", threads)
    return threads


@functools.cache
def _environment_backend() -> str:
    name = os.environ.get("FASTCNN_BACKEND") or "numba"
    return check_choice("environment variable", "FASTCNN_BACKEND", name, BACKENDS)


@functools.cache
def _environment_dtype() -> np.dtype:
    return _float_dtype("environment variable", "FASTCNN_DTYPE", os.environ.get("FASTCNN_DTYPE") or "float32")


@functools.cache
def _environment_threads() -> int:
    """What `FASTCNN_NUM_THREADS` asks for, or 0."""
    text = os.environ.get("FASTCNN_NUM_THREADS", "").strip()
    threads = whole_number(text) or 0
    if text and not 1 <= threads <= MAX_THREADS:
        raise ValueError(
            must_be("environment variable", "FASTCNN_NUM_THREADS", f"an integer from 1 to {MAX_THREADS}", text)
        )
    return threads


@functools.cache
def _environment_conv() -> str:
    name = os.environ.get("FASTCNN_CONV") or "auto"
    return check_choice("environment variable", "FASTCNN_CONV", name, CONV_ALGORITHMS)


_with_threads: list[Config] = []  # open blocks of any thread that name a number of threads, in the order of entry
_blas_lock = threading.RLock()  # not Lock: a signal handler may choose threads too


def _settle_blas() -> None:
    """Give BLAS the threads of the block that was entered last, else those of the process, else those that it had."""
    with _blas_lock:
        last = _with_threads[-1] if _with_threads else process
        limit_blas(last.threads or _environment_threads(), quota_for_blas())


def _after_fork() -> None:
    """In the child: perhaps other cores, this thread's blocks alone, no lock that another thread of the parent held."""
    global _blas_lock  # noqa: PLW0603 - one for a process
    _default_threads.cache_clear()
    _blas_lock = threading.RLock()
    _with_threads[:] = [block for block in _blocks.get() if block in _with_threads]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
