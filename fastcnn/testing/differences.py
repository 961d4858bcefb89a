"""Gradients against central finite differences.

The scalar that is differentiated is ``sum(eta * forward(x))`` for a random `eta`. Differences are taken output by
output in float64 before they are summed: outputs that an element does not reach cancel to 0, and add no rounding.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn.testing.probe import Outcome, Probe, element
from fastcnn.testing.report import Failure, Skip

DIRECTIONS = 4  # steps of all elements at once, where only some elements are looked at one by one


def default_tolerance(dtype: np.dtype) -> float:
    """The largest error taken for right, relative to the sum of absolute terms that a gradient is made of.

    With a step of ``eps ** (1 / 3)`` the central difference errs by ``step ** 2`` for the curvature it leaves out and
    by ``eps / step`` for rounding: ``eps ** (2 / 3)`` each, 2.4e-5 in float32 and 4e-11 in float64. Forty times that
    is room for sums whose terms round one after another: 1e-3 in float32. In float64 it would be 1.5e-9, less than
    functions that bend strongly need; 1e-6 is still far below any mistake.
    """
    return max(40 * float(np.finfo(dtype).eps) ** (2 / 3), 1e-6)


def step_of(value: np.ndarray, eps: float, outputs: float | None) -> float:
    """The step for elements of `value`: ``eps ** (1 / 3)`` of their spread, and not lost in their rounding.

    For a parameter, `outputs` is the largest output. Layers are linear in most parameters, which may be tiny or 0:
    the step is not smaller than for numbers around 1, nor lost in the outputs' rounding.
    """
    exact = value.astype(np.float64)
    largest = float(np.abs(exact).max())
    step = eps ** (1 / 3) * (float(exact.std()) or largest or 1.0)
    if outputs is not None:
        step = max(step, eps ** (1 / 3), 4096 * eps * outputs)
    return max(step, 64 * eps * largest)


def steps(probe: Probe, value: np.ndarray, step: float, limit: int) -> list[tuple[tuple | None, np.ndarray]]:
    """(index, what to add): every element of a small array; of a large one `limit` elements and some directions."""
    chosen = np.arange(value.size)
    if value.size > limit:
        chosen = np.sort(probe.rng.choice(value.size, limit, replace=False))
    made: list[tuple[tuple | None, np.ndarray]] = []
    for flat in chosen:
        index = np.unravel_index(int(flat), value.shape)
        one = np.zeros(value.shape)
        one[index] = step
        made.append((index, one))
    if value.size > limit:
        made += [(None, step * probe.rng.choice([-1.0, 1.0], value.shape)) for _ in range(DIRECTIONS)]
    return made


def compare(
    probe: Probe,
    name: str,
    value: np.ndarray,
    analytic: np.ndarray,
    evaluate: Callable[[np.ndarray], np.ndarray],
    eta: np.ndarray,
    limit: int,
) -> str:
    """Compare `analytic`, the layer's gradient with respect to `value`, with differences of `evaluate(value)`.

    Returns the sentence of a passed check, or raises Failure.

    A step across a kink (of a relu, a maximum) makes a difference that is neither slope. For each output the layer's
    slope is then one of the two one-sided ones, or lies between them, and the central difference is their mean: the
    two differ by half the distance of the one-sided differences at most. An error within this bound is a kink and not
    counted. On smooth ground the bound is ``step * curvature``, and excuses nothing that matters.
    """
    if analytic.shape != value.shape:
        raise Failure(f"the gradient of `{name}` has the shape {analytic.shape} instead of {value.shape}")
    if not np.isfinite(analytic).all():
        raise Failure(f"the gradient of `{name}` has values that are NaN or infinite")
    eps = max(float(np.finfo(kind).eps) for kind in (value.dtype, probe.dtype))
    middle = evaluate(value.copy()).astype(np.float64)
    weight, largest = np.abs(eta), float(np.abs(middle).max(initial=0))
    step = step_of(value, eps, None if name == "x" else largest)
    table, indices = [], []
    for index, change in steps(probe, value, step, limit):
        high, low = (value + change).astype(value.dtype), (value - change).astype(value.dtype)
        moved = high.astype(np.float64) - low  # as rounded; twice the step
        up, down = (evaluate(shifted.copy()).astype(np.float64) for shifted in (high, low))
        with np.errstate(invalid="ignore"):  # infinite outputs: NaN differs, and is reported
            terms = eta * (up - down)
            kink = (weight * np.abs(up - 2 * middle + down)).sum()
        rounding = 8 * eps * largest * weight[up != down].sum()
        size = float(np.abs(moved).sum()) if index is not None else step  # of the step, to show slopes
        table.append(((analytic * moved).sum(), terms.sum(), np.abs(terms).sum(), kink, rounding, size))
        indices.append(index)
    mine, theirs, scale, kink, rounding, size = np.array(table).T
    single = np.array([index is not None for index in indices])
    usual = np.where(single, scale[single].mean(), scale[~single].mean() if not single.all() else 0.0)
    tolerance = default_tolerance(probe.dtype) if probe.tolerance is None else probe.tolerance
    allowed = tolerance * (scale + usual) + rounding
    error = np.abs(mine - theirs)
    differs = ~(error <= allowed)  # NaN differs
    at_kink = differs & (error <= 1.001 * kink + allowed)  # of twice the step, half the distance, as all of these
    wrong = differs & ~at_kink
    if wrong.any():
        rank = np.where(wrong, np.nan_to_num(error / size, nan=np.inf), -1.0) + wrong * single * 1e300
        worst = int(rank.argmax())
        where = f"{name}{element(indices[worst])}" if single[worst] else f"`{name}`, all elements moved at once"
        raise Failure(
            f"{where}: the layer's gradient is {mine[worst] / size[worst] + 0:.7g}, finite differences give "
            f"{theirs[worst] / size[worst] + 0:.7g} ({wrong.sum()} of {len(wrong)} steps differ)"
        )
    if 2 * at_kink.sum() > len(error):
        raise Failure(
            f"nothing to compare with: {at_kink.sum()} of {len(error)} steps lie at kinks, where slopes are two; "
            f"use an x whose values are distinct and not 0"
        )
    largest_error = (error / size)[~at_kink].max()
    kinks = f", {at_kink.sum()} at kinks left out" if at_kink.any() else ""
    return f"{single.sum()} of {value.size} elements, largest error {largest_error:.1e}{kinks}"


def compare_input(probe: Probe, run: Outcome, x: np.ndarray, eta: np.ndarray, limit: int) -> str:
    """The gradient with respect to `x`, as `run` returned it."""
    return compare(probe, "x", x, run.back, lambda moved: probe.forward(probe.fresh(), moved), eta, limit)


def compare_parameter(probe: Probe, run: Outcome, name: str, x: np.ndarray, eta: np.ndarray, limit: int) -> str:
    """The gradient of the parameter `name`, as `run` left it in the layer."""

    def evaluate(moved: np.ndarray) -> np.ndarray:
        layer: Any = probe.fresh()
        getattr(layer, name)[...] = moved
        return probe.forward(layer, x.copy())

    value = getattr(probe.fresh(), name, None)
    if not isinstance(value, np.ndarray):
        raise Skip(f"`{name}` is no array before the first `forward`")
    return compare(probe, name, value, run.gradients[name], evaluate, eta, limit)
