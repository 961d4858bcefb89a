"""What goes on while a function is compiled: numba says when it begins and ends. Requires numba."""

import gc
import time
from collections.abc import Callable
from typing import Any

from numba.core import event
from numba.core.ccallback import CFunc

from fastcnn.backends import helpers
from fastcnn.backends.numba.core import claims
from fastcnn.backends.numba.core.cache import CACHE_FOLDER, PACKAGE

KIND = "numba:compile"


def ours(happening: event.Event) -> str | None:
    """The function that is compiled, as `module.function`; None if it is not of this package but of numba or a user."""
    function = happening.data["dispatcher"].py_func
    *package, module = function.__module__.split(".")
    return f"{module}.{function.__name__}" if package[:1] == [PACKAGE] else None


class Compiling(event.Listener):
    """For all compilations of this process.

    The first one starts the helpers. Python's garbage collector waits meanwhile: it would search hundreds of thousands
    of objects of numba's that are all in use, a sixth of the first LeNet step.
    """

    def __init__(self) -> None:
        self.depth, self.collects, self.helped = 0, False, False

    def on_start(self, happening: event.Event) -> None:
        self.depth += 1
        if self.depth > 1:
            return
        self.collects = gc.isenabled()
        gc.disable()
        if not self.helped and ours(happening):
            self.helped = True
            if CACHE_FOLDER is not None:
                helpers.start()

    def on_end(self, happening: event.Event) -> None:
        self.depth -= 1
        if self.depth == 0 and self.collects:
            gc.enable()
        if happening.is_failed:
            claims.release_all()


class Compilations(event.Listener):
    """The seconds of each function of this package that is compiled while it listens; what comes from the cache is not
    compiled. They include those of the functions that it calls and that were not compiled yet."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.started: list[float] = []

    def on_start(self, happening: event.Event) -> None:
        self.started.append(time.perf_counter())

    def on_end(self, happening: event.Event) -> None:
        seconds = time.perf_counter() - self.started.pop()
        if name := ours(happening):
            self.seconds[name] = self.seconds.get(name, 0) + seconds


class Addressed(CFunc):
    """A function that is called by its address, whose compilation is told as those of others are."""

    @property
    def py_func(self) -> Callable:
        return self.__wrapped__

    def _compile_uncached(self) -> Any:
        with event.trigger_event(KIND, data={"dispatcher": self}):
            return super()._compile_uncached()  # type: ignore[misc]


event.register(KIND, Compiling())
