"""Everything at random for a while, beside a busy neighbour and with little memory: each result is that of the first
time."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from tests.helpers.processes import ROOT, run_python

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of a process's memory")

MEMORY = 2048  # MiB of address space beyond what the imports take: LLVM, the threads' stacks and heaps, and all arrays
QUICK = 5.0  # seconds after the first result, which may have to be compiled
THREADS = "4"


@pytest.fixture
def neighbour():
    """A process on each core that never waits."""
    with contextlib.ExitStack() as stack:
        for _ in os.sched_getaffinity(0):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-Sc", "while True: pass"]))
            stack.callback(process.kill)
        yield


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize(
    "length", [pytest.param("quick", marks=pytest.mark.slow), pytest.param("long", marks=pytest.mark.long)]
)
def test_a_soak(tmp_path, pytestconfig, figures, length):
    """See tests/helpers/soak.py. On more threads than there are cores."""
    seconds, cases = (QUICK, 2) if length == "quick" else (60 * pytestconfig.getoption("--minutes"), 6)
    script = ROOT / "tests/helpers/soak.py"
    done = run_python(script, seconds, cases, MEMORY, tmp_path, timeout=seconds + 600, FASTCNN_NUM_THREADS=THREADS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    figures(
        f"{seconds / 60:.1f} minutes, {found['done']} results, {found['compared']} of them compared: {found['wrong']}"
    )
    assert found["compared"] > 0 and found["wrong"] == [] and found["left"] == []
