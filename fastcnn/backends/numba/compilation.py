"""What is being compiled: the notice that it takes a while, and the command that does it beforehand. Requires numba."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

import numpy as np
from numba.core import event
from tqdm import tqdm

from fastcnn.backends import numba as kernels
from fastcnn.backends import pool_index_dtype
from fastcnn.backends.numba.core.cache import CACHE_FOLDER
from fastcnn.backends.numba.core.jit import both_versions
from fastcnn.config import using

_announced = False


class Compilations(event.Listener):
    """Numba tells it of each function of this package that it compiles; what comes from the cache is not compiled."""

    def __init__(self, announce: bool = False):
        self.announce = announce
        self.seconds: dict[str, float] = {}
        self.started: list[float] = []

    def on_start(self, happening: event.Event) -> None:
        self.started.append(time.perf_counter())
        if self.announce and ours(happening):
            announce()

    def on_end(self, happening: event.Event) -> None:
        seconds = time.perf_counter() - self.started.pop()
        if name := ours(happening):
            self.seconds[name] = self.seconds.get(name, 0) + seconds


def ours(happening: event.Event) -> str | None:
    """The function that is compiled, as `module.function`; None if it is not of this package but of numba or a user."""
    function = happening.data["dispatcher"].py_func
    *package, module = function.__module__.split(".")
    return f"{module}.{function.__name__}" if package[:1] == ["fastcnn"] else None


def announce() -> None:
    """Say once in a process that kernels are being compiled."""
    global _announced  # noqa: PLW0603 - once in a process
    if not _announced:
        _announced = True
        kept = f"kept in {CACHE_FOLDER}" if CACHE_FOLDER else "there is no writable folder to keep them in"
        tqdm.write(f"fastcnn: compiling kernels for this processor, some 20 s ({kept})", file=sys.stderr)


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Say so on stderr where anything is compiled inside a ``with`` block."""
    with event.install_listener("numba:compile", Compilations(announce=True)):
        yield


def warm_up(dtype: str) -> dict[str, float]:
    """Run every kernel once for `dtype`, by each convolution algorithm; seconds of each function that was compiled.

    A function's seconds include those of the functions that it calls and that were not compiled yet.
    """
    compilations = Compilations()
    with event.install_listener("numba:compile", compilations), both_versions():
        for algorithm in ("direct", "winograd", "im2col"):
            with using(conv=algorithm):
                run_convolutions(dtype)
        run_others(dtype)
    return compilations.seconds


def run_convolutions(dtype: str) -> None:
    weights = np.ones((3, 3, 2, 8), dtype)
    for batch in (1, 65):  # Winograd's algorithm has kernels of its own for fewer tiles than channels
        x = np.ones((batch, 4, 4, 2), dtype)
        eta = kernels.conv_forward(x, weights, np.ones(8, dtype), 1, (1, 1))
        kernels.conv_input_gradient(eta, weights, x.shape, 1, (1, 1), x)
        kernels.conv_weight_gradient(x, eta, 3, 1, (1, 1))


def run_others(dtype: str) -> None:
    x = np.ones((4, 8, 8, 2), dtype)
    kernels.col2im(kernels.im2col(x, 3, 1, (1, 1)), x.shape, 3, 1, (1, 1))
    for ksize, stride in ((2, 2), (2, 1), (17, 17), (17, 1)):  # offsets of one byte and of four; apart, overlapping
        image = np.ones((1, 17, 17, 2), dtype)
        eta, index = kernels.max_pool_forward(image, ksize, stride)
        assert index.dtype == pool_index_dtype(ksize)
        kernels.max_pool_backward(eta, index, image.shape, ksize, stride)
    kernels.avg_pool_backward(kernels.avg_pool_forward(x, 2, 2), x.shape, 2, 2)
    for rows in (1, 8):  # few rows have a kernel of their own
        for depth in (8, 2048):  # and large matrices and long sums two more
            a, b = np.ones((rows, depth), dtype), np.ones((depth, depth), dtype)
            eta = kernels.dense_forward(a, b, b[0])
            kernels.dense_input_gradient(eta, b)
            kernels.dense_weight_gradient(a, eta)
    kernels.softmax_loss(kernels.softmax_forward(np.ones((2, 2), dtype)), np.zeros(2, np.int64))
    kernels.relu_backward(kernels.relu_forward(x), x)
    kernels.leaky_relu_backward(kernels.leaky_relu_forward(x, 0.5), x, 0.5)
    kernels.unpad(kernels.pad(x, (1, 1)), (1, 1))
    kernels.global_avg_pool_backward(kernels.global_avg_pool_forward(x), x.shape)
    kernels.elu_forward(kernels.add(x, x), 1.0)
    kernels.dropout(x, 0.5, 0, 0)
    rows, ones = x.reshape(-1, 2), np.ones(2, dtype)
    mean, var = kernels.batch_statistics(rows)
    kernels.batch_norm_forward(rows, mean, var, ones, ones, 1e-5)
    flags, places = np.zeros(1, bool), np.zeros(1, np.int64)
    for images in (x, x.astype(np.uint8)):
        kernels.gather_images(images, places, places, places, flags, 8, 8)
    kernels.sgd_update(x, x.copy(), 0.1, 1.0)
    kernels.momentum_update(x, x.copy(), x.copy(), 0.1, 0.9, 1.0, 0.0, False)
