"""The backend that is on, as a module.

It is imported when first used, so that the NumPy backend never imports numba. Layers ask :func:`active` at each call,
so a running model can be switched between two steps.
"""

import contextlib
from types import ModuleType

from fastcnn.config import get_backend, load


def active() -> ModuleType:
    """The module whose kernels the next call uses."""
    return load(get_backend())


def compilation_announced() -> contextlib.AbstractContextManager[None]:
    """Say on stderr, once in a process, that kernels are being compiled where that happens inside a ``with`` block."""
    if get_backend() == "numpy":
        return contextlib.nullcontext()
    load(get_backend())
    from fastcnn.backends.numba import compilation

    return compilation.announced()
