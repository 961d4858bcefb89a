"""A model remembers the range of its training data, and warns of data that are scaled otherwise."""

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.layers import FullyConnect, Rescaling, Softmax

LABELS = np.arange(12) % 3


def trained(x):
    fc = FullyConnect((4, 5), 3, rng=0)
    model = Sequential([Rescaling((4, 5), 1e-3), fc, Softmax((4, 3))])
    model.fit(x, LABELS, verbose=False)
    return model


@pytest.fixture
def pixels(rng):
    x = rng.integers(0, 256, (12, 5), np.uint8)
    x[0, :2] = 0, 255
    return x


USES = {
    "predict": lambda model, x: model.predict(x),
    "evaluate": lambda model, x: model.evaluate(x, LABELS),
    "report": lambda model, x: model.report(x, LABELS),
}


@pytest.mark.parametrize("use", USES)
def test_pixels_from_0_to_1_where_the_training_had_0_to_255(use, pixels):
    model = trained(pixels)
    assert model.metadata["training_data"] == {"low": 0.0, "high": 255.0, "dtype": "uint8"}
    message = rf"{use}: `x` ranges from 0 to 1 \(float64\), and the model was trained on 0 to 255 \(uint8\)"
    with pytest.warns(UserWarning, match=rf"{message}.*: x = x \* 255"):
        USES[use](model, pixels / 255)
    USES[use](model, pixels / 255)  # once for a model: a second warning would be an error


@pytest.mark.parametrize("use", USES)
def test_pixels_from_0_to_255_where_the_training_had_0_to_1(use, pixels):
    model = trained((pixels / 255).astype(np.float32))
    message = rf"{use}: `x` ranges from 0 to 255 \(uint8\), and the model was trained on 0 to 1 \(float32\)"
    with pytest.warns(UserWarning, match=rf"{message}.*: x = x / 255"):
        USES[use](model, pixels)


@pytest.mark.parametrize("how", ["file", "train_on_batch"])
def test_what_is_remembered_travels(how, pixels, tmp_path):
    model = trained(pixels)
    if how == "file":
        model.save(tmp_path / "model.npz")
        model = Sequential.load(tmp_path / "model.npz")
    else:
        model.metadata.clear()
        model.train_on_batch(pixels[:6], LABELS[:6])
        assert model.metadata["training_data"]["high"] <= 255
    with pytest.warns(UserWarning, match="scaled as these were"):
        model.predict(pixels / 255)


# Of training data from 0 to 255, or from -1 to 1, data that may be scaled alike.
ALIKE = [
    ([0, 255], "uint8", [0, 0]),  # a black image
    ([0, 255], "uint8", [255, 255]),
    ([0, 255], "uint8", [0, 2]),  # a dark one, in whole numbers
    ([0, 255], "uint8", [3.0, 30.0]),
    ([0.0, 255.0], "float64", [0.0, 0.0]),
    ([-1.0, 1.0], "float32", [-4.0, 4.0]),  # outliers
    ([-1.0, 1.0], "float32", [0.1, 0.2]),
    ([3.0, 3.0], "float32", [0.0, 500.0]),  # nothing is known of a range
]


@pytest.mark.parametrize(("known", "dtype", "used"), ALIKE, ids=str)
def test_data_that_may_be_scaled_alike(known, dtype, used):
    model = trained(np.resize(np.array(known, dtype), (12, 5)))
    given = np.resize(np.array(used, dtype if isinstance(used[0], int) else float), (2, 5))
    model.predict(given)  # warnings are errors in these tests


FAR = [
    ([-2.0, 2.0], [0.0, 255.0], r"trained on -2 to 2 \(float64\).*scaled as these were$"),
    ([0.0, 1.0], [-300.0, 5.0], "scaled as these were$"),
    ([0.0, 65535.0], [0.0, 1.0], "scaled as these were$"),
    ([-1000.0, 1000.0], [-1.0, 1.0], "scaled as these were$"),
]


@pytest.mark.parametrize(("known", "used", "message"), FAR, ids=str)
def test_data_that_are_scaled_otherwise(known, used, message):
    model = trained(np.resize(known, (12, 5)))
    with pytest.warns(UserWarning, match=message):
        model.predict(np.resize(used, (2, 5)))


@pytest.mark.parametrize(
    "kept", [None, 3, {}, {"low": "a", "high": 1, "dtype": "x"}, {"low": 1, "high": 0, "dtype": ""}]
)
def test_metadata_of_another_form_says_nothing(kept, pixels):
    model = trained(pixels)
    model.metadata["training_data"] = kept
    model.predict(pixels / 255)


def test_validation_images_that_are_scaled_otherwise(pixels):
    """By the images of the same training, and not of one before it."""
    model = trained(pixels / 255)
    message = (
        r"fit, validation_data: `x` ranges from 0 to 1 \(float64\), and the model was trained on 0 to 255 \(uint8\)"
    )
    with pytest.warns(UserWarning, match=message):
        model.fit(pixels, LABELS, validation_data=(pixels / 255, LABELS), verbose=False)
    fresh = trained(pixels / 255)
    fresh.fit(pixels / 255, LABELS, validation_data=(pixels / 255, LABELS), verbose=False)  # a warning is an error
    with pytest.raises(ValueError, match="`epochs`"):
        fresh.fit(pixels, LABELS, epochs=0)
    assert fresh.metadata["training_data"]["high"] == 1.0  # nothing has been trained on the others
