"""The asv suites and their commands: `python -m benchmarks`. What they measure: test_benchmark.py."""

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys

import pytest

from benchmarks.__main__ import main, parser
from benchmarks.dashboard import titles
from benchmarks.tools import commands, trial
from fastcnn.benchmark import single_layers, workloads
from tests.helpers.processes import ROOT

SCRIPT = "import json, sys\nsys.path.insert(0, {root!r})\nfrom benchmarks import common\n"


def in_a_process(script, root=ROOT, **environment):
    """What a script prints as JSON: the suites set environment variables, which no other test shall see."""
    text = SCRIPT.format(root=str(root)) + script
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "OMP", "ASV"))}
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def suites():
    """Every class with benchmarks, of every module, as asv finds them."""
    return in_a_process(
        """
import importlib, inspect, pkgutil
import benchmarks
found = {}
for module in pkgutil.iter_modules(benchmarks.__path__, "benchmarks."):
    if module.name != "benchmarks.preload":
        for name, suite in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(suite) and suite.__module__ == module.name:
                benches = [n for n in dir(suite) if n.startswith(("time_", "track_"))]
                if benches:
                    found[f"{module.name}.{name}"] = [suite.param_names, suite.params, suite.version, benches]
print(json.dumps(found))
"""
    )


def test_every_suite_has_the_backend_as_a_parameter_and_a_version():
    found = suites()
    modules = {name.split(".")[1] for name in found}
    assert {
        "bench_kernels",
        "bench_layers",
        "bench_training",
        "bench_startup",
        "bench_memory",
        "bench_ratios",
    } == modules
    for name, (names, params, version, _) in found.items():
        assert names[0] == "backend" and len(names) == len(params), name
        assert set(params[0]) <= {"numba", "numpy", "torch"} and "numba" in params[0]
        assert version.isdigit()


def test_suites_measure_the_workloads_of_the_command_line():
    found = {name.split(".", 1)[1]: params for name, (_, params, _, _) in suites().items()}
    _, shapes, ways = found["bench_kernels.Convolution"]
    names = [f"{shape}_{way}" for shape, way in itertools.product(shapes, ways)]
    names += [f"{kind}_pool_112x112_k2s2_{way}" for kind, way in itertools.product(*found["bench_kernels.Pooling"][1:])]
    names += (
        found["bench_kernels.Columns"][1] + found["bench_training.TrainingStep"][1] + found["bench_ratios.Ratio"][2]
    )
    assert set(names) <= set(workloads.WORKLOADS)
    assert tuple(found["bench_layers.Layer"][1]) == single_layers.KINDS


def test_titles_name_benchmarks_that_exist():
    known = {f"{name.split('.', 1)[1]}.{bench}" for name, facts in suites().items() for bench in facts[3]}
    assert set(titles.TITLES) == known
    assert {name for name, _, _ in titles.HEADLINES} <= known


def test_threads_are_pinned_and_the_kernel_cache_is_the_commits():
    names = ("FASTCNN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR")
    script = f"import os\nprint(json.dumps([os.environ.get(name) for name in {names!r}] + [common.PACKAGE]))"
    *threads, cache, package = in_a_process(
        script, NUMBA_CACHE_DIR="/nowhere", OMP_NUM_THREADS="7", FASTCNN_NUM_THREADS="3", ASV_ENV_DIR="/env"
    )
    assert threads == ["3"] * 4 and cache == f"/env/fastcnn-kernels/{package}"
    assert in_a_process(script)[:4] == ["2"] * 4


def test_the_digest_is_that_of_every_source(tmp_path):
    shutil.copytree(ROOT / "fastcnn", tmp_path / "fastcnn", ignore=shutil.ignore_patterns("__pycache__"))
    script = f"print(json.dumps([common.PACKAGE, common.digest(common.Path({str(tmp_path / 'fastcnn')!r}))]))"
    assert len(set(in_a_process(script))) == 1
    callee = tmp_path / "fastcnn/backends/numba/core/arithmetic.py"
    callee.write_text(callee.read_text() + "\n")
    assert len(set(in_a_process(script))) == 2


MISSING = """
try:
    with common.skipped_where_older():
        raise AttributeError("no such kernel")
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def test_what_is_missing_is_a_failure_here_and_skipped_in_other_commits(tmp_path):
    assert in_a_process(MISSING) == ["AttributeError", "no such kernel"]
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("results", "dashboard"))
    (tmp_path / "fastcnn").mkdir()  # this checkout's sources are others than those that are installed
    kind, message = in_a_process(MISSING, tmp_path)
    assert kind == "NotImplementedError" and message == "this commit has no such thing: AttributeError: no such kernel"


def test_a_sample_is_the_quickest_run_of_its_window():
    found = in_a_process(
        """
import itertools, time
lasts = itertools.cycle([0.02, 0.005, 0.02])
step = lambda: time.sleep(next(lasts))
timed = common.Timed()
timed.steps = (lambda: time.sleep(0.03), step)
timed.work()
once = timed.clock
timed.work()
print(json.dumps([common.quickest(step, 0.1), common.quickest(lambda: time.sleep(0.01), 0), once, timed.clock]))
"""
    )
    window, two_runs, once, twice = found
    assert 0.005 <= window < 0.02 and two_runs >= 0.01 and 0.005 <= once < twice < 0.04


def asv(folder, *arguments):
    command = [sys.executable, "-m", "asv", *arguments]
    home = os.environ | {"HOME": str(folder)}  # where asv keeps what it knows of machines
    return subprocess.run(command, cwd=folder, env=home, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path):
    """A folder with the suites and asv.conf.json of this one, and a machine that asv knows."""
    for name in ("benchmarks", "fastcnn"):
        ignored = shutil.ignore_patterns("results", "vendor", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    settings = json.loads((ROOT / "asv.conf.json").read_text())
    (tmp_path / "asv.conf.json").write_text(json.dumps(settings | {"plugins": []}))
    assert asv(tmp_path, "machine", "--yes", "--machine", "smoke").returncode == 0
    return tmp_path


QUICK = (
    "run",
    "--python=same",
    "--quick",
    "--show-stderr",
    "--machine",
    "smoke",
    "-b",
    r"Columns\.time_columns\('numpy', 'im2col'",
)


@pytest.mark.slow
def test_a_benchmark_that_breaks_fails(project):
    done = asv(project, *QUICK)
    assert done.returncode == 0, done.stdout
    assert re.search(r"numpy +[\d.]+±0ms +n/a", done.stdout)
    suite = project / "benchmarks/bench_kernels.py"
    suite.write_text(suite.read_text().replace("workloads.WORKLOADS[kernel]", "workloads.WORKLOADS[kernel + 's']"))
    done = asv(project, *QUICK)
    assert done.returncode == 2 and "KeyError: 'im2cols'" in done.stdout


@pytest.mark.slow
def test_check_finds_what_is_no_benchmark(project):
    assert asv(project, "check", "--python=same").returncode == 0
    suite = project / "benchmarks/bench_kernels.py"
    suite.write_text(suite.read_text().replace("backend: str, kernel: str) -> None:", "backend: str) -> None:", 1))
    assert asv(project, "check", "--python=same").returncode != 0


def test_the_gate_measures_the_numba_backend_alone():
    gated = re.compile(commands.GATE)
    assert gated.search("bench_kernels.Pooling.time_pooling('numba', 'max', 'forward')")
    assert gated.search("bench_training.TrainingStep.time_step('numba', 'lenet')")
    assert not gated.search("bench_kernels.Pooling.time_pooling('numpy', 'max', 'forward')")
    assert not gated.search("bench_ratios.Ratio.track_ratio('numba', 'numpy', 'lenet')")
    chance = 1 / math.comb(2 * commands.ROUNDS, commands.ROUNDS)
    assert chance < 0.002, "asv could call nothing different"


TABLE = """
Benchmarks that have got worse:

| Change   | Before [aaaa] | After [bbbb] | Ratio | Benchmark (Parameter) |
|----------|---------------|--------------|-------|-----------------------|
| +        | 6.39±0ms      | 12.1±0ms     | 1.89  | bench_kernels.Pooling.time_pooling('numba', 'max', 'forward') |
| +        | 2.4±0ms       | 3.1±0ms      | 1.29  | bench_training.TrainingStep.time_step('numba', 'lenet') |
"""


def test_the_report_has_the_tables_and_says_when_there_are_none():
    made = commands.report("aaaa", "bbbb", 1, "[ 0.00%] noise\n" + TABLE)
    assert made.startswith("### Benchmarks: some benchmarks are slower\n") and "noise" not in made
    assert "Benchmarks that have got worse:\n\n| Change" in made and made.count("\n| +  ") == 2
    assert commands.report("aaaa", "bbbb", 0, "[ 0.00%] noise").endswith("aaaa to bbbb:\n\nnone.\n")
    assert "some benchmarks failed" in commands.report("aaaa", "bbbb", 2, "")


@pytest.fixture
def repository(project, monkeypatch):
    """The project as a clean git repository, in which asv is not really called."""
    (project / ".gitignore").write_text(".asv/\n.asv-machine.json\n")
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        trial.git(project, *arguments)
    monkeypatch.setattr(commands, "ROOT", project)
    monkeypatch.setattr(commands, "register", lambda name: "here")
    answers = {"asv": (0, "")}

    def asv(*arguments, capture=False):
        answers["called"] = arguments
        return subprocess.CompletedProcess(arguments, *answers["asv"])

    monkeypatch.setattr(commands, "asv", asv)
    return project, answers


def test_an_edit_that_is_no_commit_is_refused(repository, capsys):
    project, answers = repository
    assert main(["run"]) == 0 and answers["called"][-1] == "HEAD^!"
    (project / "benchmarks/bench_kernels.py").write_text("")
    for command in (["run"], ["compare"]):
        assert main(command) == 2
        assert "error: commit first, or stash" in capsys.readouterr().err


def test_what_asv_says_becomes_an_exit_status(repository, capsys, tmp_path):
    project, answers = repository
    answers["asv"] = (1, "Unknown commit typo")
    assert main(["compare", "typo", "HEAD"]) == 2 and "could not compare" in capsys.readouterr().err
    answers["asv"] = (1, TABLE + "PERFORMANCE DECREASED.\n")
    written = project / "report.md"
    assert main(["compare", "--report", str(written)]) == 1 and "some benchmarks are slower" in written.read_text()
    answers["asv"] = (1, "No commit hashes selected")
    assert main(["run", "NEW"]) == 0 and main(["run", "a..b"]) == 1
    assert main(["run", "HASHFILE:nowhere"]) == 2 and "received 'HASHFILE:nowhere'" in capsys.readouterr().err


def test_the_trial_judges_what_asv_printed():
    first, second = trial.slower(TABLE)
    assert first == "bench_kernels.Pooling.time_pooling('numba', 'max', 'forward')" and second.endswith(
        "('numba', 'lenet')"
    )
    line, good = trial.judge("planted", 1, 1, TABLE)
    assert good and line.startswith("as it must be: planted: exit status 1: slower: bench_kernels.Pooling")
    assert not trial.judge("planted", 1, 0, "")[1]
    assert not trial.judge("planted", 1, 1, TABLE.replace("max', 'forward'", "avg', 'forward'"))[1]
    assert not trial.judge(
        "planted", 1, 1, TABLE + "| + | 1±0ms | 2±0ms | 2.0 | bench_layers.Layer.time_x('numba', 'relu') |\n"
    )[1]
    assert trial.judge("no change", 0, 0, "")[1] and not trial.judge("no change", 0, 1, TABLE)[1]


def test_what_the_trial_plants_has_its_place():
    for name, above, _ in (trial.COPY_TOO_MANY, trial.SLOW_REFERENCE):
        assert (ROOT / name).read_text().count(above) == 1


def test_the_commands_say_what_they_do(capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and all(name in printed for name in commands.COMMANDS)


def test_smoke_is_about_the_fastcnn_of_its_folder(project, monkeypatch, capsys):
    """What another fastcnn lacks would be skipped, and what broke with it."""
    monkeypatch.setattr(commands, "ROOT", project)
    monkeypatch.setattr(commands, "register", lambda name: name)
    monkeypatch.setattr(commands, "asv", lambda *_: pytest.fail("smoke has begun"))
    (project / "fastcnn/shapes.py").write_text("")
    assert main(["smoke"]) == 2
    assert "error: the fastcnn that is installed here is not that of this folder" in capsys.readouterr().err


def test_without_asv_a_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda name: None)
    assert main(["dashboard"]) == 2
    assert 'error: asv is not installed: pip install -e ".[bench]"' in capsys.readouterr().err


def test_turns_are_served_with_the_definitions_of_the_suites(tmp_path):
    """A workload that only the suites' folder has, and not the fastcnn that is imported."""
    for name in ("benchmarks", "fastcnn/benchmark"):
        ignored = shutil.ignore_patterns("results", "dashboard", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    definitions = tmp_path / "fastcnn/benchmark/workloads.py"
    definitions.write_text(definitions.read_text() + '\nWORKLOADS["only_here"] = WORKLOADS["predict_lenet"]\n')
    script = f"""
if __name__ == "__main__":
    sys.path.append({str(ROOT)!r})
    with common.contest(["numpy"]) as running:
        print(json.dumps(list(running.measure("only_here", rounds=1))))
"""
    environment = {"PYTHONPATH": str(ROOT)}
    assert in_a_process(script, tmp_path, **environment) == ["numpy"]
