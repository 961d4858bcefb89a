"""Who compiles what, where several processes need the same kernels: a lock beside each file that is being made.

The system frees the lock of a process that ends, however it ends. Where files cannot be locked (on Windows, on some
network disks) nothing is claimed, and a kernel may be compiled twice.
"""

import contextlib
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".claim"
PATIENCE = 60.0  # seconds that one waits for another process: a kernel takes 1 to 10
PAUSE = 0.01

_held: dict[Path, int] = {}  # the descriptors of claims of this process


def claim(path: Path, patience: float = PATIENCE) -> bool:
    """Claim `path`, which is to be made; False where it is there by now, or where somebody else has still not made it
    after `patience` seconds."""
    if fcntl is None or path in _held:
        return True
    beside, end = path.with_name(path.name + SUFFIX), time.monotonic() + patience
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError:  # a folder that cannot be written
        return True
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(descriptor)
                return False
            time.sleep(PAUSE)
        except OSError:  # locks are not supported there
            os.close(descriptor)
            return True
    _held[path] = descriptor
    if path.exists():
        release(path)
        return False
    return True


def release(path: Path) -> None:
    """Let others know that `path` is there, or that this process will not make it."""
    if path in _held:
        with contextlib.suppress(OSError):
            path.with_name(path.name + SUFFIX).unlink()
        os.close(_held.pop(path))


def release_all() -> None:
    """Where a compilation has failed: what it is part of will not be made either."""
    for path in list(_held):
        release(path)
