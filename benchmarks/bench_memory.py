"""Memory of a training: what arrays take, by NumPy's and numba's own count, and what the whole process takes."""

import contextlib
import gc
import tracemalloc

from benchmarks.common import BACKENDS, THREADS, definitions, need, settle, skipped_where_older


def forget_buffers() -> None:
    """Empty the pool that the numba backend takes its arrays and workspaces from: tracing sees only what is allocated
    under it."""
    gc.collect()
    with contextlib.suppress(ImportError, AttributeError):  # a commit without a pool, or without workspaces in it
        from fastcnn.backends.numba.core import memory

        memory.POOL.buffers.clear()
        memory.POOL.spaces.clear()


class Arrays:
    """Bytes of arrays in a training step of 64 images, from before the layers are made; equal from run to run."""

    params = (["numba", "numpy"], ["lenet", "vgg_small"])
    param_names = ("backend", "network")
    version = "3"
    unit = "bytes"
    timeout = 300

    def setup(self, backend: str, network: str) -> None:
        with skipped_where_older():
            settle(backend)
            make = definitions().workloads.WORKLOADS[network].make[backend]
            make()[""]()  # compiles, untraced
            if backend == "numba":
                forget_buffers()
            tracemalloc.start()
            step = make()[""]
            step()
            step()
            self.kept = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            step()
            self.peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    def track_kept_between_steps(self, backend: str, network: str) -> int:
        return self.kept

    def track_peak_in_step(self, backend: str, network: str) -> int:
        return self.peak


class Process:
    """Bytes that the process of a vgg_small training has resident at its peak, imports and all."""

    params = (BACKENDS,)
    param_names = ("backend",)
    version = "2"
    unit = "bytes"
    timeout = 300

    def setup(self, backend: str) -> None:
        need(backend)
        with skipped_where_older():
            self.peak = definitions().whole.peak_memory(backend, THREADS) * 2**20

    def track_peak_resident(self, backend: str) -> float:
        return self.peak
