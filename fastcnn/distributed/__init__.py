"""Communication between the ranks of an MPI job that share the work of a training or a prediction.

``Sequential.fit(..., distributed=comm)`` with a communicator of mpi4py, or ``mpiexec -n 4 python -m mpi4py -m fastcnn
train --distributed``. Requires mpi4py and an MPI library: the extra `mpi` installs both. docs/distributed.md has more.
"""

import os
import shutil
import sys
from typing import Any

from fastcnn.distributed.failures import launched


def world() -> Any:
    """``MPI.COMM_WORLD``: all ranks that the launcher has started.

    Raises
    ------
    ImportError
        There is no mpi4py, or no MPI library for it; the message says what to install.
    RuntimeError
        The launcher belongs to another MPI than the library: each rank would run as a job of its own.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py found no MPI library
        raise ImportError(
            f"distributed training needs mpi4py and an MPI library: `pip install fastcnn[mpi]` ({error})"
        ) from error
    if MPI.COMM_WORLD.Get_size() == 1 < launched():
        library = " ".join(MPI.Get_library_version().split()[:4])
        raise RuntimeError(
            f"mpiexec has started {launched()} processes, and each is alone: it belongs to another MPI than the "
            f"library that mpi4py has loaded, {library}. Start them with that library's mpiexec"
        )
    return MPI.COMM_WORLD


def launcher() -> str:
    """The mpiexec of this Python's environment, which need not be activated, or else that of the system."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    found = shutil.which("mpiexec", path=path)
    if found is None:
        raise ImportError("ranks are started by mpiexec, which is not there: `pip install fastcnn[mpi]`")
    return found
