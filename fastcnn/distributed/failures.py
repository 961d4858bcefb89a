"""How a failure of one rank becomes the end of all, with its message, and only one."""

from __future__ import annotations

import builtins
import os
import sys
import time
from typing import Any

from fastcnn.errors import FileFormatError

GRACE = 2.0  # seconds in which the other ranks may fail with the same error, which is then printed once

# What launchers tell a process about its place, before MPI begins: Hydra and Slurm, Open MPI.
RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def launched_rank() -> int:
    """The rank that the launcher has given this process; 0 where none has."""
    found = (os.environ.get(name, "") for name in RANK_VARIABLES)
    return next((int(text) for text in found if text.isdigit()), 0)


def remote_error(rank: int, ancestors: tuple[type, ...], text: str) -> Exception:
    """The error of another rank, as one of the same class, or of a class above it that text alone makes."""
    simple = {value for value in vars(builtins).values() if isinstance(value, type) and issubclass(value, Exception)}
    simple -= {UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError}
    kind = next(cls for cls in ancestors if cls in simple or cls is FileFormatError)
    error = kind(f"rank {rank}: {text}")
    error.remote = True
    return error


def all_fail(comm: Any) -> bool:
    """Whether all ranks of `comm`, which is for this alone, come here within `GRACE`: ranks that fail for one reason do
    so at once, and may then go on on their own. Otherwise some wait elsewhere, and must be ended."""
    met, patience = comm.Ibarrier(), time.monotonic() + GRACE
    while not met.Test():
        if time.monotonic() > patience:
            return False
        time.sleep(1e-3)
    return True


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
            print(f"{message} [rank {self.comm.rank}]", file=sys.stderr, flush=True)
            self.comm.Abort(status)
        messages = self.comm.allgather(None if remote else message)
        if self.comm.rank == 0:
            for line in dict.fromkeys(filter(None, messages)):
                print(line, file=sys.stderr, flush=True)
        self.comm.Barrier()  # the first rank that exits may take the others with it
        return status
