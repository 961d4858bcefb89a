"""Messages about arrays and labels that do not fit: each holds the line that mends it, which is run here."""

import re

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.layers import Conv2D, Flatten, FullyConnect, Softmax

PIL = pytest.importorskip("PIL.Image", reason="a line for pictures of another size uses Pillow")


def model(channels):
    conv = Conv2D((2, 8, 9, channels), 2, rng=0)
    fc = FullyConnect(conv.output_shape, 3, rng=0)
    return Sequential([conv, fc, Softmax(fc.output_shape)])


def line_in(error, name):
    """The statement at the end of a message."""
    found = re.search(rf"[( ]({name} = .*?) (?:makes|puts|adds|turns|numbers|exchanges)", str(error.value))
    assert found, f"no line that mends it: {error.value}"
    return found[1]


def mended(error, name, value):
    names = {"np": np, "PIL": __import__("PIL.Image"), name: value}
    exec(line_in(error, name), names)
    return names[name]


# What images of 8 x 9 pixels and so many channels are made of, and a word of the line that makes them; or no line.
SHAPES = [
    (1, (2, 1, 8, 9), "channels last"),
    (1, (8, 9, 1), "a batch of one"),
    (1, (2, 8, 9), "the axis of channels"),
    (1, (2, 72), "images of rows"),
    (1, (2, 8, 9, 3), "coloured images grey"),
    (1, (2, 16, 20, 1), "pictures of another size fit"),
    (1, (2, 16, 20), None),
    (1, (2, 216), None),
    (3, (2, 3, 8, 9), "channels last"),
    (3, (8, 9, 3), "a batch of one"),
    (3, (2, 216), "images of rows"),
    (3, (2, 8, 9, 1), "grey images coloured"),
    (3, (2, 4, 5, 3), "pictures of another size fit"),
    (3, (2, 9, 8, 3), "exchanges height and width"),
    (3, (2, 8, 9), None),
    (3, (2, 4, 5, 2), None),
    (6, (2, 4, 5, 6), None),  # what layers make is no picture
]


@pytest.mark.parametrize(("channels", "shape", "word"), SHAPES, ids=str)
def test_images_of_another_shape(channels, shape, word, rng):
    network, x = model(channels), rng.integers(0, 256, shape, np.uint8)
    for call in (network.predict, network.layers[0].forward, lambda x: network.fit(x, [0, 1], verbose=False)):
        with pytest.raises(ValueError, match=r"`x` must have the shape .*Received the shape") as error:
            call(x)
        if word is None:
            assert " = " not in str(error.value)
        else:
            assert word in str(error.value)
            assert mended(error, "x", x).shape[1:] == (8, 9, channels)


def test_channels_first_are_put_last(rng):
    network, right = model(3), rng.random((2, 8, 9, 3))
    x = right.transpose(0, 3, 1, 2)
    with pytest.raises(ValueError, match="puts channels last") as error:
        network.predict(x)
    np.testing.assert_array_equal(mended(error, "x", x), right)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint16", "float32", "float64", ">f4", "bool"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pictures_of_another_size_keep_their_values(dtype, channels):
    x = np.broadcast_to(np.arange(channels) / channels, (2, 16, 20, channels))
    x = (x if dtype[-2] == "f" or dtype.startswith("f") else x * 200).astype(dtype)
    with pytest.raises(ValueError, match="makes pictures of another size fit") as error:
        model(channels).predict(x)
    fitting = mended(error, "x", x)
    np.testing.assert_allclose(fitting, np.broadcast_to(x[0, 0, 0], (2, 8, 9, channels)), rtol=1e-6)


LABELS = {
    "one-hot": (np.eye(3)[[2, 0, 1, 2]], [2, 0, 1, 2]),
    "text": (["dog", "ant", "cat", "dog"], [2, 0, 1, 2]),
    "text in an array": (np.array(["dog", "ant", "cat", "dog"]), [2, 0, 1, 2]),
    "text as objects": (np.array(["dog", "ant", "cat", "dog"], object), [2, 0, 1, 2]),
    "whole floats": (np.array([2.0, 0, 1, 2]), [2, 0, 1, 2]),
    "booleans": (np.array([True, False, True, True]), [1, 0, 1, 1]),
    "from 1": (np.array([3, 1, 2, 3]), [2, 0, 1, 2]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_another_kind(name, rng):
    y, right = LABELS[name]
    network, x = model(1), rng.random((4, 8, 9, 1))
    for call in (network.evaluate, network.fit, network.train_on_batch, network.report):
        with pytest.raises((ValueError, TypeError), match="`y` must") as error:
            call(x, y)
        np.testing.assert_array_equal(mended(error, "y", y), right)


def test_labels_that_no_line_mends(rng):
    for wrong in ([0.5, 1, 2, 0], [np.nan, 1, 2, 0], [0, 1, 2, 7], [-1, 0, 1, 2], [0, 1]):
        with pytest.raises((ValueError, TypeError), match="`y` must") as error:
            model(1).evaluate(rng.random((4, 8, 9, 1)), wrong)
        assert " = " not in str(error.value)


@pytest.mark.parametrize("how", ["fit", "train_on_batch"])
def test_training_images_that_seem_to_have_channels_first(how, rng):
    layer = Flatten((4, 3, 6, 6))
    model = Sequential([layer, FullyConnect(layer.output_shape, 2), Softmax((4, 2))])
    x, y = rng.random((4, 3, 6, 6)), np.arange(4) % 2
    arguments = {"verbose": False} if how == "fit" else {}
    message = rf"^{how}: `x` has the shape \(4, 3, 6, 6\), .* channels first: x = x\.transpose\(0, 2, 3, 1\) puts"
    with pytest.warns(UserWarning, match=message):
        getattr(model, how)(x, y, **arguments)
    if how == "train_on_batch":
        model.train_on_batch(x, y)  # once: a warning is an error
