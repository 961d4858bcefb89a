"""Max and average pooling. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`.

Forward, a task is one row of outputs. Backward, it is one row of the image, which gathers from every window that
covers it: each element has one writer and a fixed order of summation, also where windows overlap.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends import pool_index_dtype
from fastcnn.backends.numba.jit import inline, kernel, prange, serial
from fastcnn.backends.numba.memory import empty


@inline
def windows_over(position, ksize, stride, count):
    """The first window that covers `position`, and one past the last, of `count` windows."""
    return max(0, (position - ksize) // stride + 1), min(count, position // stride + 1)


@serial
def max_row(x, n, oh, ksize, stride, out, index):
    _, h, w, c = x.shape
    source, target, offsets = x.reshape(-1), out.reshape(-1), index.reshape(-1)
    top = oh * stride
    for ow in range(out.shape[2]):
        left = ow * stride
        to = ((n * out.shape[1] + oh) * out.shape[2] + ow) * c
        at = ((n * h + top) * w + left) * c
        for t in range(c):
            target[np.uintp(to + t)] = source[np.uintp(at + t)]
            offsets[np.uintp(to + t)] = 0
        for i in range(min(ksize, h - top)):
            for j in range(min(ksize, w - left)):
                offset = i * ksize + j
                at = ((n * h + top + i) * w + left + j) * c
                for t in range(c):
                    value, best = source[np.uintp(at + t)], target[np.uintp(to + t)]
                    better = (value > best) | (np.isnan(value) & ~np.isnan(best))
                    target[np.uintp(to + t)] = value if better else best
                    offsets[np.uintp(to + t)] = offset if better else offsets[np.uintp(to + t)]


@kernel
def max_rows(x, ksize, stride, out, index):
    oh_n = out.shape[1]
    for it in prange(out.shape[0] * oh_n):
        row = np.int64(it)
        max_row(x, row // oh_n, row % oh_n, ksize, stride, out, index)


def max_pool_forward(x: np.ndarray, ksize: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    b, h, w, c = x.shape
    out = empty((b, h // stride, w // stride, c), x.dtype)
    index = empty(out.shape, pool_index_dtype(ksize))
    max_rows(x, ksize, stride, out, index)
    return out, index


@serial
def max_gradient_row(eta, index, n, ih, ksize, stride, image):
    _, oh_n, ow_n, c = eta.shape
    h, w = image.shape[1:3]
    source, offsets, target = eta.reshape(-1), index.reshape(-1), image.reshape(-1)
    row = (n * h + ih) * w * c
    for t in range(w * c):
        target[np.uintp(row + t)] = 0
    oh0, oh1 = windows_over(ih, ksize, stride, oh_n)
    for oh in range(oh0, oh1):
        for ow in range(ow_n):
            at = ((n * oh_n + oh) * ow_n + ow) * c
            left = ow * stride
            for j in range(min(ksize, w - left)):
                offset = (ih - oh * stride) * ksize + j
                to = row + (left + j) * c
                for t in range(c):
                    chosen = offsets[np.uintp(at + t)] == offset
                    target[np.uintp(to + t)] += source[np.uintp(at + t)] if chosen else eta.dtype.type(0)


@kernel
def max_gradient_rows(eta, index, ksize, stride, image):
    h = image.shape[1]
    for it in prange(image.shape[0] * h):
        row = np.int64(it)
        max_gradient_row(eta, index, row // h, row % h, ksize, stride, image)


def max_pool_backward(
    eta: np.ndarray, index: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int
) -> np.ndarray:
    image = empty(image_shape, eta.dtype)
    max_gradient_rows(eta, index, ksize, stride, image)
    return image


@serial
def mean_row(x, n, oh, ksize, stride, out):
    _, h, w, c = x.shape
    for ow in range(out.shape[2]):
        top, left = oh * stride, ow * stride
        rows, columns = min(ksize, h - top), min(ksize, w - left)
        for t in range(c):
            out[n, oh, ow, t] = 0
        for i in range(rows):
            for j in range(columns):
                for t in range(c):
                    out[n, oh, ow, t] += x[n, top + i, left + j, t]
        for t in range(c):
            out[n, oh, ow, t] /= x.dtype.type(rows * columns)


@kernel
def mean_rows(x, ksize, stride, out):
    oh_n = out.shape[1]
    for it in prange(out.shape[0] * oh_n):
        row = np.int64(it)
        mean_row(x, row // oh_n, row % oh_n, ksize, stride, out)


def avg_pool_forward(x: np.ndarray, ksize: int, stride: int) -> np.ndarray:
    b, h, w, c = x.shape
    out = empty((b, h // stride, w // stride, c), x.dtype)
    mean_rows(x, ksize, stride, out)
    return out


@serial
def share_row(eta, n, ih, ksize, stride, image):
    h, w, c = image.shape[1:]
    for iw in range(w):
        for t in range(c):
            image[n, ih, iw, t] = 0
    oh0, oh1 = windows_over(ih, ksize, stride, eta.shape[1])
    for oh in range(oh0, oh1):
        for iw in range(w):
            ow0, ow1 = windows_over(iw, ksize, stride, eta.shape[2])
            for ow in range(ow0, ow1):
                size = min(ksize, h - oh * stride) * min(ksize, w - ow * stride)
                for t in range(c):
                    image[n, ih, iw, t] += eta[n, oh, ow, t] / eta.dtype.type(size)


@kernel
def share_rows(eta, ksize, stride, image):
    h = image.shape[1]
    for it in prange(image.shape[0] * h):
        row = np.int64(it)
        share_row(eta, row // h, row % h, ksize, stride, image)


def avg_pool_backward(eta: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int) -> np.ndarray:
    image = empty(image_shape, eta.dtype)
    share_rows(eta, ksize, stride, image)
    return image
