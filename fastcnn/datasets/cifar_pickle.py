"""The pickles of CIFAR-10's Python version, without running what a pickle can: numbers, texts, lists, dicts and arrays.

An array of NumPy is in a pickle a call of its functions. These names stand for plain functions here, which make an
array of bytes that are in the file: nothing is called, and no memory taken, that the file does not fill.
"""

import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np

# What a batch is made of, in all protocols; no sets, and nothing that makes an object of a class.
OPCODES = (
    *("MARK", "STOP", "POP", "POP_MARK", "PROTO", "FRAME", "NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
)

LONGEST_NAME = 20  # of a dtype, a byte order, an encoding
ORDERS: dict[str, Literal["=", "<", ">"]] = {"|": "=", "=": "=", "<": "<", ">": ">"}  # of bytes; a single byte has none


@dataclass
class PickledDtype:
    """A dtype of integers; its byte order arrives after it."""

    name: str
    state: Any = None

    def dtype(self) -> np.dtype:
        if not re.fullmatch("[iu][1248]", self.name):
            raise pickle.UnpicklingError(f"an array of {self.name!r}; expected integers")
        return np.dtype(self.name).newbyteorder(ORDERS[as_text(self.state[1]) if self.state else "="])


@dataclass
class PickledArray:
    """An array; its shape and bytes arrive after it."""

    state: Any = None

    def array(self) -> np.ndarray:
        _, shape, dtype, in_columns, content = self.state
        return filled(content, dtype, shape, "F" if in_columns else "C")


def as_text(value: Any) -> str:
    """A name, in text of either version of Python. What is long may be named often: each time would be a copy."""
    if not isinstance(value, bytes | str) or len(value) > LONGEST_NAME:
        raise pickle.UnpicklingError("expected a short text, such as the name of a dtype")
    return value.decode("ascii") if isinstance(value, bytes) else value


def filled(content: Any, dtype: PickledDtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    """An array of the bytes that are its numbers."""
    return np.frombuffer(content, dtype.dtype()).reshape(shape, order="F" if as_text(order) == "F" else "C")


GLOBALS: dict[tuple[str, str], Callable | None] = {
    ("numpy", "ndarray"): None,  # an argument that is not looked at
    ("numpy", "dtype"): lambda name, *_: PickledDtype(as_text(name)),
}
for core in ("numpy.core", "numpy._core"):  # NumPy 2 moved them; files of either are read
    GLOBALS[f"{core}.multiarray", "_reconstruct"] = lambda *_: PickledArray()
    GLOBALS[f"{core}.numeric", "_frombuffer"] = filled


class Batch(dict[Any, Any]):
    """A dict of a pickle: the hash of pairs of pairs of pairs would take for ever."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, bytes | str):
            raise pickle.UnpicklingError(f"a key of the type {type(key).__name__}; expected text")
        super().__setitem__(key, value)


class BatchUnpickler(pickle._Unpickler):
    """Python's unpickler in Python, whose memo is a dict: that in C makes room for as many entries as a pickle says."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    dispatch: ClassVar[dict[int, Callable[..., Any]]] = {
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in OPCODES
    }

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="bytes")
        self.encodings: dict[str, bytes] = {}

    def encoded(self, text: Any, encoding: Any) -> bytes:
        """Bytes, which protocols 0 to 2 write as text: once for each text, as a pickle may name one again and again."""
        if not isinstance(text, str):
            raise pickle.UnpicklingError(f"it encodes a {type(text).__name__}; expected text")
        if as_text(encoding) != "latin1":
            raise pickle.UnpicklingError(f"text in {encoding!r}; expected latin1")
        if text not in self.encodings:
            self.encodings[text] = text.encode("latin1")
        return self.encodings[text]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return self.encoded
        if (module, name) not in GLOBALS:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which a CIFAR-10 batch has no need of")
        return GLOBALS[module, name]

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], PickledArray | PickledDtype):
            raise pickle.UnpicklingError("it changes an object that is no array")
        self.stack[-1].state = state

    def load_bytearray8(self) -> None:
        """Pickle's own makes room for as many bytes as it is told."""
        (size,) = struct.unpack("<Q", self.read(8))
        content = self.read(size)
        if len(content) != size:
            raise pickle.UnpicklingError(f"{size} bytes are described, and {len(content)} are there")
        self.stack.append(bytearray(content))

    def load_empty_dictionary(self) -> None:
        self.stack.append(Batch())

    def load_dict(self) -> None:
        items, batch = self.pop_mark(), Batch()
        for key, value in zip(items[::2], items[1::2], strict=True):
            batch[key] = value
        self.stack.append(batch)

    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dictionary
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def load(file: BinaryIO) -> dict[Any, Any]:
    """The dict that a pickle holds; an error of any class where it is damaged, or holds something else."""
    return BatchUnpickler(file).load()


def as_array(value: Any) -> np.ndarray:
    """An array of the pickle, or a list of integers, as an array."""
    if isinstance(value, PickledArray):
        return value.array()
    numbers = value if isinstance(value, list) else [value]
    if not isinstance(value, np.ndarray) and not all(type(number) is int for number in numbers):
        raise pickle.UnpicklingError("expected an array, or a list of integers")  # lists of lists grow without end
    return np.asarray(value)
