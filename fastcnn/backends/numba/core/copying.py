"""Parts of images: cut out with zeros around them, cleared, added, and written past the caches. Requires numba."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcnn.backends.numba.core.arithmetic import add
from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.memory import ALIGNMENT
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part, vector_at

MANY_WINDOWS = 16  # over a pixel, on an axis: more are added up row by row, as they would be a long chain
STREAMED = 24 << 20  # bytes; smaller results are still in the caches when the next layer reads them


def streams(result: Array) -> bool:
    """Whether to write `result`, (..., channels), past the caches: it is large, and every pixel whole vectors."""
    whole = (result.shape[-1] * result.itemsize) % ALIGNMENT == 0
    return result.nbytes >= STREAMED and whole and result.ctypes.data % ALIGNMENT == 0


@intrinsic
def stream(typingctx, array, index, vector):
    """Write `vector` past the caches, to a place that is a multiple of the vector's bytes.

    A normal store first reads the line that it writes to. That is half of the traffic of a large array, which would
    leave the caches before anybody reads it.
    """

    def codegen(context, builder, signature, args):
        done = builder.store(args[2], vector_at(context, builder, signature, args, vector.llvm_type))
        done.align = vector.lanes * vector.scalar.bitwidth // 8
        done.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@inline
def put(target, to, vector, count, past):
    """Write a vector, past the caches or not."""
    if past:
        stream(target, to, vector)
    else:
        store_part(target, to, vector, count)


def lowest(dtype: np.dtype, rectify: bool) -> np.floating:
    """The `floor` of kernels: max(value, floor) is max(value, 0) or the value itself. A branch instead of the maximum
    takes the registers apart that a transform needs."""
    return dtype.type(0 if rectify else -np.inf)


@serial
def clear(array, first, last):
    """array[first:last] = 0; numba takes 3 s to compile the assignment of a slice, for the message of its error."""
    for i in range(first, last):
        array[np.uintp(i)] = 0


@serial
def add_run(target, to, source, at, count):
    """target[to : to + count] += source[at : at + count]."""
    for t in range(0, count, lanes(target)):
        total = add(load_part(target, to + t, count - t), load_part(source, at + t, count - t))
        store_part(target, to + t, total, count - t)


@inline
def run_of(left, count, width, channels):
    """Of `count` pixels from column `left` on, the elements that lie inside an image `width` pixels wide."""
    return min(count, max(0, -left)) * channels, max(0, min(count, width - left)) * channels


@serial
def crop(image, n, top, left, rows, columns, floor, target):
    """Copy a rectangle of image n, with zeros where it lies outside, and no value below `floor`."""
    _, h, w, c = image.shape
    source = flat(image)
    length, (first, last) = columns * c, run_of(left, columns, w, c)
    for r in range(rows):
        to, at = r * length, ((n * h + top + r) * w + left) * c
        begin, end = (first, last) if 0 <= top + r < h and first < last else (length, length)
        for t in range(begin):
            target[np.uintp(to + t)] = 0
        for t in range(begin, end):
            value = source[np.uintp(at + t)]
            target[np.uintp(to + t)] = floor if value < floor else value
        for t in range(end, length):
            target[np.uintp(to + t)] = 0


@serial
def close_gate(out, gate, to, rows, columns, row, column, channels):
    """Set a grid of pixels to 0 wherever `gate`, an array like `out`, is not 0 or larger."""
    for r in range(rows):
        for c in range(columns):
            at = to + r * row + c * column
            for t in range(channels):
                if not gate[np.uintp(at + t)] >= 0:
                    out[np.uintp(at + t)] = 0
