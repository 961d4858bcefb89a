"""The ranks that work on one training, and what they tell each other: thin words for what an mpi4py communicator does.

Requires mpi4py where there is more than one rank. Whoever waits does so in :meth:`Group.wait`, which sleeps after a
moment, so that a rank that computes has the core, and which notices when nobody will answer any more.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from fastcnn.config import at_most_threads
from fastcnn.distributed.failures import all_fail, end_all, launched_on_node, remote_error, told
from fastcnn.saving.checksum import crc32
from fastcnn.shapes import must_be, shortened
from fastcnn.threads import available_cores

# Seconds in which a wait asks again at once; most answers come within. On two cores a LeNet step of two ranks took 4.0
# to 5.7 ms with a tenth of it, as a core that slept takes its time to wake up, and 3.1 to 4.9 so.
SPIN = 1e-3
YIELD = getattr(os, "sched_yield", lambda: None)  # to a rank that has work, where there are more ranks than cores
NAP = 0.05  # what it sleeps after that, as a share of the time that it has waited: the most it adds to it
LONGEST_NAP = 2e-3
PATIENCE = 1800.0  # seconds without an answer after which a rank gives up; FASTCNN_DISTRIBUTED_TIMEOUT
PARENT = os.getppid()  # the launcher's process on this node: where it is gone, the job is


def patience() -> float:
    """What `FASTCNN_DISTRIBUTED_TIMEOUT` asks for, in seconds."""
    text = os.environ.get("FASTCNN_DISTRIBUTED_TIMEOUT", "").strip()
    try:
        seconds = float(text or PATIENCE)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        name = "FASTCNN_DISTRIBUTED_TIMEOUT"
        raise ValueError(must_be("environment variable", name, "a number of seconds above 0", text))
    return seconds


def check_comm(owner: str, comm: Any) -> None:
    """Raise TypeError where `comm` is no communicator of mpi4py with ranks to talk to, nor None."""
    mpi = sys.modules.get("mpi4py.MPI")
    if comm is not None and not (mpi and isinstance(comm, mpi.Intracomm) and comm != mpi.COMM_NULL):
        wanted = "an intracommunicator of mpi4py, such as MPI.COMM_WORLD, or None"
        raise TypeError(must_be(owner, "distributed", wanted, comm))


class Group:
    """The ranks of a communicator, or, with None, this process alone, to which every method answers at once.

    A method is called by all ranks in the same order, but for `part`, `abort` and `lead`. In a ``with`` block no rank
    uses more threads than `threads_per_rank`, and an error that is not known to all ranks ends them.
    """

    def __init__(self, comm: Any = None):
        self.patience = patience()
        self.rank, self.size = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
        self.comm = self.failing = None
        if self.size > 1:
            self.comm = self.copied(comm)  # what others say on theirs is never taken for ours
            self.failing = self.copied(comm)  # where ranks meet that cannot go on

    @classmethod
    def of(cls, owner: str, comm: Any) -> Group:
        """The group of the argument `distributed` of `owner`."""
        check_comm(owner, comm)
        return cls(comm)

    def copied(self, comm: Any) -> Any:
        """A communicator of the same ranks, once all are here."""
        copy, request = comm.Idup()
        self.wait(request)
        return copy

    def __enter__(self) -> Group:
        self.limit = contextlib.nullcontext() if self.comm is None else at_most_threads(threads_per_rank(self.comm))
        self.limit.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        """Where the others do not know of the error, they would wait for this rank: end them too."""
        self.limit.__exit__(None, None, None)
        if self.comm is None:
            return
        if error is None or getattr(error, "agreed", None) is self:
            self.comm.Free()
            self.failing.Free()
        elif not all_fail(self.failing):
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if isinstance(error, KeyboardInterrupt):
                self.abort(text, 130)
            self.abort(text, 1, "".join(traceback.format_exception(error)))

    @property
    def lead(self) -> bool:
        """Whether this is rank 0, which writes and prints for all."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This rank's part of `count` things in a row; parts differ by one at most, and may be empty."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def wait(self, *requests: Any) -> None:
        """Until all `requests` are done."""
        from mpi4py import MPI

        begin, pending = time.monotonic(), list(requests)
        while not MPI.Request.Testall(pending):
            waited = time.monotonic() - begin
            if waited < SPIN:
                YIELD()
                continue
            if os.getppid() != PARENT:
                self.abort("the launcher of the ranks is gone")
            if waited > self.patience:
                self.abort(
                    f"no answer from the other ranks for {self.patience:g} s (FASTCNN_DISTRIBUTED_TIMEOUT): one of "
                    "them hangs, or has left"
                )
            time.sleep(min(LONGEST_NAP, NAP * waited))

    def poke(self, requests: Sequence[Any]) -> None:
        """Let what is on its way go on: MPI works while it is called."""
        from mpi4py import MPI

        MPI.Request.Testall(list(requests))

    def abort(self, message: str, status: int = 1, trace: str = "") -> NoReturn:
        """End all ranks with this one's message, after its traceback."""
        from mpi4py import MPI

        end_all(MPI.COMM_WORLD, f"{trace}fastcnn: rank {self.rank}: {message}", status)

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Add up the arrays of all ranks, in place."""
        if self.comm is not None:
            self.wait(self.start_sum(array))
        return array

    def start_sum(self, array: np.ndarray) -> Any:
        """Begin to add up the arrays of all ranks, in place; what it returns is for `wait`."""
        from mpi4py import MPI

        return self.comm.Iallreduce(MPI.IN_PLACE, array)

    def meet(self) -> None:
        """Until all are here."""
        if self.comm is not None:
            self.wait(self.comm.Ibarrier())

    def gather(self, value: Any) -> list[Any]:
        """What each rank has, in the order of the ranks, on all of them.

        Not by mpi4py's calls for objects: they do not return where another rank has ended for want of its launcher.
        """
        if self.comm is None:
            return [value]
        own, sizes = np.frombuffer(pickle.dumps(value), np.uint8), np.empty(self.size, np.int64)
        self.wait(self.comm.Iallgather(np.array([own.size]), sizes))
        texts = np.empty(sizes.sum(), np.uint8)
        self.wait(self.comm.Iallgatherv(own, [texts, sizes]))
        return [pickle.loads(text) for text in np.split(texts, np.cumsum(sizes)[:-1])]

    def broadcast(self, value: Any) -> Any:
        """What rank 0 has."""
        found = self.gather(value if self.lead else None)[0]
        return value if self.lead else found

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all ranks, one rank's after the other's."""
        return np.concatenate(self.gather(rows))

    def overwrite(self, arrays: Sequence[np.ndarray]) -> None:
        """Give `arrays` the numbers that those of rank 0 hold."""
        if self.comm is None:
            return
        for array in arrays:
            buffer = np.ascontiguousarray(array)
            self.wait(self.comm.Ibcast(buffer))
            if buffer is not array:
                array[...] = buffer

    def together(self, function: Callable[[], Any]) -> Any:
        """What `function` returns; where it raises an Exception on some ranks, all ranks raise one."""
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
        """Raise `error`, and where it is None but not so on other ranks, that of the first of these."""
        found = self.gather(None if error is None else told(error))
        first = next((rank for rank, other in enumerate(found) if other is not None), None)
        if first is not None:
            raise self.agreed(error or remote_error(first, *found[first]))

    def agreed(self, error: Exception) -> Exception:
        """`error`, which all ranks are about to raise: none waits for another."""
        error.agreed = self
        return error

    def on_lead(self, function: Callable[[], Any]) -> Any:
        """What `function` returns on rank 0, where alone it is called; where it raises, all ranks do."""
        return self.broadcast(self.together(function if self.lead else lambda: None))

    def check_same(self, owner: str, facts: dict[str, Any]) -> None:
        """ValueError on all ranks where `facts`, arguments by name, are not the same on all of them."""
        found = self.gather({name: str(value) for name, value in facts.items()})
        for rank, other in enumerate(found):
            for name in found[0] | other:
                if other.get(name) != found[0].get(name):
                    texts = [shortened(str(facts.get(name))) for facts in (found[0], other)]
                    both = f"{texts[0]} on rank 0 and {texts[1]} on rank {rank}"
                    raise self.agreed(ValueError(f"{owner}: `{name}` must be the same on all ranks. Received {both}"))


def data_facts(x: np.ndarray, y: np.ndarray | None = None, suffix: str = "") -> dict[str, str]:
    """For `check_same`: all ranks are given the same images and labels, and each takes its part. Shapes, dtypes, and
    checksums of the labels, which all hold anyway, and of the first and the last image."""
    facts = {f"x{suffix}": f"{x.dtype} {x.shape}, first and last with CRC-32 {crc32(x[:: max(1, len(x) - 1)]):08x}"}
    return facts if y is None else facts | {f"y{suffix}": f"{y.dtype} {y.shape}, CRC-32 {crc32(y):08x}"}


def threads_per_rank(comm: Any) -> int:
    """The most threads that this rank of `comm` may use, so that those of a node have a core each; 1 at least.

    Ranks that are not of `comm` count where the launcher says how many it has started on the node.
    """
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    cores = [set(found) for found in node.allgather(affinity())]
    own, sharers = cores[node.rank], sum(bool(other & cores[node.rank]) for other in cores)
    node.Free()
    launched = math.ceil(launched_on_node() * len(own) / (os.cpu_count() or 1))
    return max(1, len(own) // max(sharers, launched))


def affinity() -> list[int]:
    """The cores that this process may run on."""
    return list(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(available_cores()))
