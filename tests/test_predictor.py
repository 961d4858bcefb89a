"""Sequential.frozen: what it returns, that nothing changes it, and that it travels."""

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcnn
from fastcnn import Predictor, Sequential
from fastcnn import layers as of
from fastcnn.backends import constants
from fastcnn.backends import numba as kernels
from fastcnn.errors import FileFormatError
from fastcnn.windows import square
from tests.helpers.later import later_layers
from tests.helpers.switches import conv_algorithm

SHAPE = (4, 12, 10, 3)


def normalised(dtype=None, drop=True):
    """A network with a BatchNorm in each place, where it can become part of weights and where it cannot."""
    made = []

    def add(kind, *arguments, **options):
        made.append(kind(made[-1].output_shape if made else SHAPE, *arguments, **options, dtype=dtype))

    def inside():
        shape = made[-1].output_shape
        body = [of.Conv2D(shape, 8, 3, method="SAME", initializer="he", dtype=dtype), of.BatchNorm(shape, dtype=dtype)]
        return [*body, of.Relu(shape, dtype=dtype)]

    np.random.seed(0)
    add(of.BatchNorm)
    add(of.Conv2D, 8, 3, method="SAME", bias=False, initializer="he")
    add(of.BatchNorm)
    add(of.Relu)
    made.append(of.Residual(inside(), inside()[:2]))
    add(of.DepthwiseConv2D, 3, 1, "SAME", 2, initializer="he")
    add(of.BatchNorm)
    add(of.MaxPooling)
    add(of.BatchNorm)
    for groups in (1, 2):
        add(of.Conv2DTranspose, 6, 2, 2, groups=groups, initializer="he")
        add(of.BatchNorm)
    if drop:
        add(of.Dropout, 0.5)
    add(of.FullyConnect, 7, initializer="he")
    add(of.BatchNorm)
    add(of.Softmax)
    return Sequential(made, {"class_names": list("abcdefg")})


def trained(model, rng, steps=3):
    """`model` after some steps, by which each BatchNorm has statistics, gains and biases of its own."""
    shape = model.input_shape[1:]
    for _ in range(steps):
        model.train_on_batch(rng.standard_normal((6, *shape)), rng.integers(0, 7, 6), learning_rate=0.05)
    return model


@pytest.mark.usefixtures("backend", "float64")
def test_it_predicts_what_the_model_does(rng):
    model, x = trained(normalised(), rng), rng.standard_normal((9, *SHAPE[1:]))
    predictor = model.frozen()
    assert (
        repr(predictor).count("BatchNorm") == 3
    )  # the first, that after the pooling, that of a transposed one in groups
    np.testing.assert_allclose(predictor.predict(x), model.predict(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(predictor(x[:1]), predictor.forward(x[:1]))
    y = rng.integers(0, 7, 9)
    assert predictor.evaluate(x, y) == pytest.approx(model.evaluate(x, y))
    assert str(predictor.report(x, y)) == str(model.report(x, y))
    assert (predictor.input_shape, predictor.output_shape) == (model.input_shape, model.output_shape)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd", "im2col"])
def test_without_batch_norm_it_is_the_same_to_the_last_bit(algorithm, rng):
    np.random.seed(0)
    model = Sequential(later_layers((2, 12, 10, 3)))
    with conv_algorithm(algorithm):
        predictor = model.frozen()
        for batch in (1, 2, 7, 1):
            x = rng.standard_normal((batch, 12, 10, 3)).astype(np.float32)
            np.testing.assert_array_equal(predictor.predict(x), model.predict(x))
            np.testing.assert_array_equal(predictor.predict(x, batch_size=2), model.predict(x, batch_size=2))


@settings(max_examples=60)
@given(data=st.data())
def test_kernels_compute_the_same_of_constants(data):
    """To the last bit, also when what they have made of them is used again, for another number of images."""
    draw = lambda name, low, high: data.draw(st.integers(low, high), name)  # noqa: E731
    inputs, outputs, k, rng = (
        draw("inputs", 1, 40),
        draw("outputs", 1, 70),
        draw("ksize", 1, 5),
        np.random.default_rng(0),
    )
    window = square(k, draw("stride", 1, 2), 1, k // 2)
    dtype = data.draw(st.sampled_from(["float32", "float64"]), "dtype")
    weights, bias = (
        rng.standard_normal((k, k, inputs, outputs)).astype(dtype),
        rng.standard_normal(outputs).astype(dtype),
    )
    held, algorithm = (
        constants.constant(weights),
        data.draw(st.sampled_from(["auto", "direct", "winograd"]), "algorithm"),
    )
    with conv_algorithm(algorithm):
        for batch in (draw("batch", 1, 3), 20, 1):
            x = rng.standard_normal((batch, 8, 9, inputs)).astype(dtype)
            plain = kernels.conv_forward(x, weights, bias, window, False)
            np.testing.assert_array_equal(kernels.conv_forward(x, held, bias, window, False), plain)
    matrix = constants.constant(weights.reshape(-1, outputs))
    for rows in (1, 3, 5, 40, 90):
        x = rng.standard_normal((rows, len(matrix))).astype(dtype)
        np.testing.assert_array_equal(
            kernels.dense_forward(x, matrix, bias), kernels.dense_forward(x, matrix.copy(), bias)
        )


def test_training_does_not_reach_it_nor_it_the_training(rng):
    model, x = trained(normalised(drop=False), rng), rng.standard_normal((3, *SHAPE[1:])).astype(np.float32)
    twin = copy.deepcopy(model)
    predictor = model.frozen()
    before = predictor.predict(x)
    trained(model, np.random.default_rng(5))
    np.testing.assert_array_equal(predictor.predict(x), before)
    assert not np.array_equal(model.predict(x), before)
    trained(twin, np.random.default_rng(5))
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))


def test_it_cannot_be_changed(rng):
    predictor = normalised().frozen()
    for change in (lambda: setattr(predictor, "metadata", {}), lambda: delattr(predictor, "_model")):
        with pytest.raises(AttributeError, match=r"Predictor: `\w+` cannot be assigned: a predictor does not change"):
            change()
    predictor.metadata["class_names"].clear()
    assert predictor.metadata == {"class_names": list("abcdefg")}
    layers = predictor._model.layers
    arrays = [array for layer in layers if not isinstance(layer, of.Residual) for array in layer.tensors().values()]
    assert arrays and not any(array.flags.writeable for array in arrays)
    with pytest.raises(TypeError, match=r"Predictor: `model` must be a Sequential. Received model=3"):
        Predictor(3)


def test_threads_predict_at_once(rng):
    predictor = trained(normalised(), rng).frozen()
    images = [rng.standard_normal((1 + i % 4, *SHAPE[1:])).astype(np.float32) for i in range(24)]
    wanted = [predictor.predict(x) for x in images]
    fresh = pickle.loads(pickle.dumps(predictor))  # whose kernels have made nothing of its weights yet
    with ThreadPoolExecutor(6) as pool:
        for got, right in zip(pool.map(fresh.predict, images), wanted, strict=True):
            np.testing.assert_array_equal(got, right)


@pytest.mark.parametrize("name", ["p.npz", "p.safetensors"])
def test_it_is_saved_and_loaded(tmp_path, name, rng):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    model, x = trained(normalised(), rng), rng.standard_normal((3, *SHAPE[1:])).astype(np.float32)
    predictor = model.frozen()
    predictor.save(tmp_path / name)
    for same in (Predictor.load(tmp_path / name), copy.deepcopy(predictor), Predictor(predictor._model)):
        np.testing.assert_array_equal(same.predict(x), predictor.predict(x))
        assert same.metadata == predictor.metadata and repr(same) == repr(predictor)
    with pytest.raises(
        FileFormatError, match=r"it holds a predictor, which is not trained: load it by fastcnn.Predictor"
    ):
        Sequential.load(tmp_path / name)
    with pytest.raises(TypeError, match=r"load: `custom_layers` must be a dict of class names and classes"):
        Predictor.load(tmp_path / name, 3)
    model.save(tmp_path / name)
    np.testing.assert_array_equal(Predictor.load(tmp_path / name).predict(x), predictor.predict(x))


class Doubled:
    """A script's own layer, which keeps its last batch."""

    def forward(self, x):
        self.x = x
        return 2 * x

    def gradient(self, eta):
        return 2 * eta


def test_a_layer_of_a_scripts_own(rng):
    own = Doubled()
    model = Sequential([of.Conv2D((1, 6, 6, 2), 3), own, of.FullyConnect((1, 4, 4, 3), 2), of.Softmax((1, 2))])
    predictor, x = model.frozen(), rng.standard_normal((2, 6, 6, 2)).astype(np.float32)
    np.testing.assert_array_equal(predictor.predict(x), model.predict(x))
    own.forward = None
    predictor.predict(x)
    with pytest.raises(TypeError, match=r"save: layers\[1\], a Doubled, has no config\(\) and parameters\(\)"):
        predictor.save("none.npz")


def test_what_kernels_made_goes_with_it(rng):
    gc.collect()
    before = len(constants._made)
    predictor = normalised().frozen()
    predictor.predict(rng.standard_normal((2, *SHAPE[1:])))
    assert len(constants._made) > before
    del predictor
    gc.collect()
    assert len(constants._made) == before


def test_its_images_are_checked():
    predictor = normalised().frozen()
    with pytest.raises(ValueError, match=r"predict: `x` must have the shape \(images, 12, 10, 3\)"):
        predictor.predict(np.zeros((2, 12, 10, 1)))
    with pytest.raises(ValueError, match=r"predict: `x` .*NaN"):
        predictor.predict(np.full((1, 12, 10, 3), np.nan))
    assert fastcnn.Predictor is Predictor
