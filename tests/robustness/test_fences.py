"""Every kernel by every algorithm on random shapes, its arrays against closed pages: see tests/helpers/fenced.py."""

import sys
import time

import pytest

pytest.importorskip("numba")

from tests.helpers.processes import ROOT, run_python

FENCED = ROOT / "tests/helpers/fenced.py"
SHAPES = 400  # of each kernel by each algorithm and in each dtype, of the long part

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")


def run_fenced(count, *dtypes, **environment):
    done = run_python(FENCED, *dtypes, f"--random={count}", timeout=3600, **environment)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout[-200:] + done.stderr


@pytest.mark.slow
def test_random_shapes():
    run_fenced(16, "float32")


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "bits"), [("float32", ""), ("float64", ""), ("float32", "128"), ("float64", "256")])
def test_many_random_shapes(dtype, bits, capsys):
    start = time.monotonic()
    run_fenced(SHAPES, dtype, FASTCNN_VECTOR_BITS=bits)
    with capsys.disabled():
        minutes = (time.monotonic() - start) / 60
        print(f"\n{SHAPES:,} shapes, {dtype}, vectors of {bits or 'all'} bits: {minutes:.1f} minutes")
