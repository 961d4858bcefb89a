"""What limits the number of threads, and where `fastcnn info` says that it comes from."""

import json
from pathlib import Path

import pytest
import threadpoolctl

import fastcnn
from fastcnn import config, streams, threads
from fastcnn.quota import Quota
from tests.helpers.processes import run_fastcnn

CORES = "the cores that this process may run on"


@pytest.fixture
def machine(monkeypatch):
    """``machine(cores, quota)``: a process with so many cores, and a quota or none; numba's pool is no limit."""

    def make(cores, cpus=None):
        threads._forget()
        monkeypatch.setattr(threads, "affinity", lambda: set(range(cores)))
        monkeypatch.setattr(threads, "cpu_quota", lambda: cpus and Quota(cpus, Path("/cpu.max")))
        monkeypatch.setattr(threads, "pool_size", lambda: threads.MAX_THREADS)
        config._default_threads.cache_clear()

    monkeypatch.setattr(streams, "_said", set())
    yield make
    threads._forget()
    config._default_threads.cache_clear()


@pytest.mark.parametrize(
    ("cores", "cpus", "openmp", "limit"),
    [
        (8, None, "", (8, CORES)),
        (8, 1.5, "", (2, "the CPU quota of 1.5 cores in /cpu.max")),
        (8, 16, "", (8, CORES)),
        (8, None, "4", (4, "OMP_NUM_THREADS")),
        (8, 3, "4", (3, "the CPU quota of 3 cores in /cpu.max")),
        (8, 3, "1", (1, "OMP_NUM_THREADS")),
        (8, None, "4,2", (4, "OMP_NUM_THREADS")),
        (8, None, " 2 , 2", (2, "OMP_NUM_THREADS")),
        (8, None, "64", (8, CORES)),
        (4096, None, "", (1024, CORES)),
    ],
)
def test_the_least_limit_counts(machine, threads_variable, cores, cpus, openmp, limit):
    machine(cores, cpus)
    threads_variable(openmp, "OMP_NUM_THREADS")
    assert config.thread_limit() == limit and fastcnn.get_num_threads() == limit[0]
    threads_variable("7")
    assert config.thread_limit() == (7, "FASTCNN_NUM_THREADS") and fastcnn.get_num_threads() == 7


@pytest.mark.parametrize("text", ["0", "-1", "many", ",2", "1.5", "4 2"])
def test_what_openmp_s_variable_cannot_mean_is_ignored_and_said_once(machine, threads_variable, capsys, text):
    machine(8)
    threads_variable(text, "OMP_NUM_THREADS")
    for _ in range(2):
        assert config.thread_limit() == (8, CORES)
    line = f"fastcnn: OMP_NUM_THREADS={text!r} is not a number of threads, and is ignored\n"
    assert capsys.readouterr().err == line


def test_numba_s_pool_is_a_limit(machine, monkeypatch):
    machine(8, 4)
    monkeypatch.setattr(threads, "pool_size", lambda: 2)
    assert config.thread_limit() == (2, "numba's thread pool (NUMBA_NUM_THREADS)")


def blas():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def test_a_quota_holds_for_blas_too(machine):
    """It counts cores by itself. What it had is never made more."""
    before = blas()
    machine(8, 1)
    try:
        config._settle_blas()
        assert blas() <= {1}
        with fastcnn.using(threads=2):
            assert blas() <= {2}
        assert blas() <= {1}
        machine(2000, 1000)
        config._settle_blas()
        assert blas() == before
    finally:
        machine(8)
        config._settle_blas()
    assert blas() == before


def test_info_says_where_the_number_comes_from():
    done = run_fastcnn("info", "--json", OMP_NUM_THREADS="1", FASTCNN_BACKEND="numpy")
    facts = json.loads(done.stdout.splitlines()[-1])
    assert (facts["threads"], facts["threads_from"]) == (1, "OMP_NUM_THREADS") and done.stderr == ""


def test_info_by_its_options(main, capsys, threads_variable):
    for words, expected in ([], "FASTCNN_NUM_THREADS"), (["--threads", "1"], "--threads"):
        threads_variable("1")
        assert main(["info", "--backend", "numpy", *words]) == 0
        assert f"threads from     {expected}\n" in capsys.readouterr().out
