"""Compilation as users see it: the notice that it takes a while, and the command that does it beforehand. Requires
numba."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numba.core import event
from numba.core.registry import cpu_target
from tqdm import tqdm

from fastcnn.backends import helpers
from fastcnn.backends import numba as kernels
from fastcnn.backends.arguments import Source
from fastcnn.backends.numba.convolution.winograd.table import ROWS
from fastcnn.backends.numba.convolution.winograd.transforms import address_of, roles_of
from fastcnn.backends.numba.core import claims
from fastcnn.backends.numba.core.cache import CACHE_FOLDER
from fastcnn.backends.numba.core.compiling import KIND, Compilations, ours
from fastcnn.backends.numba.core.jit import load_loop
from fastcnn.backends.registry import DECLARED
from fastcnn.config import get_conv_algorithm, using
from fastcnn.streams import say_once


class Constants(Source):
    """Arguments that only compile: the integers in `given`, else 2, or 0 where that is allowed; arrays of ones."""

    def __init__(self, dtype: str, given: Mapping[str, int]):
        self.given = given
        super().__init__(dtype)

    def integer(self, name: str, low: int, high: int) -> int:
        return self.given.get(name, min(2, high) if low else 0)

    def array(self, *shape: int) -> np.ndarray:
        return np.ones(shape, self.dtype)


def call_all(dtype: str) -> None:
    """Call every kernel for `dtype`, convolutions by each algorithm."""
    load_loop()
    for name, declaration in DECLARED.items():
        for algorithm in (
            ("direct", "lanes", "winograd", "im2col") if declaration.tile_axes else (get_conv_algorithm(),)
        ):
            with using(conv=algorithm):
                for given in declaration.warm:
                    getattr(kernels, name)(*declaration.draw(Constants(dtype, given)))
    for transform, row in ROWS.items():
        for role in roles_of(row):
            address_of(transform, role, np.dtype(dtype))


def compile_noted(call: tuple[Any, Any]) -> dict[str, float]:
    """Compile the function that a call has been noted of, unless it is there or another process compiles it; the
    seconds of each function that this takes."""
    compiled, signature = call
    path, listener = compiled._cache.place_of(signature, cpu_target.target_context), Compilations()
    if not path.exists() and claims.claim(path, 0):
        with event.install_listener(KIND, listener):
            compiled.compile(*[signature] * isinstance(signature, tuple))  # a function by address has one alone
        claims.release(path)
    return listener.seconds


def warm_up(dtypes: list[str]) -> dict[str, float]:
    """Compile every kernel for `dtypes`, in several processes; the seconds of each function and dtype.

    Raises RuntimeError where one of the processes fails; it has said why on standard error.
    """
    seconds: dict[str, float] = {}
    count = helpers.processes() if CACHE_FOLDER else 0
    works = [{"dtypes": dtypes, "last_first": place > 0} for place in range(count)]
    workers = [helpers.worker(work, stdout=subprocess.PIPE) for work in works]
    for process in workers:
        with process:  # its input is open until then: it ends with that
            seconds.update(json.loads(line) for line in process.stdout or ())
    if failed := [process.returncode for process in workers if process.returncode]:
        raise RuntimeError(f"warmup: {len(failed)} of {count} processes that compile failed, with status {failed[0]}")
    return seconds


class Notice(event.Listener):
    """Says once in a process that kernels are being compiled. Once that has taken long, a line counts them, while one
    is being compiled: nobody says which is the last, and a training has a bar of its own."""

    PATIENCE = 3.0  # seconds of compilation

    def __init__(self) -> None:
        self.depth, self.count, self.began, self.seconds = 0, 0, 0.0, 0.0
        self.bar: Any = None

    def on_start(self, happening: event.Event) -> None:
        self.depth += 1
        if self.depth > 1 or not ours(happening):
            return
        kept = f"kept in {CACHE_FOLDER}" if CACHE_FOLDER else "there is no writable folder to keep them in"
        say_once("compiling", f"fastcnn: compiling kernels for this processor, some 10 s ({kept})")
        self.began = time.perf_counter()
        if self.seconds > self.PATIENCE:
            text = f"compiling kernels: {self.count} in {self.seconds:.0f} s"
            self.bar = tqdm(desc=text, bar_format="{desc}", leave=False, disable=None)

    def on_end(self, happening: event.Event) -> None:
        self.depth -= 1
        if self.depth == 0 and ours(happening):
            self.count += 1
            self.seconds += time.perf_counter() - self.began
        if self.depth == 0 and self.bar is not None:
            self.bar.close()
            self.bar = None


notice = Notice()  # one for a process, which may be inside several blocks
blocks: list[object] = []


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Say so on stderr where anything is compiled inside a ``with`` block."""
    own = object()
    if not blocks:
        event.register(KIND, notice)
    blocks.append(own)
    try:
        yield
    finally:
        blocks.remove(own)
        if not blocks:
            event.unregister(KIND, notice)
