"""What `fastcnn predict` reads: arrays and pictures of the size that the model takes, or larger ones for crops."""

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.commands.predict import read_image
from fastcnn.layers import Flatten, Softmax


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


def read(path, **of_model):
    made = model(**of_model)
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
