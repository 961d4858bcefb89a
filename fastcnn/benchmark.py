"""What `fastcnn bench` measures; benchmarks/ reads the same workloads.

A workload is a name and a function that returns, for a contestant, a callable that does the work once. Contestants
take turns (A B A B), so that a machine that slows down slows all of them; what counts is the ratio of their medians.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from types import ModuleType

import numpy as np

from fastcnn import original, runtime
from fastcnn.backend import use_backend
from fastcnn.shapes import check_choice

CONTESTANTS = ("numba", "numpy", "original")
RUNS = 20  # clocked runs of one turn; the first few after a pause are slower on a virtual machine
PAUSE = 0.05  # seconds between turns, in which threads that still spin go to sleep
Step = Callable[[], object]


def lenet_layers(shape: tuple[int, ...], kit: ModuleType) -> list:
    """Conv 5x5x12, relu, pool, conv 3x3x24, relu, pool, fc 10, from the layer classes in `kit`."""
    layers: list = []
    for make in (
        lambda s: kit.Conv2D(s, 12, 5),
        kit.Relu,
        kit.MaxPooling,
        lambda s: kit.Conv2D(s, 24, 3),
        kit.Relu,
        kit.MaxPooling,
        lambda s: kit.FullyConnect(s, 10),
        kit.Softmax,
    ):
        layers.append(make(shape))
        shape = getattr(layers[-1], "output_shape", ())
    return layers


def lenet_step(contestant: str) -> Step:
    """One training step on a batch of 64 28x28x1 images; the first layer's input gradient is not computed.

    The original computes that too: its layers know no other way, so what it does is what it is compared by.
    """
    from fastcnn import Sequential, layers

    generator = np.random.default_rng(0)
    x = generator.random((64, 28, 28, 1), np.float32)
    labels = generator.integers(0, 10, 64)
    if contestant == "original":
        *body, loss = lenet_layers(x.shape, original)

        def step() -> None:
            out = x
            for layer in body:
                out = layer.forward(out)
            loss.cal_loss(out, labels)
            eta = loss.gradient()
            for layer in reversed(body):
                eta = layer.gradient(eta)
            for layer in body:
                if hasattr(layer, "backward"):
                    layer.backward(1e-4, 4e-4)

        return step
    model = Sequential(lenet_layers(x.shape, layers))

    def fast_step() -> None:
        with use_backend(contestant):
            model.train_on_batch(x, labels, learning_rate=1e-3, weight_decay=1e-3)

    return fast_step


WORKLOADS = {"lenet": lenet_step}


def serve(workload: str, contestant: str, dtype: str, threads: int, connection: Connection) -> None:
    """Run in a contestant's own process: at each request do the work once unclocked, then `n` times clocked."""
    try:
        runtime.set_dtype(dtype)
        runtime.set_num_threads(threads)
        step = WORKLOADS[workload](contestant)
        if contestant != "original":
            step()  # compiles
    except Exception as error:
        connection.send(error)
        return
    connection.send([])
    while n := connection.recv():
        if n > 1:
            step()  # caches are cold after the others' turns, in none of the runs that count
        times = []
        for _ in range(n):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        connection.send(times)


def measure(workload: str, contestants: Iterable[str] = CONTESTANTS, rounds: int = 10) -> dict[str, list[float]]:
    """Seconds of each run of `workload` for each contestant: `rounds` turns of `RUNS`; the original runs once.

    Each contestant has a process of its own, and only one works at a time. In one process for all, the threads of
    BLAS spin for milliseconds after a NumPy step and take the cores from whoever is next: the numba step came out
    at 2 to 3 times what it takes alone.
    """
    check_choice("bench", "workload", workload, WORKLOADS)
    names = [check_choice("bench", "contestant", name, CONTESTANTS) for name in dict.fromkeys(contestants)]
    spawn = multiprocessing.get_context("spawn")
    connections = {}
    processes = []
    for name in names:
        connections[name], theirs = spawn.Pipe()
        options = (workload, name, runtime.get_dtype().name, runtime.get_num_threads(), theirs)
        processes.append(spawn.Process(target=serve, args=options, daemon=True))
        processes[-1].start()
        theirs.close()  # a contestant that dies then shows as the end of its pipe
        if isinstance(answer := connections[name].recv(), Exception):
            raise answer
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name, connection in connections.items():
            if name == "original" and turn:
                continue
            time.sleep(PAUSE)
            connection.send(1 if name == "original" else RUNS)
            seconds[name] += connection.recv()
    for connection in connections.values():
        connection.send(0)
    for process in processes:
        process.join()
    return seconds


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """How many times longer each contestant takes than the first, by medians."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    first = next(iter(medians.values()))
    return {name: median / first for name, median in medians.items()}
