"""Pickles of CIFAR-10: those of both versions of Python are read, and none can call anything or fill the memory."""

import io
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from fastcnn.datasets import cifar_pickle


def read(content):
    return cifar_pickle.load(io.BytesIO(content))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i4", "<u8", "i1"])
def test_arrays(protocol, dtype):
    array = np.arange(-3, 9).reshape(3, 4).astype(dtype)
    for value in (array, np.asfortranarray(array), array[:, 1]):
        got = cifar_pickle.as_array(read(pickle.dumps({"a": value}, protocol))["a"])
        np.testing.assert_array_equal(got, value)
        assert got.dtype == value.dtype


def text(content):
    """A str of Python 2 in protocol 2."""
    return b"U" + bytes([len(content)]) + content


def test_a_batch_of_python_2():
    """As the files of the author are written: texts are bytes, and NumPy's functions have their old names."""
    none = b"NNN" + b"J\xff\xff\xff\xff" * 2
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\0K\1\x87R(K\3" + text(b"|") + none + b"K\0tb"
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + b"\x87R"
    array = start + b"(K\1K\2K\3\x86" + dtype + b"\x89" + text(b"\1\2\3\4\5\xff") + b"tb"
    batch = read(b"\x80\2}q\1(" + text(b"data") + array + text(b"labels") + b"]q\2(K\6K\tK\0eu.")
    assert cifar_pickle.as_array(batch[b"data"]).tolist() == [[1, 2, 3], [4, 5, 255]]
    assert cifar_pickle.as_array(batch[b"labels"]).tolist() == [6, 9, 0]


def call(module, name, arguments):
    return f"c{module}\n{name}\n".encode() + arguments + b"R"


BOMBS = {
    "a memo of gigabytes": b"\x80\2Nr" + struct.pack("<I", 2**31 - 1) + b".",
    "text of gigabytes": b"\x80\4\x8e" + struct.pack("<Q", 2**33) + b"abc.",
    "bytes of gigabytes": b"\x80\5\x96" + struct.pack("<Q", 2**31) + b"abc.",
    "a frame of gigabytes": b"\x80\4\x95" + struct.pack("<Q", 2**40) + b"N.",
    "an array of gigabytes": call("numpy", "ndarray", b"I3000000000\n\x85") + b".",
    "text that doubles": call("_codecs", "encode", text(b"ab") + text(b"hex") + b"\x86") + b".",
    "sets": b"\x80\4" + b"\x8f" * 200 + b".",
    "an object": b"cnumpy\ndtype\n)\x81.",
    "another function": call("builtins", "eval", text(b"1") + b"\x85") + b".",
    "a function that is changed": b"cnumpy\ndtype\n}" + text(b"a") + b"K\1sb.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name):
    tracemalloc.start()
    try:
        if name in ("a memo of gigabytes", "a frame of gigabytes"):
            assert read(BOMBS[name]) is None
        else:
            with pytest.raises((pickle.UnpicklingError, EOFError, KeyError, TypeError)):
                read(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


LONG = b"X" + struct.pack("<I", 10_000) + b"a" * 10_000
LATIN1, SHORT = b"X\6\0\0\0latin1", b"X\1\0\0\0a"
ENCODE, DTYPE = b"c_codecs\nencode\n", b"cnumpy\ndtype\n"
ARRAY_OF_TEXT = b"(" + LONG + DTYPE + text(b"u1") + b"\x85RM\x10\x27" + text(b"C") + b"t"
PAIRS = b"Nq\1" + b"".join(b"h%c" % i * 2 + b"\x86q%c" % (i + 1) for i in range(1, 200)) + b"q\0"  # of pairs of pairs

AGAIN = {  # what is named once and used a thousand times, or 2**199 times
    "a text": (ENCODE + b"q\0" + LONG + b"q\1" + LATIN1 + b"q\2" + b"h\0h\1h\2\x86R" * 1000, None),
    "a text as a dtype": (DTYPE + b"q\0" + LONG + b"q\1" + b"h\0h\1\x85R" * 1000, "expected a short text"),
    "a text as numbers": (
        b"cnumpy.core.numeric\n_frombuffer\nq\0" + ARRAY_OF_TEXT + b"q\1" + b"h\0h\1R" * 1000,
        "a bytes-like object is required",
    ),
    "pairs as a dtype": (PAIRS + DTYPE + b"h\0\x85R", "expected a short text"),
    "pairs as an encoding": (PAIRS + ENCODE + SHORT + b"h\0\x86R", "expected a short text"),
    "pairs as a text": (PAIRS + ENCODE + b"h\0" + LATIN1 + b"\x86R", "it encodes a tuple; expected text"),
    "pairs as a key": (PAIRS + b"}h\0Ns", "a key of the type tuple; expected text"),
    "pairs as a key of several": (PAIRS + b"}(h\0Nu", "a key of the type tuple; expected text"),
    "pairs as a key of a whole dict": (PAIRS + b"(h\0Nd", "a key of the type tuple; expected text"),
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_a_pickle_uses_again_takes_no_more_memory_and_no_more_time(name):
    content, message = AGAIN[name]
    tracemalloc.start()
    try:
        if message is None:
            assert read(b"\x80\2" + content + b".") == b"a" * 10_000
        else:
            with pytest.raises((pickle.UnpicklingError, TypeError), match=message):
                read(b"\x80\2" + content + b".")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2], [3]], "expected an array, or a list of integers"),
        ({}, "expected an array, or a list of integers"),
        ("text", "expected an array, or a list of integers"),
        ([1.5], "expected an array, or a list of integers"),
        (
            cifar_pickle.PickledArray((1, (2,), cifar_pickle.PickledDtype("f4"), False, bytes(8))),
            "an array of 'f4'",
        ),
        (cifar_pickle.PickledArray((1, (2,), cifar_pickle.PickledDtype("u1"), False, bytes(3))), "cannot reshape"),
    ],
)
def test_what_is_no_array(value, message):
    with pytest.raises((pickle.UnpicklingError, ValueError), match=message):
        cifar_pickle.as_array(value)


def test_lists_that_hold_one_another():
    """Ten times ten times ten lists: NumPy would make room for all of them."""
    content = b"]q\0K\1a" + b"".join(b"]q%c(" % (i + 1) + b"h%c" % i * 10 + b"e" for i in range(12))
    with pytest.raises(pickle.UnpicklingError, match="expected an array, or a list of integers"):
        cifar_pickle.as_array(read(b"\x80\2" + content + b"."))
