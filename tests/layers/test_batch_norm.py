"""BatchNorm and its kernels: statistics, both phases, running statistics; the definitions here are float64 NumPy."""

import pickle
import warnings

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential
from fastcnn.backends import numba as fast
from fastcnn.backends import numpy as reference
from fastcnn.layers import BatchNorm, Dropout, FullyConnect, PReLU, Softmax
from tests.helpers.switches import BACKENDS, threads

KERNELS = {"numba": fast, "numpy": reference}
SHAPE = (4, 5, 3, 6)


def defined(x, axes=(0, 1, 2), epsilon=1e-5):
    """xhat, mean and variance of the batch."""
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    return (x - mean) / np.sqrt(var + epsilon), mean, var


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", BACKENDS)
@pytest.mark.parametrize("shape", [(300_001, 6), (3_000, 300), (40_000, 64), (700, 1), (9, 1100)])
def test_statistics_of_a_large_mean(module, shape, dtype, rng):
    """Mean 1000, deviation 1: a difference of the means of squares would have lost all digits in float32."""
    x = (rng.standard_normal(shape) + 1000).astype(dtype)
    exact = x.astype(np.float64)
    mean, var = KERNELS[module].batch_statistics(x)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1.2e-7 if dtype == "float32" else 1e-13)
    np.testing.assert_allclose(var, exact.var(axis=0), rtol=2e-6 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("module", BACKENDS)
def test_a_million_rows(module, rng):
    """Sums of float32 numbers that are not added in float32: their error would be that of the sum, 1e-4 of it."""
    x, eta = (rng.random((1_000_000, 3), np.float32) for _ in range(2))
    kernels, wide = KERNELS[module], x.astype(np.float64)
    mean, var = kernels.batch_statistics(x)
    np.testing.assert_allclose(mean, wide.mean(axis=0), rtol=1.2e-7)
    np.testing.assert_allclose(var, wide.var(axis=0), rtol=1e-6)
    dgain, dbias = kernels.batch_norm_parameter_gradient(x, eta, mean, var, 1e-5)
    terms = eta * ((wide - mean) / np.sqrt(var.astype(np.float64) + 1e-5))
    np.testing.assert_allclose(dgain, terms.sum(axis=0), atol=1e-7 * np.abs(terms).sum())
    np.testing.assert_allclose(dbias, eta.sum(axis=0, dtype=np.float64), rtol=1.2e-7)


@pytest.mark.parametrize("shape", [(50_000, 6), (20_001, 12), (600, 700), (70_000, 1)])
def test_any_number_of_threads(shape, rng):
    x, eta = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    gain = rng.standard_normal(shape[1]).astype(np.float32)
    results = []
    for count in (1, 2):
        with threads(count):
            mean, var = fast.batch_statistics(x)
            dgain, dbias = fast.batch_norm_parameter_gradient(x, eta, mean, var, 1e-5)
            out = fast.batch_norm_forward(x, mean, var, gain, mean, 1e-5)
            dx = fast.batch_norm_input_gradient(x, eta, mean, var, gain, dgain, dbias, 1e-5)
            results.append([mean, var, dgain, dbias, out, dx, *fast.prelu_backward(x, eta, gain)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("shape", [(50_000, 6), (600, 700)])
def test_rows_of_several_tasks(shape, rng):
    """More rows than the oracle has time for: the twin is the measure."""
    x, eta = (rng.standard_normal(shape) for _ in range(2))
    gain, bias = rng.standard_normal((2, shape[1]))
    mean, var = fast.batch_statistics(x)
    calls = {"batch_statistics": (x,), "batch_norm_forward": (x, mean, var, gain, bias, 1e-5)}
    calls |= {"batch_norm_parameter_gradient": (x, eta, mean, var, 1e-5), "prelu_backward": (x, eta, gain)}
    calls |= {"batch_norm_input_gradient": (x, eta, mean, var, gain, gain, bias, 1e-5), "prelu_forward": (x, gain)}
    for name, arguments in calls.items():
        results = [getattr(module, name)(*arguments) for module in (fast, reference)]
        for got, wanted in zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("module", BACKENDS)
def test_no_rows_and_one(module):
    kernels, x = KERNELS[module], np.array([[3.0, -1e6]], np.float32)
    for rows, wanted in ((x, x[0]), (x[:0], np.zeros(2))):
        mean, var = kernels.batch_statistics(rows)
        np.testing.assert_array_equal(mean, wanted)
        np.testing.assert_array_equal(var, [0, 0])
        out = kernels.batch_norm_forward(rows, mean, var, np.ones(2, np.float32), mean, 1e-5)
        np.testing.assert_array_equal(out, rows)
        assert kernels.batch_norm_input_gradient(rows, rows, mean, var, mean, mean, mean, 1e-5).shape == rows.shape


def test_the_phases(backend, rng):
    x, eta = 3 * rng.standard_normal(SHAPE) + 2, rng.standard_normal(SHAPE)
    layer = BatchNorm(SHAPE, dtype="float64")
    layer.alpha, layer.beta = rng.standard_normal((2, 6))
    xhat, mean, var = defined(x)
    np.testing.assert_allclose(layer.forward(x), xhat * layer.alpha + layer.beta, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.moving_mean, mean)
    np.testing.assert_allclose(layer.moving_var, var * 60 / 59)
    dx, n = layer.gradient(eta), 60
    dgain, dbias = (eta * xhat).sum(axis=(0, 1, 2)), eta.sum(axis=(0, 1, 2))
    np.testing.assert_allclose(layer.a_gradient, dgain, atol=1e-11)
    np.testing.assert_allclose(layer.b_gradient, dbias, atol=1e-11)
    wanted = layer.alpha / np.sqrt(var + 1e-5) * (eta - dbias / n - xhat * dgain / n)
    np.testing.assert_allclose(dx, wanted, atol=1e-11)

    layer.clear_gradients()
    scale = 1 / np.sqrt(var * 60 / 59 + 1e-5)
    out = layer.forward(x[:1], "test")
    np.testing.assert_allclose(out, (x[:1] - mean) * scale * layer.alpha + layer.beta, atol=1e-11)
    layer.moving_mean = np.zeros(6)  # the gradient is that of the forward before
    np.testing.assert_allclose(layer.gradient(eta[:1]), eta[:1] * layer.alpha * scale, atol=1e-11)
    np.testing.assert_allclose(layer.a_gradient, (eta[:1] * (x[:1] - mean) * scale).sum(axis=(0, 1, 2)), atol=1e-11)


def test_running_statistics(backend, rng):
    """The first batch initialises them, later ones move them; a test changes nothing."""
    layer, batches = BatchNorm((8, 3), moving_decay=0.75), rng.standard_normal((3, 8, 3)) + 5
    for number, x in enumerate(batches):
        layer.forward(x)
        if number == 0:
            mean, var = x.mean(axis=0), x.var(axis=0, ddof=1)
        else:
            mean, var = 0.75 * mean + 0.25 * x.mean(axis=0), 0.75 * var + 0.25 * x.var(axis=0, ddof=1)
        layer.forward(x, phase="test")
        np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-6)
        np.testing.assert_allclose(layer.moving_var, var, rtol=1e-5)
    layer.moving_mean, layer.moving_var = [1, 2, 3], [4, 5, 6]
    np.testing.assert_allclose(layer.forward([[3, 2, 3]], "test"), [[1, 0, 0]], atol=1e-5)


def test_one_value_for_each_channel(backend):
    """It has no variance, and the layer would return its bias and pull the running variance to 0: it is normalised by
    what the layer knows, which stays as it is."""
    layer = BatchNorm((1, 3), epsilon=1.0)
    layer.beta = [1, 2, 3]
    layer.moving_mean, layer.moving_var = [1, 2, 3], [3, 8, 15]
    with pytest.warns(RuntimeWarning, match="BatchNorm: a batch with one value for each channel has no variance"):
        np.testing.assert_allclose(layer.forward([[7, 8, -9]]), [[4, 4, 0]])
    np.testing.assert_array_equal(layer.moving_mean, [1, 2, 3])
    np.testing.assert_array_equal(layer.moving_var, [3, 8, 15])
    np.testing.assert_allclose(layer.gradient(np.ones((1, 3))), [[1 / 2, 1 / 3, 1 / 4]], rtol=1e-6)
    np.testing.assert_array_equal(layer.b_gradient, [1, 1, 1])
    np.testing.assert_allclose(layer.a_gradient, [3, 2, -3], rtol=1e-6)


def test_before_the_first_batch(backend):
    """Mean 0 and variance 1, in the phase 'test' and for a batch of one; the first real batch sets the statistics."""
    layer, x = BatchNorm((1, 2), epsilon=3.0), [[2.0, -4.0]]
    np.testing.assert_allclose(layer.forward(x, "test"), [[1, -2]])
    np.testing.assert_allclose(layer.gradient([[2.0, 2.0]]), [[1, 1]])
    with pytest.warns(RuntimeWarning, match="one value for each channel"):
        np.testing.assert_allclose(layer.forward(x), [[1, -2]])
    assert not layer.moving_mean.any() and not layer.moving_var.any()
    layer.forward([[1.0, 2.0], [3.0, 6.0]])
    np.testing.assert_allclose(layer.moving_mean, [2, 4])
    np.testing.assert_allclose(layer.moving_var, [2, 8])


def test_fit_goes_on_where_the_last_batch_is_one_image(backend, rng):
    """Nine images in batches of four; a convolution's map has many values, one feature of one image has one."""
    fc = FullyConnect((4, 6), 3, rng=0)
    model = Sequential([BatchNorm((4, 6)), fc, Softmax((4, 3))])
    x, y = rng.standard_normal((9, 6)) + 5, np.arange(9) % 3
    with pytest.warns(RuntimeWarning, match="one value for each channel"):
        history = model.fit(x, y, epochs=3, batch_size=4, verbose=0, shuffle=False)
    assert len(history["loss"]) == 3 and np.isfinite(history["loss"]).all()
    wanted, *others = [x[start : start + 4].var(axis=0, ddof=1) for start in (0, 4)] * 3
    for var in others:
        wanted = 0.997 * wanted + 0.003 * var
    np.testing.assert_allclose(model.layers[0].moving_var, wanted, rtol=1e-5)


INFINITE = [[np.inf, 1, 2], [np.inf, -np.inf, 1], [np.nan, 1, 2], [3e38, 3e38, 3e38], [1e30, -1e30, 0]]


@pytest.mark.parametrize("column", INFINITE, ids=str)
def test_infinite_values_mean_the_same_on_every_backend(backend, column):
    layer = BatchNorm((3, 2))
    with np.errstate(all="ignore"):
        layer.forward(np.array([column, [1, 2, 3]], np.float32).T)
    column = np.array(column, np.float32).astype(np.float64)
    finite = np.isfinite(column).all()
    assert layer.moving_mean[1] == 2 and layer.moving_var[1] == 1
    np.testing.assert_array_equal(layer.moving_mean[0], np.float32(np.mean(column)) if finite else np.nan)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(layer.moving_var[0], np.float32(np.var(column, ddof=1)) if finite else np.nan)


@pytest.mark.parametrize("phase", [True, np.True_, False])
@pytest.mark.parametrize("make", [BatchNorm, lambda shape: Dropout(shape, rng=0)])
def test_a_phase_may_be_a_bool(backend, make, phase, rng):
    x, layers = rng.standard_normal((8, 3)), [make((8, 3)) for _ in range(2)]
    text = layers[0].forward(x, "train" if phase else "test")
    np.testing.assert_array_equal(layers[1].forward(x, phase), text)
    for wrong in ("training", 1, None):
        with pytest.raises(ValueError, match=r"`phase` must be one of 'train', 'test', True or False\. Received phase"):
            layers[0].forward(x, wrong)


def test_an_empty_batch(backend):
    layer = BatchNorm(SHAPE)
    assert layer.forward(np.zeros((0, *SHAPE[1:]))).shape == (0, *SHAPE[1:])
    assert layer.gradient(np.zeros((0, *SHAPE[1:]))).shape == (0, *SHAPE[1:])
    assert not layer.moving_mean.any() and not layer.moving_var.any()


def test_it_learns(backend, rng):
    """No decay by default: a gain that decays would make the layers behind it learn faster and faster."""
    layer, prelu = BatchNorm((8, 3)), PReLU((8, 3))
    eta = prelu.gradient(prelu.forward(layer.forward(rng.standard_normal((8, 3)))))
    layer.gradient(eta)
    a_gradient, b_gradient, slope = layer.a_gradient.copy(), layer.b_gradient.copy(), prelu.a_gradient.copy()
    layer.backward(0.5)
    prelu.backward(0.5, 0.0)
    np.testing.assert_allclose(layer.alpha, 1 - 0.5 * a_gradient, rtol=1e-6)
    np.testing.assert_allclose(layer.beta, -0.5 * b_gradient, rtol=1e-6)
    np.testing.assert_allclose(prelu.alpha, 0.25 - 0.5 * slope, rtol=1e-6)
    assert not layer.a_gradient.any() and not layer.b_gradient.any()


def test_what_a_file_holds():
    layer = BatchNorm((8, 3), epsilon=0.1, moving_decay=0.9, dtype="float64")
    assert layer.config() == {"shape": [8, 3], "dtype": "float64", "epsilon": 0.1, "moving_decay": 0.9}
    assert list(layer.tensors()) == ["alpha", "beta", "moving_mean", "moving_var"]
    assert layer.parameter_count() == 6
    prelu = PReLU((8, 3), 0.5)
    prelu.alpha = [1, 2, 3]
    assert prelu.config() == {"shape": [8, 3], "dtype": "float32", "alpha": 0.5} and list(prelu.tensors()) == ["alpha"]


def test_running_statistics_travel(rng):
    layer = BatchNorm((8, 3))
    layer.forward(rng.standard_normal((8, 3)))
    twin = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(twin.moving_var, layer.moving_var)
    twin.forward(rng.standard_normal((8, 3)))
    assert (twin.moving_var != layer.moving_var).all()


def test_the_check_backend_compares(rng):
    with fastcnn.use_backend("check"):
        for layer in (BatchNorm(SHAPE), PReLU(SHAPE, -0.5)):
            out = layer.forward(rng.standard_normal(SHAPE) + 100)
            assert layer.gradient(out).shape == SHAPE


def test_a_variance_is_not_negative():
    layer = BatchNorm((4, 2))
    with pytest.raises(ValueError, match=r"BatchNorm: `moving_var` must be free of numbers below 0. Received"):
        layer.moving_var = [1, -1]
    assert not layer.moving_var.any()
    layer.moving_var = [np.nan, 0]  # as after a batch with NaN


def test_a_warning_that_is_an_error_leaves_the_last_batch():
    """The gradient is then still that of the batch before, whole."""
    x, eta = np.arange(8.0).reshape(4, 2) ** 2, np.arange(4.0).repeat(2).reshape(4, 2) ** 3
    layer, wanted = BatchNorm((4, 2)), BatchNorm((4, 2))
    for each in (layer, wanted):
        each.forward(x)
    with warnings.catch_warnings(), pytest.raises(RuntimeWarning, match="has no variance"):
        warnings.simplefilter("error")
        layer.forward(x[:1])
    np.testing.assert_array_equal(layer.gradient(eta), wanted.gradient(eta))


def test_running_statistics_are_no_views_of_those_of_the_batch():
    x, eta = np.arange(8.0).reshape(4, 2) ** 2, np.arange(4.0).repeat(2).reshape(4, 2) ** 3
    layer, wanted = BatchNorm((4, 2)), BatchNorm((4, 2))
    for each in (layer, wanted):
        each.forward(x)
    layer.moving_mean[:] = layer.moving_var[:] = 7
    np.testing.assert_array_equal(layer.gradient(eta), wanted.gradient(eta))
