"""Arrays of more than 2**31 elements, for which 32-bit offsets do not suffice, in some 100 MB of memory.

A batch repeats the same images over and over, and one piece of memory is mapped again for each repetition. Results
repeat as well, and lie in memory of the same kind. Repetitions have an odd factor: an offset that loses its upper bits
leads to another image, or out of the array.
"""

import ctypes
import mmap
import os
import sys
import time
import weakref

import numpy as np
import pytest

pytest.importorskip("numba")

from fastcnn.backends import numba as kernels
from fastcnn.backends import numpy as definition
from fastcnn.backends.numba.convolution.winograd import table
from fastcnn.backends.numba.core import memory
from fastcnn.backends.numba.pointwise import softmax
from fastcnn.backends.registry import TOLERANCE_OF_DRAWN
from fastcnn.windows import Window, square
from tests.helpers.arguments import original
from tests.helpers.switches import conv_algorithm, threads, winograd

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create, of Linux")

REPEATED = 3072  # images; 3 pages of memory for each 4 bytes of one
IMAGE = (16, 16, 4)
COUNT = 2**31 // 1024 + 100  # images; more than 2**31 elements
LARGE = 2**30  # elements, from which on a result must lie in memory that is mapped again and again

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
FIXED = 0x10


def repeated(shape, dtype, own=None):
    """An array of images, or of the rows of all of them, whose memory holds `REPEATED` images; `own` where given."""
    dtype = np.dtype(dtype)
    row = int(np.prod(shape[1:])) * dtype.itemsize
    piece, size = REPEATED * row * max(1, shape[0] // COUNT), shape[0] * row
    file = os.memfd_create("repeated")
    os.ftruncate(file, piece)
    whole = -(-size // piece) * piece
    start = libc.mmap(None, whole, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    for offset in range(0, whole, piece):
        place = libc.mmap(start + offset, piece, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | FIXED, file, 0)
        assert place == start + offset, os.strerror(ctypes.get_errno())
    os.close(file)
    buffer = (ctypes.c_char * size).from_address(start)
    weakref.finalize(buffer, libc.munmap, start, whole)
    array = np.frombuffer(buffer, dtype).reshape(shape)
    if own is not None:
        array[:REPEATED] = own
    return array


@pytest.fixture(autouse=True)
def _results_are_repeated(monkeypatch, request, capsys):
    usual, start = memory.empty, time.monotonic()

    def empty(shape, dtype):
        return repeated(shape, dtype) if np.prod(shape, dtype=np.int64) >= LARGE // 8 else usual(shape, dtype)

    for name, module in list(sys.modules.items()):
        if name.startswith("fastcnn.backends.numba.") and getattr(module, "empty", None) is usual:
            monkeypatch.setattr(module, "empty", empty)
    yield
    with capsys.disabled():
        minutes = (time.monotonic() - start) / 60
        print(f"\n{request.node.name}: {COUNT * int(np.prod(IMAGE)):,} elements, {minutes:.1f} minutes")


def images(rng, shape=IMAGE, dtype=np.float32):
    """`REPEATED` of them, of small whole numbers, and the large batch."""
    own = rng.integers(-3, 4, (REPEATED, *shape)).astype(dtype)
    return own, repeated((COUNT, *shape), dtype, own)


def assert_repeated(got, wanted, size=10.0):
    """The first images are `wanted`, and so are the last; `size` is that of the terms of a sum."""
    assert len(got) == COUNT
    near = {"rtol": 1e-4, "atol": 4 * TOLERANCE_OF_DRAWN["float32"] * size}
    np.testing.assert_allclose(got[:REPEATED], wanted, **near)
    last = COUNT - COUNT % REPEATED
    np.testing.assert_allclose(got[last:], wanted[: COUNT - last], **near)


POINTWISE = {
    "relu_forward": (1, ()),
    "relu_backward": (2, ()),
    "leaky_relu_forward": (1, (0.2,)),
    "leaky_relu_backward": (2, (0.2,)),
    "elu_forward": (1, (0.5,)),
    "elu_backward": (2, (0.5,)),
    "silu_forward": (1, ()),
    "silu_backward": (2, ()),
    "gelu_forward": (1, (False,)),
    "gelu_backward": (2, (True,)),
    "mish_backward": (2, ()),
    "softplus_forward": (1, ()),
    "ramp_forward": (1, (0.2, 0.5, 1.0)),
    "ramp_backward": (2, (0.2, 0.5, 1.0)),
    "hard_swish_backward": (2, ()),
    "sigmoid_forward": (1, ()),
    "sigmoid_backward": (2, ()),
    "tanh_forward": (1, ()),
    "tanh_backward": (2, ()),
    "add": (2, ()),
    "prelu_forward": (1, (np.arange(4, dtype=np.float32),)),
    "pad": (1, (((0, 1), (0, 1)),)),
    "unpad": (1, (((1, 2), (1, 2)),)),
    "global_avg_pool_forward": (1, ()),
    "avg_pool_forward": (1, original((0, *IMAGE), 3, 2)),
    "im2col": (1, (square(2, 4),)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", POINTWISE)
def test_images_one_by_one(name, rng):
    count, rest = POINTWISE[name]
    pairs = [images(rng) for _ in range(count)]
    wanted = getattr(definition, name)(*(own for own, _ in pairs), *rest)
    got = getattr(kernels, name)(*(large for _, large in pairs), *rest)
    rows = len(wanted) // REPEATED  # of a column matrix
    assert_repeated(got.reshape(-1, *wanted.shape[1:] if rows == 1 else (rows, *wanted.shape[1:])),
                    wanted if rows == 1 else wanted.reshape(REPEATED, rows, -1))  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("ksize", "stride"), [(2, 2), (3, 2), (16, 16)])
def test_pooling(ksize, stride, rng):
    own, large = images(rng)
    window, size = original(own.shape, ksize, stride)
    wanted, places = definition.max_pool_forward(own, window, size)
    got, index = kernels.max_pool_forward(large, window, size)
    assert_repeated(got, wanted)
    back = definition.max_pool_backward(wanted, places, own.shape, window)
    assert_repeated(kernels.max_pool_backward(got, index, large.shape, window), back)
    back = definition.avg_pool_backward(wanted, own.shape, window)
    assert_repeated(kernels.avg_pool_backward(got, large.shape, window), back)


@pytest.mark.long
def test_global_pooling_and_rows(rng, monkeypatch):
    own, large = images(rng)
    eta, huge = own[:, 0, 0], repeated((COUNT, 4), np.float32, own[:, 0, 0])
    wanted = definition.global_avg_pool_backward(eta, own.shape)
    assert_repeated(kernels.global_avg_pool_backward(huge, large.shape), wanted)
    rows, many = own.reshape(REPEATED, -1), large.reshape(COUNT, -1)
    monkeypatch.setattr(softmax, "FEW", 2**62)  # more are NumPy's, which would take memory for all
    assert_repeated(kernels.softmax_forward(many), definition.softmax_forward(rows))
    labels = np.arange(COUNT) % REPEATED % 1024
    wanted = definition.softmax_loss(rows, labels[:REPEATED])
    for got, right in zip(kernels.softmax_loss(many, labels), wanted, strict=True):
        assert_repeated(got, right)
    weights, bias = rng.standard_normal((1024, 3)).astype(np.float32), np.ones(3, np.float32)
    out = definition.dense_forward(rows, weights, bias)
    assert_repeated(kernels.dense_forward(many, weights, bias), out)
    wanted = definition.dense_input_gradient(out, weights)
    assert_repeated(kernels.dense_input_gradient(repeated((COUNT, 3), np.float32, out), weights), wanted)


def times():
    """How often each image occurs."""
    return np.bincount(np.arange(COUNT) % REPEATED).astype(np.float64)


@pytest.mark.long
def test_sums_over_all_images(rng):
    (own, large), (eta, many) = images(rng), images(rng)
    own, eta, often = (part.astype(np.float64) for part in (own, eta, times()))
    count = COUNT * 256
    mean = np.einsum("nhwc,n->c", own, often) / count
    var = np.einsum("nhwc,n->c", (own - mean) ** 2, often) / count
    for got, right in zip(kernels.batch_statistics(large.reshape(-1, 4)), (mean, var), strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-5)
    scaled = (own - mean) / np.sqrt(var + 1e-3)
    rows, statistics = [part.reshape(-1, 4) for part in (large, many)], (mean.astype("f4"), var.astype("f4"))
    slopes = kernels.batch_norm_parameter_gradient(*rows, *statistics, 1e-3)
    size = np.einsum("nhwc,n->c", abs(eta * scaled), often)
    assert (abs(slopes[0] - np.einsum("nhwc,n->c", eta * scaled, often)) <= 1e-5 * size).all()
    assert (abs(slopes[1] - np.einsum("nhwc,n->c", eta, often)) <= 1e-5 * size).all()
    gain = np.arange(1, 5, dtype=np.float32)
    normed = kernels.batch_norm_forward(rows[0], *statistics, gain, gain, 1e-3).reshape(large.shape)
    assert_repeated(normed, scaled * gain + gain)
    back = kernels.batch_norm_input_gradient(*rows, *statistics, gain, *(part.astype("f4") for part in slopes), 1e-3)
    through = (slopes[1] + scaled * slopes[0]) / count
    assert_repeated(back.reshape(large.shape), gain / np.sqrt(var + 1e-3) * (eta - through))
    dw, db = kernels.dense_weight_gradient(large.reshape(COUNT, -1), repeated((COUNT, 4), np.float32, eta[:, 0, 0]))
    wanted = np.einsum("ni,nj,n->ij", own.reshape(REPEATED, -1), eta[:, 0, 0], often)
    np.testing.assert_allclose(dw, wanted, rtol=0, atol=1e-5 * 9 * COUNT)
    np.testing.assert_allclose(db, eta[:, 0, 0].T @ often, rtol=0, atol=1e-5 * 3 * COUNT)


@pytest.mark.long
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("algorithm", [*table.ROWS, "direct", "im2col"])
def test_convolutions(algorithm, groups, rng):
    """In groups dilated too, where the algorithm takes that."""
    row = table.ROWS.get(algorithm)
    ksize, stride = (row.r, row.stride) if row else (3, 2)
    dilation = 2 if groups > 1 and (row is None or stride == 1) else 1
    around = (ksize // 2 * dilation,) * 2
    window = Window((ksize, ksize), (stride, stride), (dilation, dilation), (around, around))
    (own, large), often = images(rng), times()
    weights, bias = rng.integers(-2, 3, (ksize, ksize, 4 // groups, 4)).astype(np.float32), np.ones(4, np.float32)
    wanted = definition.conv_forward(own, weights, bias, window)
    size = ksize * ksize * 4 * 3 * 2.0  # terms of at most 3 times 2: those of a tile of Winograd's algorithm cancel out
    eta = own[:, : wanted.shape[1], : wanted.shape[2]].copy()
    many = repeated((COUNT, *eta.shape[1:]), np.float32, eta)
    with winograd(algorithm) if row else conv_algorithm(algorithm), threads(2):
        assert_repeated(kernels.conv_forward(large, weights, bias, window), wanted, size)
        dw, db = kernels.conv_weight_gradient(large, many, window, groups)
    with winograd(algorithm) if row else conv_algorithm(algorithm), threads(1):  # which add to the image: two threads
        # that happen to be at repetitions of one image would both add to the same memory
        back = kernels.conv_input_gradient(many, weights, large.shape, window)
        assert_repeated(back, definition.conv_input_gradient(eta, weights, own.shape, window), size)
        turned = kernels.conv_transpose_forward(many, weights, bias, large.shape, window)
        assert_repeated(turned, definition.conv_transpose_forward(eta, weights, bias, own.shape, window), size)
    cut = slice(None, COUNT % REPEATED)  # what occurs once more
    parts = [definition.conv_weight_gradient(a.astype(float), b.astype(float), window, groups)
             for a, b in ((own, eta), (own[cut], eta[cut]))]  # fmt: skip
    for got, whole, rest in zip((dw, db), *parts, strict=True):
        total = 9.0 * COUNT * eta[0, ..., 0].size
        np.testing.assert_allclose(got, often.min() * whole + rest, rtol=0, atol=1e-5 * total)


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_far_behind(dtype, rng):
    """Of bytes more than 2**32, and of numbers more than 2**31."""
    own = rng.integers(0, 200, (REPEATED, *IMAGE)).astype(dtype)
    count = 2**32 // 1024 + 100 if dtype == "uint8" else COUNT
    index = np.array([0, 5, count - 1, count // 2, count - 7])
    moves = np.zeros(5, np.int64), np.ones(5, np.int64), np.array([True, False, True, False, True]), 16, 16
    got = kernels.gather_images(repeated((count, *IMAGE), dtype, own), index, *moves)
    np.testing.assert_array_equal(got, definition.gather_images(own, index % REPEATED, *moves))


@pytest.mark.long
def test_updates(rng):
    """Such that doing them again changes nothing: one parameter is updated in many places."""
    gradient, many = images(rng)
    parameter, kept = (repeated(many.shape, np.float32) for _ in range(2))
    kernels.sgd_update(parameter, many, -2.0, 0.0)
    assert_repeated(parameter, 2 * gradient)
    kernels.momentum_update(parameter, many, kept, 0.0, (0.5, 0.0), 0.0, False)
    assert_repeated(kept, gradient / 2)
    kernels.rmsprop_update(parameter, many, kept, 0.0, (1.0, 0.0), 0.0, 1.0)
    assert_repeated(kept, gradient**2)
    kernels.adam_update(
        parameter, many, kept, repeated(many.shape, np.float32), 0.0, (1.0, 0.0), (1, 0.0, 0.0, 1.0), 1.0
    )
    assert_repeated(kept, gradient)
    assert_repeated(parameter, 2 * gradient)


@pytest.mark.long
def test_dropout(rng):
    """What is kept follows from an element's place: no two repetitions are alike, and the last ones remain."""
    _, large = images(rng)
    with threads(1):
        got = kernels.dropout(large, 0.5, 3, 7)
    first = COUNT - 50
    wanted = definition.dropout(large[first:].copy(), 0.5, 3, 7 + first * int(np.prod(IMAGE)))
    np.testing.assert_array_equal(got[first:], wanted)
