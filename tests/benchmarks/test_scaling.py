"""Ranks that are timed, and the model of many: what `bench --distributed` and docs/scaling.md print."""

import json
import math
import os
import shutil
import statistics
import subprocess

import numpy as np
import pytest

from benchmarks.__main__ import main as benchmarks
from benchmarks.nodes import scaling, shaped
from benchmarks.nodes.scaling import Interconnect, Training, largest
from fastcnn.benchmark import ranks
from fastcnn.distributed.group import Group
from tests.helpers.processes import ROOT, run_fastcnn, run_python
from tests.helpers.switches import threads

TEN = Interconnect(10e-6, 1e9)


@pytest.mark.slow
@pytest.mark.mpi
def test_bench_distributed():
    done = run_fastcnn("bench", "--distributed", "lenet", "--rounds", "1", "--threads", "2", "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["workloads"]["lenet"]
    assert list(found) == ["1 x 2", "2 x 1", "1 x 1"] and found["1 x 2"]["ratio"] == 1
    assert all(facts["median_ms"] > 0 for facts in found.values())
    assert found["2 x 1"]["bytes"] == 8938 * 4 + 4 * 8, "the gradients, and four numbers of news"
    assert 0 <= found["2 x 1"]["waited_ms"] < found["2 x 1"]["median_ms"] and found["2 x 1"]["sum_alone_ms"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("im2col",),
            "mobilenet_block, resnet_stem, lenet_b1, lenet_b512, vgg_small_b8 with --distributed, received 'im2col'",
        ),
        (("--ranks", "1"), "argument --ranks: expected an integer of at least 2"),
        (("--ranks", "3", "--threads", "2"), "argument --ranks: expected at most 2, the threads that there are"),
        (("--contestants", "torch"), "argument --contestants: expected nothing with --distributed"),
    ],
)
def test_bench_distributed_with_bad_arguments(words, message):
    done = run_fastcnn("bench", "--distributed", *words)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_bench_names_its_workloads():
    done = run_fastcnn("bench", "--distributed", "training", "--list")
    assert done.returncode == 0 and done.stdout.startswith("training: lenet lenet5 vgg_small five_by_five ")
    done = run_fastcnn("bench", "lenet", "--ranks", "2")
    assert done.returncode == 2 and "argument --ranks: expected nothing without --distributed" in done.stderr


@pytest.mark.parametrize("words", [("fastcnn.benchmark.{}",), ("benchmarks", "{}")])
@pytest.mark.parametrize("tool", ["scaling", "shaped"])
def test_modules_have_help(tool, words):
    words = [word.format(tool) for word in words]
    assert f"usage: python -m {' '.join(words)} " in run_python("-m", *words, "--help").stdout
    assert run_python("-m", *words, "resnet").returncode == 2


@pytest.mark.parametrize("tool", ["scaling", "shaped"])
def test_old_names_are_the_same_modules(tool):
    code = f"import fastcnn.benchmark.{tool} as old, benchmarks.nodes.{tool} as new; print(old is new)"
    assert run_python("-c", code).stdout == "True\n"


def test_an_installed_package_says_where_they_are(tmp_path):
    shutil.copytree(ROOT / "fastcnn", tmp_path / "fastcnn", ignore=shutil.ignore_patterns("__pycache__"))
    done = run_python("-m", "fastcnn.benchmark.scaling", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    message = "fastcnn.benchmark.scaling is part of the repository and not of the installed package: clone it, and run"
    assert done.returncode == 1 and done.stderr == f"{message} `python -m benchmarks scaling` there\n"
    done = run_python("-c", "import fastcnn.benchmark.shaped", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert "ImportError: fastcnn.benchmark.shaped is part of the repository" in done.stderr


@pytest.mark.mpi
def test_ranks_that_do_not_start_or_die():
    with pytest.raises(RuntimeError, match="the 2 x 1 ranks of the benchmark did not start"):
        ranks.Job(2, 1, ["false"])
    with ranks.Job(1, 1) as job:
        job.process.kill()
        with pytest.raises(RuntimeError, match="the 1 x 1 ranks of the benchmark have died"):
            job.measure("lenet", 4, 1)


def test_without_mpiexec(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(ImportError, match=r"`pip install fastcnn\[mpi\]`"):
        ranks.Job(2, 1)


def test_a_sum_takes_messages_and_bytes():
    assert TEN.sum_time(1 << 20, 1) == 0
    assert TEN.sum_time(0, 2) == pytest.approx(20e-6) and TEN.sum_time(0, 1024) == pytest.approx(200e-6)
    assert TEN.sum_time(0, 5) == TEN.sum_time(0, 8), "a round more for what no power of two divides"
    assert TEN.sum_time(10**6, 2) == pytest.approx(20e-6 + 1e-3)
    assert TEN.sum_time(10**6, 1024) == pytest.approx(200e-6 + 2e-3, rel=1e-3)


def test_sums_are_hidden_behind_the_backward_pass():
    """A step of 10 ms, 6 of them backward."""
    network = Interconnect(0, 1e9)

    def exposed(*buckets):
        return Training(0.01, 0, 0.6, buckets, 0).exposed(1, 2, network) * 1e3

    assert exposed((10**6, 1.0)) == pytest.approx(1), "the last one never is"
    assert exposed((10**6, 0.0)) == exposed((6 * 10**6, 0.0)) == pytest.approx(0)
    assert exposed((8 * 10**6, 0.0)) == pytest.approx(2)
    assert exposed((8 * 10**6, 0.0), (10**6, 1.0)) == pytest.approx(3), "one sum after the other"
    assert exposed((10**6, 0.5), (10**6, 1.0)) == pytest.approx(1)
    assert Training(0.01, 0, 0.6, ((10**9, 0.0),), 0).exposed(1, 1, network) == 0


def test_a_step_waits_for_the_slowest():
    training = Training(0.001, 0.0001, 0.5, (), 0.1)
    assert training.compute(90) == pytest.approx(0.01)
    assert training.step(90, 1, TEN) == pytest.approx(0.01)
    assert training.step(90, 64, TEN) == pytest.approx(0.01 * (1 + 0.1 * largest(64)))


@pytest.mark.parametrize("count", [2, 8, 64])
def test_the_largest_of_some_normal_numbers(count, rng):
    assert largest(1) == 0
    assert largest(count) == pytest.approx(rng.standard_normal((20_000, count)).max(axis=1).mean(), rel=0.06)


def test_tables():
    training = Training(0.001, 0.0001, 0.5, ((10**6, 1.0),), 0)
    rows = scaling.table(training, 1024, True, {"10 Gb/s": TEN})
    assert len(rows) == 1 + len(scaling.NODES) and rows[1].split() == ["1", "1024", "103.40", "100.0%", "100.0%"]
    last = rows[-1].split()
    step = scaling.replace(training, jitter=scaling.JITTERS[0]).step(1, 1024, TEN)
    assert last[:2] == ["1024", "1"] and float(last[2]) == pytest.approx(step * 1e3, abs=0.01)
    assert float(last[3].rstrip("%")) == pytest.approx(100 * training.compute(1024) / 1024 / step, abs=0.1)
    assert scaling.table(training, 64, False, {"10 Gb/s": TEN})[-1].split()[:2] == ["1024", "64"]


def test_constants_of_a_network():
    """All gradients in the buckets, the last layer's first; each layer has its time."""
    times = ranks.backward_times("vgg_small", 2, repeats=2)
    loop = ranks.make_loop(Group(), "vgg_small", 2)
    assert len(times) == 1 + len(loop.model.body) and min(times) >= 0
    found = scaling.buckets("vgg_small", 2, times)
    sizes, shares = zip(*found, strict=True)
    assert sum(sizes) == 4 * sum(layer.parameter_count() for layer in loop.model.body)
    assert list(shares) == sorted(shares) and shares[-1] == pytest.approx(1) and shares[0] > 0
    assert all(size >= scaling.BUCKET for size in sizes[:-1])


def test_scaling_prints_what_the_model_says(monkeypatch, capsys):
    """The whole command, with constants that are there at once."""
    asked = []
    monkeypatch.setattr(
        scaling, "measure_network", lambda **transport: asked.append(transport) or Interconnect(1e-5, 2e9)
    )
    monkeypatch.setattr(scaling, "measure_training", lambda _: Training(0.001, 0.0001, 0.5, ((10**6, 1.0),), 0.05))
    assert benchmarks(["scaling", "lenet"]) == 0
    out = capsys.readouterr().out
    assert asked == [scaling.TCP, {}] and out.count("\n  1024 ") == 2 and "jitter 5.0%" in out
    assert "lenet: 1.00 ms + 0.100 ms an image" in out


@pytest.mark.slow
@pytest.mark.mpi
def test_measured_constants():
    with threads(1):
        network = scaling.measure_network()
        training = scaling.measure_training("lenet", (2, 4), rounds=1, steps=3)
    assert 0 < network.latency < 1 and 1e6 < network.bandwidth < 1e12
    assert training.compute(4) > 0 and 0 < training.backward < 1 and training.buckets[0][0] == 35752


def namespaces():
    if os.geteuid() if hasattr(os, "geteuid") else True:
        return False
    try:
        made = subprocess.run(["ip", "netns", "add", "fcnntest"], check=False, capture_output=True).returncode == 0
        return made and subprocess.run(["ip", "netns", "del", "fcnntest"], check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not namespaces(), reason="network namespaces need root and iproute2")
@pytest.mark.mpi
def test_hosts_in_namespaces():
    """A slow link is slow: 200 kB at 10 Mb/s take 160 ms at least, and a tenth of a second less for the first burst."""
    with shaped.Hosts(2, 10e6) as hosts, ranks.Job(2, 1, hosts.command(), **scaling.TCP) as job:
        assert statistics.median(job.sum_alone(200_000, 3)) > 0.06
        found = job.measure("lenet", 4, 2, [0.01] * 8)
        assert found.median > 0.08 and found.bytes == 35784
    left = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    assert shaped.NAME not in left
    with pytest.raises(OSError, match=r"`ip .*` failed: "), shaped.Hosts(300):
        pass
    assert not subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout.count("fcnn")


def test_sleep_through_takes_each_layer_its_time():
    class Sums:
        def begin(self, news):
            self.calls = ["begin"]

        def layer_done(self, position):
            self.calls.append(position)

        def finish(self):
            self.calls.append("finish")

    loop = ranks.make_loop(Group(), "lenet", 4)
    loop.sums = Sums()
    ranks.sleep_through(loop, [0.0] * (1 + len(loop.model.body)))
    assert loop.sums.calls == ["begin", *reversed(range(len(loop.model.body))), "finish"]
    assert math.isclose(ranks.middle([[1.0, 3.0], [2.0]]), 2000)
    assert np.isfinite(ranks.Timing([1.0, 2.0], []).median)
