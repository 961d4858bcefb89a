"""A repository with results of asv that were made up: the dashboard's tests know what they must find on its pages."""

import datetime
import itertools
import json
import shutil
import subprocess

from asv.results import Results
from asv.runner import BenchmarkResult

from tests.helpers.processes import ROOT

COMMITS = 12
START = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)


def benchmark(name, unit, **parameters):
    return {
        "name": name,
        "type": "time" if unit == "seconds" else "track",
        "unit": unit,
        "version": "1",
        "code": "",
        "param_names": list(parameters),
        "params": [[repr(value) for value in values] for values in parameters.values()],
        "timeout": 60,
    }


BACKENDS = ["numba", "numpy", "torch"]
BENCHMARKS = [
    benchmark("bench_training.TrainingStep.time_step", "seconds", backend=BACKENDS, network=["lenet", "vgg_small"]),
    benchmark("bench_training.Epoch.time_epoch", "seconds", backend=BACKENDS),
    benchmark("bench_training.Batch.time_step", "seconds", backend=BACKENDS, batch=[1, 8]),
    benchmark(
        "bench_ratios.Ratio.track_ratio", "times", backend=["numba"], rival=["numpy", "torch"], workload=["lenet"]
    ),
    benchmark("bench_memory.Process.track_peak_resident", "bytes", backend=BACKENDS),
    benchmark("bench_of_a_user.time_something", "seconds", size=["small", "large"]),
]


def numba_seconds(commit):
    """Twice as slow from the ninth commit on: the step that asv must find."""
    return 2e-3 if commit < 8 else 4e-3


def value(benchmark, combination, commit):
    """What was measured; None for a failure. PyTorch came with the third commit."""
    backend = combination[0].strip("'")
    if benchmark["unit"] == "bytes":
        return {"numba": 260.0, "numpy": 300.0, "torch": 400.0}[backend] * 2**20
    if benchmark["unit"] != "seconds":
        return 0.25
    if backend == "torch" and commit < 2:
        return None
    slower = numba_seconds(commit) / numba_seconds(0)
    return {"numba": numba_seconds(commit), "numpy": 20e-3 * slower, "torch": 6e-3 * slower}.get(backend, 40e-3)


def combinations(benchmark):
    return list(itertools.product(*benchmark["params"]))


def git(folder, *arguments, at=START):
    stamp = at.isoformat()
    dates = {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp, "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, cwd=folder, env=dates, check=True, capture_output=True, text=True).stdout.strip()


def build(folder, machines=("made-up",)):
    """A repository in `folder` with the dashboard of this one and results of each commit; the hashes."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=shutil.ignore_patterns("results", "__pycache__"))
    shutil.copy(ROOT / "asv.conf.json", folder)
    hashes = []
    for number in range(COMMITS):
        at = START + datetime.timedelta(hours=6 * number)
        git(folder, "commit", "-q", "--allow-empty", "-m", f"commit {number} <!-- <script </script><b>", at=at)
        hashes.append(git(folder, "rev-parse", "HEAD"))
    results = folder / "benchmarks" / "results"
    for machine in machines:
        facts = {"machine": machine, "os": "Linux", "arch": "x86_64", "cpu": "a processor", "num_cpu": "2", "ram": "24"}
        for number, commit in enumerate(hashes):
            record(results, facts, number, commit)
        (results / machine / "machine.json").write_text(json.dumps(facts | {"version": 1}))
    (results / "benchmarks.json").write_text(json.dumps({b["name"]: b for b in BENCHMARKS} | {"version": 2}))
    return hashes


def record(results, facts, number, commit):
    at = START + datetime.timedelta(hours=6 * number)
    pins = {"numpy": "2.4.6", "numba": "0.68.1"}
    found = Results(
        facts | pins | {"python": "3.11"}, pins, commit, int(at.timestamp() * 1000), "3.11", "made", {"THREADS": "2"}
    )
    for made in BENCHMARKS:
        values = [value(made, combination, number) for combination in combinations(made)]
        timed = made["unit"] == "seconds"
        samples = [[v * s for s in (0.98, 0.99, 1.0, 1.01, 1.05)] if v and timed else None for v in values]
        result = BenchmarkResult(
            result=[True if v and timed else v for v in values],
            samples=samples,
            number=[1 if s else None for s in samples],
            errcode=0,
            stderr="",
            profile=None,
        )
        found.add_result(made, result, started_at=at, duration=1.0)
    found.save(str(results))
