"""From nothing to the first step: imports, and compilation with an empty and with a full kernel cache."""

import os
import tempfile

from benchmarks.common import BACKENDS, THREADS, definitions, need, skipped_where_older

IMPORTS = {
    "numba": "import fastcnn.layers, fastcnn.backends.numba",
    "numpy": "import fastcnn.layers, fastcnn.backends.numpy",
    "torch": "import torch",
}


class Startup:
    """Whole processes: seconds as they themselves clock them, from their first import on."""

    unit = "seconds"
    timeout = 300

    def first_step(self, backend: str, **environment: str) -> float:
        whole = definitions().whole
        return whole.run(whole.first_step(backend), THREADS, **whole.backend_of(backend), **environment)


class Warm(Startup):
    params = (BACKENDS,)
    param_names = ("backend",)
    version = "1"

    def setup(self, backend: str) -> None:
        need(backend)
        with skipped_where_older():
            self.first_step(backend)  # fills the kernel cache

    def track_import(self, backend: str) -> float:
        clock = "import time\nstart = time.perf_counter()\n{}\nprint(time.perf_counter() - start)"
        script = clock.format(IMPORTS[backend])
        return min(definitions().whole.run(script, THREADS) for _ in range(3))

    def track_first_step(self, backend: str) -> float:
        return min(self.first_step(backend) for _ in range(3))


class Cold(Startup):
    """The first LeNet step ever: its kernels are compiled. Nothing else compiles."""

    params = (["numba"],)
    param_names = ("backend",)
    version = "1"

    def setup(self, backend: str) -> None:
        with skipped_where_older(), tempfile.TemporaryDirectory() as folder:
            self.seconds = self.first_step(backend, NUMBA_CACHE_DIR=os.fspath(folder))

    def track_first_step(self, backend: str) -> float:
        return self.seconds
