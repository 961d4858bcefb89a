"""What the suites share: the workloads of ``fastcnn bench``, one number of threads, one kernel cache for each commit.

Every suite imports this before numpy, numba and fastcnn, as it sets what they read when they are imported.
"""

import contextlib
import functools
import hashlib
import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
THREADS = int(
    os.environ.setdefault("FASTCNN_NUM_THREADS", "2")
)  # asv.conf.json says 2; `--python=same` does not read it
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = str(THREADS)

BACKENDS = ["numba", "numpy", "torch"]
COMPILED = ["numba", "torch"]
SPINNING: str | None = None  # what the numba backend set GOMP_SPINCOUNT to where preload.py imported it
WINDOW = 0.1  # seconds of which a sample is the quickest run


def package_folder() -> Path:
    spec = importlib.util.find_spec("fastcnn")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def digest(package: Path) -> str:
    """A hash of the sources of a package."""
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        found.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


PACKAGE = digest(package_folder())

# Assigned, not defaulted: a cache that survives from commit to commit keeps the old result of an edit in a callee. With
# `--python=same`, which has no environment of asv's, the package's own cache serves: its kernels' sources name it.
if "ASV_ENV_DIR" in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(Path(os.environ["ASV_ENV_DIR"]) / "fastcnn-kernels" / PACKAGE)


@functools.cache
def is_this_checkout() -> bool:
    """The commit that is measured is the one that these suites belong to: then nothing may be missing."""
    return digest(ROOT / "fastcnn") == PACKAGE


@contextlib.contextmanager
def skipped_where_older() -> Iterator[None]:
    """What another commit cannot do is skipped there, not failed; what this one cannot do is a failure."""
    try:
        yield
    except Exception as error:
        if is_this_checkout():
            raise
        raise NotImplementedError(f"this commit has no such thing: {type(error).__name__}: {error}") from error


@functools.cache
def definitions() -> ModuleType:
    """`fastcnn.benchmark` of this checkout, whatever commit's kernels it calls: every commit does the same work."""
    import fastcnn

    folder = ROOT / "fastcnn" / "benchmark"
    spec = importlib.util.spec_from_file_location(
        "fastcnn.benchmark", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    fastcnn.benchmark = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fastcnn.benchmark)
    import fastcnn.benchmark.turns
    import fastcnn.benchmark.whole
    import fastcnn.benchmark.workloads

    return fastcnn.benchmark


def serve(*options: Any) -> None:
    """A contestant's process of :class:`fastcnn.benchmark.turns.Contest`, with the definitions of this checkout."""
    with contextlib.suppress(Exception):  # what cannot be imported there fails where it is asked for
        definitions()
    from fastcnn.benchmark import turns

    turns.serve(*options)


def contest(contestants: list[str]) -> Any:
    """Contestants in processes of their own, which find this package behind all others."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    import fastcnn

    fastcnn.set_num_threads(THREADS)
    return definitions().turns.Contest(contestants, serve)


def need(backend: str) -> None:
    """Skip what needs PyTorch where it is not installed."""
    if backend == "torch" and importlib.util.find_spec("torch") is None:
        raise NotImplementedError("PyTorch is not installed")


def settle(backend: str, threads: int = THREADS, dtype: str = "float32", algorithm: str = "auto") -> None:
    """Let this process compute on `backend`."""
    import fastcnn

    fastcnn.set_dtype(dtype)
    fastcnn.set_num_threads(threads)
    if algorithm != "auto":
        fastcnn.set_conv_algorithm(algorithm)
    fastcnn.set_backend("numba" if backend == "numba" else "numpy")
    if backend == "numba" and SPINNING is not None:
        os.environ["GOMP_SPINCOUNT"] = SPINNING  # read with the first kernel on threads
    if backend == "torch":
        import torch

        torch.set_num_threads(threads)


def quickest(step: Callable[[], object], window: float) -> float:
    """Seconds of the quickest of the runs that begin within `window` seconds, of two at least."""
    best, runs, end = math.inf, 0, time.perf_counter() + window
    while runs < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        best, runs = min(best, time.perf_counter() - start), runs + 1
    return best


class Timed:
    """The base of suites whose `setup` calls :meth:`prepare`, and whose `time_` functions call :meth:`work`.

    A sample is the quickest run of a tenth of a second: on a shared machine the others say how busy the neighbours
    were. asv adds up what its `timer` says before and after a call; here that is the sum of those quickest runs.
    asv calls `setup` before every timed call, so it prepares once.
    """

    rounds = 2  # processes, apart in time: a shared machine is slow for seconds at a time
    repeat = 2  # samples in each
    warmup_time = 0
    timeout = 300
    steps: tuple[Callable[[], object], ...] = ()
    clock = 0.0

    def prepare(self, backend: str, workload: Callable[[ModuleType], Any], **settings: Any) -> None:
        """Compile and warm up: `workload(definitions)` is a Workload, of which the quicker variant counts."""
        if self.steps:
            return
        need(backend)
        with skipped_where_older():
            settle(backend, **settings)
            make = workload(definitions().workloads).make["torch" if backend == "torch" else "numba"]
            self.steps = tuple(make().values())
            for step in self.steps:
                step()
            self.timer = lambda: self.clock

    def work(self) -> None:
        self.clock += min(quickest(step, WINDOW) for step in self.steps)
