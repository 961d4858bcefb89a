"""A disk that is soon full: a tmpfs of some KiB, which one command alone sees."""

import functools
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.processes import ROOT

MOUNT = 'mount -t tmpfs -o size="$0" tmpfs "$1"'


@functools.cache
def how():
    """The command that makes a file system of one's own possible; [] where none does."""
    for flags in ("-Urm", "-m"):  # as anybody, or as root where users may have no namespaces
        if shutil.which("unshare"):
            command = ["unshare", flags, "sh", "-c"]
            tried = subprocess.run([*command, MOUNT, "64k", "/mnt"], capture_output=True, check=False)
            if tried.returncode == 0:
                return command
    return []


def run_on_small_disk(folder, size, *arguments, timeout=300, **environment):
    """Run this Python with `arguments`, as `run_python` does. The folder `disk` in `folder` is then a disk of `size`
    bytes with what it holds already, and holds afterwards what was on that."""
    if not how():
        pytest.skip("a file system of one's own; RLIMIT_FSIZE stands for it in tests/training/test_callbacks.py")
    disk, kept = folder / "disk", folder / "kept"
    script = f"""
        set -e
        mkdir "$2"; cp -a "$1/." "$2"; {MOUNT}; cp -a "$2/." "$1"
        set +e
        kept="$2"; disk="$1"; shift 2
        "$@"
        status=$?
        rm -r "$kept"; cp -a "$disk" "$kept"
        exit $status
    """
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "TMPDIR": str(disk)} | environment
    done = subprocess.run(
        [*how(), script, str(size), str(disk), str(kept), sys.executable, *map(str, arguments)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    shutil.rmtree(disk)
    kept.rename(disk)
    return done
