"""Ctrl-C, SIGTERM and SIGHUP while a model trains: it ends after the present step."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from fastcnn import interrupt, streams


@contextlib.contextmanager
def deferred(stop: Callable[[], None], announce: bool = True) -> Iterator[list[int]]:
    """Inside a ``with`` block the first signal calls `stop`, and with `announce` prints a line; the list gets it.

    The next one ends the block at once, by KeyboardInterrupt, or by SystemExit where it is not Ctrl-C; then all are
    ignored, while files are cleaned up. A no-op outside the main thread, which alone gets signals, and for signals that
    are ignored (as SIGHUP is by `nohup`) or have a handler of somebody else.
    """
    received: list[int] = []
    process = os.getpid()
    ours = threading.current_thread() is threading.main_thread()
    before = {signum: signal.getsignal(signum) for signum in interrupt.SIGNALS if ours}
    before = {
        signum: handler
        for signum, handler in before.items()
        if handler in (interrupt.python_handler(signum), interrupt.raise_once)
    }

    def handle(signum: int, _: object) -> None:
        if interrupt.forked(signum, process):
            return
        if not received:
            received.append(signum)
            interrupt.defer()
            if announce:
                streams.tell(notice(signum))
            stop()
        elif not interrupt.repeats(signum):
            interrupt.disarm(handle)
            if before[signum] is interrupt.raise_once:
                raise interrupt.Interruption(signum)
            if signum == signal.SIGINT:
                raise KeyboardInterrupt
            raise interrupt.Termination(signum)

    for signum in before:
        signal.signal(signum, handle)
    try:
        yield received
    finally:
        heeded = len(received)
        ending = interrupt.raise_once in before.values()  # the command, with a second signal
        interrupt.put_back({s: h for s, h in before.items() if not ending or signal.getsignal(s) is handle})
        for signum in received[heeded:]:  # too late to stop anything
            signal.raise_signal(signum)


def notice(signum: int) -> bytes:
    if signum == signal.SIGINT:
        return b"\nstopping after this step; Ctrl-C again stops at once\n"
    return f"\n{signal.Signals(signum).name}: stopping after this step; Ctrl-C stops at once\n".encode()


def ends_process(signum: int) -> bool:
    """Whether the process ends with a training that this signal has stopped, as it would have without one: not after
    Ctrl-C, and not where somebody handles it."""
    return signum not in (0, signal.SIGINT) and signal.getsignal(signum) is signal.SIG_DFL
