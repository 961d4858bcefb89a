"""Values that no argument was made for."""

import collections
import decimal
import fractions
import functools

import numpy as np

import fastcnn
from fastcnn.layers import Conv2D, FullyConnect, MaxPooling, Relu, Softmax

SHAPE = (3, 6, 5, 2)


class Sub(np.ndarray):
    """Somebody's own arrays."""


def self_containing():
    inner = [1]
    inner.append(inner)
    return inner


def wide(*shape):
    """A view of one number with as many elements as it takes."""
    return np.broadcast_to(np.float32(1), shape)


def model():
    conv = Conv2D(SHAPE, 4, 3, 1, "SAME", rng=0)
    pool = MaxPooling(conv.output_shape)
    fc = FullyConnect(pool.output_shape, 3, rng=0)
    return fastcnn.Sequential([conv, Relu(conv.output_shape), pool, fc, Softmax(fc.output_shape)])


# Each makes a value anew, as a callable may change or use up what it gets.
VALUES: dict = {
    "None": lambda: None,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "1": lambda: 1,
    "0.5": lambda: 0.5,
    "-0.0": lambda: -0.0,
    "1e300": lambda: 1e300,
    "1e-320": lambda: 1e-320,
    "2**31": lambda: 2**31,
    "2**62": lambda: 2**62,
    "2**64": lambda: 2**64,
    "10**30": lambda: 10**30,
    "10**400": lambda: 10**400,
    "True": lambda: True,
    "complex": lambda: 1 + 2j,
    "empty text": lambda: "",
    "text": lambda: "text",
    "text with braces": lambda: "{0} `x` %s \x00\n\ud800",
    "bytes": lambda: b"\x00\xff",
    "empty list": list,
    "list": lambda: [1, 2, 3],
    "nested": lambda: [[1, 2], [3, 4]],
    "ragged": lambda: [[1, 2], [3]],
    "of None": lambda: [None, None],
    "self-containing": self_containing,
    "deep": lambda: functools.reduce(lambda inner, _: [inner], range(200), 1),
    "set": lambda: {1, 2},
    "dict": lambda: {"a": 1},
    "dict of numbers": lambda: {0: 1.0, 1: -1.0},
    "generator": lambda: (number for number in range(3)),
    "range": lambda: range(1, 5),
    "object": object,
    "class": lambda: int,
    "function": lambda: lambda *given: given,
    "Decimal": lambda: decimal.Decimal("0.5"),
    "Fraction": lambda: fractions.Fraction(1, 3),
    "empty array": lambda: np.zeros(0),
    "empty batch": lambda: np.zeros((0, *SHAPE[1:])),
    "no channels": lambda: np.zeros((3, 6, 5, 0)),
    "0-d": lambda: np.array(1.0),
    "0-d object": lambda: np.array(None),
    "1-d": lambda: np.arange(4.0),
    "2-d": lambda: np.arange(12.0).reshape(3, 4),
    "5-d": lambda: np.zeros((1, *SHAPE)),
    "images": lambda: np.arange(180.0).reshape(SHAPE),
    "images of nan": lambda: np.full(SHAPE, np.nan),
    "images of inf": lambda: np.full(SHAPE, np.inf),
    "images of 1e300": lambda: np.full(SHAPE, 1e300),
    "images, masked": lambda: np.ma.masked_less(np.arange(180.0).reshape(SHAPE), 9),
    "images, subclass": lambda: np.arange(180.0).reshape(SHAPE).view(Sub),
    "images of objects": lambda: np.full(SHAPE, 1, object),
    "images, complex": lambda: np.ones(SHAPE, complex),
    "images of times": lambda: np.zeros(SHAPE, "m8[s]"),
    "images of text": lambda: np.full(SHAPE, "1"),
    "images, longdouble": lambda: np.ones(SHAPE, np.longdouble),
    "records": lambda: np.zeros(3, [("a", "i4"), ("b", "f8")]),
    "huge batch": lambda: wide(2**50, *SHAPE[1:]),
    "huge": lambda: wide(2**52),
    "labels": lambda: np.array([0, 1, 2]),
    "labels, too large": lambda: np.array([0, 1, 2**63], np.uint64),
    "labels below 0": lambda: np.array([0, -1, 2]),
    "labels as floats": lambda: np.array([0.0, 1.0, 2.0]),
    "float32": lambda: np.float32(0.5),
    "float16 nan": lambda: np.float16("nan"),
    "int8": lambda: np.int8(3),
    "uint64": lambda: np.uint64(2**64 - 1),
    "bool_": lambda: np.bool_(True),
    "datetime": lambda: np.datetime64("2020-01-01"),
    "dtype": lambda: np.dtype("float16"),
    "layer": lambda: Relu(SHAPE),
    "layers": lambda: [Relu(SHAPE), Relu((1, 2))],
    "model": model,
    "NotImplemented": lambda: NotImplemented,
    "Ellipsis": lambda: Ellipsis,
    "slice": lambda: slice(None),
    "exception": lambda: ValueError("x"),
    "deque": lambda: collections.deque([1, 2]),
    "Counter": lambda: collections.Counter("aab"),
}
