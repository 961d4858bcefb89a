"""``python -m tests.robustness.fuzz_readers [TARGET ...] --seconds N``: readers against inputs that coverage guides.

Needs `pip install ".[fuzz,test]"`. A target, of those in `targets.py`, fails where a reader raises an error that it
does not document, or that does not name the file, or where it takes memory that a file of that size should not. The
input is kept in `fuzz-failures`, and becomes a test.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 512 << 20  # bytes that a target may add to the memory with which it began
LONGEST = 4096  # bytes of an input, unless a seed is longer
FAILURES = Path("fuzz-failures")
READERS = ["fastcnn", "numpy.lib", "zipfile", "gzip", "pickle", "json", "PIL"]  # what they cover guides


def fuzz(name: str, seconds: int) -> None:
    """Run one target; does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=READERS):  # before anything else imports them
        import fastcnn
        from tests.robustness.targets import TARGETS, attempt, memory
    target = TARGETS[name]
    fastcnn.set_backend("numpy")
    folder, corpus = (Path(tempfile.mkdtemp()) for _ in range(2))
    seeds = target.seeds(folder)
    for number, seed in enumerate(seeds):
        attempt(target, seed, folder)
        (corpus / str(number)).write_bytes(seed)
    before = memory()

    def one_input(content: bytes) -> None:
        attempt(target, content, folder)
        if memory() > before + MOST:
            raise MemoryError(f"{memory() - before:,} bytes more than at first")

    FAILURES.mkdir(exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={max(LONGEST, *map(len, seeds))}", "-timeout=20"]
    options += [f"-artifact_prefix={FAILURES}/{name}-", "-print_final_stats=1", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


def run(name: str, seconds: int) -> bool:
    """Run one target in a process of its own, and print how many inputs it read; whether all went well."""
    command = [sys.executable, "-m", "tests.robustness.fuzz_readers", name, "--seconds", str(seconds), "--here"]
    with tempfile.TemporaryDirectory() as folder:  # libFuzzer ends the process before anything is cleared away
        env = os.environ | {"TMPDIR": folder}
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=env)
    counted = re.search(r"number_of_executed_units: *(\d+)", done.stderr)
    inputs = f"{int(counted[1]):,} inputs" if counted else "an unknown number of inputs"
    print(f"{name}: {inputs} in {seconds} s, {'failed' if done.returncode else 'well'}", flush=True)
    if done.returncode:
        print("\n".join([*done.stdout.splitlines()[-20:], *done.stderr.splitlines()[-20:]]), file=sys.stderr)
    return not done.returncode


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.robustness.fuzz_readers", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        fuzz(arguments.targets[0], arguments.seconds)
    from tests.robustness.targets import TARGETS

    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"unknown target {', '.join(sorted(unknown))}; expected some of {', '.join(TARGETS)}")
    results = [run(name, arguments.seconds) for name in arguments.targets or TARGETS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
