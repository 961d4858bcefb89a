"""Calls of a layer that leave no trace: each on a copy of one state, with the same random numbers.

A layer may keep masks, draw random numbers and update statistics in `forward`. Whatever is compared here is therefore
computed by deep copies of one state, NumPy's global generator and Python's set to one state before each.
"""

import contextlib
import copy
import inspect
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastcnn.layers.protocol import offers, phase_of, takes_decay
from fastcnn.shapes import shape_text
from fastcnn.testing.report import Failure

# Parameters and their gradients where a class has no `gradient_names`. A BatchNorm's `beta` has a `b_gradient` too.
WELL_KNOWN = {"weights": "w_gradient", "bias": "b_gradient", "alpha": "a_gradient", "beta": "b_gradient"}
GENERATORS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)


@contextlib.contextmanager
def kept_randomness() -> Iterator[None]:
    """NumPy's global generator and Python's leave the ``with`` block as they entered it."""
    states = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


@dataclass
class Outcome:
    """A forward and a gradient: the layer after both, copies of what they returned and of the parameters' gradients."""

    layer: Any
    out: np.ndarray
    back: np.ndarray
    gradients: dict[str, np.ndarray]


def is_float_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def one_line(error: Exception) -> str:
    """An exception as one line of a report."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def element(index: Any) -> str:
    """An index as Python writes it: [0, 2, 1]."""
    return f"[{', '.join(str(int(i)) for i in index)}]"


def difference(what: str, got: np.ndarray, wanted: np.ndarray, factor: float = 0.0) -> str | None:
    """Where `got` differs most from `wanted` by more than `factor` times its dtype's rounding; None where it does not.

    Rounding is relative to the largest value: sums of many terms are as exact as their largest term.
    """
    if got.shape != wanted.shape:
        return f"{what} has the shape {got.shape} instead of {wanted.shape}"
    got, exact = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    with np.errstate(invalid="ignore"):  # the difference of two infinities is one too
        error = np.nan_to_num(np.abs(got - exact), nan=np.inf)
    eps = np.finfo(wanted.dtype).eps if wanted.dtype.kind == "f" else 0.0
    if not got.size or error.max() <= factor * eps * np.abs(exact).max():
        return None
    worst = np.unravel_index(int(error.argmax()), got.shape)
    return f"{what}{element(worst) if worst else ''} is {got[worst] + 0:.7g} instead of {exact[worst] + 0:.7g}"


def rewind_own(layer: Any, start: Any) -> None:
    """Give `layer`, and the layers inside it, the generators of `start`, and what `random_names` names."""
    own = {name for name, value in getattr(start, "__dict__", {}).items() if isinstance(value, GENERATORS)}
    for name in own | set(getattr(start, "random_names", ())):
        setattr(layer, name, copy.deepcopy(getattr(start, name)))
    if offers(start, "children"):
        for child, original in zip(layer.children().values(), start.children().values(), strict=True):
            rewind_own(child, original)


class Probe:
    """One layer at one state, and a batch for it.

    Parameters
    ----------
    layer : any layer; it is copied at once and never called itself
    x : (batch, ...) float64 array
    seed : int, of all random numbers: the gradient that goes in, labels, the elements to look at
    tolerance : float or None, see :func:`fastcnn.testing.check_layer`
    """

    def __init__(self, layer: Any, x: np.ndarray, seed: int, tolerance: float | None = None):
        self.name, self.is_loss = type(layer).__name__, offers(layer, "cal_loss")
        self.start, self.x, self.tolerance = copy.deepcopy(layer), x, tolerance
        self.seed, self.rng = seed, np.random.default_rng(seed)
        self.random_states = np.random.RandomState(seed).get_state(), random.Random(seed).getstate()
        self.labels = self.rng.integers(x.shape[1], size=len(x)) if self.is_loss else np.empty(0, np.int64)
        self.dtype = np.dtype(np.float64)
        self.clear_gradients(self.start)

    def first_forward(self) -> np.ndarray:
        """The first output; it says what the layer computes in: the dtype, and all that follows from it."""
        layer = self.fresh()
        told = self.forward(layer, self.x.copy())
        if self.is_loss:  # a Python float, whatever it was summed in
            told = self.gradient(layer, None)
        self.dtype = told.dtype if told.dtype.kind == "f" else self.dtype
        self.x = self.x.astype(self.dtype)
        self.other = self.rng.permutation(self.x.ravel()).reshape(self.x.shape)
        layer = self.fresh()
        self.out = self.forward(layer, self.x.copy()).copy()
        self.output_shape = getattr(layer, "output_shape", None)
        self.eta = np.ones(()) if self.is_loss else self.rng.standard_normal(self.out.shape).astype(self.dtype)
        return self.out

    def fresh(self) -> Any:
        """A copy of the layer, with the random numbers before it that every copy gets."""
        layer = copy.deepcopy(self.start)
        self.rewind(layer)
        return layer

    def rewind(self, layer: Any) -> None:
        """Give a used copy the random numbers of a fresh one: global ones, and those of its own generators."""
        np.random.set_state(self.random_states[0])
        random.setstate(self.random_states[1])
        rewind_own(layer, self.start)

    def call(self, layer: Any, method: str, *arguments: Any, **options: Any) -> Any:
        """`layer.method(...)`; what it raises becomes the sentence of a failed check."""
        try:
            return getattr(layer, method)(*arguments, **options)
        except Exception as error:
            batch = f" on {shape_text(*arguments[0].shape)}" if arguments and np.ndim(arguments[0]) else ""
            raise Failure(f"`{method}`{batch} raised {one_line(error)}") from error

    def phase(self) -> inspect.Parameter | None:
        """The argument `phase` of `forward`, where there is one."""
        try:
            return phase_of(self.start.forward)
        except (AttributeError, TypeError, ValueError):  # a loss without forward, a method written in C
            return None

    def forward(self, layer: Any, x: np.ndarray, **options: Any) -> np.ndarray:
        """The output for `x`, or the loss as an array without axes."""
        if self.is_loss:
            return self.real("cal_loss", self.call(layer, "cal_loss", x, self.labels[: len(x)].copy()))
        phase = self.phase()
        if phase is not None and phase.default is phase.empty:
            options = {"phase": "train"} | options
        return self.real("forward", self.call(layer, "forward", x, **options))

    def gradient(self, layer: Any, eta: np.ndarray | None) -> np.ndarray:
        """dLoss/dInput; a loss may return it or leave it in its attribute `eta`."""
        if not self.is_loss:
            return self.real("gradient", self.call(layer, "gradient", eta))
        back = self.call(layer, "gradient")
        return self.real("gradient", getattr(layer, "eta", None) if back is None else back)

    def backward(self, layer: Any, alpha: float, decay: float) -> bool:
        """Update; whether `backward` takes a weight decay beside `alpha`."""
        decays = takes_decay(layer.backward)
        self.call(layer, "backward", *((alpha, decay) if decays else (alpha,)))
        return decays

    @staticmethod
    def real(method: str, value: Any) -> np.ndarray:
        """What a method returned, as the array of real numbers that it must be."""
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        if array.dtype.kind not in "buif":
            raise Failure(f"`{method}` returned {type(value).__name__}, not an array of real numbers")
        return array

    def run(self, x: np.ndarray | None = None, eta: np.ndarray | None = None, layer: Any = None) -> Outcome:
        """Forward and gradient of a fresh copy, or of `layer`, on copies of `x` and `eta`."""
        x, eta = self.x if x is None else x, self.eta if eta is None else eta
        layer = self.fresh() if layer is None else layer
        out = self.forward(layer, x.copy()).copy()
        back = self.gradient(layer, eta.copy()).copy()
        return Outcome(layer, out, back, {name: np.array(pair[1]) for name, pair in self.pairs(layer).items()})

    def rows(self, count: int) -> np.ndarray:
        """`eta` for the first `count` images."""
        return self.eta if self.is_loss else self.eta[:count]

    @staticmethod
    def declared(layer: Any) -> dict[str, str]:
        """The layer's own `gradient_names`; empty where it has none."""
        names = getattr(layer, "gradient_names", None)
        return names if isinstance(names, dict) else {}

    @classmethod
    def pairs(cls, layer: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Each parameter and its gradient, by the parameter's name: arrays of the layer, not copies."""
        named = cls.declared(layer) or WELL_KNOWN
        found: dict[str, tuple[Any, Any]] = {
            n: (getattr(layer, n, None), getattr(layer, g, None)) for n, g in named.items()
        }
        return {name: pair for name, pair in found.items() if all(map(is_float_array, pair))}

    @classmethod
    def clear_gradients(cls, layer: Any) -> None:
        """What the caller's layer has accumulated must not count."""
        for _, gradient in cls.pairs(layer).values():
            gradient[...] = 0
