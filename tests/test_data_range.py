"""A model remembers the range of its training data, and warns of data that are scaled otherwise."""

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.callbacks import Checkpoint
from fastcnn.data_range import DataRange, never_otherwise, scaled_otherwise
from fastcnn.layers import FullyConnect, Rescaling, Softmax

LABELS = np.arange(12) % 3


def untrained():
    return Sequential([Rescaling((4, 5), 1e-3), FullyConnect((4, 5), 3, rng=0), Softmax((4, 3))])


def trained(x):
    model = untrained()
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
    ([0, 255], "uint16", np.array([0, 2], "uint8")),  # dark, and 255 would be white
    ([0.0, 255.0], "float32", np.array([0, 2], "uint8")),
    ([0, 65535], "uint16", np.array([0, 12], "uint16")),
    ([0, 65535], "uint16", np.array([0, 0], "uint8")),
    ([0, 4095], "uint16", np.array([100, 255], "uint8")),  # half as bright as the half is no proof
    ([-1.0, 1.0], "float32", [-4.0, 4.0]),  # outliers
    ([-1.0, 1.0], "float32", [0.1, 0.2]),
    ([3.0, 3.0], "float32", [0.0, 500.0]),  # nothing is known of a range
]


@pytest.mark.parametrize(("known", "dtype", "used"), ALIKE, ids=str)
def test_data_that_may_be_scaled_alike(known, dtype, used):
    model = trained(np.resize(np.array(known, dtype), (12, 5)))
    used = used if isinstance(used, np.ndarray) else np.array(used, dtype if isinstance(used[0], int) else float)
    given = np.resize(used, (2, 5))
    model.predict(given)  # warnings are errors in these tests


FAR = [
    ([-2.0, 2.0], [0.0, 255.0], r"trained on -2 to 2 \(float64\).*scaled as these were$"),
    ([0.0, 1.0], [-300.0, 5.0], "scaled as these were$"),
    ([0.0, 65535.0], [0.0, 1.0], "scaled as these were$"),
    ([-1000.0, 1000.0], [-1.0, 1.0], "scaled as these were$"),
    (np.array([0, 65535], "uint16"), np.array([0, 255], "uint8"), r"0 to 255 \(uint8\).* 0 to 6.554e\+04 \(uint16\)"),
    ([0.0, 65535.0], np.array([0, 255], "uint8"), "scaled as these were$"),
    (np.array([0, 4095], "uint16"), np.array([0, 12], "uint8"), "scaled as these were$"),
    (np.array([0, 255], "uint8"), np.array([False, True]), r"0 to 1 \(bool\).*: x = x \* 255$"),
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
    with pytest.warns(UserWarning, match=message), pytest.warns(UserWarning, match=r"^fit: .*trained on 0 to 1"):
        model.fit(pixels, LABELS, validation_data=(pixels / 255, LABELS), verbose=False)
    fresh = trained(pixels / 255)
    fresh.fit(pixels / 255, LABELS, validation_data=(pixels / 255, LABELS), verbose=False)  # a warning is an error
    with pytest.raises(ValueError, match="`epochs`"):
        fresh.fit(pixels, LABELS, epochs=0)
    assert fresh.metadata["training_data"]["high"] == 1.0  # nothing has been trained on the others


def kept(model):
    return tuple(model.metadata["training_data"].values())


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_a_training_step_by_step_remembers_the_range_of_all_batches(dtype, pixels):
    """And not of the first, which may be black, or nearly."""
    model = untrained()
    for batch, largest in ((pixels * 0, 0), (pixels // 255, 1), (pixels, 255), (pixels // 2, 255)):
        model.train_on_batch(batch.astype(dtype), LABELS)
        assert kept(model) == (0.0, largest, dtype)
    model.predict(pixels)  # no warning, as there would be of what the second batch says
    with pytest.warns(UserWarning, match=r"predict: `x` ranges from 0 to 1 \(float64\), .* 0 to 255"):
        model.predict(pixels / 255)


def test_of_whole_numbers_the_first_hundred_batches_are_searched(pixels):
    model, floats = untrained(), untrained()
    for _ in range(100):
        model.train_on_batch(pixels // 2, LABELS)
        floats.train_on_batch(pixels / 2, LABELS)
    model.train_on_batch(pixels, LABELS)
    floats.train_on_batch(pixels / 1, LABELS)
    assert (kept(model)[1], kept(floats)[1]) == (127, 255)


@pytest.mark.parametrize("how", ["fit", "train_on_batch"])
def test_a_training_on_data_that_are_scaled_otherwise_than_those_before(how, pixels, tmp_path):
    """It goes on, and from then on the model takes such data."""

    def train(x):
        if how == "fit":
            model.fit(x, LABELS, verbose=False)
        else:
            model.train_on_batch(x, LABELS)

    trained(pixels).save(tmp_path / "model.npz")
    model = Sequential.load(tmp_path / "model.npz")
    message = rf"^{how}: `x` ranges from 0 to 1 \(float64\), and the model was trained on 0 to 255 \(uint8\)\. "
    with pytest.warns(UserWarning, match=rf"{message}The training goes on, .*: x = x \* 255$"):
        train(pixels / 255)
    assert kept(model) == (0.0, 1.0, "float64")
    train(pixels / 255)  # a warning is an error
    model.predict(pixels / 255)
    for _ in range(2):  # told again of each training
        with pytest.warns(UserWarning, match="predict: .* trained on 0 to 1 "):
            model.predict(pixels)
        model.fit(pixels / 255, LABELS, verbose=False)


def test_steps_on_data_that_are_scaled_as_those_before_keep_their_range(pixels):
    model = trained(pixels)
    for x in (pixels // 2, pixels // 2 - 40.0):
        model.train_on_batch(x, LABELS)
    assert kept(model) == (-40.0, 255.0, "uint8")


def test_a_resumed_training_is_not_another_one(pixels, tmp_path):
    """The model that a script loads before it resumes remembers the training before the interrupted one."""
    trained(pixels).save(tmp_path / "model.npz")
    path = tmp_path / "run.npz"
    arguments = {"seed": 1, "verbose": False, "callbacks": [Checkpoint(path)]}
    with pytest.warns(UserWarning, match="^fit: .* trained on 0 to 255"):
        Sequential.load(tmp_path / "model.npz").fit(pixels / 255, LABELS, **arguments)
    resumed = Sequential.load(tmp_path / "model.npz")
    resumed.fit(pixels / 255, LABELS, resume=path, **arguments)  # a warning is an error
    assert kept(resumed) == (0.0, 1.0, "float64")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int64", "float32"])
@pytest.mark.parametrize("known", [(0, 1), (0, 40), (0, 255), (-128, 127), (-40, 2), (0, 65535), (200, 255), (3, 3)])
def test_whole_numbers_that_need_not_be_searched(dtype, known):
    """Those whose dtype holds none that is scaled otherwise than the training data were."""
    before, dtype = DataRange(*known, "any"), np.dtype(dtype)
    bounds = {"b": (0, 1), "f": (-1e38, 1e38)}.get(dtype.kind) or (np.iinfo(dtype).min, np.iinfo(dtype).max)
    points = sorted({*np.linspace(*map(float, bounds), 60), *(p for p in (-1, 0, 1, 5) if bounds[0] <= p <= bounds[1])})
    told = any(scaled_otherwise(before, DataRange(a, b, dtype.name)) for a in points for b in points if a <= b)
    assert never_otherwise(before, dtype) <= (not told)
    assert not never_otherwise(DataRange(0, 40, "uint8"), np.dtype("uint8"))
    assert never_otherwise(DataRange(0, 255, "uint8"), np.dtype("uint8"))
