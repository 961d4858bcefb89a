"""The commands of ``python -m benchmarks``: calls of asv, and what measures many nodes."""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# What `compare` measures: the numba backend alone. A slower reference is no regression, and PyTorch is not ours.
GATE = r"bench_(kernels\.(Convolution|Pooling|Columns)|layers|training\.(TrainingStep|Prediction))\..*\('numba'"
# One sample of each of seven processes, base and head in turn: asv's test calls two commits different where the chance
# of that is below 0.002, which fewer samples cannot show. A step of 15 % is the least that counts.
ROUNDS, FACTOR = 7, 1.15


class CommandError(Exception):
    """The command cannot be run here: exit status 2."""


def asv(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run asv in the root folder, and show how."""
    require_asv()
    print("+ asv", *(f"'{a}'" if re.search(r"[\s'()|^]", a) else a for a in arguments), flush=True)
    command = [sys.executable, "-m", "asv", *arguments]
    if not capture:
        return subprocess.run(command, cwd=ROOT, text=True, check=False)
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        lines = []
        for line in running.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    return subprocess.CompletedProcess(command, running.returncode, "".join(lines))


def register(name: str | None) -> str:
    """Tell asv the machine's name and what it is, in words that no update of its system changes; the name.

    Not by `asv machine`: that leaves out whatever is as asv guesses it, and the results of two machines that differ in
    what was left out would share a line.
    """
    require_asv()
    from asv.machine import MachineCollection

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    name = name or f"{platform.machine()}-{cores}-cores"
    facts = {"machine": name, "os": platform.system(), "arch": platform.machine(), "cpu": processor()}
    MachineCollection.save(name, facts | {"num_cpu": str(cores), "ram": f"{round(memory / 2**30)} GiB"})
    return name


def processor() -> str:
    """The name of the processor's model, and that of its kind as LLVM has it."""
    names = []
    if Path("/proc/cpuinfo").exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[:1]
    with contextlib.suppress(ImportError):
        from llvmlite.binding import get_host_cpu_name

        names.append(f"({get_host_cpu_name()})")
    return " ".join(names) or platform.machine()


def require_asv() -> None:
    if importlib.util.find_spec("asv") is None:
        raise CommandError('asv is not installed: pip install -e ".[bench]"')


def apart(name: str, repository: Path = ROOT) -> tuple[str, str]:
    """Options of asv for results that are no history: they go to .asv/`name` and not among those that git keeps."""
    settings = json.loads((ROOT / "asv.conf.json").read_text()) | {
        "repo": str(repository),
        "branches": ["HEAD"],
        "benchmark_dir": str(ROOT / "benchmarks"),
        "env_dir": str(ROOT / ".asv" / "env"),
        "results_dir": str(ROOT / ".asv" / name),
        "plugins": [],
    }
    config = ROOT / ".asv" / f"{name}.conf.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(settings, indent=4))
    return "--config", str(config)


def smoke(_: argparse.Namespace) -> int:
    """Each benchmark once, in this environment. What cannot be measured is skipped where another commit is installed,
    and would hide what broke: so it must be this one."""
    name, config = register("smoke"), apart("smoke")
    # In the root folder, or with it on its path, Python would import this folder's fastcnn, installed or not.
    script = "import runpy, sys\nsys.exit(not runpy.run_path(sys.argv[1])['is_this_checkout']())"
    command = [sys.executable, "-c", script, str(ROOT / "benchmarks" / "common.py")]
    if subprocess.run(command, cwd=ROOT / ".asv", check=False).returncode:
        raise CommandError('the fastcnn that is installed here is not that of this folder: pip install -e ".[bench]"')
    checked = asv(*config, "check", "--python=same").returncode
    return checked or asv(*config, "run", "--python=same", "--quick", "--show-stderr", "--machine", name).returncode


def require_clean_tree() -> None:
    """asv measures commits, and by the suites and definitions of this folder: an edit would be measured as a commit."""
    paths = ["fastcnn", "benchmarks", "asv.conf.json", "pyproject.toml", ":!benchmarks/results"]
    command = ["git", "-C", str(ROOT), "status", "--porcelain", "--", *paths]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise CommandError(f"{ROOT} is no git repository: {found.stderr.strip()}")
    if found.stdout:
        raise CommandError(f"commit first, or stash: what is measured is a commit. Changed: {found.stdout.strip()}")


def run(given: argparse.Namespace) -> int:
    """What is measured already is left out; that nothing is new is no failure."""
    require_clean_tree()
    commits = given.commits
    if commits.startswith("HASHFILE:") and commits != "HASHFILE:-":
        path = Path(commits.removeprefix("HASHFILE:")).absolute()  # asv would look for it in the root folder
        if not path.is_file():
            raise CommandError(
                f"argument COMMITS: expected HASHFILE: and a file with a hash to a line, received {commits!r}"
            )
        commits = f"HASHFILE:{path}"
    options = ["--skip-existing-successful", "--show-stderr", "--machine", register(given.machine)]
    options += ["--steps", str(given.steps)] if given.steps else []
    done = asv("run", *options, commits, capture=True)
    return 0 if commits == "NEW" and "No commit hashes selected" in done.stdout else done.returncode


def compare(given: argparse.Namespace) -> int:
    status, printed = gate(register(given.machine), given.base, given.head)
    if given.report:
        Path(given.report).write_text(report(given.base, given.head, status, printed), "utf-8")
    return status


def report(base: str, head: str, status: int, printed: str) -> str:
    """The tables of `asv continuous` as Markdown, each under its heading."""
    lines = [line for line in printed.splitlines() if line.startswith(("|", "Benchmarks that "))]
    tables = "\n".join(line if line.startswith("|") else f"\n{line}\n" for line in lines).strip()
    verdict = {0: "no benchmark is slower", 1: "some benchmarks are slower"}.get(status, "some benchmarks failed")
    what = f"Changes of {FACTOR - 1:.0%} or more in the numba backend, {base} to {head}:"
    return f"### Benchmarks: {verdict}\n\n{what}\n\n{tables or 'none.'}\n"


def gate(machine: str, base: str, head: str, repository: Path = ROOT) -> tuple[int, str]:
    """`asv continuous` from `base` to `head`: its exit status and what it printed."""
    require_clean_tree()
    options = ["--split", "--interleave-rounds", "--record-samples", "--factor", str(FACTOR), "--show-stderr"]
    options += ["-a", f"rounds={ROUNDS}", "-a", "repeat=1", "-b", GATE, "--machine", machine]
    done = asv(*apart("compared", repository), "continuous", *options, base, head, capture=True)
    if done.returncode == 1 and "PERFORMANCE DECREASED" not in done.stdout:
        raise CommandError("asv could not compare the two commits: see above")  # it says 1 of whatever went wrong
    return done.returncode, done.stdout


def dashboard(given: argparse.Namespace) -> int:
    published = asv("publish", "--no-pull").returncode
    if published or not given.serve:
        return published
    return asv("preview", "--port", "8080").returncode


def trial(given: argparse.Namespace) -> int:
    from benchmarks.tools import trial as planted

    return planted.run(register(given.machine), given.no_change)


def scaling(given: argparse.Namespace) -> int:
    from benchmarks.nodes import scaling as model

    return model.main(given.networks)


def shaped(given: argparse.Namespace) -> int:
    from benchmarks.nodes import shaped as hosts

    return hosts.main(["--buckets"] if given.buckets else [])


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "smoke": smoke,
    "run": run,
    "compare": compare,
    "dashboard": dashboard,
    "trial": trial,
    "scaling": scaling,
    "shaped": shaped,
}
