"""Who works when: each contestant in a process of its own, and only one at a time.

Contestants take turns (A B A B), so that a machine that slows down slows all of them. What counts is the median of
their ratios turn by turn: a shared machine is slow for seconds at a time, in half of one's turns and a third of
another's, and the ratio of medians differed twofold from run to run. In one process for all, the threads of BLAS spin
for a tenth of a second after a NumPy step and take the cores from whoever is next: the numba step came out at 2 to 3
times what it takes alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
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
    "numpy": {"backend": "numpy"},
    "original": {"backend": "numpy"},
    "numba-1": {"threads": 1},
    "direct": {"conv": "direct"},
    "sgemm": {"backend": "numpy"},
    "copy": {"backend": "numpy"},
}


def installed(contestant: str) -> bool:
    import importlib.util

    return contestant != "torch" or importlib.util.find_spec("torch") is not None


def serve(contestant: str, dtype: str, threads: int, connection: Connection) -> None:
    """A contestant's process. It is sent the name of a workload, to which it answers its variants, or a number n: it
    then does the work once unclocked and n times clocked, for each variant, and answers the seconds."""
    settings = CONTESTANTS[contestant]
    steps: dict[str, Any] = {}
    try:
        fastcnn.set_dtype(dtype)
        fastcnn.set_num_threads(settings.get("threads", threads))
        fastcnn.set_conv_algorithm(settings.get("conv", "auto"))
        fastcnn.set_backend(settings.get("backend", "numba"))
        if contestant == "torch":
            import torch

            torch.set_num_threads(threads)
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
        self.connections: dict[str, Connection] = {}
        self.processes = []
        spawn = multiprocessing.get_context("spawn")
        for name in contestants:
            check_choice("bench", "contestant", name, CONTESTANTS)
            self.connections[name], theirs = spawn.Pipe()
            options = (name, fastcnn.get_dtype().name, fastcnn.get_num_threads(), theirs)
            self.processes.append(spawn.Process(target=serve, args=options, daemon=True))
            self.processes[-1].start()
            theirs.close()  # a contestant that dies then shows as the end of its pipe

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *exception: object) -> None:
        for connection in self.connections.values():
            with contextlib.suppress(OSError):  # it is gone already
                connection.send(None)
        for process, connection in zip(self.processes, self.connections.values(), strict=True):
            process.join(ENDING)
            process.terminate()
            process.join()
            connection.close()

    def ask(self, contestant: str, request: Any) -> Any:
        connection = self.connections[contestant]
        with contextlib.suppress(BrokenPipeError):  # it is gone, and has left its error, or nothing
            connection.send(request)
        try:
            answer = connection.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"the process of the contestant {contestant!r} has died") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure(self, workload: str, rounds: int = 10) -> dict[str, dict[str, list[list[float]]]]:
        """Seconds of each run of `workload` by contestant, variant and turn: `rounds` turns; the original runs once."""
        check_choice("bench", "workload", workload, WORKLOADS)
        names = [name for name in self.connections if name in WORKLOADS[workload].make]
        seconds: dict[str, dict[str, list[list[float]]]] = {}
        for name in names:
            seconds[name] = {variant: [] for variant in self.ask(name, workload)}
            if name != "original":
                self.ask(name, 0)  # compiles
        for turn in range(rounds):
            for name in names:
                if name == "original" and turn:
                    continue
                time.sleep(PAUSE)
                for variant, times in self.ask(name, TURN).items():
                    seconds[name][variant].append(times)
        return seconds


def fastest(variants: dict[str, list[list[float]]]) -> tuple[str, list[float]]:
    """The variant with the smallest median of all runs, and these runs in seconds."""
    runs = {name: [seconds for turn in turns for seconds in turn] for name, turns in variants.items()}
    return min(runs.items(), key=lambda pair: statistics.median(pair[1]))


def times_slower(turns: list[float], others: list[float]) -> float:
    """The median, turn by turn, of the quotient of two contestants' medians; where one had fewer turns, of those."""
    return statistics.median(mine / theirs for mine, theirs in zip(turns, others, strict=False))
