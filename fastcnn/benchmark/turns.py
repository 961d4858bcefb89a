"""Who works when: each contestant in a process of its own, and only one at a time.

Contestants take turns (A B A B), so that a machine that slows down slows all of them. What counts is the median of
their ratios turn by turn: a shared machine is slow for seconds at a time, in half of one's turns and a third of
another's, and the ratio of medians differed twofold from run to run. In one process for all, the threads of BLAS spin
for a tenth of a second after a NumPy step and take the cores from whoever is next: the numba step came out at 2 to 3
times what it takes alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import fastcnn
from fastcnn.benchmark.workloads import WORKLOADS
from fastcnn.shapes import check_choice

TURN = 0.2  # seconds of one turn, and one run at least; the first runs of one are slow
ENDING = 2  # seconds that a contestant has to clean up; one that is in the middle of its work is terminated then
PAUSE = 0.15  # seconds between turns, in which OpenBLAS's threads, that spin for 0.1 s after a product, go to sleep

# What each contestant's process is set to, beyond dtype and threads.
CONTESTANTS: dict[str, dict[str, Any]] = {
    "numba": {},
    "torch": {"backend": "numpy"},
    "compile": {"backend": "numpy"},
    "jax": {"backend": "numpy"},
    "numpy": {"backend": "numpy"},
    "original": {"backend": "numpy"},
    "numba-1": {"threads": 1},
    "direct": {"conv": "direct"},
    "sgemm": {"backend": "numpy"},
    "copy": {"backend": "numpy"},
}


PACKAGES = {"torch": "torch", "compile": "torch", "jax": "jax"}  # what contestants need


def installed(contestant: str) -> bool:
    package = PACKAGES.get(contestant)
    return package is None or importlib.util.find_spec(package) is not None


def settle(contestant: str, dtype: str, threads: int) -> None:
    """Set this process up for a contestant."""
    settings = CONTESTANTS[contestant]
    if contestant == "jax":  # XLA uses as many threads as the process has cores, and reads nothing that says how many
        with contextlib.suppress(AttributeError):  # Linux alone has it
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if contestant == "compile":  # else a pool of compilers waits beside the contestants
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    fastcnn.set_dtype(dtype)
    fastcnn.set_num_threads(settings.get("threads", threads))
    fastcnn.set_conv_algorithm(settings.get("conv", "auto"))
    fastcnn.set_backend(settings.get("backend", "numba"))
    if PACKAGES.get(contestant) == "torch":
        import torch

        torch.set_num_threads(threads)


def serve(contestant: str, dtype: str, threads: int, connection: Connection) -> None:
    """A contestant's process. Once it is set up it says so, by None. It is sent the name of a workload, to which it
    answers its variants, or seconds: it then does the work so long, for each variant, and answers how long each run
    took. Instead of any answer it may send an exception."""
    steps: dict[str, Any] = {}
    with contextlib.suppress(AttributeError, OSError):
        os.setsid()  # so that `Contest.end` reaches the processes that this one starts
    try:
        settle(contestant, dtype, threads)
        connection.send(None)
        while (request := connection.recv()) is not None:
            if isinstance(request, str):
                steps = {}  # what the last workload needed is free before the next one is built
                steps = WORKLOADS[request].make[contestant]()
                connection.send(list(steps))
            else:
                connection.send({variant: clock(step, request) for variant, step in steps.items()})
    except EOFError:  # whoever asked is gone
        return
    except Exception as error:
        connection.send(error)


def clock(step: Any, seconds: float) -> list[float]:
    """Seconds of each run, one after the other for `seconds`. The first, whose caches are cold after the others' turns,
    does not count unless it is the only one."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times[1:] or times


class Contest:
    """The processes of some contestants, which run `serve`; a context manager that ends them."""

    def __init__(self, contestants: Iterable[str], serve: Callable[..., None] = serve):
        self.serve = serve
        self.connections: dict[str, Connection] = {}
        self.processes: dict[str, Any] = {}
        self.failed: dict[str, str] = {}  # of the last workload: contestants, and what their errors said
        for name in contestants:
            check_choice("bench", "contestant", name, CONTESTANTS)
            self.start(name)

    def start(self, name: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.connections[name], theirs = spawn.Pipe()
        options = (name, fastcnn.get_dtype().name, fastcnn.get_num_threads(), theirs)
        self.processes[name] = spawn.Process(target=self.serve, args=options, daemon=True)
        self.processes[name].start()
        theirs.close()  # a contestant that dies then shows as the end of its pipe

    def end(self, name: str, patience: float = ENDING) -> None:
        """End a contestant, and whatever processes it has started: compilers that torch.compile left behind halved the
        others' speed."""
        process = self.processes[name]
        process.join(patience)
        for end in (process.terminate, process.kill):
            with contextlib.suppress(OSError, AttributeError):  # none is left, or this system has no groups
                os.killpg(process.pid, signal.SIGTERM if end == process.terminate else signal.SIGKILL)
            end()
            process.join(ENDING)
        self.connections[name].close()

    def __enter__(self) -> Contest:
        try:
            for name in self.connections:
                self.answer(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for connection in self.connections.values():
            with contextlib.suppress(OSError):  # it is gone already
                connection.send(None)
        for name in self.processes:
            self.end(name)

    def ask(self, contestant: str, request: Any) -> Any:
        with contextlib.suppress(BrokenPipeError):  # it is gone, and has left its error, or nothing
            self.connections[contestant].send(request)
        return self.answer(contestant)

    def answer(self, contestant: str) -> Any:
        try:
            answer = self.connections[contestant].recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"the process of the contestant {contestant!r} has died") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure(self, workload: str, rounds: int = 10) -> dict[str, dict[str, list[list[float]]]]:
        """Seconds of each run of `workload` by contestant, variant and turn: `rounds` turns; the original runs once.

        Another contestant than the first may fail: its process is ended, a new one takes its place, `failed` says why,
        and the others go on.
        """
        check_choice("bench", "workload", workload, WORKLOADS)
        names = [name for name in self.connections if name in WORKLOADS[workload].make]
        seconds: dict[str, dict[str, list[list[float]]]] = {}
        self.failed = {}
        for name in names:
            with self.failures_of(name, seconds, name == names[0]):
                seconds[name] = {variant: [] for variant in self.ask(name, workload)}
                if name != "original":
                    self.ask(name, 0)  # compiles
        for turn in range(rounds):
            for name in list(seconds):
                if name == "original" and turn:
                    continue
                time.sleep(PAUSE)
                with self.failures_of(name, seconds, name == names[0]):
                    for variant, times in self.ask(name, TURN).items():
                        seconds[name][variant].append(times)
        return seconds

    @contextlib.contextmanager
    def failures_of(self, name: str, seconds: dict[str, Any], first: bool) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if first:
                raise
            self.failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            seconds.pop(name, None)
            self.end(name, 0)
            self.start(name)
            self.answer(name)


def fastest(variants: dict[str, list[list[float]]]) -> tuple[str, list[float]]:
    """The variant with the smallest median of all runs, and these runs in seconds."""
    runs = {name: [seconds for turn in turns for seconds in turn] for name, turns in variants.items()}
    return min(runs.items(), key=lambda pair: statistics.median(pair[1]))


def times_slower(turns: list[float], others: list[float]) -> float:
    """The median, turn by turn, of the quotient of two contestants' medians; where one had fewer turns, of those."""
    return statistics.median(mine / theirs for mine, theirs in zip(turns, others, strict=False))
