"""The quick part of fuzzing: seeds, and seeded changes of them. `fuzz_readers.py` is the long one."""

import functools
import importlib.util
import json
import os

import numpy as np
import pytest

from fastcnn import use_backend

pytest.importorskip("resource")  # of POSIX, as pipes and devices are

from tests.helpers.processes import ROOT, run_python
from tests.robustness.targets import DOCUMENTED, TARGETS, attempt, equal, forget_peak, memory

CHANGES = 80  # of each target's seeds: some tenths of a second
MOST = 128 << 20  # bytes of memory that all of them may add
INTERESTING = [
    value.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for order in ("little", "big")
    for value in (0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), (1 << (8 * size - 1)) - 1)
]


@pytest.fixture(autouse=True)
def _numpy():
    """Nothing to compile."""
    with use_backend("numpy"):
        yield


def mutated(content, rng):
    """`content` with one to four changes: bits, bytes, numbers at the border of their range, pieces cut or doubled."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = int(min(rng.exponential(len(content) / 3 + 1), len(content)))
        end = place + int(rng.integers(1, 17))
        number = INTERESTING[rng.integers(len(INTERESTING))]
        change = rng.integers(7)
        if change == 0 and place < len(content):
            content[place] ^= 1 << int(rng.integers(8))
        elif change == 1:
            content[place : place + 1] = rng.bytes(1)
        elif change == 2:
            content[place : place + len(number)] = number
        elif change == 3:
            del content[place:end]
        elif change == 4:
            content[place:place] = content[place:end]
        elif change == 5:
            content[place:end] = rng.bytes(end - place)
        else:
            content = content[: place or 1] if rng.integers(2) else content[:-end]
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files(tmp_path, name):
    """An error that names the file, or a result; the right one where the format has checksums."""
    if name == "safetensors":
        pytest.importorskip("safetensors")
    elif name in ("png", "png_chunks", "gif", "jpg", "tif", "bmp", "webp"):
        pytest.importorskip("PIL")
    target, rng = TARGETS[name], np.random.default_rng(0)
    seeds = target.seeds(tmp_path)
    right = [attempt(target, seed, tmp_path) for seed in seeds]
    assert all(result is not None for result in right)
    forget_peak()
    before, refused = memory(), 0
    for number in range(CHANGES):
        seed = number % len(seeds)
        result = attempt(target, mutated(seeds[seed], rng), tmp_path)
        refused += result is None
        assert result is None or not target.whole or equal(result, right[seed])
    assert refused > CHANGES // 8
    assert memory() - before < MOST


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux")
def test_memory_is_counted_from_now_on():
    """And not from the most that a test before has taken."""
    np.ones(192 << 20, np.int8)
    forget_peak()
    before = memory()
    np.ones(64 << 20, np.int8)
    assert 48 << 20 < memory() - before < 96 << 20


VALUES = (None, True, -1, 0, 10**30, 1e300, float("nan"), "", "text", [], [[]], {}, {"a": 1}, [1, 2, 3, 4])


def places(value, path=()):
    """The way to each value inside a JSON value; of many numbers, to two."""
    if isinstance(value, list):
        value = dict(enumerate(value if isinstance(value[0], dict | str) else value[:2])) if value else {}
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from places(inner, (*path, key))


@pytest.mark.parametrize("name", [name for name in TARGETS if name.endswith("_head")])
def test_headers_with_another_value(tmp_path, name):
    """Each value in the JSON of a model file, in turn, is of another type or range."""
    target, rng = TARGETS[name], np.random.default_rng(0)
    (seed,) = target.seeds(tmp_path)
    for path in list(places(json.loads(seed))):
        head = json.loads(seed)
        inner = functools.reduce(lambda value, key: value[key], path[:-1], head)
        inner[path[-1]] = VALUES[rng.integers(len(VALUES))]
        attempt(target, json.dumps(head).encode(), tmp_path)


def folder(path):
    path.mkdir()


def device(path):
    path.symlink_to("/dev/zero")


def locked(path):
    path.write_bytes(b"")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")


@pytest.mark.parametrize("put", [folder, os.mkfifo, device, locked, lambda path: None, lambda path: path.touch()])
def test_what_is_no_file(tmp_path, put):
    """A folder, a pipe that nobody writes, a device without end, no permission, nothing, an empty file."""
    for name, target in TARGETS.items():
        place = tmp_path / name
        place.mkdir()
        target.seeds(place)
        path = place / target.name
        path.unlink(missing_ok=True)
        put(path)
        with pytest.raises(DOCUMENTED) as raised:
            target.read(path)
        assert str(place) in str(raised.value) and path.name in str(raised.value).replace(str(place), "")


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_coverage_guides(name, pytestconfig, figures):
    """All targets together take as long as the soak."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip('atheris: pip install -e ".[fuzz,test]"')
    seconds = max(1, round(60 * pytestconfig.getoption("--minutes") / len(TARGETS)))
    done = run_python(
        "-m", "tests.robustness.fuzz_readers", name, "--seconds", seconds, cwd=ROOT, timeout=2 * seconds + 120
    )
    figures(done.stdout.strip())
    assert done.returncode == 0, done.stderr
