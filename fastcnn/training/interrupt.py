"""Ctrl-C while a model trains: after the present step."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from fastcnn import streams


@contextlib.contextmanager
def deferred(stop: Callable[[], None], announce: bool = True) -> Iterator[None]:
    """Inside a ``with`` block the first Ctrl-C calls `stop`, and with `announce` prints a line; the next one raises
    KeyboardInterrupt.

    A no-op outside the main thread, which alone gets signals, and where another handler of Ctrl-C is installed.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def once(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if announce:
            streams.tell(b"\nstopping after this step; Ctrl-C again stops at once\n")
        stop()

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
