"""Shared fixtures. Tests run with no FASTCNN_* variable set and leave every switch as it was."""

import contextlib
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

for variable in [name for name in os.environ if name.startswith("FASTCNN_")]:
    del os.environ[variable]

import fastcnn  # noqa: E402
from fastcnn import Sequential, cli, config, datasets  # noqa: E402
from fastcnn.layers import Conv2D, FullyConnect, MaxPooling, Relu, Softmax  # noqa: E402

ROOT = Path(__file__).parent.parent
BACKENDS = ("numpy", "numba")

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


def small(classes=10, **options):
    """A model of 28 x 28 images that trains in no time."""
    np.random.seed(0)
    conv = Conv2D((8, 28, 28, 1), 4, 5, 2, initializer="he", **options)
    relu = Relu(conv.output_shape, **options)
    pool = MaxPooling(relu.output_shape, **options)
    fc = FullyConnect(pool.output_shape, classes, **options)
    return Sequential([conv, relu, pool, fc, Softmax(fc.output_shape, **options)])


@contextlib.contextmanager
def switches_kept():
    """What `set_backend` and the like change inside a ``with`` block is undone after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "process", dataclasses.replace(config.process))
        yield
    config._settle_blas()


@contextlib.contextmanager
def threads(count):
    """Kernels on `count` threads inside a ``with`` block."""
    with switches_kept():
        fastcnn.set_num_threads(count)
        yield


@pytest.fixture
def threads_variable(monkeypatch):
    """``threads_variable(text)`` sets FASTCNN_NUM_THREADS for one test; the package reads it once in a process."""

    def change(text):
        monkeypatch.setenv("FASTCNN_NUM_THREADS", text)
        forget()

    def forget():
        config._environment_threads.cache_clear()
        config._default_threads.cache_clear()

    yield change
    forget()


@contextlib.contextmanager
def conv_algorithm(name):
    """Convolutions by the algorithm `name` inside a ``with`` block."""
    with fastcnn.using(conv=name):
        yield


@contextlib.contextmanager
def tile_side(side):
    """Winograd's algorithm with tiles of 2 x 2 or 4 x 4 outputs inside a ``with`` block, whatever the image; with a
    stride of 2 they have 4 x 4."""
    from fastcnn.backends.numba.convolution import winograd, winograd_tiles, winograd_weights

    kind = {2: winograd_tiles.SMALL, 4: winograd_tiles.LARGE}.get(side)
    with pytest.MonkeyPatch.context() as patch:
        for module in (winograd, winograd_weights):
            patch.setattr(module, "choose_kind", lambda batch, rows, columns: kind)
        forget_plans()
        yield
    forget_plans()


@contextlib.contextmanager
def on_threads():
    """Every kernel on all threads inside a ``with`` block, however little it has to do."""
    from fastcnn.backends.numba.core import jit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "SMALL_WORK", 0)
        forget_plans()
        yield
    forget_plans()


def forget_plans():
    """Forget what the numba backend keeps for each shape: it follows from limits that a test may change."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fastcnn.backends.numba."):
            for kept in vars(module).values():
                if hasattr(kept, "cache_clear"):
                    kept.cache_clear()


def run_python(*arguments, cwd=None, timeout=300, **environment):
    """Run this Python with `arguments`; FASTCNN_* and other variables by keyword."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | environment
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_fastcnn(*arguments, **options):
    """Run ``python -m fastcnn`` with `arguments`."""
    return run_python("-m", "fastcnn", *arguments, **options)


def pytest_collection_modifyitems(items):
    """Tests that start processes come last: whatever is wrong with a kernel shows within the first minute."""
    items.sort(key=lambda item: item.path.stem in ("test_cli", "test_run", "test_runtime"))
