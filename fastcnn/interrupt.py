"""Ctrl-C while modules are imported: the process ends at once.

Python would raise KeyboardInterrupt in the midst of an import, and an extension module, such as NumPy's, may print it
with its traceback and continue with an ImportError. There is nothing to clean up yet.
"""

import os
import signal
from typing import NoReturn

from fastcnn import streams


def leave(*_: object) -> NoReturn:
    """A signal handler."""
    streams.tell(b"fastcnn: interrupted\n")
    os._exit(130)


def leave_at_once() -> None:
    """From now on; a no-op where Ctrl-C is ignored or another handler is installed."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def raise_again() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt: there may be files to clean up."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
