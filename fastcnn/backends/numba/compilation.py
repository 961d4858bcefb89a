"""What is being compiled: the notice that it takes a while, and the command that does it beforehand. Requires numba."""

import contextlib
import time
from collections.abc import Iterator, Mapping

import numpy as np
from numba.core import event

from fastcnn.backends import numba as kernels
from fastcnn.backends.arguments import Source
from fastcnn.backends.numba.convolution.winograd import table
from fastcnn.backends.numba.convolution.winograd.table import ROWS
from fastcnn.backends.numba.convolution.winograd.transforms import address_of, roles_of
from fastcnn.backends.numba.core.cache import CACHE_FOLDER
from fastcnn.backends.numba.core.jit import load_loop
from fastcnn.backends.registry import DECLARED
from fastcnn.config import get_conv_algorithm, using
from fastcnn.streams import say_once


class Compilations(event.Listener):
    """Numba tells it of each function of this package that it compiles; what comes from the cache is not compiled."""

    def __init__(self, announce: bool = False):
        self.announce = announce
        self.seconds: dict[str, float] = {}
        self.started: list[float] = []

    def on_start(self, happening: event.Event) -> None:
        self.started.append(time.perf_counter())
        if self.announce and ours(happening):
            announce()

    def on_end(self, happening: event.Event) -> None:
        seconds = time.perf_counter() - self.started.pop()
        if name := ours(happening):
            self.seconds[name] = self.seconds.get(name, 0) + seconds


def ours(happening: event.Event) -> str | None:
    """The function that is compiled, as `module.function`; None if it is not of this package but of numba or a user."""
    function = happening.data["dispatcher"].py_func
    *package, module = function.__module__.split(".")
    return f"{module}.{function.__name__}" if package[:1] == ["fastcnn"] else None


def announce() -> None:
    """Say once in a process that kernels are being compiled."""
    kept = f"kept in {CACHE_FOLDER}" if CACHE_FOLDER else "there is no writable folder to keep them in"
    say_once("compiling", f"fastcnn: compiling kernels for this processor, some 15 s ({kept})")


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Say so on stderr where anything is compiled inside a ``with`` block."""
    with event.install_listener("numba:compile", Compilations(announce=True)):
        yield


class Constants(Source):
    """Arguments that only compile: the integers in `given`, else 2, or 0 where that is allowed; arrays of ones."""

    def __init__(self, dtype: str, given: Mapping[str, int]):
        self.given = given
        super().__init__(dtype)

    def integer(self, name: str, low: int, high: int) -> int:
        return self.given.get(name, min(2, high) if low else 0)

    def array(self, *shape: int) -> np.ndarray:
        return np.ones(shape, self.dtype)


def warm_up(dtype: str) -> dict[str, float]:
    """Run every kernel for `dtype`, convolutions by each algorithm; seconds of each function that was compiled.

    A function's seconds include those of the functions that it calls and that were not compiled yet.
    """
    compilations = Compilations()
    with event.install_listener("numba:compile", compilations):
        load_loop()
        for name, declaration in DECLARED.items():
            for algorithm in (
                ("direct", "lanes", "winograd", "im2col") if declaration.tile_axes else (get_conv_algorithm(),)
            ):
                with using(conv=algorithm):
                    for given in declaration.warm:
                        getattr(kernels, name)(*declaration.draw(Constants(dtype, given)))
        for transform in table.ROWS:
            for role in roles_of(ROWS[transform]):
                address_of(transform, role, np.dtype(dtype))
    return compilations.seconds
