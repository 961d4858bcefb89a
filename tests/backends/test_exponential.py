"""The numba backend's own exponential, in units in the last place over its whole range, and what is made of it."""

import numba
import numpy as np
import pytest

from fastcnn.backends import numba as fast
from fastcnn.backends import numpy as reference
from fastcnn.backends.numba.pointwise.exponential import exponential, exponential_minus_one
from tests.helpers.switches import BACKENDS, threads

KERNELS = {"numba": fast, "numpy": reference}
WIDER = {"float32": np.float64, "float64": np.longdouble}
LOWEST = {"float32": -110.0, "float64": -760.0}


@numba.njit(fastmath={"contract"}, error_model="numpy")
def powers(x, out):
    for i in range(x.size):
        out[i] = exponential(x[i])


@numba.njit(fastmath={"contract"}, error_model="numpy")
def powers_minus_one(x, out):
    for i in range(x.size):
        out[i] = exponential_minus_one(x[i])


def whole_range(dtype, low):
    """From -1e-40 or -1e-310 to `low`, evenly in the number and in its exponent."""
    rng, smallest = np.random.default_rng(0), 40 if dtype == "float32" else 310
    return -np.concatenate(
        [rng.random(200_000) * -low, 10 ** (rng.random(200_000) * (smallest + np.log10(-low)) - smallest), [0, -low]]
    ).astype(dtype)


def errors(got, exact):
    """In units in the last place of the exact result's neighbour in the dtype."""
    return np.abs(got.astype(exact.dtype) - exact) / np.spacing(np.abs(exact.astype(got.dtype))).astype(exact.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("function", "exact", "most"), [(powers, np.exp, 1.25), (powers_minus_one, np.expm1, 2.0)], ids=["exp", "expm1"]
)
def test_errors_over_the_whole_range(function, exact, most, dtype):
    x = whole_range(dtype, LOWEST[dtype])
    got = np.empty_like(x)
    function(x, got)
    assert errors(got, exact(x.astype(WIDER[dtype]))).max() <= most


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [powers, powers_minus_one])
def test_special_arguments(function, dtype):
    x = np.array([0.0, -0.0, -np.inf, -1e4, np.finfo(dtype).min, np.nan], dtype)
    got = np.empty_like(x)
    function(x, got)
    wanted = np.array([1, 1, 0, 0, 0, np.nan]) - (function is powers_minus_one)
    np.testing.assert_array_equal(got, wanted.astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", BACKENDS)
def test_activations_in_the_last_place(module, dtype):
    """Near 0, where a difference from 1 would cancel, and far from it. NumPy's float32 exponential errs by 2.5."""
    kernels, x = KERNELS[module], whole_range(dtype, -30.0)
    x = np.concatenate([x, -x])
    wide = x.astype(WIDER[dtype])
    assert errors(kernels.tanh_forward(x), np.tanh(wide)).max() <= 4
    assert errors(kernels.sigmoid_forward(x), 1 / (1 + np.exp(-wide))).max() <= 4
    assert errors(kernels.elu_forward(x, 1.0), np.where(wide > 0, wide, np.expm1(np.minimum(wide, 0)))).max() <= 3
    slope = np.exp(np.minimum(wide, 0))
    assert errors(kernels.elu_backward(x, np.ones_like(x), 1.0), slope).max() <= 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", BACKENDS)
def test_special_values_of_activations(module, dtype):
    """No warning either: they are errors in tests."""
    kernels, x = KERNELS[module], np.array([np.nan, np.inf, -np.inf, 1e4, -1e4, 0.0], dtype)
    np.testing.assert_array_equal(kernels.sigmoid_forward(x), np.array([np.nan, 1, 0, 1, 0, 0.5], dtype))
    np.testing.assert_array_equal(kernels.tanh_forward(x), np.array([np.nan, 1, -1, 1, -1, 0], dtype))
    np.testing.assert_array_equal(kernels.elu_forward(x, 2.0), np.array([np.nan, np.inf, -2, 1e4, -2, 0], dtype))
    slopes = kernels.elu_backward(x, np.ones_like(x), 2.0)
    np.testing.assert_array_equal(slopes, np.array([np.nan, 1, 0, 1, 0, 1], dtype))
    assert all(slopes.dtype == dtype for slopes in (kernels.sigmoid_forward(x), kernels.tanh_forward(x)))


def test_any_number_of_threads(rng):
    """Whole vectors and what is left over: the cut is by shape alone."""
    x, eta = (rng.standard_normal(100_003).astype(np.float32) for _ in range(2))
    calls = {"sigmoid_forward": (x,), "tanh_forward": (x,), "elu_forward": (x, 0.5), "elu_backward": (x, eta, 0.5)}
    calls |= {"add": (x, eta), "sigmoid_backward": (x, eta), "tanh_backward": (x, eta)}
    for name, arguments in calls.items():
        results = []
        for count in (1, 2):
            with threads(count):
                results.append(getattr(fast, name)(*arguments))
        np.testing.assert_array_equal(*results, err_msg=name)
