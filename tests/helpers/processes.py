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
