"""Activations. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.activation`.

A flat array is cut into chunks; the serial loop over a chunk is what LLVM vectorises.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.core.jit import MOVE, kernel, prange, serial
from fastcnn.backends.numba.core.memory import empty

CHUNK = 16384  # elements of one task: 64 KiB of float32, long enough to hide the launch


@serial
def relu_chunk(x, out):
    for i in range(x.size):
        out[i] = x.dtype.type(0) if x[i] < 0 else x[i]


@serial
def select_chunk(x, eta, out):
    for i in range(x.size):
        out[i] = eta[i] if x[i] >= 0 else x.dtype.type(0)


@serial
def scale_chunk(x, eta, alpha, out):
    for i in range(x.size):
        out[i] = eta[i] if x[i] >= 0 else alpha * eta[i]


@kernel
def relu_chunks(x, out):
    for it in prange((x.size + CHUNK - 1) // CHUNK):
        first = np.int64(it) * CHUNK
        last = min(x.size, first + CHUNK)
        relu_chunk(x[first:last], out[first:last])


@kernel
def select_chunks(x, eta, out):
    for it in prange((x.size + CHUNK - 1) // CHUNK):
        first = np.int64(it) * CHUNK
        last = min(x.size, first + CHUNK)
        select_chunk(x[first:last], eta[first:last], out[first:last])


@kernel
def scale_chunks(x, eta, alpha, out):
    for it in prange((x.size + CHUNK - 1) // CHUNK):
        first = np.int64(it) * CHUNK
        last = min(x.size, first + CHUNK)
        scale_chunk(x[first:last], eta[first:last], alpha, out[first:last])


def relu_forward(x: np.ndarray) -> np.ndarray:
    out = empty(x.shape, x.dtype)
    relu_chunks(x.reshape(-1), out.reshape(-1), work=MOVE * x.size)
    return out


def relu_backward(x: np.ndarray, eta: np.ndarray) -> np.ndarray:
    out = empty(x.shape, x.dtype)
    select_chunks(x.reshape(-1), eta.reshape(-1), out.reshape(-1), work=MOVE * x.size)
    return out


def leaky_relu_forward(x: np.ndarray, alpha: float) -> np.ndarray:
    return leaky_relu_backward(x, x, alpha)  # the same selection, of x instead of eta


def leaky_relu_backward(x: np.ndarray, eta: np.ndarray, alpha: float) -> np.ndarray:
    out = empty(x.shape, x.dtype)
    scale_chunks(x.reshape(-1), eta.reshape(-1), x.dtype.type(alpha), out.reshape(-1), work=MOVE * x.size)
    return out
