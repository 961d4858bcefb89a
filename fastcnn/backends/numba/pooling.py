"""Max and average pooling. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.pooling`.

Forward, a task is one row of outputs. Backward, it is one row of the image, which gathers from every window that
covers it: each element has one writer and a fixed order of summation, also where windows overlap.
"""

from __future__ import annotations

import numpy as np

from fastcnn.backends import pool_index_dtype
from fastcnn.backends.numba.jit import inline, kernel, prange, serial
from fastcnn.backends.numba.memory import empty
from fastcnn.backends.numba.simd import add, fill, lanes, load, store, store_integers, where_equal, where_larger


@inline
def windows_over(position, ksize, stride, count):
    """The first window that covers `position`, and one past the last, of `count` windows."""
    return max(0, (position - ksize) // stride + 1), min(count, position // stride + 1)


@serial
def max_row(x, n, oh, ksize, stride, out, index):
    _, h, w, c = x.shape
    source, target, offsets = x.reshape(-1), out.reshape(-1), index.reshape(-1)
    v, top = lanes(source), oh * stride
    rows = min(ksize, h - top)
    for ow in range(out.shape[2]):
        columns = min(ksize, w - ow * stride)
        corner = ((n * h + top) * w + ow * stride) * c
        to = ((n * out.shape[1] + oh) * out.shape[2] + ow) * c
        if c >= v:
            for step in range(0, c, v):
                t = min(step, c - v)  # the last vector overlaps the one before it
                best, offset = load(source, corner + t), fill(source, 0)
                for i in range(rows):
                    for j in range(columns):
                        value = load(source, corner + (i * w + j) * c + t)
                        offset = where_larger(value, best, fill(source, i * ksize + j), offset)
                        best = where_larger(value, best, value, best)
                store(target, to + t, best)
                store_integers(offsets, to + t, offset)
            continue
        for t in range(c):
            largest, place = source[np.uintp(corner + t)], 0
            for i in range(rows):
                for j in range(columns):
                    number = source[np.uintp(corner + (i * w + j) * c + t)]
                    if number > largest or (np.isnan(number) and not np.isnan(largest)):
                        largest, place = number, i * ksize + j
            target[np.uintp(to + t)] = largest
            offsets[np.uintp(to + t)] = place


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
    w = image.shape[2]
    source, offsets, target = eta.reshape(-1), index.reshape(-1), image.reshape(-1)
    v = lanes(source)
    row = (n * image.shape[1] + ih) * w * c
    for t in range(w * c):
        target[np.uintp(row + t)] = 0
    oh0, oh1 = windows_over(ih, ksize, stride, oh_n)
    for oh in range(oh0, oh1):
        for ow in range(ow_n):
            at = ((n * oh_n + oh) * ow_n + ow) * c
            to = row + ow * stride * c
            first = (ih - oh * stride) * ksize
            columns = min(ksize, w - ow * stride)
            whole = c // v * v
            for t in range(0, whole, v):
                slope = load(source, at + t)
                for j in range(columns):
                    place = to + j * c + t
                    store(target, place, add(load(target, place), where_equal(offsets, at + t, first + j, slope)))
            for t in range(whole, c):
                slope_t, offset = source[np.uintp(at + t)], offsets[np.uintp(at + t)]
                for j in range(columns):  # a selection and no branch: which pixel it is cannot be predicted
                    target[np.uintp(to + j * c + t)] += slope_t if offset == first + j else eta.dtype.type(0)


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
