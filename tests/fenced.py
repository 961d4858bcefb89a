"""Run every numba kernel on arrays that lie against a page nobody may touch: one element too far is a crash.

Kernels do not check indices, and a vector that sticks out of its array is no error that a comparison of results would
find. `tests/test_kernels.py` runs this as a process of its own, as a crash takes the process with it: the last line
printed names the kernel. Results are compared with the NumPy twin's, so that this is also the test of other vector
widths than the processor's own, which a process has only one of. Arguments: dtypes, and --cross for the last act.
"""

import ctypes
import itertools
import mmap
import sys

import numpy as np
import test_kernels

import fastcnn
from fastcnn import runtime
from fastcnn.backends import KERNELS, check
from fastcnn.backends.numba import gemm

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Fence:
    """An allocator with the interface of `memory.empty`: arrays end at a closed page, or begin right after one."""

    def __init__(self):
        self.at_end = True

    def empty(self, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pages = -(-max(size, 1) // PAGE)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for closed in (start, start + (pages + 1) * PAGE):
            if libc.mprotect(closed, PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = (pages + 1) * PAGE - size if self.at_end else PAGE
        return np.frombuffer(memory, dtype, size // np.dtype(dtype).itemsize, offset).reshape(shape)

    def copy(self, value):
        if not isinstance(value, np.ndarray):
            return value
        copy = self.empty(value.shape, value.dtype)
        copy[...] = value
        return copy


class RandomCase(test_kernels.WideCase):
    """The same arguments as in the other tests, drawn without hypothesis."""

    def __init__(self, seed, dtype, ksize):
        self.dtype, self.rng, self.ksize = dtype, np.random.default_rng(seed), ksize

    def integer(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def boolean(self):
        return bool(self.rng.integers(2))


def main():
    fence = Fence()
    dtypes = [name for name in sys.argv[1:] if name != "--cross"]
    for module in [module for name, module in sys.modules.items() if name.startswith("fastcnn.backends.numba.")]:
        if hasattr(module, "empty"):
            module.empty = fence.empty
    for name in KERNELS:
        algorithms = runtime.CONV_ALGORITHMS if name in test_kernels.CONVOLUTIONS else ("auto",)
        for algorithm, dtype in itertools.product(algorithms, dtypes):
            print(name, algorithm, dtype, flush=True)
            fastcnn.set_conv_algorithm(algorithm)
            for seed in range(60):
                fence.at_end = seed % 2 == 0
                case = RandomCase(seed, dtype, 3 if algorithm == "winograd" else None)
                getattr(check, name)(*map(fence.copy, getattr(test_kernels, name)(case)))
    print("several tasks, panels and pieces")
    for fence.at_end in (True, False):
        for m, n, k in ((400, 17, 5), (3, 5, 2000), (200, 33, 600), (193, 1, 257)):
            a, b = fence.copy(np.ones((m, k))), fence.copy(np.ones((k, n)))
            assert (gemm.product(a, b, fence.copy(np.ones(n))) == k + 1).all()
            gemm.product(fence.copy(np.ones((k, m))).T, fence.copy(np.ones((n, k))).T)
    print("done", flush=True)
    if "--cross" in sys.argv:  # the fence itself must hold
        fence.at_end = True
        array = fence.empty((4,), np.float64)
        ctypes.memset(array.ctypes.data, 0, array.nbytes + 1)


if __name__ == "__main__":
    main()
