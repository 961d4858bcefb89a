"""The `check` backend: every call runs on NumPy and on numba, and the results must agree.

Each result must agree with the NumPy definition within the rounding error that its own terms allow. The size of
those terms is what the NumPy kernel computes from the absolute values of its arguments, so a sum that cancels to
nearly zero is held to the size of what was added, and a single copied value to itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import fastcnn.backends.numba as fast
import fastcnn.backends.numpy as reference
from fastcnn import backends
from fastcnn.backends.numba.convolution import conv
from fastcnn.errors import BackendMismatch

# Allowed error relative to the absolute terms: the worst case of a sum of n terms is n times the unit roundoff
# (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1), 6e-8 in float32 and 1.1e-16 in float64.
# These allow n = 1,700 and 9,000; errors grow with the square root of n in practice, which leaves room for 3e6.
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}


def describe(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)


def compare(name: str, args: tuple, expected: np.ndarray, got: np.ndarray, terms: np.ndarray) -> None:
    """Raise `BackendMismatch` unless `got` (numba) agrees with `expected` (NumPy)."""
    call = f"{name}({', '.join(map(describe, args))})"
    if expected.shape != got.shape or expected.dtype != got.dtype:
        raise BackendMismatch(f"{call}: numpy returns {describe(expected)}, numba returns {describe(got)}")
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


def local(name: str, args: tuple, terms: Any) -> Any:
    """The terms that an error is measured by. Winograd's algorithm adds neighbouring pixels, or weights, that cancel
    out again: there it is the largest of them for each channel."""
    find, axes = CONVOLUTIONS.get(name, (None, ()))
    if find is None or find(*args)[0] != "winograd":
        return terms
    spread = functools.partial(np.max, axis=axes, keepdims=True)
    return (spread(terms[0]), *terms[1:]) if isinstance(terms, tuple) else spread(terms)


# For each convolution: which algorithm computes it, and the axes that a tile covers.
CONVOLUTIONS = {
    "conv_forward": (conv.find_forward, (1, 2)),
    "conv_input_gradient": (conv.find_input_gradient, (1, 2)),
    "conv_weight_gradient": (conv.find_weight_gradient, (0, 1)),
}


def exponential_terms(args: tuple, expected: Any) -> Any:
    """An exponential's error is that of its exponent, relative to itself; a loss's is that of its largest logit."""
    size = 1 + np.abs(args[0]).max(axis=1, keepdims=True)
    return (expected[0] * size, size[:, 0]) if isinstance(expected, tuple) else expected * size


def statistics_terms(args: tuple, expected: Any) -> Any:
    """Of a mean: the values; of a variance: itself, as sums start anew about the mean, which is rounded."""
    (x,) = args
    size = np.square(x).sum(axis=0, dtype=np.float64) / max(1, len(x))
    return np.abs(x).sum(axis=0, dtype=np.float64) / max(1, len(x)), expected[1] + np.finfo(x.dtype).eps * size


def difference_terms(name: str) -> Callable:
    """What is subtracted adds to the terms: the mean, and gradients that go through the statistics."""
    define = getattr(reference, name)
    negative = {"mean", "dgain", "dbias"} & set(inspect.signature(define).parameters)

    def terms(args: tuple, expected: Any) -> Any:
        bound = inspect.signature(define).bind(*map(absolute, args))
        bound.arguments.update({parameter: -bound.arguments[parameter] for parameter in negative})
        return define(*bound.args)

    return terms


def prelu_terms(args: tuple, expected: Any) -> Any:
    """x keeps its sign, which chooses."""
    x, eta, alpha = args
    return tuple(np.abs(part) for part in reference.prelu_backward(x, np.abs(eta), np.abs(alpha)))


def elu_terms(args: tuple, expected: Any) -> Any:
    """Below 0 the result is alpha times something of at most abs(x), or of at most 1 times eta."""
    *arrays, alpha = args
    return np.abs(arrays[-1]) * max(1.0, abs(alpha))


TERMS = {
    "elu_forward": elu_terms,
    "elu_backward": elu_terms,
    "softmax_forward": exponential_terms,
    "softmax_loss": exponential_terms,
    "batch_statistics": statistics_terms,
    "prelu_backward": prelu_terms,
    "batch_norm_forward": difference_terms("batch_norm_forward"),
    "batch_norm_parameter_gradient": difference_terms("batch_norm_parameter_gradient"),
    "batch_norm_input_gradient": difference_terms("batch_norm_input_gradient"),
}


def absolute(value: Any) -> Any:
    return np.abs(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def checked(name: str) -> Callable:
    """The kernel `name`, run on both backends; the result of the fast one is returned."""
    define, compute = getattr(reference, name), getattr(fast, name)

    @functools.wraps(define)
    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            expected = define(*args)
            terms = TERMS[name](args, expected) if name in TERMS else local(name, args, define(*map(absolute, args)))
        got = compute(*args)
        if not isinstance(expected, tuple):
            compare(name, args, expected, got, terms)
            return got
        for part in zip(expected, got, terms, strict=True):
            compare(name, args, *part)
        return got

    return call


def checked_update(name: str) -> Callable:
    """The update `name`, run on both backends; what the fast one changes is compared with what the other changes.

    A sum of three terms may cancel: the error is measured by the array before, after, and by the gradient.
    """
    define, compute = getattr(reference, name), getattr(fast, name)

    @functools.wraps(define)
    def call(parameter: np.ndarray, gradient: np.ndarray, *args: Any) -> None:
        arrays = [parameter, *(value for value in args if isinstance(value, np.ndarray))]
        described = (parameter, gradient, *args)
        expected = [array.copy() for array in arrays]
        terms = [np.abs(array) + np.abs(gradient) for array in arrays]
        with np.errstate(all="ignore"):
            define(expected[0], gradient, *expected[1:], *args[len(arrays) - 1 :])
        compute(parameter, gradient, *args)
        for wanted, got, term in zip(expected, arrays, terms, strict=True):
            compare(name, described, wanted, got, term + np.abs(wanted))

    return call


def __getattr__(name: str) -> Callable:
    if name in backends.UPDATES:
        return checked_update(name)
    if name not in backends.KERNELS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return checked(name)
