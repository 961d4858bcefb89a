"""Ctrl-C: at once while modules are imported, after the present step while a model trains.

Python would raise KeyboardInterrupt in the midst of an import, and an extension module, NumPy's for one, may print it
with its traceback and go on with an ImportError. There is nothing to clean up yet, so the process simply ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn


def leave(*_: object) -> NoReturn:
    """A signal handler."""
    os.write(2, b"fastcnn: interrupted\n")
    os._exit(130)


def leave_at_once() -> None:
    """From now on; not where Ctrl-C was meant to be ignored, or is somebody else's."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def raise_again() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt: there may be files to clean up."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def deferred(stop: Callable[[], None], tell: bool = True) -> Iterator[None]:
    """Inside a ``with`` block the first Ctrl-C calls `stop`, and with `tell` says so; the next one raises
    KeyboardInterrupt.

    Not outside the main thread, which alone gets signals, nor where Ctrl-C is somebody else's.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def once(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if tell:  # print might be what it interrupts
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")
        stop()

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
