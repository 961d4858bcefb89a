"""Shared fixtures. Tests run with no FASTCNN_* variable but one set, nor OpenMP's number of threads, and leave every
switch as it was."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

for variable in [name for name in os.environ if name.startswith("FASTCNN_") or name == "OMP_NUM_THREADS"]:
    del os.environ[variable]
os.environ["FASTCNN_COMPILE_PROCESSES"] = "1"  # tests keep all cores busy by themselves

import fastcnn  # noqa: E402
from fastcnn import cli, config, datasets  # noqa: E402

pytest.register_assert_rewrite("tests.helpers")

from tests.helpers.switches import BACKENDS, switches_kept  # noqa: E402

# The first call of a kernel compiles it: no deadline. The same examples in every run: a failure can be had again.
settings.register_profile(
    "fastcnn", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("fastcnn")


@pytest.fixture(autouse=True)
def _seed():
    """Layers draw their weights from NumPy's global generator: the same ones in every run."""
    np.random.seed(0)


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Both backends in turn, on for the test."""
    with fastcnn.use_backend(request.param):
        yield request.param


@pytest.fixture
def main():
    """The command line in this process, which keeps none of the switches that a command sets."""
    with switches_kept():
        yield cli.main


@pytest.fixture
def float64():
    """float64 for layers made in the test."""
    with switches_kept():
        fastcnn.set_dtype("float64")
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


@pytest.fixture
def data(digits):
    return digits.train_images[:200] / 255, digits.train_labels[:200]


@pytest.fixture
def threads_variable(monkeypatch):
    """``threads_variable(text)`` sets FASTCNN_NUM_THREADS, or the variable `name`, for one test; the package reads them
    once in a process."""

    def change(text, name="FASTCNN_NUM_THREADS"):
        monkeypatch.setenv(name, text)
        forget()

    def forget():
        config._environment_threads.cache_clear()
        config._default_threads.cache_clear()

    yield change
    forget()


# The longest files come first, so that no worker ends with one of them alone. While the first compiles one kernel after
# the other, the next compiles those of other vector widths, or without them Winograd's, which the first needs last.
LONGEST = (
    *("test_kernels", "test_widths", "test_algorithms", "test_distributed", "test_cli"),
    *("test_testing", "test_resume", "test_runtime"),
)


def pytest_addoption(parser):
    group = parser.getgroup("long", "the long part of the tests, which is run by hand: see docs/reliability.md")
    group.addoption(
        "--long", action="store_true", help="run it: kills, steps, inputs and terms by the thousand, a soak"
    )
    group.addoption("--minutes", type=float, default=20.0, help="of the soak, and of fuzzing (default: 20 each)")


def pytest_configure(config):
    """Keep that order: pytest-xdist would begin with the files that have the most tests, and 500 may take a second."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: --long"))
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
