"""Run every numba kernel on arrays that lie against a page nobody may touch: one element too far is a crash.

Kernels do not check indices, and a vector that sticks out of its array is no error that a comparison of results would
find. `tests/backends/test_kernels.py` runs this as a process of its own, as a crash takes the process with it: the last
line printed names the kernel. Results are compared with the NumPy twin's, so that this is also the test of other vector
widths than the processor's own, which a process has only one of. Arguments: dtypes; --cross for the last act; and
--random=N for N random shapes of each kernel by each algorithm in place of all other acts.
"""

import contextlib
import ctypes
import itertools
import mmap
import sys

import numpy as np

import fastcnn
from fastcnn.backends import check
from fastcnn.backends import numba as kernels
from fastcnn.backends.numba.convolution import direct, direct_input, direct_pixels, direct_weights, rule
from fastcnn.backends.numba.convolution.winograd import convolution, table
from fastcnn.backends.numba.core import copying, memory, width
from fastcnn.backends.numba.product import gemm
from fastcnn.backends.registry import DECLARED
from fastcnn.config import CONV_ALGORITHMS
from fastcnn.windows import Window, pooled, square
from tests.helpers.arguments import NO_LANES, OF_LANES, Seeded, wide
from tests.helpers.switches import conv_algorithm, forget_plans, on_threads, winograd

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Fence:
    """An allocator with the interface of `memory`: arrays end at a closed page, or begin right after one."""

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

    def workspace(self, arrays):
        return [self.empty(shape, arrays.dtype) for shape, _ in arrays.places]

    def zeros(self, shape, dtype):
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def copy(self, value):
        if not isinstance(value, np.ndarray):
            return value
        copy = self.empty(value.shape, value.dtype)
        copy[...] = value
        return copy


FITTING = (3, 1), (3, 1), (3, 2), (5, 1)  # kernels and strides that Winograd's algorithm is for


def run_small(fence, dtype):
    """Many shapes of a few pixels and channels, by each algorithm."""
    for name, declaration in DECLARED.items():
        for algorithm in CONV_ALGORITHMS if declaration.tile_axes else ("auto",):
            print(name, algorithm, dtype, flush=True)
            fastcnn.set_conv_algorithm(algorithm)
            for seed in range(4 if algorithm == "lanes" else 80):  # each compiles code of its own; LARGE has more
                fence.at_end = seed // (1 if algorithm == "lanes" else 4) % 2 == 0
                ranges = wide(*FITTING[seed % 4]) if algorithm == "winograd" else wide()
                ranges = OF_LANES if algorithm == "lanes" else ranges | NO_LANES
                getattr(check, name)(*map(fence.copy, declaration.draw(Seeded(seed, dtype, ranges))))


# images, height, width, channels, outputs, groups, window: several panels, cuts, bands, parts, rows in place
LARGE = (
    (2, 9, 11, 5, 70, 1, square(3, 1, 1, 1)),
    (3, 20, 22, 70, 40, 1, square(3, 1, 1, 1)),
    (1, 5, 4, 140, 70, 1, square(3, 1, 1, 1)),
    (9, 12, 12, 6, 131, 1, square(3, 1, 1, 1)),
    (2, 9, 11, 5, 70, 1, square(3, 2)),
    (3, 20, 22, 70, 40, 1, square(3, 2, 1, 1)),
    (1, 9, 8, 33, 140, 1, square(3, 2)),
    (1, 4, 4, 3, 32, 1, square(2, 2)),
    (1, 4, 4, 3, 64, 1, square(4, 4)),
    (2, 40, 7, 90, 3, 1, square(5, 2, 2, 2)),
    (1, 3, 5, 7, 130, 1, square(1)),
    (3, 20, 22, 70, 40, 1, square(5, 1, 2, 2)),
    (1, 5, 4, 140, 70, 1, square(5, 1, 2, 2)),
    (3, 12, 14, 70, 42, 2, square(3, 1, 1, 1)),
    (1, 9, 11, 15, 140, 5, square(3, 1, 0, 2)),
    (2, 12, 9, 140, 70, 35, square(3, 2, 1, 1)),
    (2, 9, 11, 70, 70, 70, square(3, 1, 1, 1)),
    (2, 9, 13, 33, 99, 33, square(3, 2, 1, 1)),
    (2, 19, 23, 7, 70, 1, Window((3, 3), (1, 1), (2, 3), ((2, 2), (3, 4)))),
    (1, 17, 15, 66, 44, 2, Window((3, 3), (1, 1), (4, 4), ((4, 4), (4, 4)))),
    (1, 17, 15, 66, 44, 2, Window((5, 5), (1, 1), (3, 2), ((6, 6), (4, 4)))),
    (2, 21, 20, 35, 35, 35, Window((3, 3), (1, 2), (3, 2), ((3, 0), (0, 4)))),
    (2, 15, 17, 40, 33, 1, Window((1, 7), (1, 1), (1, 1), ((0, 0), (3, 3)))),
    (2, 15, 17, 40, 33, 1, Window((7, 1), (2, 1), (1, 1), ((3, 3), (0, 0)))),
    (2, 15, 17, 12, 33, 3, Window((2, 4), (3, 2), (3, 1), ((0, 5), (4, 1)))),
)


def run_large(fence, dtype, rng):
    """Shapes and limits that lead the other way at every fork."""
    limits = {convolution: {"OWN_BYTES": 0}, direct: {"PIXELS": 17, "SMALL_WORK": 0, "FEW_PIXELS": 0}}
    limits[direct_weights] = {"PIXELS": 17}
    limits[direct_input] = {"COLUMNS": 8, "MIN_TASKS": 100, "BAND": 3, "PIXELS": 20}
    limits[direct_pixels] = {"MIN_TASKS": 100, "SMALL_WORK": 0, "PIXELS": 20}
    for limited, fence.at_end in itertools.product((False, True), (True, False)):
        for module, values in limits.items() if limited else ():
            vars(module).update(values)
        for n, h, w, channels, outputs, groups, window in LARGE:
            size, inputs = window.positions(h, w), channels // groups
            shapes = (n, h, w, channels), (*window.ksize, inputs, outputs), (n, *size, outputs), (outputs,), (channels,)
            x, weights, eta, bias, far = (fence.copy(rng.standard_normal(shape).astype(dtype)) for shape in shapes)
            layer = rule.layer_of(rule.FORWARD, x.shape, eta.shape, window, groups)
            fits = [winograd(row.transform) for row in rule.ROWS if row.transform and row.takes(layer)]
            for switch in fits or map(conv_algorithm, CONV_ALGORITHMS[1:3]):
                print(x.shape, outputs, groups, window, limited, dtype, flush=True)
                with switch:
                    forget_plans()
                    check.conv_forward(x, weights, bias, window, True)
                    check.conv_weight_gradient(x, eta, window, groups, True)
                    check.conv_input_gradient(eta, weights, x.shape, window, x)
                    check.conv_transpose_forward(eta, weights, far, x.shape, window)


def run_pooling(fence, dtype, rng):
    """Results that are written past the caches, and windows whose offsets need four bytes."""
    copying.STREAMED = 0
    for fence.at_end in (True, False):
        for n, h, w, channels, *windows in (
            (1, 16, 17, 64, 2, 2),
            (1, 19, 17, 32, 3, 2),
            (2, 9, 9, 32, 3, 1),
            (1, 19, 17, 16, 2, 3),
            (1, 20, 21, 33, 16, 16),
            (1, 20, 21, 32, 16, 4),
            (1, 19, 17, 32, 3, 2, 1, 1, "floor"),
            (1, 18, 16, 64, 3, 2, 1, ((2, 1), (0, 2)), "ceil"),
            (1, 19, 17, 32, (2, 3), (2, 3), 1, 1, "ceil"),
            (2, 9, 12, 32, (3, 2), (1, 2), (2, 3), ((1, 2), (3, 0)), "ceil"),
            (1, 1, 1, 32, 3, 2, 1, 2, "ceil"),
        ):
            print("pooling", (n, h, w, channels), *windows, dtype, flush=True)
            p = pooled((h, w), *windows, *(1, 0, "original")[len(windows) - 2 :])
            x = fence.copy(np.round(2 * rng.standard_normal((n, h, w, channels))).astype(dtype))
            for rectify in (False, True):
                out, index = check.max_pool_forward(x, p.window, p.out, rectify)
                eta = fence.copy(rng.standard_normal(out.shape).astype(dtype))
                check.max_pool_backward(eta, fence.copy(index), x.shape, p.window)
            for count_padding, divisor in ((False, 0), (True, 0), (False, 1)):
                check.avg_pool_forward(x, p.window, p.out, count_padding, divisor)
                check.avg_pool_backward(eta, x.shape, p.window, count_padding, divisor)


def run_products(fence, dtype, rng):
    """Few rows, several tasks, panels, chunks and pieces of a sum; whole numbers, so that every sum is exact."""
    print("products", dtype, flush=True)
    forget_plans()
    for fence.at_end in (True, False):
        for m, n, k in ((400, 17, 5), (3, 5, 2000), (5, 70, 1100), (200, 33, 600), (193, 1, 257), (800, 40, 40)):
            whole = [rng.integers(-4, 5, shape).astype(dtype) for shape in ((m, k), (k, n), (n,))]
            a, b, bias = map(fence.copy, whole)
            a_turned, b_turned = (fence.copy(np.ascontiguousarray(matrix.T)).T for matrix in (a, b))
            exact = a @ b
            for left, right in itertools.product((a, a_turned), (b, b_turned)):
                assert np.array_equal(gemm.product(left, right, bias), exact + bias)
                assert np.array_equal(gemm.product(left, right), exact)
        kernels.dense_weight_gradient(*(fence.copy(np.ones((1500, n), dtype)) for n in (3, 5)))


def algorithms(declaration):
    """(name, switch, ksize, stride) of each way to compute a kernel: each row of Winograd's table is one."""
    if not declaration.tile_axes:
        return [("auto", conv_algorithm("auto"), None, None)]
    own = [(name, conv_algorithm(name), None, None) for name in ("direct", "im2col")]
    return own + [(row.name, winograd(row.name), row.r, row.stride) for row in table.TABLE]


def run_random(fence, dtype, count):
    """Random shapes by each algorithm, on one thread and on all, whatever the work."""
    for name, declaration in DECLARED.items():
        for algorithm, switch, ksize, stride in algorithms(declaration):
            print(name, algorithm, dtype, flush=True)
            with switch:
                for seed in range(count):
                    fence.at_end = seed % 2 == 0
                    ranges = wide(ksize, stride) | (WIDER if seed % 8 == 7 else {})
                    arguments = declaration.draw(Seeded(1000 + seed, dtype, ranges))
                    with on_threads() if seed % 4 > 1 else contextlib.nullcontext():
                        getattr(check, name)(*map(fence.copy, arguments))
    for seed in range(count if dtype == "float32" else 0):  # bytes are what augmentation moves
        fence.at_end = seed % 2 == 0
        images, *rest = DECLARED["gather_images"].draw(Seeded(seed, dtype, wide()))
        check.gather_images(fence.copy(images.astype(np.uint8)), *map(fence.copy, rest))


WIDER = {"channels": (30, 140), "width": (5, 45), "outputs": (30, 140), "rows": (1, 700), "size": (1, 3000)}


def main():
    fence, dtypes = Fence(), [name for name in sys.argv[1:] if not name.startswith("--")]
    count = sum(int(name.removeprefix("--random=")) for name in sys.argv[1:] if name.startswith("--random="))
    print(f"vectors of {width.VECTOR_BYTES * 8} bits", flush=True)
    for module in [module for name, module in sys.modules.items() if name.startswith("fastcnn.backends.numba.")]:
        for name in ("empty", "workspace", "zeros"):
            if getattr(module, name, None) is getattr(memory, name) and module is not memory:
                setattr(module, name, getattr(fence, name))
    for dtype in dtypes if count else []:
        run_random(fence, dtype, count)
    dtypes = [] if count else dtypes
    for dtype in dtypes:
        run_small(fence, dtype)
    for dtype in dtypes:
        run_products(fence, dtype, np.random.default_rng(0))
        run_large(fence, dtype, np.random.default_rng(0))
        run_pooling(fence, dtype, np.random.default_rng(0))
    print("done", flush=True)
    if "--cross" in sys.argv:  # the fence itself must hold
        fence.at_end = True
        array = fence.empty((4,), np.float64)
        ctypes.memset(array.ctypes.data, 0, array.nbytes + 1)


if __name__ == "__main__":
    main()
