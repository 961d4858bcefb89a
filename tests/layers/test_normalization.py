"""LayerNorm and GroupNorm and their kernels: what the statistics are of, far from 0 and at special values; the
definitions here are float64 NumPy."""

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential, zoo
from fastcnn.backends import numba as fast
from fastcnn.backends import numpy as reference
from fastcnn.layers import Conv2D, FullyConnect, GroupNorm, LayerNorm, Softmax
from fastcnn.optimizers import SGD
from tests.helpers.switches import BACKENDS, threads

KERNELS = {"numba": fast, "numpy": reference}
SHAPE = (4, 5, 3, 6)
NEAR = {"float32": 2e-6, "float64": 1e-12}


def normalized(x, axes, epsilon=1e-5):
    mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(var + epsilon)


@pytest.mark.parametrize("axis", [-1, -2, -3, 1, 2, 3])
def test_the_axes_of_a_layer_norm(axis, backend, rng):
    x = rng.standard_normal(SHAPE) * 3 + 2
    layer = LayerNorm(SHAPE, axis=axis, dtype="float64")
    axes = tuple(range(axis % 4, 4))
    assert layer.alpha.shape == layer.beta.shape == SHAPE[axis:] and layer.axis == axis % 4 - 4
    np.testing.assert_allclose(layer.forward(x), normalized(x, axes), rtol=1e-12, atol=1e-13)
    layer.alpha, layer.beta = rng.standard_normal((2, *SHAPE[axis:]))
    np.testing.assert_allclose(layer.forward(x), normalized(x, axes) * layer.alpha + layer.beta, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_the_groups_of_a_group_norm(groups, backend, rng):
    x = rng.standard_normal(SHAPE) * 3 + 2
    layer = GroupNorm(SHAPE, groups, dtype="float64")
    split = normalized(x.reshape(4, 5, 3, groups, 6 // groups), (1, 2, 4)).reshape(SHAPE)
    np.testing.assert_allclose(layer.forward(x), split, rtol=1e-12, atol=1e-13)
    layer.alpha, layer.beta = rng.standard_normal((2, 6))
    np.testing.assert_allclose(layer.forward(x), split * layer.alpha + layer.beta, rtol=1e-12, atol=1e-13)


def test_one_group_is_a_layer_norm_of_the_image(backend, rng):
    """Gain and bias apart, which have other shapes."""
    x, eta = rng.standard_normal((2, *SHAPE))
    one, other = GroupNorm(SHAPE, 1, dtype="float64"), LayerNorm(SHAPE, axis=1, dtype="float64")
    np.testing.assert_allclose(one.forward(x), other.forward(x), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(one.gradient(eta), other.gradient(eta), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(one.a_gradient, other.a_gradient.sum(axis=(0, 1)), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("make", [LayerNorm, lambda shape: GroupNorm(shape, 3)])
def test_an_image_does_not_depend_on_the_others(make, backend, rng):
    x = rng.standard_normal(SHAPE)
    layer = make(SHAPE)
    whole = layer.forward(x)
    for i in range(len(x)):
        np.testing.assert_array_equal(layer.forward(x[i : i + 1])[0], whole[i])


SHAPES = [(7, 5, 64), (3, 49, 6), (2, 1000, 3), (5, 1, 700), (2, 33, 512), (1, 4100, 8), (40, 2, 5000)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_of_a_large_mean(module, shape, dtype, rng):
    """Mean 1000, deviation 1: a difference of the means of squares would have lost all digits in float32. Rows and
    images whose means differ, and such as begin with a block of another number, lose none either."""
    near, kernels, size = NEAR[dtype], KERNELS[module], shape[2]
    ones, zeros = np.ones(size, dtype), np.zeros(size, dtype)
    for case in range(3):
        x = rng.standard_normal(shape) + 1000
        if case == 1:
            x += rng.integers(-900, 900, (*shape[:2], 1))
        elif case == 2:
            x[:, : shape[1] // 3] = 0
        x = x.astype(dtype)
        exact = x.astype(np.float64)
        rows = exact.reshape(-1, size)
        _, mean, deviation = kernels.layer_norm_forward(x.reshape(-1, size), ones, zeros, 1e-3)
        np.testing.assert_allclose(mean, rows.mean(axis=1), rtol=near)
        np.testing.assert_allclose(deviation, 1 / np.sqrt(rows.var(axis=1) + 1e-3), rtol=near)
        groups = 2 if size % 2 == 0 else 1
        _, mean, deviation = kernels.group_norm_forward(x, ones, zeros, groups, 1e-3)
        images = exact.reshape(*shape[:2], groups, -1)
        np.testing.assert_allclose(mean, images.mean(axis=(1, 3)), rtol=near)
        np.testing.assert_allclose(deviation, 1 / np.sqrt(images.var(axis=(1, 3)) + 1e-3), rtol=near)


def all_results(module, x, eta, gain, groups):
    rows = x.reshape(-1, x.shape[2])
    out, mean, deviation = module.layer_norm_forward(rows, gain, gain, 1e-5)
    found = [out, mean, deviation, *module.layer_norm_backward(rows, eta.reshape(rows.shape), mean, deviation, gain)]
    out, mean, deviation = module.group_norm_forward(x, gain, gain, groups, 1e-5)
    return [*found, out, mean, deviation, *module.group_norm_backward(x, eta, mean, deviation, gain)]


LARGE = [((70, 300, 6), 3), ((40, 50, 64), 8), ((3, 2500, 12), 1), ((70, 1, 4100), 41), ((2, 3, 20_000), 2)]


@pytest.mark.parametrize(("shape", "groups"), LARGE)
def test_any_number_of_threads(shape, groups, rng):
    x, eta = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    gain, results = rng.standard_normal(shape[2]).astype(np.float32), []
    for count in (1, 2):
        with threads(count):
            results.append(all_results(fast, x, eta, gain, groups))
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize(("shape", "groups"), LARGE)
def test_more_than_the_oracle_has_time_for(shape, groups, rng):
    """The twin is the measure."""
    x, eta = rng.standard_normal((2, *shape))
    gain = rng.standard_normal(shape[2])
    got, wanted = (all_results(module, x, eta, gain, groups) for module in (fast, reference))
    for own, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("module", BACKENDS)
def test_special_values(module):
    """NaN and infinity spoil their own row or group, and no other; numbers whose sums or squares overflow do not."""
    kernels, x = KERNELS[module], np.ones((4, 6, 4), np.float32)
    x[:, ::2] = -1
    x[0, 0, 0], x[1, 1, 3], x[2] = np.nan, np.inf, x[2] * 3e38
    gain, bias = np.ones(4, np.float32), np.zeros(4, np.float32)
    out, _, _ = kernels.group_norm_forward(x, gain, bias, 2, 1e-5)
    spoilt = np.zeros((4, 2), bool)
    spoilt[0, 0] = spoilt[1, 1] = True
    np.testing.assert_array_equal(np.isnan(out).reshape(4, 6, 2, 2).any(axis=(1, 3)), spoilt)
    np.testing.assert_allclose(out[2:], np.sign(x[2:]), rtol=1e-5)
    rows = np.swapaxes(x, 1, 2).reshape(-1, 6)
    out, _, _ = kernels.layer_norm_forward(rows, np.ones(6, np.float32), np.zeros(6, np.float32), 1e-5)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(out).all(axis=1)), [0, 7])
    np.testing.assert_allclose(out[8:], np.sign(rows[8:]), rtol=1e-5)


@pytest.mark.parametrize("module", BACKENDS)
@pytest.mark.parametrize("value", [0.1, 1e4 / 3, -1e10 / 3])
def test_equal_numbers_have_no_variance(module, value):
    """Nor a negative one, by rounding."""
    kernels, x = KERNELS[module], np.full((3, 500, 70), value, np.float32)
    ones, zeros = np.ones(70, np.float32), np.zeros(70, np.float32)
    for out, mean, deviation in (
        kernels.layer_norm_forward(x.reshape(-1, 70), ones, zeros, 1e-5),
        kernels.group_norm_forward(x, ones, zeros, 7, 1e-5),
    ):
        np.testing.assert_allclose(mean, x[0, 0, 0], rtol=1.2e-7)
        np.testing.assert_allclose(deviation, 1 / np.sqrt(1e-5), rtol=1e-3 if abs(value) < 1e4 else 1)
        assert np.isfinite(out).all()


@pytest.mark.parametrize("module", BACKENDS)
def test_no_rows(module):
    kernels, x, ones = KERNELS[module], np.empty((0, 3, 4), np.float32), np.ones(4, np.float32)
    for result in (all_results(kernels, x, x, ones, 2),):
        assert [part.shape for part in result[3:6]] == [(0, 4), (4,), (4,)] and not result[4].any()
        assert [part.shape for part in result[9:]] == [(0, 3, 4), (4,), (4,)] and not result[11].any()


def test_arguments():
    with pytest.raises(
        ValueError, match=r"^GroupNorm: `groups` must be a divisor of the 6 channels\. Received groups=4"
    ):
        GroupNorm(SHAPE, 4)
    with pytest.raises(ValueError, match=r"^GroupNorm: `groups` must be an integer from 1 to 6\. Received groups=7$"):
        GroupNorm(SHAPE, 7)
    with pytest.raises(
        ValueError, match=r"^LayerNorm: `axis` must be an axis of \(4, 5, 3, 6\) after the first, the b"
    ):
        LayerNorm(SHAPE, axis=0)
    with pytest.raises(ValueError, match=r"^LayerNorm: `axis` must be an integer from -4 to 3\. Received axis=4$"):
        LayerNorm(SHAPE, axis=4)
    with pytest.raises(ValueError, match=r"^LayerNorm: `shape` must be \(batch, \.\.\., channels\), two axes at least"):
        LayerNorm((4,))
    for layer, name in ((GroupNorm(SHAPE, 3), "groups"), (LayerNorm(SHAPE), "axis")):
        with pytest.raises(ValueError, match=rf"`{name}` must be .*, as in the constructor: make a new layer"):
            setattr(layer, name, 1)
        with pytest.raises(
            ValueError, match=r"`epsilon` must be a finite number of at least 1e-12\. Received epsilon=0"
        ):
            layer.epsilon = 0.0


def test_a_model_with_both(tmp_path, rng, backend):
    """It is trained, saved and loaded; the gains' shapes are those of the arrays in the file."""
    shape = (6, 5, 5, 4)
    conv = Conv2D(shape, 4, 3, 1, "SAME", initializer="he", rng=0)
    fc = FullyConnect(shape, 3, rng=0)
    model = Sequential([conv, GroupNorm(shape, 2), LayerNorm(shape, axis=2, epsilon=1e-3), fc, Softmax((6, 3))])
    x, y = rng.standard_normal(shape), np.arange(6) % 3
    losses = [model.train_on_batch(x, y, learning_rate=0.1)[0] for _ in range(8)]
    assert losses[-1] < losses[0] / 2
    model.save(tmp_path / "model.npz")
    loaded = Sequential.load(tmp_path / "model.npz")
    assert repr(loaded.layers[2]) == repr(model.layers[2]) and "axis=-2" in repr(loaded.layers[2])
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.layers[2].alpha.shape == (5, 4) and (loaded.layers[2].alpha != 1).any()


def test_what_decays():
    """`decay="weights"` leaves gains alone, those of several axes too."""
    layer = LayerNorm(SHAPE, axis=1)
    optimizer = SGD([layer], 0.1, weight_decay=0.5, decay="weights")
    layer.gradients()
    optimizer.step()
    np.testing.assert_array_equal(layer.alpha, 1)


def test_the_check_backend_compares(rng):
    with fastcnn.use_backend("check"):
        for layer in (LayerNorm(SHAPE), GroupNorm(SHAPE, 2)):
            assert layer.gradient(layer.forward(rng.standard_normal(SHAPE) + 100)).shape == SHAPE


def test_the_loss_of_an_untrained_network(rng, backend):
    """Its BatchNorms have seen no batch: mean 0 and variance 1, where 0 and 0 multiplied by 316 in each."""
    model = zoo.resnet_small((4, 12, 12, 1), rng=0)
    losses = model.evaluate(rng.standard_normal((4, 12, 12, 1)).astype(np.float32), np.arange(4))
    loss = losses[0] if isinstance(losses, tuple) else losses["loss"]
    assert 0 < loss < 100


def test_a_batch_of_no_images(backend):
    for layer in (GroupNorm((2, 8, 8, 4), 2), LayerNorm((2, 8, 8, 4)), LayerNorm((2, 8, 8, 4), axis=1)):
        assert (
            layer.forward(np.zeros((0, 8, 8, 4))).shape == layer.gradient(np.zeros((0, 8, 8, 4))).shape == (0, 8, 8, 4)
        )
