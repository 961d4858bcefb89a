"""Learning-rate schedules: functions of the share of the training that is done, from 0 to below 1.

A share fits any number of epochs and any batch size, and a resumed run goes on at the right one. The `repr` of every
schedule here is the call that makes it, by which a checkpoint recognises it. Any other callable is a schedule too.
"""

import math
from collections.abc import Callable, Sequence

from fastcnn.optimizers.rates import check_done, rate_text
from fastcnn.shapes import check_number, must_be

__all__ = ["SCHEDULES", "Schedule", "constant", "cosine", "exponential", "one_cycle", "step", "warm_up"]


class Schedule:
    """A function of the share of the training that is done, and how it was made."""

    def __init__(self, text: str, function: Callable[[float], float]):
        self.text, self.function = text, function

    def __call__(self, done: float) -> float:
        return self.function(check_done(self.text, done))

    __call__.__module__ = "fastcnn.schedules"  # its public name, by which checkpoints know it

    def __repr__(self) -> str:
        return self.text


def check_part(owner: str, name: str, value: float) -> float:
    """`value` as a share of the training: above 0 and below 1."""
    share = check_number(owner, name, value, 0)
    if not 0 < share < 1:
        raise ValueError(must_be(owner, name, "a share of the training, above 0 and below 1", value))
    return share


def power(base: float, exponent: int) -> float:
    """Infinite where Python raises OverflowError: the optimizer says what is wrong with such a rate."""
    try:
        return base**exponent
    except OverflowError:
        return math.inf


def constant(learning_rate: float) -> Schedule:
    """The same rate at every step."""
    rate = check_number("constant", "learning_rate", learning_rate, 0)
    return Schedule(f"constant({rate!r})", lambda done: rate)


def step(learning_rate: float, factor: float = 0.1, at: Sequence[float] = (0.5, 0.75)) -> Schedule:
    """`learning_rate`, multiplied by `factor` once each share of the training in `at` is done.

    For an epoch's number, divide: ``at=[30 / 90, 60 / 90]``.
    """
    rate, factor = check_number("step", "learning_rate", learning_rate, 0), check_number("step", "factor", factor, 0)
    if not isinstance(at, Sequence) or isinstance(at, str):
        raise ValueError(must_be("step", "at", "a list of shares of the training", at))
    shares = [check_part("step", f"at[{i}]", share) for i, share in enumerate(at)]
    return Schedule(
        f"step({rate!r}, factor={factor!r}, at={shares!r})",
        lambda done: rate * power(factor, sum(done >= share for share in shares)),
    )


def exponential(learning_rate: float, last: float) -> Schedule:
    """From `learning_rate` to `last`, by the same factor at each step."""
    rate, last = check_number("exponential", "learning_rate", learning_rate), check_number("exponential", "last", last)
    for name, value in (("learning_rate", rate), ("last", last)):
        if value <= 0:
            raise ValueError(must_be("exponential", name, "a number above 0", value))
    return Schedule(f"exponential({rate!r}, last={last!r})", lambda done: rate * (last / rate) ** done)


def cosine(learning_rate: float, last: float = 0.0) -> Schedule:
    """From `learning_rate` to `last` along half a cosine (Loshchilov and Hutter, "SGDR", 2017, eq. 5, one cycle)."""
    rate, last = check_number("cosine", "learning_rate", learning_rate, 0), check_number("cosine", "last", last, 0)
    return Schedule(
        f"cosine({rate!r}, last={last!r})", lambda done: last + (rate - last) * ((1 + math.cos(math.pi * done)) / 2)
    )


def warm_up(schedule: float | Callable[[float], float], share: float = 0.05, start: float = 0.01) -> Schedule:
    """In the first `share` of the training a straight line from `start` times the rate to the rate, then `schedule`.

    `schedule` is a number or a schedule, which keeps its own course: it is only multiplied by less than 1 at first.
    (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2.)
    """
    if not callable(schedule):
        schedule = constant(schedule)
    share, start = check_part("warm_up", "share", share), check_number("warm_up", "start", start, 0)
    return Schedule(
        f"warm_up({rate_text(schedule)}, share={share!r}, start={start!r})",
        lambda done: schedule(done) * min(1.0, start + (1 - start) * done / share),
    )


def one_cycle(learning_rate: float, share: float = 0.3, start: float = 0.04, last: float = 4e-6) -> Schedule:
    """Up to `learning_rate` in the first `share` of the training and down again, along two half cosines.

    It begins at `start` times that rate and ends at `last` times that. (Smith and Topin, "Super-Convergence", 2018.)
    """
    rate, share = check_number("one_cycle", "learning_rate", learning_rate, 0), check_part("one_cycle", "share", share)
    start, last = check_number("one_cycle", "start", start, 0), check_number("one_cycle", "last", last, 0)

    def course(done: float) -> float:
        low, way = (start, (share - done) / share) if done < share else (last, (done - share) / (1 - share))
        return rate * (low + (1 - low) * (1 + math.cos(math.pi * way)) / 2)

    return Schedule(f"one_cycle({rate!r}, share={share!r}, start={start!r}, last={last!r})", course)


# What the command line offers: each makes a schedule from the rate alone.
SCHEDULES: dict[str, Callable[[float], Schedule]] = {
    "constant": constant,
    "step": step,
    "exponential": lambda rate: exponential(rate, rate / 100),
    "cosine": cosine,
    "one-cycle": one_cycle,
}
