"""What limits the number of threads, and where `fastcnn info` says that it comes from."""

import json
import sys
from pathlib import Path

import pytest
import threadpoolctl

import fastcnn
from fastcnn import config, shapes, streams, threads
from fastcnn.distributed import failures
from fastcnn.quota import Quota
from tests.helpers.processes import run_fastcnn

CORES = "the cores that this process may run on"
LONG = "9" * 5000  # digits, of which Python reads 4300


def short(value):
    """The name of a test's case."""
    return str(value)[:20]


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
        (8, None, LONG, (8, CORES)),
        (8, None, "0" * 5000 + "3", (3, "OMP_NUM_THREADS")),
        (4096, None, "", (1024, CORES)),
    ],
    ids=short,
)
def test_the_least_limit_counts(machine, threads_variable, cores, cpus, openmp, limit):
    machine(cores, cpus)
    threads_variable(openmp, "OMP_NUM_THREADS")
    assert config.thread_limit() == limit and fastcnn.get_num_threads() == limit[0]
    threads_variable("7")
    assert config.thread_limit() == (7, "FASTCNN_NUM_THREADS") and fastcnn.get_num_threads() == 7


@pytest.mark.parametrize("text", ["0", "-1", "many", ",2", "1.5", "4 2", "\u00b2", f"-{LONG}"], ids=short)
def test_what_openmp_s_variable_cannot_mean_is_ignored_and_said_once(machine, threads_variable, capsys, text):
    machine(8)
    threads_variable(text, "OMP_NUM_THREADS")
    for _ in range(2):
        assert config.thread_limit() == (8, CORES)
    line = f"fastcnn: OMP_NUM_THREADS={shapes.shortened(repr(text))} is not a number of threads, and is ignored\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(
            ("", None),
            ("\u00b2", None),
            ("-1", None),
            ("1.0", None),
            ("1_0", None),
            ("0", 0),
            ("007", 7),
            ("\u0663", 3),
        ),
        *((str(10**18), 10**18), (str(sys.maxsize), sys.maxsize), (LONG, sys.maxsize + 1), ("0" * 5000 + "12", 12)),
    ],
    ids=short,
)
def test_whole_numbers(text, number):
    assert shapes.whole_number(text) == number


@pytest.mark.parametrize(
    ("text", "size"), [("3", 3), ("\u00b2", 0), ("", 0), ("x", 0), (LONG, sys.maxsize + 1)], ids=short
)
def test_what_numba_s_variable_asks_for(monkeypatch, text, size):
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setenv("NUMBA_NUM_THREADS", text)
    assert threads.pool_size() == size


@pytest.mark.parametrize("text", [LONG, "\u00b2", "0" * 5000], ids=short)
def test_numbers_in_the_environment_that_are_none(threads_variable, text):
    threads_variable(text)
    wanted = "environment variable: `FASTCNN_NUM_THREADS` must be an integer from 1 to 1024. Received FASTCNN_NUM_THRE"
    with pytest.raises(ValueError, match=f"^{wanted}.{{1,90}}$"):
        fastcnn.get_num_threads()


def test_what_a_launcher_says(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "\u00b2")
    monkeypatch.setenv("PMIX_RANK", "0" * 5000 + "3")
    assert failures.variable(("PMI_RANK", "PMIX_RANK")) == 3 and failures.variable(("PMI_RANK",)) == 0


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
