"""A contestant of the benchmark that fails, and leaves a process behind: see tests/benchmarks/test_benchmark.py."""

import os
import subprocess
import sys
from pathlib import Path

from fastcnn.benchmark import turns

PIDS = "FASTCNN_TEST_PIDS"  # the file to which it writes its own number and that of the process


def serve(contestant, dtype, threads, connection):
    """As `turns.serve`; the contestant `copy` fails where it is asked to work."""
    if contestant != "copy":
        turns.serve(contestant, dtype, threads, connection)
        return
    os.setsid()
    connection.send(None)
    connection.recv()
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with Path(os.environ[PIDS]).open("a", encoding="utf-8") as file:
        file.write(f"{left.pid}\n")
    connection.send(ValueError("no such kernel\nhere"))
    connection.recv()
