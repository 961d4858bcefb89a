"""Does the gate do its work? Scratch commits in a clone are measured against the commit before them.

A copy too many in one numba kernel must end `asv continuous` with exit status 1 and the name of its benchmark; commits
that change nothing must end it with 0, and so must a NumPy backend that sleeps: it is the reference, and the day that
the gate's choice of benchmarks takes it in, that is seen here.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.tools.commands import ROOT, CommandError, gate

# What is planted: file, the line that it goes above, and what.
COPY_TOO_MANY = (
    "fastcnn/backends/numba/pooling/forward.py",
    "        out, index = empty(out_shape, dtype), NO_INDEX if kind is None else empty(out_shape, kind)\n",
    "        x = x.copy()\n",
)
SLOW_REFERENCE = (
    "fastcnn/backends/numpy/pooling.py",
    "    image = extend(relu_forward(x) if rectify else x, window, size, -np.inf)\n",
    "    __import__('time').sleep(0.05)\n",
)
WITH_MAX_POOLING = r"'max', 'forward'|'max_pool'|time_step|time_one_image"  # what max pooling's forward is part of


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=trial", "-c", "user.email=trial@localhost")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def commit(folder: Path, base: str, message: str, edit: tuple[str, str, str] | None = None) -> str:
    """A scratch commit on `base`, with a line planted or with nothing changed; its hash."""
    git(folder, "checkout", "-q", "--detach", base)
    if edit is not None:
        name, above, line = edit
        text = (folder / name).read_text()
        if text.count(above) != 1:
            raise CommandError(f"{name} has no longer the line that the trial plants its own above: {above.strip()}")
        (folder / name).write_text(text.replace(above, line + above))
    git(folder, "commit", "-q", "--allow-empty", "-a", "-m", message)
    made = git(folder, "rev-parse", "HEAD")
    git(folder, "branch", "-f", f"trial-{made[:12]}", made)  # so that asv finds it
    return made


def slower(printed: str) -> list[str]:
    """The benchmarks that asv's table marks as slower."""
    return re.findall(r"^\| \+ +\|.*\| (\S.*?) +\|$", printed, re.MULTILINE)


def run(machine: str, no_change: int) -> int:
    """The whole trial; 0 if everything came out as it must."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone"
        git(ROOT, "clone", "-q", str(ROOT), str(clone))
        base = git(clone, "rev-parse", "HEAD")
        cases = [("a copy too many in max pooling", commit(clone, base, "planted", COPY_TOO_MANY), 1)]
        cases += [("a NumPy backend that sleeps", commit(clone, base, "slow reference", SLOW_REFERENCE), 0)]
        cases += [
            (f"no change, {n + 1} of {no_change}", commit(clone, base, f"no change {n}"), 0) for n in range(no_change)
        ]
        outcomes = [judge(what, wanted, *gate(machine, base, made, clone)) for what, made, wanted in cases]
    print(f"\nThe trial on {base[:8]}:")
    for line, _ in outcomes:
        print(line)
    return 0 if all(good for _, good in outcomes) else 1


def judge(what: str, wanted: int, status: int, printed: str) -> tuple[str, bool]:
    found = slower(printed)
    good = status == wanted
    if wanted == 1:
        named = any(re.search(r"Pooling\.time_pooling\('numba', 'max', 'forward'\)", name) for name in found)
        good = good and named and all(re.search(WITH_MAX_POOLING, name) for name in found)
    names = f": slower: {', '.join(found)}" if found else ""
    return f"{'as it must be' if good else 'WRONG'}: {what}: exit status {status}{names}", good
