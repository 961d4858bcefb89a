"""Ranks that train together, timed.

Each job, one process or several under mpiexec, is started once and takes its turns as contestants do in
:mod:`fastcnn.benchmark.turns`; while it waits for the next, it sleeps.
"""

from __future__ import annotations

import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import numpy as np

from fastcnn import Sequential, layers, runtime
from fastcnn.benchmark import networks
from fastcnn.distributed import launcher, world
from fastcnn.distributed.group import Group
from fastcnn.loop import Run
from fastcnn.optimizers import SGD
from fastcnn.training import DistributedRun

SCRIPT = "import sys\nfrom fastcnn.benchmark.ranks import work\nwork(sys.argv[1], int(sys.argv[2]))"
KEY = "FASTCNN_BENCH_KEY"  # the variable with the password of the connection
TIMEOUT = 120  # seconds in which a job must have begun


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


def make_run(group: Group, name: str, batch: int, **options: Any) -> Run:
    """A training of a network of the benchmark that stands before its first step."""
    np.random.seed(0)
    x, y = networks.data(name, batch)
    model = Sequential(networks.layers(name, batch, layers))
    optimizer = SGD(model, 1e-3)
    nothing: dict[str, Any] = {"augmentation": None, "loss_options": {}, "metrics": {}, "callbacks": []}
    run = (Run if group.size == 1 else DistributedRun)(
        model, optimizer, x, y, 1, batch, None, False, 0, **nothing, failure_file=None, verbose=False, group=group
    )
    run.prepare(**options if group.size > 1 else {})
    return run


def timed(run: Run, steps: int) -> Timing:
    """Some steps on the same batch, after one that does not count."""
    index, found = np.arange(run.batch_size), Timing([], [])
    sums = getattr(run, "sums", None)
    for _ in range(steps + 1):
        run.group.meet()
        waited, start = sums.waited if sums else 0.0, time.perf_counter()
        run.train_batch(index, None)
        found.steps.append(time.perf_counter() - start)
        found.waits.append(sums.waited - waited if sums else 0.0)
    if sums:
        array = np.ones(sums.bytes // 4, np.float32)
        found.bytes, found.sums = sums.bytes, tuple(sum_alone(run.group, array) for _ in range(steps))
    del found.steps[0], found.waits[0]
    return found


def sum_alone(group: Group, array: np.ndarray) -> float:
    """Seconds to add up an array in one piece."""
    array[...] = 1
    group.meet()
    start = time.perf_counter()
    group.sum(array)
    return time.perf_counter() - start


def work(address: str, threads: int) -> None:
    """A rank: does what rank 0 is asked for until it is asked for nothing."""
    comm = None
    if os.environ.get("FASTCNN_BENCH_RANKS") != "1":
        comm = world()
    runtime.set_num_threads(threads)
    with Group(comm) as group:
        connection = Client(address, authkey=bytes.fromhex(os.environ[KEY])) if group.lead else None
        runs: dict[Any, Run] = {}
        while (request := group.broadcast(connection.recv() if connection else None)) is not None:
            name, batch, steps, options = request
            key = (name, batch, *options.items())
            if key not in runs:
                runs = {key: make_run(group, name, batch, **options)}
            found = timed(runs[key], steps)
            if connection:
                connection.send(found)


class Job:
    """Processes that train together; a context manager that ends them."""

    def __init__(self, ranks: int, threads: int, command: Sequence[str] | None = None):
        self.ranks, self.threads = ranks, threads
        launch = list(command if command is not None else () if ranks == 1 else (launcher(), "-n", str(ranks)))
        key, folder = secrets.token_bytes(16), None
        self.listener = Listener(family="AF_UNIX" if os.name == "posix" else "AF_PIPE", authkey=key)
        python = [sys.executable, "-c", SCRIPT, str(self.listener.address), str(threads)]
        environment = os.environ | {KEY: key.hex(), "FASTCNN_BENCH_RANKS": str(ranks)}
        self.process = subprocess.Popen([*launch, *python], env=environment, stderr=subprocess.PIPE, text=True)
        self.connection: Connection = self.listener.accept()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.send(None)
        self.process.wait()

    def measure(self, name: str, batch: int, steps: int, **options: Any) -> Timing:
        self.connection.send((name, batch, steps, options))
        return self.connection.recv()
