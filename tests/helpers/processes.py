"""This Python and the command line in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_python(*arguments, cwd=None, timeout=300, **environment):
    """Run this Python with `arguments`; FASTCNN_* and other variables by keyword."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | environment
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_fastcnn(*arguments, **options):
    """Run ``python -m fastcnn`` with `arguments`."""
    return run_python("-m", "fastcnn", *arguments, **options)


def complaints(done):
    """stderr, without the notice that kernels are compiled: whether they were depends on the tests before."""
    lines = done.stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("fastcnn: compiling kernels for this processor"))


def assert_fails(done, status, message):
    assert done.returncode == status, done.stdout + done.stderr
    assert message in complaints(done)
    assert complaints(done).count("\n") == 1 and complaints(done).startswith("fastcnn")
    assert "Traceback" not in done.stderr
