"""The signals that end a process: Ctrl-C, SIGTERM (of `kill`, a batch system, a container) and SIGHUP (its terminal is
closed), which Windows lacks. The exit status is 128 and the signal's number: 130, 143, 129.

While modules are imported the process ends at once. Python would raise KeyboardInterrupt in the midst of an import, and
an extension module, such as NumPy's, may print it with its traceback and continue with an ImportError. There is nothing
to clean up yet.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from fastcnn import streams

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
TOGETHER = 1.0  # seconds in which several SIGTERM and SIGHUP are one: `timeout`, systemd and a closing shell send two

_deferred = -TOGETHER  # when a signal last came that a training has deferred
_process = 0  # in which `raised_once` is on


class Interruption(KeyboardInterrupt):
    """A signal that ends a command."""

    def __init__(self, signum: int, message: str = ""):
        name = "interrupted" if signum == signal.SIGINT else f"ended by {signal.Signals(signum).name}"
        super().__init__(message or name)
        self.signum = signum


class Termination(SystemExit):
    """A signal other than Ctrl-C that ends a script whose training it has stopped."""

    def __init__(self, signum: int):
        super().__init__(status_of(signum))
        self.signum = signum


def status_of(signum: int) -> int:
    """The exit status of a process that this signal has ended."""
    return 128 + signum


def python_handler(signum: int) -> Any:
    """The handler of a signal where nobody has installed one."""
    return signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL


def leave(*_: object) -> NoReturn:
    """A signal handler."""
    streams.tell(b"fastcnn: interrupted\n")
    os._exit(status_of(signal.SIGINT))


def leave_at_once() -> None:
    """From now on; a no-op where Ctrl-C is ignored or another handler is installed. SIGTERM and SIGHUP do it anyway."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def raise_again() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, as a script expects it."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def nothing(*_: object) -> None:
    """A signal handler; unlike SIG_IGN it is not passed on to other processes."""


def raise_once(signum: int, _: object) -> None:
    """A signal handler that raises Interruption; signals that come while files are cleaned up are ignored."""
    if forked(signum, _process) or repeats(signum):
        return
    disarm(raise_once)
    raise Interruption(signum)


def forked(signum: int, process: int) -> bool:
    """Whether this is not the `process` that has installed a handler but one that inherited it, such as a worker of a
    pool: it ends as without one."""
    if os.getpid() == process:
        return False
    signal.signal(signum, python_handler(signum))
    signal.raise_signal(signum)
    return True


def disarm(handler: Any) -> None:
    """Ignore the signals that have this handler."""
    for signum in SIGNALS:
        if signal.getsignal(signum) is handler:
            signal.signal(signum, nothing)


def ignore_from_now_on() -> None:
    """Where a signal has ended the command: the interpreter, which is about to end, would give those that follow their
    default action back, in the midst of its clean-up, and the process another exit status."""
    for signum in SIGNALS:
        if signal.getsignal(signum) is nothing:
            signal.signal(signum, signal.SIG_IGN)


def defer() -> None:
    """Remember that a signal has come, and that what it asks for is being done."""
    global _deferred  # noqa: PLW0603 - signals are the process's
    _deferred = time.monotonic()


def repeats(signum: int) -> bool:
    """Whether a signal asks for what is being done already. Ctrl-C never does: who presses it twice means it."""
    return signum != signal.SIGINT and time.monotonic() - _deferred < TOGETHER


def put_back(handlers: dict[int, Any]) -> None:
    """Give signals their handlers, all of them: what comes meanwhile is theirs, and what it raises comes at the end."""
    came: list[int] = []
    raised: BaseException | None = None
    for _ in range(2):  # the handlers of this package raise once at most
        try:
            for signum in handlers:
                signal.signal(signum, lambda signum, _: came.append(signum))
            break
        except BaseException as error:
            raised = error
    for signum in sorted(handlers, key=lambda signum: signum == signal.SIGINT):  # last: Python's raises
        signal.signal(signum, handlers[signum])
    if raised is not None:
        raise raised
    for signum in came:
        signal.raise_signal(signum)


@contextlib.contextmanager
def raised_once() -> Iterator[None]:
    """The first signal in a ``with`` block raises Interruption, and the others are ignored.

    A no-op for signals that are ignored or have a handler of somebody else, and outside the main thread.
    """
    global _process  # noqa: PLW0603 - signals are the process's
    _process = os.getpid()
    ours = threading.current_thread() is threading.main_thread()
    before = {signum: signal.getsignal(signum) for signum in SIGNALS if ours}
    before = {signum: handler for signum, handler in before.items() if handler in (python_handler(signum), leave)}
    for signum in before:
        signal.signal(signum, raise_once)
    try:
        yield
    finally:
        ending = leave in before.values()  # the process, with the command
        put_back({s: h for s, h in before.items() if not ending or signal.getsignal(s) is raise_once})
