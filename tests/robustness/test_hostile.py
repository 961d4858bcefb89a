"""Hostile calls: a right result, or one clear error after which everything is as it was."""

import contextlib
import copy
import signal
import time
import warnings

import numpy as np
import pytest

import fastcnn
from tests.helpers.switches import switches_kept
from tests.robustness.hostile import targets
from tests.robustness.hostile_values import VALUES

resource = pytest.importorskip("resource")  # of POSIX, as signal.setitimer is
pytest.importorskip("numba")

REMEMBERED = ("waits", "_pass", "metadata", "warned", "batches")  # of a forward pass, and of data that were accepted
MANY = 20_000  # calls on each backend, of the long part
SECONDS = 20  # after which a call hangs
MEMORY = 8 << 30  # bytes that a call may add to the address space
ALLOWED = (ValueError, TypeError, RuntimeError, MemoryError, OSError)
CLEAR = (ValueError, TypeError, RuntimeError, MemoryError)  # themselves, and none of their many subclasses


class Hangs(BaseException):
    """Raised in a call that takes too long."""


@contextlib.contextmanager
def limited():
    """A block that may neither hang nor take the machine's memory."""

    def late(*given):
        raise Hangs

    before, limits = signal.signal(signal.SIGALRM, late), resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def state(thing):
    """All that an object holds, as what can be compared."""
    if isinstance(thing, np.ndarray):
        return thing.dtype.str, thing.shape, thing.tobytes()
    if isinstance(thing, dict):
        return {key: state(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [state(value) for value in thing]
    if type(thing).__module__.startswith("fastcnn.") and hasattr(thing, "__dict__"):
        return {name: state(value) for name, value in vars(thing).items() if name not in REMEMBERED}
    return repr(thing)


def names_what(error, value):
    """Whether a message says which argument, or which file, it is about."""
    text = str(error)
    if isinstance(error, fastcnn.FileFormatError):
        return text.startswith(("data set own: ", "given.npz: ", f"{value}: "))
    return "`" in text or (isinstance(value, str | bytes) and repr(value)[1:-1] in repr(text))


def attempt(target, arguments, changed):
    """What is wrong with a call; None where it returned, or raised one clear error and changed nothing."""
    before = state(target.owner)
    try:
        with limited(), switches_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.call(**arguments)
    except ALLOWED as error:
        if type(error) not in CLEAR and not isinstance(error, OSError | fastcnn.FileFormatError):
            return f"{type(error).__name__}: {error}"
        if not names_what(error, changed):
            return f"names nothing: {type(error).__name__}: {error}"
        if state(target.owner) != before:
            return f"changed what it refused: {type(error).__name__}: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


def calls(count, seed):
    """(target, arguments, name of the one that is hostile, name of its value), `count` of them."""
    rng, names = np.random.default_rng(seed), list(VALUES)
    while count > 0:
        for target in targets():
            for _ in range(min(count, 1 + len(target.arguments) // 2)):
                argument = list(target.arguments)[rng.integers(len(target.arguments))]
                value = names[rng.integers(len(names))]
                if not is_right(target.name, argument, value):
                    yield target, argument, value
                    count -= 1


def is_right(name, argument, value):
    """Whether it is no error: it only takes a million years, or is a function of somebody's own that raises."""
    years = value in ("huge", "huge batch") and name.startswith(("Sequential.", "confusion_matrix"))
    return years or (argument == "initializer" and value == "class")


def check(count, seed):
    wrong = []
    for target, argument, name in calls(count, seed):
        value = VALUES[name]()
        given = {**copy.copy(target.arguments), argument: value}
        found = attempt(target, given, value)
        if found:
            wrong.append(f"{target.name}({argument}={name}) {found}")
    return wrong


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where files are written that a call asks for."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_hostile_calls(backend, folder):
    with fastcnn.use_backend(backend):
        wrong = check(800, 0)
    assert not wrong, "\n".join(wrong)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_many_hostile_calls(backend, folder, capsys):
    start = time.monotonic()
    with fastcnn.use_backend(backend):
        wrong = check(MANY, 1)
    assert not wrong, "\n".join(wrong)
    with capsys.disabled():
        print(f"\n{MANY:,} hostile calls on {backend} in {(time.monotonic() - start) / 60:.1f} minutes")
