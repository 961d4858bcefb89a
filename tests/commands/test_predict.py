"""What `fastcnn predict` reads: arrays and pictures of the size that the model takes, or larger ones for crops."""

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.commands.predict import read_image
from fastcnn.layers import Flatten, Rescaling, Softmax


def model(channels=1, crop=None):
    return Sequential([Flatten((1, 4, 6, channels))], {"options": {"crop": crop}})


@pytest.mark.parametrize("names", [None, 5, "abc", {"a": 1}, ["one"]])
def test_class_names_and_options_of_a_script(tmp_path, main, capsys, names):
    """The metadata belong to whoever saved the model."""
    layer = Flatten((1, 2, 1, 1))
    Sequential([layer, Softmax(layer.output_shape)], {"class_names": names, "options": names}).save(tmp_path / "m.npz")
    np.save(tmp_path / "a.npy", np.zeros((2, 1), np.uint8))
    assert main(["predict", str(tmp_path / "m.npz"), str(tmp_path / "a.npy"), "--backend", "numpy"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a.npy'}: {'one' if names == ['one'] else 0} (50.00%)\n"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 1), np.nan), "predict: `x` must be finite. Received x[0, 0, 0, 0]=nan"),
        (np.full((2, 1), "text"), "predict: `x` must hold real numbers. Received an array of dtype <U4"),
        (np.zeros((0, 2, 1, 1)), "predict: `x` must have the shape (images, 2, 1, 1), one image at least"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, main, capsys, array, message):
    layer = Flatten((1, 2, 1, 1))
    Sequential([layer, Softmax(layer.output_shape)]).save(tmp_path / "m.npz")
    np.save(tmp_path / "a.npy", array)
    assert main(["predict", str(tmp_path / "m.npz"), str(tmp_path / "a.npy"), "--backend", "numpy"]) == 1
    assert capsys.readouterr().err.startswith(f"fastcnn predict: error: {tmp_path / 'a.npy'}: {message}")


def read(path, **of_model):
    made = model(**of_model).frozen()
    return read_image(str(path), made, made.input_shape[1:])


def test_arrays(tmp_path):
    for shape in ((4, 6), (4, 6, 1), (1, 4, 6, 1)):
        np.save(tmp_path / "a.npy", np.arange(24).reshape(shape))
        assert read(tmp_path / "a.npy")[0, 1, 2, 0] == 8 and read(tmp_path / "a.npy").shape == (1, 4, 6, 1)
    with pytest.raises(ValueError, match=r"a\.npy: the model takes images of 4 x 6 x 3 \(height x width x channels\)"):
        read(tmp_path / "a.npy", channels=3)


def test_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    grey = np.arange(24, dtype=np.uint16).reshape(4, 6) * 10
    image.fromarray(grey * 257).save(tmp_path / "deep.png")
    assert (read(tmp_path / "deep.png")[0, :, :, 0] == grey).all()
    assert (read(tmp_path / "deep.png", channels=3)[0] == grey[:, :, np.newaxis]).all()
    image.fromarray(np.pad(grey.astype(np.uint8), 1)).save(tmp_path / "larger.png")
    assert (read(tmp_path / "larger.png", crop=4)[0, :, :, 0] == grey).all()
    with pytest.raises(ValueError, match=r"larger\.png: the model takes .* Received the shape \(6, 8\)"):
        read(tmp_path / "larger.png")


def test_models_of_wider_ranges_than_a_picture_has(tmp_path):
    """Trained on 16 bits, a model would see every picture as nearly black."""
    image = pytest.importorskip("PIL.Image")
    image.new("L", (6, 4), 200).save(tmp_path / "a.png")
    for scale, taken in ((1 / 65535, False), (1 / 4095, False), (1 / 255, True), (1 / 300, True), (1.0, True)):
        made = Sequential([Rescaling((1, 4, 6, 1), scale)])
        if taken:
            assert (read_image(str(tmp_path / "a.png"), made.frozen(), (4, 6, 1)) == 200).all()
        else:
            wanted = rf"a\.png: the model takes numbers from 0 to {round(1 / scale):,}, and a picture has bytes"
            with pytest.raises(ValueError, match=wanted):
                read_image(str(tmp_path / "a.png"), made.frozen(), (4, 6, 1))


@pytest.mark.parametrize(
    ("low", "high", "dtype", "taken"),
    [
        (0, 65535, "uint16", False),
        (0, 4095, "uint16", False),
        (0, 65535.0, "float32", False),
        (0, 900.0, "float32", False),
        (-127, 101, "int8", False),
        (-1.0, 1.0, "float32", False),
        (0, 255, "uint16", True),
        (-0.5, 255.0, "float32", True),  # as a resampled picture may overshoot
    ],
)
def test_models_that_were_trained_on_other_ranges_without_a_rescaling(tmp_path, low, high, dtype, taken):
    image = pytest.importorskip("PIL.Image")
    image.new("L", (6, 4), 200).save(tmp_path / "a.png")
    made = model()
    made.metadata["training_data"] = {"low": low, "high": high, "dtype": dtype}
    if taken:
        assert (read_image(str(tmp_path / "a.png"), made.frozen(), (4, 6, 1)) == 200).all()
    else:
        numbers = rf"from {low:,.6g} to {high:,.6g}, and a picture has bytes, from 0 to 255"
        wanted = rf"a\.png: the model takes numbers {numbers}: pass an \.npy array$"
        with pytest.raises(ValueError, match=wanted):
            read_image(str(tmp_path / "a.png"), made.frozen(), (4, 6, 1))


def test_of_a_cropped_picture_the_middle_alone_is_kept(tmp_path):
    """All pictures are read before the first is classified."""
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.arange(4800, dtype=np.uint8).reshape(60, 80)).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png", crop=4)
    assert found.flags.c_contiguous and (found.base is None or found.base.size == found.size)


def test_a_picture_is_scaled_as_the_training_data_were(tmp_path, rng):
    """Of a model that was trained on bytes over 255 a picture's are divided too; an array is taken as it is."""
    from PIL import Image

    pixels = rng.integers(0, 256, (4, 6), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", pixels)
    trained = ((0, 1, "float32", 255), (0, 255, "uint8", 1), (0, 1, "uint8", 1))
    for low, high, dtype, divisor in trained:
        network = model()
        network.metadata["training_data"] = {"low": low, "high": high, "dtype": dtype}
        found = read_image(str(tmp_path / "a.png"), network.frozen(), (4, 6, 1))
        np.testing.assert_array_equal(found[0, :, :, 0], pixels / divisor)
        np.testing.assert_array_equal(
            read_image(str(tmp_path / "a.npy"), network.frozen(), (4, 6, 1))[0, :, :, 0], pixels
        )
