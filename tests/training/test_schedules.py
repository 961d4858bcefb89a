"""Schedules: their values where something begins or ends, and the text by which a checkpoint knows them."""

import functools
import math

import numpy as np
import pytest

from fastcnn import Sequential, schedules, training
from fastcnn.callbacks import Callback
from fastcnn.layers import BatchNorm, FullyConnect, Softmax
from fastcnn.optimizers import SGD
from fastcnn.optimizers.rates import rate_text
from fastcnn.schedules import constant, cosine, exponential, one_cycle, step, warm_up
from tests.helpers.models import small
from tests.helpers.processes import run_python

LAST = math.nextafter(1, 0)  # the share of no step is 1


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (constant(0.3), {0: 0.3, 0.5: 0.3, LAST: 0.3}),
        (step(0.8), {0: 0.8, math.nextafter(0.5, 0): 0.8, 0.5: 0.08, 0.74: 0.08, 0.75: 0.008, LAST: 0.008}),
        (step(1.0, 0.5, [0.7, 0.2, 0.2]), {0: 1, 0.2: 0.25, 0.69: 0.25, 0.7: 0.125}),
        (step(1.0, 0.0, (0.9,)), {0: 1, 0.89: 1, 0.9: 0}),
        (step(1.0, at=[]), {0: 1, LAST: 1}),
        (exponential(0.4, 0.1), {0: 0.4, 0.5: 0.2, LAST: 0.1}),
        (exponential(0.1, 1e-3), {0: 0.1, 0.25: 0.1 * 10**-0.5, 0.5: 0.01, LAST: 1e-3}),
        (cosine(0.2), {0: 0.2, 1 / 3: 0.15, 0.5: 0.1, 2 / 3: 0.05, LAST: 0}),
        (cosine(0.2, 0.1), {0: 0.2, 0.5: 0.15, LAST: 0.1}),
        (warm_up(1.0, 0.1), {0: 0.01, 0.05: 0.505, 0.1: 1, 0.2: 1, LAST: 1}),
        (warm_up(2.0, 0.5, 0.0), {0: 0, 0.25: 1, 0.5: 2, LAST: 2}),
        (warm_up(cosine(1.0), 0.5, 0.5), {0: 0.5, 1 / 3: 0.75 * 5 / 6, 0.5: 0.5, 2 / 3: 0.25, LAST: 0}),
        (warm_up(lambda done: 1 - done, 0.5, 0.0), {0: 0, 0.25: 0.375, 0.75: 0.25}),
        (one_cycle(1.0), {0: 0.04, 0.15: 0.52, 0.3: 1, 0.65: (1 + 4e-6) / 2, LAST: 4e-6}),
        (one_cycle(0.5, 0.6, 0.0, 0.2), {0: 0, 0.2: 0.125, 0.3: 0.25, 0.4: 0.375, 0.6: 0.5, 0.8: 0.3, LAST: 0.1}),
    ],
    ids=repr,
)
def test_values(schedule, values):
    for done, rate in values.items():
        assert schedule(done) == pytest.approx(rate, rel=1e-12, abs=1e-15), done


def test_one_cycle_is_two_half_cosines():
    """Rising over the first share, falling over the rest, each from where the other ends."""
    rate, share, start, last = 0.7, 0.35, 0.1, 0.02
    schedule = one_cycle(rate, share, start, last)
    for done in np.linspace(0, 1, 41)[:-1]:
        if done < share:
            wanted = rate * start + (rate - rate * start) * (1 - math.cos(math.pi * done / share)) / 2
        else:
            way = (done - share) / (1 - share)
            wanted = rate * last + (rate - rate * last) * (1 + math.cos(math.pi * way)) / 2
        assert schedule(done) == pytest.approx(wanted, rel=1e-12), done


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (constant(1), "constant(1.0)"),
        (step(0.5, 0.2, (0.3,)), "step(0.5, factor=0.2, at=[0.3])"),
        (exponential(0.5, 0.1), "exponential(0.5, last=0.1)"),
        (cosine(0.5), "cosine(0.5, last=0.0)"),
        (warm_up(0.5), "warm_up(constant(0.5), share=0.05, start=0.01)"),
        (warm_up(cosine(0.5, 0.1), 0.2, 0.3), "warm_up(cosine(0.5, last=0.1), share=0.2, start=0.3)"),
        (one_cycle(0.5), "one_cycle(0.5, share=0.3, start=0.04, last=4e-06)"),
    ],
)
def test_the_text_tells_all(schedule, text):
    """Reading it as Python makes the same schedule."""
    assert repr(schedule) == rate_text(schedule) == text
    again = eval(text, vars(schedules))
    assert [again(i / 64) for i in range(64)] == [schedule(i / 64) for i in range(64)]
    assert f"learning_rate='{text}'" in repr(SGD(small(), schedule))


class Halving:
    def __call__(self, done):
        return 0.5**done


class Named(Halving):
    def __repr__(self):
        return "halving(2)"


def test_functions_are_described_without_their_address():
    """It differs from process to process: no run with such a schedule could be resumed."""
    name = f"{__name__}.test_functions_are_described_without_their_address.<locals>.<lambda>"

    def function(done):
        return 1 - done

    assert rate_text(lambda done: 1) == name
    assert rate_text(math.cos) == "math.cos" and rate_text(Named()) == "halving(2)"
    assert rate_text(constant(1).__call__) == "fastcnn.schedules.Schedule.__call__"
    assert rate_text(warm_up(lambda done: 1)) == f"warm_up({name}, share=0.05, start=0.01)"
    for schedule in (Halving(), functools.partial(function, 1), warm_up(Halving()), function):
        text = rate_text(schedule)
        assert " at 0x" not in text and ("Halving" in text or "function" in text)
    assert rate_text(0.5) == 0.5 and isinstance(rate_text(0.5), float)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant("a"), "constant: `learning_rate` must be a finite number of at least 0. Received .*='a'"),
        (lambda: step(-1), "step: `learning_rate` must be a finite number of at least 0. Received learning_rate=-1"),
        (lambda: step(1, -0.1), "step: `factor` must be a finite number of at least 0. Received factor=-0.1"),
        (lambda: step(1, at=0.5), "step: `at` must be a list of shares of the training. Received at=0.5"),
        (lambda: step(1, at="05"), "step: `at` must be a list of shares of the training. Received at='05'"),
        (lambda: step(1, at=[0.5, 30]), r"step: `at\[1\]` must be a share of the training, above 0 and below 1. .*=30"),
        (lambda: step(1, at=[0]), r"step: `at\[0\]` must be a share of the training, above 0 and below 1. Received"),
        (lambda: exponential(0, 1), "exponential: `learning_rate` must be a number above 0. Received .*=0"),
        (lambda: exponential(1, 0), "exponential: `last` must be a number above 0. Received last=0"),
        (lambda: exponential(1, np.nan), "exponential: `last` must be a finite number. Received last=nan"),
        (lambda: cosine(1, -1), "cosine: `last` must be a finite number of at least 0. Received last=-1"),
        (lambda: warm_up("a"), "constant: `learning_rate` must be a finite number of at least 0. Received .*='a'"),
        (lambda: warm_up(1, 1), "warm_up: `share` must be a share of the training, above 0 and below 1. Received"),
        (lambda: warm_up(1, 0), "warm_up: `share` must be a share of the training, above 0 and below 1. Received"),
        (lambda: warm_up(1, 0.5, -1), "warm_up: `start` must be a finite number of at least 0. Received start=-1"),
        (lambda: one_cycle(1, 1.5), "one_cycle: `share` must be a share of the training, above 0 and below 1. Rec"),
        (lambda: one_cycle(1, last=None), "one_cycle: `last` must be a finite number of at least 0. Received last=Non"),
        (lambda: one_cycle(1, start=-1), "one_cycle: `start` must be a finite number of at least 0. Received start=-1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("done", [30, -1e-9, 1.01, math.nan, "a", None])
def test_a_schedule_takes_a_share(done):
    """And no epoch's number."""
    for schedule in (constant(1), step(1), exponential(1, 0.1), cosine(1), warm_up(1), one_cycle(1)):
        with pytest.raises(ValueError, match=r"^\w+\(.*\): `done` must be a number from 0 to 1. Received done="):
            schedule(done)


@pytest.mark.parametrize("rate", [(0.1,), None, -1, math.nan, "0.1"])
def test_a_schedule_without_rates_changes_nothing(data, rate):
    """It is asked before the first forward pass, which would move the statistics of a BatchNorm."""
    norm = BatchNorm((8, 4))
    model = Sequential([norm, FullyConnect((8, 4), 3, rng=0), Softmax((8, 3))])
    with pytest.raises(ValueError, match=r"Adam: `learning_rate` must be a finite number of at least 0\. Received"):
        model.fit(np.ones((8, 4)), np.arange(8) % 3, optimizer="adam", learning_rate=lambda done: rate, verbose=False)
    assert not norm.moving_mean.any()


class Held:
    """A schedule that a callback sets."""

    rate = 0.5

    def __call__(self, done):
        return self.rate


@pytest.mark.parametrize("moment", ["on_fit_begin", "on_epoch_begin", "on_batch_end"])
def test_a_schedule_is_asked_once_callbacks_have_set_it(data, moment):
    """As where one restores its state."""
    schedule, model = Held(), small()
    before = model.layers[0].weights.copy()
    callback = Callback()
    setattr(callback, moment, lambda run: setattr(schedule, "rate", 0.0))
    model.fit(*data, 1, 100, learning_rate=schedule, callbacks=[callback], verbose=False)
    assert (model.layers[0].weights == before).all() == (moment != "on_batch_end")


def test_a_share_that_a_script_adds_up():
    """Ten times 0.1 and more may be a little above 1."""
    optimizer = SGD(small(), constant(0.1))
    optimizer.step(1, 1 + 2**-52)
    assert cosine(0.3)(1 + 2**-52) == 0 and optimizer.steps == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_fit_asks_for_the_share_that_is_done(data, optimizer):
    """Before each step, the last, smaller batch's too; never for 1."""
    shares = []

    def schedule(done):
        shares.append(done)
        return 0.01

    small().fit(*data, 3, 60, optimizer=optimizer, learning_rate=schedule, verbose=False)
    wanted = [(epoch + start / 200) / 3 for epoch in range(3) for start in (0, 60, 120, 180)]
    np.testing.assert_allclose(shares, wanted, rtol=1e-14)


def test_a_schedule_of_zero_trains_nothing_and_one_of_the_rate_does(data):
    model = small()
    before = model.layers[0].weights.copy()
    model.fit(*data, 1, 100, learning_rate=step(0.0), verbose=False)
    assert (model.layers[0].weights == before).all()
    model.fit(*data, 1, 100, learning_rate=constant(0.1), seed=0, verbose=False)
    plain = small()
    plain.fit(*data, 1, 100, learning_rate=0.1, seed=0, verbose=False)
    np.testing.assert_array_equal(model.layers[0].weights, plain.layers[0].weights)


def test_names():
    """Those of the command line, which says them before it imports this module."""
    from fastcnn.commands.training_options import OPTIMIZERS, SCHEDULES
    from fastcnn.optimizers import OPTIMIZERS as RULES

    assert tuple(schedules.SCHEDULES) == SCHEDULES and tuple(RULES) == OPTIMIZERS
    assert all(
        make(0.5)(0) == pytest.approx(0.02 if make is one_cycle else 0.5) for make in schedules.SCHEDULES.values()
    )
    assert training.cosine is cosine and training.constant is constant
    assert run_python("-c", "import fastcnn.schedules, sys; sys.exit('numba' in sys.modules)").returncode == 0


def test_rates_beyond_all_numbers():
    """Infinite, which the optimizer refuses by name, or as they are."""
    assert schedules.step(0.1, 1e38, [0.5] * 9)(0.9) == np.inf
    assert schedules.cosine(1e38)(0) == 1e38
    for make in (schedules.constant, schedules.cosine, schedules.step):
        with pytest.raises(ValueError, match="`learning_rate` must be a finite number"):
            make(10**400)
