"""Random arrays that lie in memory as those that layers hand to each other."""

import math
from collections.abc import Iterable

import numpy as np

import fastcnn

LINE = 64  # bytes of a cache line: large arrays of layers and of PyTorch begin at a multiple of it, NumPy's do not


def drawn(*shapes: Iterable[int]) -> list[np.ndarray]:
    """Normally distributed numbers, the same in each call, of the dtype that is on."""
    rng, dtype = np.random.default_rng(0), fastcnn.get_dtype()
    arrays = []
    for shape in map(tuple, shapes):
        memory = np.empty(math.prod(shape) * dtype.itemsize + LINE, np.uint8)
        start = -memory.ctypes.data % LINE
        arrays.append(memory[start:][: memory.size - LINE].view(dtype).reshape(shape))
        arrays[-1][...] = rng.standard_normal(shape, np.float32)
    return arrays
