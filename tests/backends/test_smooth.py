"""The numba backend's own normal distribution and logarithm, in units in the last place; SiLU, GELU, Mish and softplus
far from 0 and at special values."""

import math

import numba
import numpy as np
import pytest

from fastcnn.backends import numba as fast
from fastcnn.backends import numpy as reference
from fastcnn.backends.numba.pointwise.gaussian import (
    FAR,
    MIDDLE,
    bell,
    logarithm_of_one_plus,
    mills_coefficients,
    mills_ratio,
    within,
)
from tests.backends.test_exponential import errors
from tests.helpers.switches import BACKENDS, threads

KERNELS = {"numba": fast, "numpy": reference}
DTYPES = ["float32", "float64"]
LARGEST = {"float32": 13.0, "float64": 37.5}  # beyond it the probability is below the normal numbers


@numba.njit(fastmath={"contract"}, error_model="numpy")
def distribution(a, far, middle, density, tail):
    for i in range(a.size):
        near = within(a[i], far)
        density[i] = bell(near)
        tail[i] = density[i] * mills_ratio(near, middle)


@numba.njit(fastmath={"contract"}, error_model="numpy")
def logarithms(q, out):
    for i in range(q.size):
        out[i] = logarithm_of_one_plus(q[i])


def computed(a):
    number, density, tail = a.dtype.type, np.empty_like(a), np.empty_like(a)
    distribution(a, number(FAR[a.dtype.name]), number(MIDDLE), density, tail)
    return density, tail


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_normal_distribution_in_the_last_place(dtype, rng):
    """`math.erfc` and a sum of two exponentials are right to a unit or so: a * a is cut as in the kernel."""
    a = np.concatenate([rng.random(50_000) * LARGEST[dtype], rng.random(50_000) * 3, [0]]).astype(dtype)
    exact, density, tail = a.astype(np.float64), *computed(a)
    head = exact.astype(np.float32).astype(np.float64) if dtype == "float64" else exact
    bells = np.exp(-head * head / 2) * np.exp((head - exact) * (head + exact) / 2)
    tails = np.array([math.erfc(value / math.sqrt(2)) / 2 for value in exact.tolist()])
    assert errors(density, bells).max() <= 3
    # In float64 the argument of erfc is rounded, which counts a * a times.
    assert (errors(tail, tails) <= (7 if dtype == "float32" else 18 + 2 * exact**2)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_distribution_at_special_numbers(dtype):
    far = np.array([FAR[dtype], 50, np.finfo(dtype).max, np.inf, np.nan], dtype)
    for got in computed(far):
        np.testing.assert_array_equal(got, [0, 0, 0, 0, np.nan])
    density, tail = computed(np.zeros(1, dtype))
    assert density == 1 and abs(tail - 0.5) <= 2 * np.finfo(dtype).eps


@pytest.mark.parametrize("bits", [32, 64])
def test_the_polynomial_by_another_way(bits):
    """At numbers between its nodes, by the error function: where a is small, nothing cancels."""
    for a in np.linspace(0, 3, 50):
        wanted = math.exp(a * a / 2) * math.erfc(a / math.sqrt(2)) / 2
        got = np.polynomial.polynomial.polyval((a - MIDDLE) / (a + MIDDLE), mills_coefficients(bits))
        assert abs(got - wanted) <= (1e-8 if bits == 32 else 2e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_logarithm_in_the_last_place(dtype, rng):
    q = np.concatenate([rng.random(100_000), 10 ** (-30 * rng.random(10_000)), [0, 1, np.nan]]).astype(dtype)
    got, wider = np.empty_like(q), np.float64 if dtype == "float32" else np.longdouble
    logarithms(q, got)
    assert errors(got[:-1], np.log1p(q[:-1].astype(wider))).max() <= 3 and np.isnan(got[-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("module", BACKENDS)
def test_activations_far_from_zero(module, dtype):
    """Where 1 + erf(x) would be 0, and where exp(x) overflows."""
    kernels, x = KERNELS[module], np.array([-9, -6, -3, 3, 9, 1e4, 3e38, -3e38], dtype)
    ones = np.ones_like(x)
    probabilities = [math.erfc(-value / math.sqrt(2)) / 2 for value in x.tolist()]
    np.testing.assert_allclose(kernels.gelu_forward(x, False), x * probabilities, rtol=2e-6, atol=0)
    np.testing.assert_array_equal(kernels.gelu_forward(x, True)[4:], np.array([9, 1e4, 3e38, 0], dtype))
    sigmoid = np.exp(-np.logaddexp(0, -x.astype(np.float64)))
    np.testing.assert_allclose(kernels.silu_forward(x), x * sigmoid, rtol=2e-6, atol=0)
    np.testing.assert_allclose(kernels.softplus_forward(x), np.logaddexp(0, x.astype(np.float64)), rtol=2e-6, atol=0)
    for slopes in (
        kernels.gelu_backward(x, ones, False),
        kernels.gelu_backward(x, ones, True),
        kernels.silu_backward(x, ones),
        kernels.mish_backward(x, ones),
        kernels.softplus_backward(x, ones),
    ):
        np.testing.assert_allclose(slopes[4:], [1, 1, 1, 0], rtol=2e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("module", BACKENDS)
def test_special_values(module, dtype):
    """As PyTorch has them, but for NaN in a gradient, which its Hard swish and ReLU6 pass on or drop."""
    kernels, x = KERNELS[module], np.array([np.nan, np.inf, -np.inf, 0.0], dtype)
    nan, inf, half = np.nan, np.inf, 0.5
    with np.errstate(invalid="ignore"):
        for name, given, outputs, slopes in (
            ("silu", (), [nan, inf, nan, 0], [nan, nan, nan, half]),
            ("gelu", (False,), [nan, inf, nan, 0], [nan, nan, nan, half]),
            ("gelu", (True,), [nan, inf, nan, 0], [nan, nan, nan, half]),
            ("mish", (), [nan, inf, nan, 0], [nan, nan, nan, 0.6]),
            ("softplus", (), [nan, inf, 0, math.log(2)], [nan, 1, 0, half]),
            ("hard_swish", (), [nan, inf, nan, 0], [nan, 1, 0, half]),
            ("ramp", (1.0, 0.0, 6.0), [nan, 6, 0, 0], [0, 0, 0, 0]),
            ("ramp", (0.2, 0.5, 1.0), [nan, 1, 0, half], [0, 0, 0, 0.2]),
        ):
            got = getattr(kernels, f"{name}_forward")(x, *given)
            np.testing.assert_allclose(got, outputs, rtol=2e-7, err_msg=name)
            got = getattr(kernels, f"{name}_backward")(x, np.ones_like(x), *given)
            np.testing.assert_allclose(got, slopes, rtol=2e-7, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("module", BACKENDS)
def test_slopes_at_the_kinks(module, dtype):
    """Those of PyTorch 2.13."""
    kernels, ones = KERNELS[module], np.ones(2, dtype)
    ends = np.array([-3, 3], dtype)
    np.testing.assert_array_equal(kernels.hard_swish_backward(ends, ones), [0, 1])
    np.testing.assert_array_equal(kernels.ramp_backward(ends, ones, 1 / 6, 0.5, 1.0), [0, 0])
    np.testing.assert_array_equal(kernels.ramp_backward(np.array([0, 6], dtype), ones, 1.0, 0.0, 6.0), [0, 0])
    within_ends = np.nextafter(ends, 0, dtype=dtype)
    np.testing.assert_array_equal(kernels.ramp_backward(within_ends, ones, 1 / 6, 0.5, 1.0), ones / ones.dtype.type(6))


def test_threads_change_no_bit(rng):
    x, eta = rng.standard_normal((2, 200_003)).astype(np.float32)
    found = []
    for count in (1, 2):
        with threads(count):
            found.append([fast.gelu_forward(x, False), fast.gelu_backward(x, eta, False), fast.mish_backward(x, eta)])
    for one, two in zip(*found, strict=True):
        assert one.tobytes() == two.tobytes()
