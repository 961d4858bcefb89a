"""One training on many machines: ranks of MPI that share the work of each step.

``Sequential.fit(..., distributed=comm)`` with a communicator of mpi4py, or ``mpiexec -n 4 python -m mpi4py -m fastcnn
train --distributed``. Requires mpi4py and an MPI library: the extra `mpi` installs both. docs/distributed.md has more.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any


def world() -> Any:
    """``MPI.COMM_WORLD``: all ranks that the launcher started. ImportError that says what to install where there is
    no mpi4py, or no MPI library for it."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py found no MPI library
        raise ImportError(
            f"distributed training needs mpi4py and an MPI library: `pip install fastcnn[mpi]` ({error})"
        ) from error
    return MPI.COMM_WORLD


def launcher() -> str:
    """The mpiexec of this Python's environment, which need not be activated, or else that of the system."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    found = shutil.which("mpiexec", path=path)
    if found is None:
        raise ImportError("ranks are started by mpiexec, which is not there: `pip install fastcnn[mpi]`")
    return found
