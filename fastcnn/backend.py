"""Which backend is on: `FASTCNN_BACKEND`, `set_backend`, `use_backend`.

A backend is a module of :mod:`fastcnn.backends`; it is imported when first used, so that the NumPy backend never
imports numba. Layers ask :func:`active` at each call, so a running model can be switched between two steps.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType

from fastcnn import runtime
from fastcnn.shapes import check_choice

BACKENDS = {
    "numba": "fastcnn.backends.numba",
    "numpy": "fastcnn.backends.numpy",
    "check": "fastcnn.backends.check",
}

_process_choice: str | None = None
_context_choice: ContextVar[str | None] = ContextVar("fastcnn_backend", default=None)
_loaded: dict[str, ModuleType] = {}


def get_backend() -> str:
    """The name of the backend that the next call will use."""
    return _context_choice.get() or _process_choice or environment_choice()


@functools.cache
def environment_choice() -> str:
    """What `FASTCNN_BACKEND` asks for, read once: a layer asks at each call."""
    name = os.environ.get("FASTCNN_BACKEND") or "numba"
    return check_choice("environment variable", "FASTCNN_BACKEND", name, BACKENDS)


def set_backend(name: str) -> None:
    """Use the backend `name` in this process from now on: 'numba', 'numpy' or 'check'.

    Raises
    ------
    ValueError
        An unknown name.
    ImportError
        numba is not installed and `name` needs it; nothing is changed.
    """
    global _process_choice  # noqa: PLW0603 - a process-wide switch is what this is
    load(check_choice("set_backend", "name", name, BACKENDS))
    _process_choice = name


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use the backend `name` inside a ``with`` block: in this thread or async task alone, nested blocks included."""
    load(check_choice("use_backend", "name", name, BACKENDS))
    token = _context_choice.set(name)
    try:
        yield
    finally:
        _context_choice.reset(token)


def load(name: str) -> ModuleType:
    """The module of a backend, imported at first use. There is no fallback to another one."""
    module = _loaded.get(name)
    if module is None:
        if os.environ.get("FASTCNN_NUM_THREADS"):
            runtime.limit_blas(runtime.get_num_threads())
        try:
            module = importlib.import_module(BACKENDS[name])
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("numba", "llvmlite"):
                raise
            raise ImportError(
                f"the backend {name!r} needs numba, which is not installed: `pip install numba`, or select the "
                "NumPy backend with FASTCNN_BACKEND=numpy"
            ) from error
        _loaded[name] = module
    return module


def active() -> ModuleType:
    """The module whose kernels the next call uses."""
    name = get_backend()
    return _loaded.get(name) or load(name)


def compilation_announced() -> contextlib.AbstractContextManager[None]:
    """Say on stderr, once in a process, that kernels are being compiled where that happens inside a ``with`` block."""
    if get_backend() == "numpy":
        return contextlib.nullcontext()
    load(get_backend())
    from fastcnn.backends.numba import compilation

    return compilation.announced()
