"""How a failure of one rank becomes the end of all, with its message, and only one."""

from __future__ import annotations

import builtins
import contextlib
import os
import stat
import sys
import time
from typing import Any, NoReturn

from fastcnn.errors import FileFormatError

PASSING_ON = 0.1  # seconds that the launcher has to print what it has read of a rank
GRACE = 2.0  # seconds in which the other ranks may fail with the same error, which is then printed once

# What launchers tell a process about its place, before MPI begins: MPICH, Open MPI, Slurm.
RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
LOCAL_SIZES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


def variable(names: tuple[str, ...]) -> int:
    """The first of these variables that holds a number; 0 where none does."""
    found = (os.environ.get(name, "") for name in names)
    return next((int(text) for text in found if text.isdigit()), 0)


def launched_rank() -> int:
    """The rank that the launcher has given this process; 0 where none has."""
    return variable(RANKS)


def launched() -> int:
    """How many ranks mpiexec has started; 0 where it does not say."""
    return variable(SIZES)


def launched_on_node() -> int:
    """How many ranks the launcher has started on this node; 0 where it does not say."""
    return variable(LOCAL_SIZES)


def told(error: Exception) -> tuple[list[str], str]:
    """What another rank needs to know of an error: the names of its class and of those above it, and its text."""
    return [ancestor.__name__ for ancestor in type(error).__mro__], str(error) or type(error).__name__


def remote_error(rank: int, names: list[str], text: str) -> Exception:
    """The error of another rank, of the first of the classes of these names that is known and that text alone makes."""
    for name in names:
        kind = FileFormatError if name == FileFormatError.__name__ else getattr(builtins, name, None)
        with contextlib.suppress(TypeError):
            error = kind(f"rank {rank}: {text}")
            error.remote = True
            return error
    raise AssertionError("every error is an Exception")


def all_fail(comm: Any) -> bool:
    """Whether all ranks of `comm`, which is for this alone, come here within `GRACE`: ranks that fail for one reason do
    so at once, and may then go on on their own. Otherwise some wait elsewhere, and must be ended."""
    met, patience = comm.Ibarrier(), time.monotonic() + GRACE
    while not met.Test():
        if time.monotonic() > patience:
            return False
        time.sleep(1e-3)
    return True


def unread() -> int:
    """Bytes of this process's stderr that its launcher has yet to read; 0 where that is not known."""
    try:
        import fcntl
        import termios

        if stat.S_ISFIFO(os.fstat(2).st_mode):
            return int.from_bytes(fcntl.ioctl(2, termios.FIONREAD, bytes(4)), sys.byteorder)
    except (ImportError, OSError):  # Windows; a closed stderr
        pass
    return 0


def end_all(comm: Any, text: str, status: int) -> NoReturn:
    """Print `text` and end all ranks of `comm`.

    MPICH's mpiexec drops what it has not read when it hears of the end: on a busy machine one message in six was lost.
    """
    with contextlib.suppress(OSError):  # nowhere to say it
        print(text, file=sys.stderr, flush=True)
    patience = time.monotonic() + GRACE
    while unread() and time.monotonic() < patience:
        time.sleep(1e-3)
    time.sleep(PASSING_ON)
    comm.Abort(status)
    os._exit(status)


class Ending:
    """Who says what when ranks of a command fail: made by all ranks at its start, used by those that fail."""

    def __init__(self, comm: Any):
        self.comm = comm.Dup()

    def fail(self, message: str, status: int, remote: bool = False) -> int:
        """Print `message`, once for all ranks that fail alike, and end the ranks that have not failed.

        A `remote` error is that of another rank, which says it itself. The exit status, where all ranks have come to
        this point; otherwise this does not return.
        """
        if not all_fail(self.comm):
            end_all(self.comm, f"{message} [rank {self.comm.rank}]", status)
        messages = self.comm.allgather(None if remote else message)
        if self.comm.rank == 0:
            for line in dict.fromkeys(filter(None, messages)):
                print(line, file=sys.stderr, flush=True)
        self.comm.Barrier()  # the first rank that exits may take the others with it
        return status
