"""What is done again and again takes no more memory, threads or files than when it was done first."""

import json
import os

import pytest

from tests.helpers.processes import ROOT, run_python

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="/proc")

MOST = 3.0  # MiB that a process may add after its warm-up: the C library never keeps quite the same pages
MOST_IDLE = 32.0  # where each step has another size, and idle buffers of all sizes come and go
LONG = [
    ("lenet", 200, 2000),
    ("layers", 300, 2000),
    ("batches", 300, 900),
    ("models", 50, 200),
    ("fits", 30, 200),
    ("errors", 600, 2000),
    ("commands", 12, 120),
]
QUICK = [("layers", 90, 240), ("models", 12, 30)]
CASES = [(*case, "numba") for case in LONG] + [("layers", 60, 300, "numpy"), ("models", 30, 100, "numpy")]


@pytest.mark.parametrize(
    ("work", "warm_up", "count", "backend"),
    [pytest.param(*case, "numba", marks=pytest.mark.slow) for case in QUICK]
    + [pytest.param(*case, marks=pytest.mark.long) for case in CASES],
)
def test_nothing_grows(tmp_path, figures, work, warm_up, count, backend):
    """See tests/helpers/growth.py for what each kind of work is."""
    script = ROOT / "tests/helpers/growth.py"
    done = run_python(script, work, warm_up, count, backend, tmp_path, timeout=3600, FASTCNN_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    first, last = measured[0], measured[-1]
    growth = (max(held["KiB"] for held in measured) - first["KiB"]) / 1024
    figures(f"{count} rounds after {warm_up}: {growth:+.1f} MiB of {first['KiB'] / 1024:.0f}")
    assert growth < (MOST_IDLE if work == "batches" else MOST), [held["KiB"] for held in measured]
    assert (last["threads"], last["files"]) == (first["threads"], first["files"])
    for name, (entries, most) in last["caches"].items():
        assert entries <= (first["caches"].get(name, (entries,))[0] if most is None else most), name
