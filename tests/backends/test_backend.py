"""The switch between backends, and the `check` backend."""

import re
import threading

import numpy as np
import pytest

import fastcnn
from fastcnn import backends
from fastcnn.backends import check
from fastcnn.backends.active import active
from fastcnn.layers import ELU, Conv2D, MaxPooling, Relu
from fastcnn.windows import square
from tests.helpers.processes import run_python
from tests.helpers.switches import switches_kept


@pytest.fixture(autouse=True)
def _restore():
    with switches_kept():
        yield


def test_default_and_set_backend():
    assert fastcnn.get_backend() == "numba"
    fastcnn.set_backend("numpy")
    assert fastcnn.get_backend() == "numpy"
    assert active().__name__ == "fastcnn.backends.numpy"


def test_use_backend_nests_and_restores():
    with fastcnn.use_backend("numpy"):
        with fastcnn.use_backend("check"):
            assert fastcnn.get_backend() == "check"
        assert fastcnn.get_backend() == "numpy"
        fastcnn.set_backend("check")  # the block is stronger
        assert fastcnn.get_backend() == "numpy"
    assert fastcnn.get_backend() == "check"
    with pytest.raises(KeyError), fastcnn.use_backend("numpy"):
        raise KeyError
    assert fastcnn.get_backend() == "check"


def test_use_backend_is_per_thread():
    seen = []
    with fastcnn.use_backend("numpy"):
        thread = threading.Thread(target=lambda: seen.append(fastcnn.get_backend()))
        thread.start()
        thread.join()
        assert fastcnn.get_backend() == "numpy"
    assert seen == ["numba"]


@pytest.mark.parametrize("switch", [fastcnn.set_backend, lambda name: fastcnn.use_backend(name).__enter__()])
def test_unknown_backend(switch):
    with pytest.raises(ValueError, match=r"must be one of 'numba', 'numpy', 'check'. Received name='cuda'"):
        switch("cuda")
    assert fastcnn.get_backend() == "numba"


def test_environment_variable():
    show = "import fastcnn; print(fastcnn.get_backend())"
    assert run_python("-c", show, FASTCNN_BACKEND="numpy").stdout == "numpy\n"
    assert run_python("-c", show, FASTCNN_BACKEND="").stdout == "numba\n"
    failed = run_python("-c", show, FASTCNN_BACKEND="cuda")
    assert "FASTCNN_BACKEND` must be one of 'numba', 'numpy', 'check'. Received FASTCNN_BACKEND='cuda'" in failed.stderr


TRAIN = """
import re
import sys
import fastcnn
{setup}
from fastcnn import zoo, datasets
d = datasets.load()
m = zoo.lenet((8, 28, 28, 1))
m.fit(d.train_images[:64], d.train_labels[:64], verbose=False)
m.evaluate(d.test_images[:10], d.test_labels[:10])
print(sorted({{n.split(".")[0] for n in sys.modules}} & {{"numba", "llvmlite"}}))
"""


@pytest.mark.parametrize("setup", ["fastcnn.set_backend('numpy')", ""])
def test_the_numpy_backend_never_imports_numba(setup):
    environment = {} if setup else {"FASTCNN_BACKEND": "numpy"}
    done = run_python("-c", TRAIN.format(setup=setup), **environment)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_import_is_light():
    done = run_python("-c", "import sys, fastcnn; print({'numpy', 'numba', 'tqdm'} & set(sys.modules))")
    assert done.stdout == "set()\n"


def test_importing_launches_nothing():
    code = """
import fastcnn.backends.numba as b
from fastcnn.backends.numba.core import jit
assert jit.threading_layer() is None
kernels = [f for m in (b.im2col, b.max_pool_forward) for f in vars(
    __import__(m.__module__, fromlist=["x"])).values() if hasattr(f, "compiled")]
assert kernels and not any(f.compiled.signatures for f in kernels)
print("ok")
"""
    assert run_python("-c", code).stdout == "ok\n"


def test_missing_numba():
    code = """
import re
import sys
sys.modules["numba"] = None
import fastcnn
from fastcnn.layers import Relu
for act in (lambda: Relu((1, 2)).forward([[1, 2]]), lambda: fastcnn.set_backend("check")):
    try:
        act()
    except ImportError as error:
        print(error)
fastcnn.set_backend("numpy")
print(Relu((1, 2)).forward([[1, -2]]))
"""
    lines = run_python("-c", code).stdout.splitlines()
    assert "'numba' needs numba, which is not installed: `pip install numba`" in lines[0]
    assert "FASTCNN_BACKEND=numpy" in lines[1] and "'check'" in lines[1]
    assert lines[2] == "[[1. 0.]]"


def test_check_backend_passes_correct_kernels(rng):
    x = rng.standard_normal((3, 8, 8, 2))
    with fastcnn.use_backend("check"):
        for layer in (Conv2D(x.shape, 3, 3, 2, "SAME"), MaxPooling(x.shape, 3, 2), Relu(x.shape)):
            assert layer.gradient(layer.forward(x)).shape == x.shape


def test_check_backend_allows_for_a_large_alpha(rng):
    """The exponential's rounding error is multiplied by it."""
    x = rng.uniform(-0.1, 0.1, (4, 50))
    with fastcnn.use_backend("check"):
        layer = ELU(x.shape, 1e5)
        layer.forward(x)
        layer.gradient(x)


def test_check_backend_allows_for_cancellation():
    """A sum of large terms that nearly cancels differs in rounding, and is held to the size of its terms."""
    x = np.full((1, 9, 9, 64), 255, np.float32)
    weights = np.random.default_rng(0).standard_normal((3, 3, 64, 2)).astype(np.float32)
    weights -= weights.mean(axis=(0, 1, 2))
    check.conv_forward(x, weights, np.zeros(2, np.float32), square(3))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("share", [0.003, 0.03])
def test_check_backend_allows_for_what_is_left_of_a_tile(share, stride):
    """Where most pixels, weights and gradients are 0, Winograd's algorithm adds neighbours that cancel out again to
    results that have no terms at all. A wrong one is still found."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, eta, weights = (
            (rng.standard_normal(shape) * (rng.random(shape) < share)).astype(np.float32)
            for shape in ((2, 12, 12, 12), (2, 10 // stride, 10 // stride, 24), (3, 3, 12, 24))
        )
        with fastcnn.using(conv="winograd"):
            check.conv_forward(x, weights, np.zeros(24, np.float32), square(3, stride))
            check.conv_input_gradient(eta, weights, x.shape, square(3, stride))
            check.conv_weight_gradient(x, eta, square(3, stride))
            with pytest.MonkeyPatch.context() as patch, pytest.raises(fastcnn.BackendMismatch):
                right = check.fast.conv_forward
                patch.setattr(check.fast, "conv_forward", lambda *arguments, right=right: right(*arguments) + 0.001)
                check.conv_forward(x, weights, np.zeros(24, np.float32), square(3, stride))


@pytest.mark.parametrize("kernel", ["relu_forward", "max_pool_forward", "conv_weight_gradient"])
def test_check_backend_finds_a_wrong_kernel(rng, monkeypatch, kernel):
    right = getattr(check.fast, kernel)

    def wrong(*arguments):
        result = right(*arguments)
        first = result[0] if isinstance(result, tuple) else result
        first.reshape(-1)[1] += 0.5
        return result

    monkeypatch.setattr(check.fast, kernel, wrong)
    x = rng.standard_normal((1, 4, 4, 2)).astype(np.float32)
    with fastcnn.use_backend("check"), pytest.raises(fastcnn.BackendMismatch) as raised:
        for layer in (Relu(x.shape), MaxPooling(x.shape), Conv2D(x.shape, 2, 3)):
            layer.gradient(layer.forward(x))
    message = str(raised.value)
    assert message.startswith(f"{kernel}(float32[1, 4, 4, 2]")
    assert ": 1 of " in message and "the worst is at (0, 0, 0, 1): numpy " in message
    expected, got = re.findall(r" (?:np\.float32\()?(-?\d[\d.e-]*)", message.rpartition(": numpy")[2])
    assert float(got) - float(expected) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("expected", "got", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "numpy returns float64[2, 2], numba returns float64[2, 3]"),
        (np.zeros(2), np.zeros(2, np.float32), "numba returns float32[2]"),
        (np.array([1.0, 2.0]), np.array([1.0, np.nan]), "1 of 2 values differ; the worst is at (1,)"),
        (np.array([1.0, np.inf]), np.array([1.0, 2.0]), "the worst is at (1,)"),
        (np.array([1, 2], np.uint8), np.array([1, 3], np.uint8), "the worst is at (1,)"),
    ],
)
def test_what_the_comparison_refuses(expected, got, message):
    with pytest.raises(fastcnn.BackendMismatch) as raised:
        check.compare("kernel", (), expected, got, np.abs(expected))
    assert message in str(raised.value)


def test_the_comparison_accepts_equal_nan_and_rounding():
    check.compare("kernel", (), np.array([np.nan, 1.0, np.inf]), np.array([np.nan, 1.0, np.inf]), np.ones(3))
    check.compare("kernel", (), np.array([1.0]), np.array([1.0 + 1e-13]), np.array([1.0]))


def test_backends_name_no_other_kernels():
    with pytest.raises(AttributeError):
        check.conv_sideways  # noqa: B018
    assert len(set(backends.KERNELS)) == len(backends.KERNELS)
