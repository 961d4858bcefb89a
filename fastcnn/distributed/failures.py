"""How a failure of one rank ends all ranks, with one message."""

import builtins
import contextlib
import os
import stat
import sys
import time
from typing import Any, NoReturn

from fastcnn.errors import FileFormatError
from fastcnn.shapes import whole_number

FORWARDING = 0.1  # seconds for the launcher to print what it has read from a rank
GRACE = 2.0  # seconds in which the other ranks may fail with the same error, which is then printed once

# Environment variables that launchers set, known before MPI is initialised: MPICH, Open MPI, Slurm.
RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
LOCAL_SIZES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


def variable(names: tuple[str, ...]) -> int:
    """The number in the first of these variables that holds one; 0 where none does."""
    found = (os.environ.get(name, "") for name in names)
    return next((number for text in found if (number := whole_number(text)) is not None), 0)


def launched_rank() -> int:
    """The rank that the launcher has given this process; 0 where none has."""
    return variable(RANKS)


def launched() -> int:
    """How many ranks mpiexec has started; 0 where it does not say."""
    return variable(SIZES)


def launched_on_node() -> int:
    """How many ranks the launcher has started on this node; 0 where it does not say."""
    return variable(LOCAL_SIZES)


def error_facts(error: Exception) -> tuple[list[str], str]:
    """What is sent of an error to other ranks: the names of its class and base classes, and its text."""
    return [ancestor.__name__ for ancestor in type(error).__mro__], str(error) or type(error).__name__


def remote_error(rank: int, names: list[str], text: str) -> Exception:
    """The error of another rank, made again: of the first of its classes that is known here and takes a text alone.

    Its attribute `remote` is True: that rank prints it.
    """
    for name in names:
        kind: Any = FileFormatError if name == FileFormatError.__name__ else getattr(builtins, name, None)
        with contextlib.suppress(TypeError):
            error: Exception = kind(f"rank {rank}: {text}")
            vars(error)["remote"] = True
            return error
    raise AssertionError("every error is an Exception")


def all_fail(comm: Any) -> bool:
    """Whether all ranks call this within `GRACE`; `comm` is used for nothing else.

    Ranks that fail for the same reason do so at the same time, and may then return. Otherwise some rank waits in
    another operation, and must be aborted.
    """
    barrier, deadline = comm.Ibarrier(), time.monotonic() + GRACE
    while not barrier.Test():
        if time.monotonic() > deadline:
            return False
        time.sleep(1e-3)
    return True


def unread() -> int:
    """Bytes in the pipe of this process's stderr that its launcher has not read; 0 where that is not known."""
    try:
        import fcntl
        import termios

        if stat.S_ISFIFO(os.fstat(2).st_mode):
            return int.from_bytes(fcntl.ioctl(2, termios.FIONREAD, bytes(4)), sys.byteorder)
    except (ImportError, OSError):  # Windows; a closed stderr
        pass
    return 0


def abort_all(comm: Any, text: str, status: int) -> NoReturn:
    """Print `text` and abort all ranks of `comm`.

    MPICH's mpiexec drops what it has not read when it is told of the abort: on a busy machine one message in six was
    lost.
    """
    with contextlib.suppress(OSError):  # stderr is closed
        print(text, file=sys.stderr, flush=True)
    deadline = time.monotonic() + GRACE
    while unread() and time.monotonic() < deadline:
        time.sleep(1e-3)
    time.sleep(FORWARDING)
    comm.Abort(status)
    os._exit(status)


class Ending:
    """Prints the error of a command that several ranks run: made by all ranks at its start, used by those that fail."""

    def __init__(self, comm: Any):
        self.comm = comm.Dup()

    def fail(self, message: str, status: int, remote: bool = False) -> int:
        """Print `message`, once for all ranks that fail with it, and abort the ranks that have not failed.

        A `remote` error is that of another rank, which prints it itself. Returns the exit status where all ranks have
        failed; otherwise it does not return.
        """
        if not all_fail(self.comm):
            abort_all(self.comm, f"{message} [rank {self.comm.rank}]", status)
        messages = self.comm.allgather(None if remote else message)
        if self.comm.rank == 0:
            for line in dict.fromkeys(filter(None, messages)):
                print(line, file=sys.stderr, flush=True)
        self.comm.Barrier()  # the first rank that exits may take the others with it
        return status
