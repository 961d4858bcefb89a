"""One declaration for each kernel, beside its definition in :mod:`fastcnn.backends.numpy`.

What follows from it: the list of kernels, what every backend must offer, the interface that
``python -m fastcnn.backends`` prints, the error that the `check` backend and the tests allow, and the arguments that
the tests and the warm-up of the numba backend draw.
"""

import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastcnn.backends.arguments import Source

Terms = Callable[[Callable, tuple, tuple], Any]
Definition = TypeVar("Definition", bound=Callable)

# Allowed error relative to the absolute terms: the worst case of a sum of n terms is n times the unit roundoff
# (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1), 6e-8 in float32 and 1.1e-16 in float64.
# These allow n = 1,700 and 9,000; errors grow with the square root of n in practice, which leaves room for 3e6.
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
# The same for arguments that `draw` makes: sums of up to some 300 terms.
TOLERANCE_OF_DRAWN = {"float32": 2e-6, "float64": 4e-15}
LEFT = 0.1  # of terms that cancel out in a tile: with `TOLERANCE` 1e-5, where 20 roundings of each were measured


def absolute_terms(compute: Callable, arguments: tuple, expected: tuple) -> Any:
    """The size of what is added up: the result for the absolute values of the arguments."""
    return compute(*map(absolute, arguments))


def absolute(value: Any) -> Any:
    """Absolute values of an array of floats; anything else as it is."""
    return np.abs(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def parts(result: Any) -> tuple:
    """The arrays that a kernel returns, as a tuple."""
    return result if isinstance(result, tuple) else (result,)


class Declaration(NamedTuple):
    """What is known of a kernel; the fields are the arguments of :func:`declare`."""

    define: Callable
    draw: Callable[[Source], tuple]
    terms: Terms
    changes: tuple[str, ...]
    tile_axes: tuple[int, int] | None
    warm: tuple[Mapping[str, int], ...]

    @property
    def name(self) -> str:
        return self.define.__name__

    @property
    def parameters(self) -> list[str]:
        return list(inspect.signature(self.define).parameters)

    def changed(self, arguments: tuple) -> tuple[np.ndarray, ...]:
        """The arrays among `arguments` that the kernel changes in place."""
        return tuple(value for name, value in zip(self.parameters, arguments, strict=False) if name in self.changes)

    def with_copies(self, arguments: tuple) -> tuple:
        """`arguments` with copies of the arrays that the kernel changes."""
        if not self.changes:
            return arguments
        named = zip(self.parameters, arguments, strict=False)
        return tuple(value.copy() if name in self.changes else value for name, value in named)

    def results(self, compute: Callable, arguments: tuple) -> tuple[np.ndarray, ...]:
        """The arrays that `compute`, a twin or the oracle, returns for `arguments`, or those that it changed."""
        returned = compute(*arguments)
        return self.changed(arguments) if self.changes else parts(returned)

    def sizes(self, compute: Callable, arguments: tuple, expected: tuple, tiles: bool = False) -> tuple:
        """For each result the absolute terms that its error is relative to, by `compute`, a twin or the oracle.

        With ``tiles=True`` those of Winograd's algorithm: it adds neighbouring pixels, or weights, that cancel out
        again, so that the error is relative to the largest terms of each channel. Neighbours are multiplied though all
        terms may be 0, where most pixels or weights are: what is left of them is rounding, `LEFT` of their size.
        """
        first, *others = parts(self.terms(compute, arguments, expected))
        if tiles:
            neighbours, *_ = parts(self.terms(self.define, self.spread(arguments), expected))
            first = np.maximum(first, LEFT * neighbours).max(axis=self.tile_axes, keepdims=True)
        return first, *others

    def spread(self, arguments: tuple) -> tuple:
        """`arguments` of a convolution with the largest weight of each pair of channels at all taps, or the largest
        pixel of the output's gradient at all pixels, and with the last pixel, which no window may reach, at its
        neighbour too: every product that a tile computes is among the terms then."""
        x, factor, *others = arguments
        for axis in (1, 2):
            x = np.maximum(np.abs(x), np.roll(np.abs(x), -1, axis))
        axes = (0, 1) if self.tile_axes == (1, 2) else (1, 2)  # of a tile of weights, whose factor is a gradient
        largest = np.abs(factor).max(axis=axes, keepdims=True)
        return x, np.ascontiguousarray(np.broadcast_to(largest, factor.shape)), *others


DECLARED: dict[str, Declaration] = {}  # complete once `fastcnn.backends.numpy` is imported


def declare(
    draw: Callable[[Source], tuple],
    *,
    terms: Terms = absolute_terms,
    changes: tuple[str, ...] = (),
    tile_axes: tuple[int, int] | None = None,
    warm: Iterable[Mapping[str, int]] = ({},),
) -> Callable[[Definition], Definition]:
    """Declare the decorated function, of the NumPy backend, as the definition of a kernel. It stays what it is.

    Parameters
    ----------
    draw : callable
        Random arguments, a tuple, from a :class:`~fastcnn.backends.arguments.Source`.
    terms : callable
        ``terms(compute, arguments, expected)``: for each result an array that broadcasts to it, the size of what is
        added up. `TOLERANCE` times it is the allowed error. `compute` is the definition or the tests' oracle.
    changes : tuple of str
        Parameters that are changed in place. Such a kernel is an optimizer's update and returns nothing.
    tile_axes : (int, int), optional
        Of a convolution, which several algorithms compute: the axes of its first result that a tile of Winograd's
        algorithm covers.
    warm : iterable of dict
        What the numba backend runs to compile everything: for each dict `draw` is called once, with these answers to
        its questions for integers. Two dicts where the shapes decide which of two functions is compiled.
    """

    def declared(define: Definition) -> Definition:
        known = DECLARED.get(define.__name__)
        if known and known.define.__module__ != define.__module__:
            raise ImportError(f"{define.__name__} is declared twice: {known.define.__module__}, {define.__module__}")
        DECLARED[define.__name__] = Declaration(define, draw, terms, changes, tile_axes, tuple(warm))
        return define

    return declared


def modules(package: str) -> Iterator[ModuleType]:
    """Import and yield each module of `package`."""
    for _, name, _ in pkgutil.iter_modules(importlib.import_module(package).__path__):
        yield importlib.import_module(f"{package}.{name}")


def find_twins(backend: str, packages: Iterable[str]) -> dict[str, FunctionType]:
    """What `backend` offers: from the modules of `packages` the function of each declared kernel's name.

    Raises
    ------
    ImportError
        A kernel has no twin, or two.
    """
    twins: dict[str, FunctionType] = {}
    for module in itertools.chain.from_iterable(map(modules, packages)):
        for name, value in vars(module).items():
            if name in DECLARED and isinstance(value, FunctionType) and value.__module__ == module.__name__:
                if name in twins:
                    raise ImportError(f"{backend} has two kernels {name}: {twins[name].__module__}, {module.__name__}")
                twins[name] = value
    if missing := [name for name in DECLARED if name not in twins]:
        defined = ", ".join(f"{name} ({DECLARED[name].define.__module__})" for name in missing)
        raise ImportError(f"{backend} lacks the kernel {defined}")
    return twins


def interface(names: Iterable[str]) -> str:
    """The kernels `names`: parameters, what is changed in place, and the first line of each docstring."""
    lines = []
    for declaration in map(DECLARED.__getitem__, names):
        signature = inspect.signature(declaration.define)
        bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        summary = (declaration.define.__doc__ or "").partition("\n")[0]
        changes = f" Changes {', '.join(declaration.changes)} in place." if declaration.changes else ""
        lines += [f"{declaration.name}{inspect.Signature(bare)}", f"    {summary}{changes}"]
    return "\n".join(lines)
