"""Processes that compile kernels beside this one, into the folder that all share.

The first kernel that has to be compiled starts them. They are told of the layers that have been made, find out which
kernels these will call, and begin with the last: the two ends meet. Whoever compiles a kernel has claimed it (see
`fastcnn.backends.numba.core.claims`), and nobody compiles it twice.
"""

import atexit
import contextlib
import itertools
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

from fastcnn.config import get_conv_algorithm, get_num_threads
from fastcnn.shapes import must_be, whole_number

VARIABLE = "FASTCNN_COMPILE_PROCESSES"
MOST = 4  # by default: more share so little that each of them starts for nothing
# What a worker runs: `work` says what it does. Nothing is imported from the folder that the program happens to be in.
WORKER = "import sys; sys.path[:] = filter(None, sys.path); from fastcnn.warming import main; main()"

# The layers and losses of this process, by the order in which they were made.
_made: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()
_numbers = itertools.count()
calls: list[Any] | None = None  # in a worker, the kernels that would have been called: none is
_running: list[subprocess.Popen] = []


def processes() -> int:
    """How many compile together: what `FASTCNN_COMPILE_PROCESSES` says, else one for each thread, `MOST` at most."""
    text = os.environ.get(VARIABLE, "").strip()
    count = whole_number(text) or 0
    if text and count < 1:
        raise ValueError(must_be("environment variable", VARIABLE, "a positive integer", text))
    return count or min(MOST, get_num_threads())


def note(layer: Any) -> None:
    """A layer or a loss has been made."""
    _made[next(_numbers)] = layer


def described() -> list[str]:
    """The layers of this process in the order in which they were made, each once, as a worker makes them again; what is
    not of this package is left out."""
    found: dict[str, None] = {}
    for _, layer in sorted(_made.items()):
        if type(layer).__module__.startswith("fastcnn."):
            with contextlib.suppress(Exception):  # one that is half made, or holds a script's own layers
                found[json.dumps({"class": type(layer).__name__, "config": layer.config()})] = None
    return list(found)


def worker(work: dict[str, Any], **options: Any) -> subprocess.Popen:
    """A process that is told `work`, by JSON: `layers` or `dtypes`, whose kernels it compiles; `last_first`, whether it
    begins with the last of them."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "FASTCNN_BACKEND": "numba", VARIABLE: "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        env=os.environ | environment | {"FASTCNN_CONV": get_conv_algorithm()},
        text=True,
        **options,
    )
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended already
        process.stdin.write(json.dumps(work) + "\n")
        process.stdin.flush()
    return process


def can_start() -> bool:
    """Whether another process of this interpreter is one that understands ``-c``, and may be started: under MPI not
    everywhere, and ranks share what they compile."""
    mpi = getattr(sys.modules.get("mpi4py"), "MPI", None)
    several = mpi is not None and mpi.Is_initialized() and mpi.COMM_WORLD.Get_size() > 1
    python = "python" in Path(sys.executable or "").name.lower() and not getattr(sys, "frozen", False)
    return python and not several and calls is None


def start() -> None:
    """Let other processes compile what the layers of this one will need."""
    count = processes() - 1
    layers = described() if count > 0 and can_start() else []
    for _ in range(count if layers else 0):
        work = {"layers": layers, "last_first": True}
        with contextlib.suppress(OSError):  # no more processes: it is all done here
            _running.append(worker(work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


@atexit.register
def stop() -> None:
    """End the processes; each ends by itself where this one is killed, as its input ends."""
    for process in _running:
        process.terminate()
        process.communicate()
    _running.clear()
