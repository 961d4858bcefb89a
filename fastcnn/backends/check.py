"""The checking backend: every call runs on NumPy and on numba, and the results must agree.

Each result must agree with the NumPy definition within the rounding error that its own terms allow. The size of those
terms follows from the kernel's declaration (see :mod:`fastcnn.backends.registry`), so a sum that cancels to nearly zero
is held to the size of what was added, and a single copied value to itself. What an update changes in place is compared
likewise.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import fastcnn.backends.numba as fast
import fastcnn.backends.numpy as reference
from fastcnn.backends.numba.convolution import conv, conv_transpose
from fastcnn.backends.registry import DECLARED, TOLERANCE, Declaration, parts
from fastcnn.errors import BackendMismatch

# Which algorithm computes a convolution on numba.
CONVOLUTIONS: dict[str, Callable] = {
    "conv_forward": conv.find_forward,
    "conv_input_gradient": conv.find_input_gradient,
    "conv_weight_gradient": conv.find_weight_gradient,
    "conv_transpose_forward": conv_transpose.find_forward,
    "conv_transpose_input_gradient": conv_transpose.find_input_gradient,
    "conv_transpose_weight_gradient": conv_transpose.find_weight_gradient,
}


def short(value: Any) -> str:
    """Dtype and shape of an array; anything else as Python writes it."""
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)


def compare(name: str, args: tuple, expected: np.ndarray, got: np.ndarray, terms: np.ndarray) -> None:
    """Raise `BackendMismatch` unless `got` (numba) agrees with `expected` (NumPy)."""
    call = f"{name}({', '.join(map(short, args))})"
    if expected.shape != got.shape or expected.dtype != got.dtype:
        raise BackendMismatch(f"{call}: numpy returns {short(expected)}, numba returns {short(got)}")
    if np.array_equal(expected, got, equal_nan=expected.dtype.kind == "f"):
        return
    if expected.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            error = np.abs(got - expected)
            same = (got == expected) | (np.isnan(got) & np.isnan(expected))
            finite = np.isfinite(expected) & np.isfinite(got)
            wrong = ~same & ~(finite & (error <= TOLERANCE[expected.dtype.name] * terms))
            excess = np.where(wrong, np.where(finite, error, np.inf), -np.inf)
    else:
        wrong = expected != got
        excess = wrong.astype(np.float64)
    if wrong.any():
        worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
        raise BackendMismatch(
            f"{call}: {int(wrong.sum())} of {wrong.size} values differ; the worst is at "
            f"{tuple(int(i) for i in worst)}: numpy {expected[worst]!r}, numba {got[worst]!r}"
        )


def checked(declaration: Declaration) -> Callable:
    """The kernel, run on both backends; what the fast one returns is returned."""
    name, define = declaration.name, declaration.define
    compute = getattr(fast, name)

    @functools.wraps(define)
    def call(*args: Any) -> Any:
        tiles = name in CONVOLUTIONS and CONVOLUTIONS[name](*args)[0] == "winograd"
        with np.errstate(all="ignore"):
            expected = declaration.results(define, declaration.with_copies(args))
            terms = declaration.sizes(define, args, expected, tiles)
        returned = compute(*args)
        got = declaration.changed(args) if declaration.changes else parts(returned)
        for result in zip(expected, got, terms, strict=True):
            compare(name, args, *result)
        return returned

    return call


def __getattr__(name: str) -> Callable:
    if name not in reference.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return checked(DECLARED[name])
