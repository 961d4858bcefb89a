"""Collective operations between the ranks that work on one thing: a thin layer over an mpi4py communicator.

Requires mpi4py where there is more than one rank. Every operation is non-blocking underneath and waits in
:meth:`Group.wait`, which sleeps after a moment, so that a rank that computes has the core, and which notices when a
rank or the launcher has gone.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from fastcnn import interrupt
from fastcnn.config import at_most_threads
from fastcnn.distributed.cores import threads_per_rank
from fastcnn.distributed.failures import abort_all, all_fail, error_facts, remote_error
from fastcnn.saving.checksum import as_bytes, crc32
from fastcnn.shapes import must_be, shortened

Failure = TypeVar("Failure", bound=BaseException)

# Seconds for which a wait polls before it sleeps; most operations complete within. On two cores a LeNet step of two
# ranks took 4.0 to 5.7 ms with a tenth of it, as a sleeping core is slow to wake up, and 3.1 to 4.9 so.
SPIN = 1e-3
YIELD = getattr(os, "sched_yield", lambda: None)  # to a rank that has work, where there are more ranks than cores
NAP = 0.05  # how long it sleeps after that, as a share of the time waited so far: the most that sleeping adds
LONGEST_NAP = 2e-3
TIMEOUT = 1800.0  # seconds in one wait after which a rank gives up; FASTCNN_DISTRIBUTED_TIMEOUT
PARENT = os.getppid()  # the launcher's process on this node: the job ends with it


def timeout() -> float:
    """The value of `FASTCNN_DISTRIBUTED_TIMEOUT`, in seconds."""
    text = os.environ.get("FASTCNN_DISTRIBUTED_TIMEOUT", "").strip()
    try:
        seconds = float(text or TIMEOUT)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        name = "FASTCNN_DISTRIBUTED_TIMEOUT"
        raise ValueError(must_be("environment variable", name, "a number of seconds above 0", text))
    return seconds


def check_comm(owner: str, comm: Any) -> None:
    """TypeError unless `comm` is an intracommunicator of mpi4py, or None."""
    mpi = sys.modules.get("mpi4py.MPI")
    if comm is not None and not (mpi and isinstance(comm, mpi.Intracomm) and comm != mpi.COMM_NULL):
        wanted = "an intracommunicator of mpi4py, such as MPI.COMM_WORLD, or None"
        raise TypeError(must_be(owner, "distributed", wanted, comm))


class Group:
    """The ranks of a communicator; with None this process alone, where every operation is a no-op.

    All methods but `shard`, `abort` and `lead` are collective: all ranks call them in the same order. In a ``with``
    block no rank uses more threads than `threads_per_rank`, and an error that not all ranks raise aborts the job.
    """

    def __init__(self, comm: Any = None):
        self.timeout = timeout()
        self.rank: int = 0 if comm is None else comm.Get_rank()
        self.size: int = 1 if comm is None else comm.Get_size()
        self.comm: Any = None
        self.failing: Any = None
        self.common_error: BaseException | None = None  # the last one that all ranks were about to raise
        if self.size > 1:
            self.comm = self.duplicate(comm)  # its messages cannot match those of the caller's communicator
            self.failing = self.duplicate(comm)  # for the barrier of ranks that fail

    @classmethod
    def of(cls, owner: str, comm: Any) -> Group:
        """The group of the argument `distributed` of `owner`."""
        check_comm(owner, comm)
        return cls(comm)

    def duplicate(self, comm: Any) -> Any:
        """A communicator of the same ranks."""
        copy, request = comm.Idup()
        self.wait(request)
        return copy

    def __enter__(self) -> Group:
        self.limit = contextlib.ExitStack()
        if self.comm is not None:
            self.limit.enter_context(at_most_threads(threads_per_rank(self.comm)))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        """The other ranks would wait for one that fails alone: they are aborted."""
        self.limit.close()
        common, self.common_error = self.common_error, None
        if self.comm is None:
            return
        if error is None or error is common:
            self.comm.Free()
            self.failing.Free()
        elif not all_fail(self.failing):
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if isinstance(error, KeyboardInterrupt | interrupt.Termination):
                self.abort(text, interrupt.status_of(getattr(error, "signum", signal.SIGINT)))
            self.abort(text, 1, "".join(traceback.format_exception(error)))

    @property
    def lead(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """This rank's shard of `count` items: contiguous, perhaps empty; sizes differ by one at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def wait(self, *requests: Any) -> None:
        """Block until all `requests` are complete."""
        from mpi4py import MPI

        begin, pending = time.monotonic(), list(requests)
        while not MPI.Request.Testall(pending):
            waited = time.monotonic() - begin
            if waited < SPIN:
                YIELD()
                continue
            if os.getppid() != PARENT:
                self.abort("the launcher of the ranks is gone")
            if waited > self.timeout:
                self.abort(
                    f"no answer from the other ranks for {self.timeout:g} s (FASTCNN_DISTRIBUTED_TIMEOUT): one of "
                    "them hangs, or has left"
                )
            time.sleep(min(LONGEST_NAP, NAP * waited))

    def progress(self, requests: Sequence[Any]) -> None:
        """Let pending operations advance: MPI works only while it is called."""
        from mpi4py import MPI

        MPI.Request.Testall(list(requests))

    def abort(self, message: str, status: int = 1, trace: str = "") -> NoReturn:
        """End all ranks; this one prints its message, after its traceback."""
        from mpi4py import MPI

        abort_all(MPI.COMM_WORLD, f"{trace}fastcnn: rank {self.rank}: {message}", status)

    def all_reduce(self, array: np.ndarray) -> np.ndarray:
        """The sum of the arrays of all ranks, in place."""
        if self.comm is not None:
            self.wait(self.start_all_reduce(array))
        return array

    def start_all_reduce(self, array: np.ndarray) -> Any:
        """Start `all_reduce`; the request that it returns is for `wait`."""
        from mpi4py import MPI

        return self.comm.Iallreduce(MPI.IN_PLACE, array)

    def barrier(self) -> None:
        """Block until all ranks have called it."""
        if self.comm is not None:
            self.wait(self.comm.Ibarrier())

    def all_gather(self, value: Any) -> list[Any]:
        """The value of each rank, any object that pickle takes, in the order of the ranks.

        mpi4py's own operations on objects block: they would not return where another rank has died.
        """
        if self.comm is None:
            return [value]
        pickled, ends = self.all_gather_bytes(np.frombuffer(pickle.dumps(value), np.uint8))
        return [pickle.loads(piece.data) for piece in np.split(pickled, ends[:-1])]

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0."""
        found = self.all_gather(value if self.lead else None)[0]
        return value if self.lead else found

    def all_gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all ranks, in the order of the ranks; `rows` itself where there is one rank."""
        if self.comm is None:
            return rows
        gathered, _ = self.all_gather_bytes(as_bytes(rows))
        return gathered.view(rows.dtype).reshape(-1, *rows.shape[1:])

    def all_gather_bytes(self, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of all ranks one after the other, and where those of each rank end.

        Lengths are int64 on every platform: NumPy's default integer has 32 bits on Windows before NumPy 2.
        """
        sizes = np.empty(self.size, np.int64)
        self.wait(self.comm.Iallgather(np.array([piece.size], np.int64), sizes))
        ends = np.cumsum(sizes, dtype=np.int64)
        gathered = np.empty(int(ends[-1]), np.uint8)
        self.wait(self.comm.Iallgatherv(piece, [gathered, sizes]))
        return gathered, ends

    def broadcast_arrays(self, arrays: Sequence[np.ndarray]) -> None:
        """Overwrite `arrays` with those of rank 0."""
        if self.comm is None:
            return
        for array in arrays:
            buffer = np.ascontiguousarray(array)
            self.wait(self.comm.Ibcast(buffer))
            if buffer is not array:
                array[...] = buffer

    def together(self, function: Callable[[], Any]) -> Any:
        """Call `function` on all ranks; where it raises an Exception on some of them, all ranks raise one."""
        if self.comm is None:
            return function()
        result, error = None, None
        try:
            result = function()
        except Exception as raised:
            error = raised
        self.raise_any(error)
        return result

    def raise_any(self, error: Exception | None) -> None:
        """Raise `error`; where it is None, that of the first rank on which it is not."""
        found = self.all_gather(None if error is None else error_facts(error))
        first = next((rank for rank, other in enumerate(found) if other is not None), None)
        if first is not None:
            raise self.common(error or remote_error(first, *found[first]))

    def common(self, error: Failure) -> Failure:
        """`error`, which all ranks are about to raise together: `__exit__` need not abort the others."""
        self.common_error = error
        return error

    def on_lead(self, function: Callable[[], Any]) -> Any:
        """Call `function` on rank 0 alone and broadcast its result; where it raises, all ranks do."""
        return self.broadcast(self.together(function if self.lead else lambda: None))

    def check_same(self, owner: str, facts: dict[str, Any]) -> None:
        """ValueError on all ranks where `facts`, arguments by name, are not the same on all of them."""
        found = self.all_gather({name: str(value) for name, value in facts.items()})
        for rank, other in enumerate(found):
            for name in found[0] | other:
                if other.get(name) != found[0].get(name):
                    texts = [shortened(str(facts.get(name))) for facts in (found[0], other)]
                    both = f"{texts[0]} on rank 0 and {texts[1]} on rank {rank}"
                    raise self.common(ValueError(f"{owner}: `{name}` must be the same on all ranks. Received {both}"))


def data_facts(x: np.ndarray, y: np.ndarray | None = None, suffix: str = "") -> dict[str, str]:
    """For `check_same`: shapes, dtypes, and checksums of the labels, which every rank reads whole, and of the first and
    the last image. All ranks are given the same images and labels, and each reads its shard of the images."""
    facts = {f"x{suffix}": f"{x.dtype} {x.shape}, first and last with CRC-32 {crc32(x[:: max(1, len(x) - 1)]):08x}"}
    return facts if y is None else facts | {f"y{suffix}": f"{y.dtype} {y.shape}, CRC-32 {crc32(y):08x}"}
