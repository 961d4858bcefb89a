"""The checks of one layer. Each returns the sentence of a passed check, or raises Failure or Skip."""

import functools
from collections.abc import Callable

import numpy as np

from fastcnn.layers.protocol import offers
from fastcnn.testing.differences import compare_input, compare_parameter
from fastcnn.testing.probe import Outcome, Probe, difference
from fastcnn.testing.report import Check, Failure, Skip

INPUT_LIMIT, PARAMETER_LIMIT = 92, 46  # elements that are looked at; two forwards each, under 200 with the directions
FEW = 8
ALPHA, DECAY = 0.125, 0.25  # exact in binary, and large enough that neither gets lost
ROUNDING = 512  # in eps: the same sums in another order, or by another algorithm, as the size of a batch may choose


def attempt(checks: list[Check], name: str, check: Callable[[], str]) -> bool:
    """Make a check, note what it says; whether it passed."""
    try:
        status, message = "passed", check()
    except Failure as failure:
        status, message = "failed", str(failure)
    except Skip as skip:
        status, message = "skipped", str(skip)
    checks.append(Check(name, status, message))
    return status == "passed"


def same(what: str, got: np.ndarray, wanted: np.ndarray, after: str = "", factor: float = ROUNDING) -> None:
    """Raise Failure where two arrays differ by more than rounding: `after` says what the sentence is about."""
    found = difference(what, got, wanted, factor)
    if found:
        raise Failure(f"{found} {after}".rstrip())


def same_run(got: Outcome, wanted: Outcome, after: str) -> None:
    same("the output", got.out, wanted.out, after)
    same("the input gradient", got.back, wanted.back, after)
    for name, gradient in wanted.gradients.items():
        same(f"the gradient of `{name}`", got.gradients[name], gradient, after)


def forward(probe: Probe) -> str:
    """It runs, one row for each image, all finite."""
    out = probe.first_forward()
    if not probe.is_loss and (not out.ndim or len(out) != len(probe.x)):
        raise Failure(f"the output for {len(probe.x)} images has the shape {out.shape}")
    if not np.isfinite(out).all():
        raise Failure("the output has values that are NaN or infinite")
    return f"a loss of {float(out):.6g}" if probe.is_loss else f"output of shape {out.shape}, all finite"


def output_shape(probe: Probe) -> str:
    """The attribute says what `forward` returns, whatever the batch."""
    if probe.is_loss or probe.output_shape is None:
        raise Skip("a loss is a number" if probe.is_loss else "the layer has no attribute `output_shape`")
    told = tuple(int(size) for size in probe.output_shape)
    if told[1:] != probe.out.shape[1:] or len(told) != probe.out.ndim:
        raise Failure(f"`output_shape` is {told}, the output has the shape {probe.out.shape}")
    return f"{told}, as the output"


def repeatable(probe: Probe) -> str:
    """Two copies of one state give the same: all other checks rest on it."""
    first, second = (probe.forward(probe.fresh(), probe.x.copy()) for _ in range(2))
    same("the output of a second copy of the layer", first, second, "with the same random numbers")
    return "two copies of the layer give the same"


def gradient(probe: Probe) -> str:
    """It runs, and returns an array like x."""
    back = probe.run().back
    if back.shape != probe.x.shape:
        raise Failure(f"`gradient` returned the shape {back.shape} for an input of {probe.x.shape}")
    if not np.isfinite(back).all():
        raise Failure("`gradient` returned values that are NaN or infinite")
    return f"shape {back.shape}, all finite"


def arguments(probe: Probe) -> str:
    """No call changes what it is given, nor what an earlier call was given."""
    layer, kept = probe.fresh(), []
    methods = ["cal_loss", "gradient"] if probe.is_loss else ["forward", "gradient"]
    methods = [*methods, *methods, *(["predict"] if offers(layer, "predict") else [])]
    for method in methods:
        given = {"prediction" if probe.is_loss else "x": probe.x.copy()}
        if method == "cal_loss":
            given["label"] = probe.labels.copy()
        if method == "gradient":
            given = {} if probe.is_loss else {"eta": probe.eta.copy()}
        kept += [(name, array, array.copy()) for name, array in given.items()]
        if method == "forward":
            probe.rewind(layer)
            probe.forward(layer, given["x"])
        else:
            probe.call(layer, method, *given.values())
        for name, array, before in kept:
            same(f"`{method}` changed an argument: {name}", array, before, factor=0)
    return f"not changed by {', '.join(dict.fromkeys(methods))}"


def accumulation(probe: Probe, base: Outcome) -> str:
    """Gradients of parameters add up from `gradient` to `gradient`."""
    if not base.gradients:
        raise Skip("the layer has no parameters")
    layer = probe.run().layer
    probe.rewind(layer)
    twice = probe.run(layer=layer).gradients
    for name, once in base.gradients.items():
        same(f"the gradient of `{name}`", twice[name], 2 * once, "after two steps without `backward`")
    return f"{', '.join(base.gradients)}: twice the gradient after two steps"


def update(probe: Probe, base: Outcome) -> str:
    """``p * (1 - weight_decay) - alpha * gradient`` for every parameter; the gradients are 0 after it."""
    if not base.gradients:
        raise Skip("the layer has no parameters")
    layer = probe.run().layer
    if not offers(layer, "backward"):
        raise Failure("the layer has parameters, but no method `backward`")
    before = {name: parameter.copy() for name, (parameter, _) in probe.pairs(layer).items()}
    keep, rule = 1.0, "p - alpha * gradient"
    if probe.backward(layer, ALPHA, DECAY):
        keep, rule = 1 - DECAY, "p * (1 - weight_decay) - alpha * gradient"
    for name, parameter in before.items():
        wanted = (parameter * keep - ALPHA * base.gradients[name].astype(np.float64)).astype(parameter.dtype)
        same(f"`{name}`", np.asarray(getattr(layer, name)), wanted, f"after `backward`: {rule}")
    for name, (_, left) in probe.pairs(layer).items():  # a gradient that is None or deleted is cleared too
        same(f"the gradient of `{name}`", left, np.zeros_like(left), "after `backward`")
    return f"{', '.join(before)}: {rule}; gradients cleared"


def smaller_batch(probe: Probe, base: Outcome) -> str:
    """The last batch of an epoch, after a full one: rows as before where rows are independent, right gradients always.

    Rows are independent where another last image leaves the outputs before it as they are: not in a BatchNorm.
    """
    count = len(probe.x) - 1
    if not count:
        raise Skip("x holds one image: give two or more")
    x, eta, layer = probe.x[:count], probe.rows(count), probe.run().layer
    probe.clear_gradients(layer)
    probe.rewind(layer)
    small = probe.run(x, eta, layer)
    if small.back.shape != x.shape or (not probe.is_loss and small.out.shape != (count, *base.out.shape[1:])):
        raise Failure(f"{count} images give an output of {small.out.shape} and an input gradient of {small.back.shape}")
    changed = np.concatenate([x, probe.other[count:]])
    now = probe.run(changed)
    independent = difference("", now.back[:count], base.back[:count], ROUNDING) is None
    if not probe.is_loss:
        independent &= difference("", now.out[:count], base.out[:count], ROUNDING) is None
    independent = independent and not is_random(probe)  # other draws may fall to the same rows
    if independent:
        if not probe.is_loss:
            same("the output", small.out, base.out[:count], f"for the same {count} images in a larger batch")
        same("the input gradient", small.back, base.back[:count], f"for the same {count} images in a larger batch")
    phase = probe.phase()
    if phase is not None and isinstance(phase.default, str):
        few, all_rows = (probe.forward(probe.fresh(), rows.copy(), phase="test") for rows in (x, probe.x))
        same("with phase='test' the output", few, all_rows[:count], "in a larger batch")
    compare_input(probe, small, x, eta, FEW)
    for name in small.gradients:
        compare_parameter(probe, small, name, x, eta, FEW)
    return f"{count} after {count + 1} images: " + ("rows as in the larger batch" if independent else "right gradients")


def is_random(probe: Probe) -> bool:
    """Whether the output depends on what NumPy's and Python's generators, or the layer's own, draw next."""
    layer = probe.fresh()
    first = probe.forward(layer, probe.x.copy())
    return difference("", probe.forward(layer, probe.x.copy()), first, ROUNDING) is not None


def earlier_batch(probe: Probe, base: Outcome) -> str:
    """Another batch before this one changes nothing."""
    layer = probe.run(probe.other).layer
    probe.clear_gradients(layer)
    probe.rewind(layer)
    same_run(probe.run(layer=layer), base, "in a layer that saw no other batch before")
    return "another batch before changes nothing"


def results_kept(probe: Probe) -> str:
    """What was returned belongs to the caller: later calls write elsewhere."""
    layer, kept = probe.fresh(), []
    for x in (probe.x, probe.other):
        out = probe.forward(layer, x.copy())
        kept.append(("`gradient`", back := probe.gradient(layer, probe.eta.copy()), back.copy()))
        if not probe.is_loss:
            kept.append(("`forward`", out, out.copy()))
        if offers(layer, "predict"):
            shown = np.asarray(probe.call(layer, "predict", x.copy()))
            kept.append(("`predict`", shown, shown.copy()))
    if offers(layer, "backward"):
        probe.backward(layer, ALPHA, DECAY)
    for method, array, before in kept:
        same(f"a later call overwrote what {method} had returned: element ", array, before, factor=0)
    return "later calls overwrite nothing that was returned"


def basic_checks(probe: Probe, checks: list[Check], limits: tuple[int, int]) -> Outcome | None:
    """Forward, shapes and gradients; the run they were made with, or None where there is none."""
    ran = attempt(checks, "forward", functools.partial(forward, probe))
    if ran:
        attempt(checks, "output shape", functools.partial(output_shape, probe))
        ran = attempt(checks, "repeatable", functools.partial(repeatable, probe))
        ran = ran and attempt(checks, "gradient", functools.partial(gradient, probe))
    if not ran:
        return None
    base = probe.run()
    attempt(checks, "input gradient", lambda: compare_input(probe, base, probe.x, probe.eta, limits[0]))
    for name in probe.declared(base.layer) or base.gradients:
        attempt(checks, f"gradient of {name}", functools.partial(parameter_gradient, probe, base, name, limits[1]))
    return base


def parameter_gradient(probe: Probe, base: Outcome, name: str, limit: int) -> str:
    if name not in base.gradients:
        raise Failure(f"`{name}` and its gradient, which `gradient_names` names, must be arrays of floats")
    return compare_parameter(probe, base, name, probe.x, probe.eta, limit)


def all_checks(probe: Probe) -> list[Check]:
    """Every check of the layer as it is, in the order of the report."""
    checks: list[Check] = []
    base = basic_checks(probe, checks, (INPUT_LIMIT, PARAMETER_LIMIT))
    rest: dict[str, Callable[[Probe, Outcome], str]] = {
        "arguments": lambda probe, base: arguments(probe),
        "accumulation": accumulation,
        "update": update,
        "smaller batch": smaller_batch,
        "earlier batch": earlier_batch,
        "results kept": lambda probe, base: results_kept(probe),
    }
    for name, check in rest.items():
        if base is None:
            reason = next(c.name for c in checks if c.status == "failed")
            checks.append(Check(name, "skipped", f"the check `{reason}` failed"))
        else:
            attempt(checks, name, functools.partial(check, probe, base))
    return checks
