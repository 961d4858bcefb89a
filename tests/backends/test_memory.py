"""The numba backend's buffers: what somebody can still see is never given out again, and what nobody sees is."""

import gc
import pickle
import threading

import numpy as np
import pytest

import fastcnn
from fastcnn.backends.numba.core import memory
from fastcnn.layers import AvgPooling, Conv2D, FullyConnect, LeakyRelu, MaxPooling, Relu

LARGE = (memory.POOLED // 4, 4)  # float32
FLOAT32, FLOAT64, UINT8 = map(np.dtype, ("float32", "float64", "uint8"))


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(memory, "POOL", memory.Pool())
    return memory.POOL


def address(array):
    return array.__array_interface__["data"][0]


def test_a_dropped_array_is_used_again(pool):
    array = memory.empty(LARGE, FLOAT32)
    first = address(array)
    del array
    for shape, dtype in ((LARGE, FLOAT32), (LARGE[::-1], FLOAT32), ((LARGE[0] * 2,), FLOAT64)):
        assert address(memory.empty(shape, dtype)) == first


@pytest.mark.parametrize(
    "keep",
    [
        lambda array: array,
        lambda array: array[1:2],
        lambda array: array.reshape(-1)[3:],
        lambda array: array.T,
        lambda array: array.view(np.uint8),
        memoryview,
        lambda array: array.flat,
        lambda array: [{"deep": array[::2]}],
        lambda array: np.frombuffer(array, np.float32),
    ],
    ids=["itself", "row", "slice", "transpose", "bytes", "memoryview", "iterator", "nested", "buffer"],
)
def test_what_is_still_seen_is_not_given_out(pool, keep):
    array = memory.empty(LARGE, FLOAT32)
    first, kept = address(array), keep(array)
    del array
    others = [memory.empty(LARGE, FLOAT32) for _ in range(3)]
    assert first not in map(address, others) and len(set(map(address, others))) == 3
    del kept
    gc.collect()
    assert address(memory.empty(LARGE, FLOAT32)) == first


def test_also_after_the_interpreter_has_specialised_the_code(pool):
    """CPython rewrites hot bytecode; what it counts must not become another number then."""
    kept = memory.empty(LARGE, FLOAT32)
    for _ in range(20_000):
        assert address(memory.empty(LARGE, FLOAT32)) != address(kept)
    assert sum(map(len, pool.buffers.values())) == 2


def test_small_arrays_are_left_to_numpy(pool):
    memory.empty((3, 4), FLOAT32)
    memory.empty((0, 4), FLOAT32)
    assert not pool.buffers


@pytest.mark.parametrize("length", [5, LARGE[0]])
def test_the_arrays_of_a_workspace_lie_apart_in_one_buffer(pool, length):
    arrays = memory.workspace(memory.layout(FLOAT32, (3, length), (0, 4), (length,), (0,)))
    assert [(array.shape, array.dtype) for array in arrays] == [
        (shape, FLOAT32) for shape in ((3, length), (0, 4), (length,), (0,))
    ]
    for number, array in enumerate(arrays):
        assert array.flags.carray and address(array) % memory.ALIGNMENT == address(arrays[0]) % memory.ALIGNMENT
        array[...] = number
    assert (arrays[0] == 0).all() and (arrays[2] == 2).all()
    assert len(pool.spaces) == (length > 5) and not pool.buffers
    last = arrays.pop()
    del arrays, array
    assert pool.idle_bytes() == 0, "the last of them keeps the buffer"
    del last
    assert pool.idle_bytes() == sum(space.size for space in pool.spaces)


def test_workspaces_share_one_buffer_that_grows(pool):
    def space(count):
        return memory.workspace(memory.layout(FLOAT32, (count, *LARGE)))

    def place(count):
        return address(space(count)[0])

    first = place(2)
    assert place(2) == first and place(1) == first
    kept = space(1)
    assert address(kept[0]) == first and place(1) != first and len(pool.spaces) == 2
    grown = place(3)
    assert [address(buffer) for buffer in pool.spaces] == [first, grown], "the idle one that was too small is dropped"
    del kept
    assert place(3) == grown and place(2) == first
    pool.drop_idle()
    assert not pool.spaces


def test_a_workspace_of_nothing(pool):
    assert [array.shape for array in memory.workspace(memory.layout(FLOAT64, (0, 3)))] == [(0, 3)]


def test_idle_buffers_are_dropped_beyond_the_limit(pool, monkeypatch):
    size = memory.POOLED
    monkeypatch.setattr(memory, "KEPT", 3 * size)
    kept = memory.empty((size + 1,), UINT8)
    arrays = [memory.empty((size,), UINT8) for _ in range(9)]
    assert pool.idle_bytes() == 0
    arrays.clear()
    assert pool.idle_bytes() == 9 * size
    memory.empty((size + 2,), UINT8)
    assert pool.idle_bytes() == size + 2 and list(pool.buffers) == [size + 1, size + 2]
    assert address(kept) == address(pool.buffers[size + 1][0])


def test_a_steady_load_gives_idle_memory_back(pool, monkeypatch):
    """No allocation misses: what an earlier phase left behind goes all the same."""
    size = memory.POOLED
    monkeypatch.setattr(memory, "KEPT", 3 * size)
    steady = memory.empty((size + 1,), UINT8)
    del steady
    arrays = [memory.empty((size,), UINT8) for _ in range(9)]
    arrays.clear()
    for _ in range(memory.TIDY):
        memory.empty((size + 1,), UINT8)
    assert pool.idle_bytes() <= 2 * size


def test_keeping_thousands_of_results_costs_no_search(pool):
    kept = [memory.empty(LARGE, FLOAT32) for _ in range(3 * memory.BUFFERS)]
    assert sum(map(len, pool.buffers.values())) == memory.BUFFERS
    assert len(set(map(address, kept))) == len(kept)


def test_a_buffer_being_given_out_is_not_idle_to_a_finaliser(pool):
    """Whoever allocates while `take` is at work, in the same thread, gets another buffer."""
    memory.empty(LARGE, FLOAT32)
    ((size, buffers),) = pool.buffers.items()
    scan = memory.idle(buffers)
    buffer = next(scan)
    assert pool.take(size) is not buffer


def test_an_interrupt_whose_traceback_is_kept(pool, monkeypatch):
    """Its frames refer to what was being counted, for as long as a debugger shows them."""
    kept = memory.empty(LARGE, FLOAT32)
    with monkeypatch.context() as patch, pytest.raises(TypeError) as caught:
        patch.setattr(memory.sys, "getrefcount", ord)  # fails at this very place, without a frame of its own
        memory.empty(LARGE, FLOAT32)
    assert address(memory.empty(LARGE, FLOAT32)) != address(kept)
    assert caught.value.__traceback__ is not None


def test_threads_never_share_a_buffer(pool):
    wrong = []

    def work(number):
        for _ in range(200):
            array = memory.empty(LARGE, FLOAT32)
            array[:] = number
            if (array != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "make",
    [
        lambda shape: Conv2D(shape, 8, 3, method="SAME"),
        MaxPooling,
        AvgPooling,
        Relu,
        LeakyRelu,
        lambda shape: FullyConnect(shape, 300),
    ],
    ids=["Conv2D", "MaxPooling", "AvgPooling", "Relu", "LeakyRelu", "FullyConnect"],
)
def test_what_layers_return_is_never_overwritten(make, rng):
    """Outputs and gradients that are kept, some of them only in part, hold their values through later calls."""
    layer = make((64, 16, 16, 8))
    kept, copies = [], []
    with fastcnn.use_backend("numba"):
        for _ in range(8):
            out = layer.forward(rng.standard_normal(layer.input_shape, np.float32))
            grad = layer.gradient(rng.standard_normal(layer.output_shape, np.float32))
            assert out.nbytes >= memory.POOLED and grad.nbytes >= memory.POOLED
            kept += [out[1:], grad.reshape(-1)[5:]]
            copies += [out[1:].copy(), grad.reshape(-1)[5:].copy()]
            del out, grad
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(kept[0])), copies[0])
