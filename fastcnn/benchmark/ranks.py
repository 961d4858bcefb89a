"""Ranks that train together, timed.

Each job, one process or several under mpiexec, is started once and takes its turns as contestants do in
:mod:`fastcnn.benchmark.turns`; while it waits for the next, it sleeps.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import numpy as np

import fastcnn
from fastcnn import layers
from fastcnn.benchmark import networks
from fastcnn.benchmark.turns import TURN, times_slower
from fastcnn.distributed import launcher, world
from fastcnn.distributed.group import Group
from fastcnn.optimizers import SGD
from fastcnn.training.data_parallel.loop import STATUS, DistributedLoop
from fastcnn.training.loop import Loop

SCRIPT = "import sys\nfrom fastcnn.benchmark.ranks import work\nwork(sys.argv[1], int(sys.argv[2]))"
KEY, RANKS = "FASTCNN_BENCH_KEY", "FASTCNN_BENCH_RANKS"  # variables: the connection's password, how many there are


@dataclass
class Timing:
    """What rank 0 saw: seconds of each step, and of it those in which it waited for sums; bytes summed in a step;
    seconds of these sums without anything else."""

    steps: list[float]
    waits: list[float]
    bytes: int = 0
    sums: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.steps)


def make_loop(group: Group, name: str, batch: int, **options: Any) -> Loop:
    """A training of a network of the benchmark that stands before its first step."""
    np.random.seed(0)
    x, y = networks.data(name, batch)
    model = fastcnn.Sequential(networks.layers(name, batch, layers))
    optimizer = SGD(model, 1e-3)
    nothing: dict[str, Any] = {"augmentation": None, "loss_options": {}, "metrics": {}, "callbacks": []}
    loop = (Loop if group.size == 1 else DistributedLoop)(
        model, optimizer, x, y, 1, batch, None, False, 0, **nothing, failure_file=None, verbose=False, group=group
    )
    loop.prepare(**options if group.size > 1 else {})
    return loop


def timed(loop: Loop, steps: int, times: Sequence[float] | None = None) -> Timing:
    """Some steps on the same batch, after one that does not count; see `sleep_through` for `times`."""
    index, found = np.arange(loop.batch_size), Timing([], [])
    sums = loop.sums if isinstance(loop, DistributedLoop) else None
    for _ in range(steps + 1):
        loop.group.barrier()
        waited, start = sums.waited if sums else 0.0, time.perf_counter()
        if times is not None and isinstance(loop, DistributedLoop):
            sleep_through(loop, times)
        else:
            loop.train_batch(index, None)
        found.steps.append(time.perf_counter() - start)
        found.waits.append(sums.waited - waited if sums else 0.0)
    if sums:
        found.bytes, found.sums = sums.bytes, tuple(sums_alone(loop.group, sums.bytes, steps))
    del found.steps[0], found.waits[0]
    return found


def sleep_through(loop: DistributedLoop, times: Sequence[float]) -> None:
    """A step that computes nothing: it sleeps as long as the forward pass and then each layer's gradients, from the
    last layer, would take, and adds up what it would. So more ranks than cores show what their network does."""
    time.sleep(times[0])
    loop.sums.begin(np.zeros(STATUS))
    for position, seconds in zip(range(len(times) - 2, -1, -1), times[1:], strict=True):
        time.sleep(seconds)
        loop.sums.layer_done(position)
    loop.sums.finish()


def mark(clock: list[float], _position: int) -> None:
    """Note the time at which a layer's gradients are there."""
    clock.append(time.perf_counter())


def backward_times(name: str, batch: int, repeats: int = 20) -> list[float]:
    """Seconds of the forward pass and of each layer's gradients, from the last layer: the medians in this process. What
    lies below the first layer that learns takes nothing."""
    loop, found = make_loop(Group(), name, batch), []
    for _ in range(repeats):
        clock = [time.perf_counter()]
        loop.model.batch_loss(loop.x, loop.y)
        clock.append(time.perf_counter())
        loop.model.parameter_gradient(loop.model.loss_layer.gradient(), partial(mark, clock))
        clock.append(time.perf_counter())
        loop.optimizer.step(batch)
        found.append(np.diff(clock))
    return np.median(found, axis=0).tolist()


def sums_alone(group: Group, size: int, repeats: int) -> list[float]:
    """Seconds to add up an array of `size` bytes in one piece, after a time that does not count."""
    array, found = np.empty(size // 4, np.float32), []
    for _ in range(repeats + 1):
        array[...] = 1
        group.barrier()
        start = time.perf_counter()
        group.all_reduce(array)
        found.append(time.perf_counter() - start)
    return found[1:]


def work(address: str, threads: int) -> None:
    """A rank: does what rank 0 is asked for until it is asked for nothing."""
    comm = None
    if os.environ[RANKS] != "1":
        comm = world()
    fastcnn.set_num_threads(threads)
    with Group(comm) as group:
        connection = Client(address, authkey=bytes.fromhex(os.environ[KEY])) if group.lead else None
        loops: dict[Any, Loop] = {}
        while (request := group.broadcast(connection.recv() if connection else None)) is not None:
            name, batch, steps, times, options = request
            key = (name, batch, *options.items())
            if not name:
                found: Any = sums_alone(group, batch, steps)
            else:
                if key not in loops:
                    loops = {key: make_loop(group, name, batch, **options)}
                found = timed(loops[key], steps, times)
            if connection:
                connection.send(found)


class Job:
    """Processes that train together, started by `command`; a context manager that ends them."""

    def __init__(self, ranks: int, threads: int, command: Sequence[str] | None = None, **variables: str):
        self.name = f"{ranks} x {threads}"
        launch = command or ([] if ranks == 1 else [launcher(), "-n", str(ranks)])
        key = secrets.token_bytes(16)
        with Listener(family="AF_UNIX" if os.name == "posix" else "AF_PIPE", authkey=key) as listener:
            python = [sys.executable, "-c", SCRIPT, str(listener.address), str(threads)]
            environment = os.environ | variables | {KEY: key.hex(), RANKS: str(ranks)}
            environment |= {"FASTCNN_BACKEND": fastcnn.get_backend(), "FASTCNN_DTYPE": fastcnn.get_dtype().name}
            # Ctrl-C is for this process, which then ends the others.
            self.process = subprocess.Popen([*launch, *python], env=environment, start_new_session=True)
            self.connection: Connection = self.accept(listener)

    def accept(self, listener: Listener) -> Connection:
        """The connection to rank 0; RuntimeError where the job ends before it comes."""
        found: queue.Queue[Connection] = queue.Queue()
        threading.Thread(target=lambda: found.put(listener.accept()), daemon=True).start()
        while True:
            try:
                return found.get(timeout=0.1)
            except queue.Empty:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the {self.name} ranks of the benchmark did not start") from None

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError):  # they are gone already
            self.connection.send(None)
        if exception[0] is not None:
            self.process.terminate()
        self.process.wait()

    def measure(
        self, name: str, batch: int, steps: int, times: Sequence[float] | None = None, **options: Any
    ) -> Timing:
        return self.ask(name, batch, steps, times, options)

    def sum_alone(self, size: int, repeats: int) -> list[float]:
        """Seconds of each of some sums of `size` bytes."""
        return self.ask("", size, repeats, None, {})

    def ask(self, *request: Any) -> Any:
        try:
            self.connection.send(request)
            return self.connection.recv()
        except (EOFError, ConnectionError):
            raise RuntimeError(f"the {self.name} ranks of the benchmark have died") from None


class Jobs:
    """Jobs that take turns; a context manager."""

    def __init__(self, sizes: Iterable[tuple[int, int]]):
        self.sizes = tuple(dict.fromkeys(sizes))

    def __enter__(self) -> Jobs:
        self.stack = contextlib.ExitStack()
        with self.stack:
            self.jobs = [self.stack.enter_context(Job(*size)) for size in self.sizes]
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stack.__exit__(*exception)

    def compare(self, name: str, batch: int, rounds: int) -> dict[str, dict[str, Any]]:
        """For each job the median milliseconds of a step, how many times longer than the first job's it is, of these
        the milliseconds in which rank 0 waited for sums, the bytes of these, and the milliseconds that they take alone.
        """
        turns: dict[str, list[Timing]] = {job.name: [] for job in self.jobs}
        steps = [max(3, round(TURN / job.measure(name, batch, 3).median)) for job in self.jobs]
        for _ in range(rounds):
            for job, count in zip(self.jobs, steps, strict=True):
                turns[job.name].append(job.measure(name, batch, count))
        first = [turn.median for turn in turns[self.jobs[0].name]]
        found: dict[str, dict[str, Any]] = {}
        for name_of_job, timings in turns.items():
            facts: dict[str, Any] = {
                "median_ms": middle(timing.steps for timing in timings),
                "ratio": times_slower([timing.median for timing in timings], first),
            }
            if timings[0].bytes:
                facts |= {"waited_ms": middle(timing.waits for timing in timings), "bytes": timings[0].bytes}
                facts["sum_alone_ms"] = middle(timing.sums for timing in timings)
            found[name_of_job] = facts
        return found


def middle(seconds: Iterable[Sequence[float]]) -> float:
    """The median of all, in milliseconds."""
    return statistics.median(second for part in seconds for second in part) * 1e3
