"""Augmentation: which pixel goes where, and on what it depends."""

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential, training
from fastcnn.augmentation import Augmentation, center_crop, ready
from fastcnn.layers import FullyConnect, Softmax
from tests.helpers.models import small
from tests.helpers.switches import BACKENDS

SHAPE = (40, 6, 5, 2)


def by_hand(image, top, left, height, width, flip):
    """The rectangle of an image from (top, left) on, pixel by pixel."""
    out = np.zeros((height, width, image.shape[2]), image.dtype)
    for i in range(height):
        for j in range(width):
            row, column = top + i, left + (width - 1 - j if flip else j)
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                out[i, j] = image[row, column]
    return out


def changed(augmentation, images, seed=0):
    """All images, changed, and what was drawn for them."""
    moves = augmentation.draw(np.random.default_rng(seed), len(images), images.shape[1:])
    return augmentation.apply(images, np.arange(len(images)), moves), moves


@pytest.mark.parametrize("backend_name", [*BACKENDS, "check"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [{"shift": 2}, {"flip": True}, {"crop": (4, 3)}, {"shift": 1, "flip": True, "crop": 3}, {"shift": 9}],
    ids=str,
)
def test_every_pixel_goes_where_it_belongs(rng, backend_name, dtype, options):
    images, augmentation = rng.integers(1, 256, SHAPE).astype(dtype), Augmentation(**options)
    with fastcnn.use_backend(backend_name):
        out, moves = changed(augmentation, images)
    height, width = augmentation.crop or SHAPE[1:3]
    assert out.dtype == dtype and out.shape == (40, height, width, 2)
    for i in range(40):
        np.testing.assert_array_equal(
            out[i], by_hand(images[i], *(part[i] for part in moves[:2]), height, width, moves.flip[i])
        )
    shift = options.get("shift", 0)
    for part, side, size in ((moves.top, 6, height), (moves.left, 5, width)):
        assert set(part) <= set(range(-shift, side - size + shift + 1))
        assert shift > 2 or set(part) == set(range(-shift, side - size + shift + 1))  # each of them in 40 draws
    assert moves.flip.any() == ("flip" in options) and not moves.flip.all()


def test_a_shift_moves_rows_and_columns_and_zeros_come_in(backend, rng):
    images = rng.integers(1, 256, SHAPE).astype(np.uint8)
    out, moves = changed(Augmentation(shift=1), images)
    for top, left in ((1, 0), (-1, 1), (0, -1), (0, 0)):
        i = int(np.flatnonzero((moves.top == top) & (moves.left == left))[0])
        wanted = np.roll(images[i], (-top, -left), (0, 1))
        wanted[{1: slice(5, 6), -1: slice(0, 1), 0: slice(0, 0)}[top]] = 0
        wanted[:, {1: slice(4, 5), -1: slice(0, 1), 0: slice(0, 0)}[left]] = 0
        np.testing.assert_array_equal(out[i], wanted)


def test_a_mirror_image_is_half_of_all(backend, rng):
    images = rng.integers(0, 256, (2000, 1, 3, 1)).astype(np.uint8)
    out, moves = changed(Augmentation(flip=True), images)
    np.testing.assert_array_equal(out, np.where(moves.flip[:, None, None, None], images[:, :, ::-1], images))
    assert 900 < np.count_nonzero(moves.flip) < 1100


def test_an_image_is_changed_the_same_in_any_batch(backend, rng):
    images, augmentation = rng.random(SHAPE), Augmentation(2, True)
    whole, moves = changed(augmentation, images)
    order = rng.permutation(40)
    for size in (1, 7, 40):
        for start in range(0, 40, size):
            index = order[start : start + size]
            np.testing.assert_array_equal(augmentation.apply(images, index, moves), whole[index])


def test_backends_agree_to_the_last_bit(rng):
    images, found = rng.random(SHAPE, np.float32), []
    for name in BACKENDS:
        with fastcnn.use_backend(name):
            found.append(changed(Augmentation(3, True, 4), images)[0])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_that_kernels_take_are_not_copied(dtype):
    images = np.zeros(SHAPE, dtype)
    out = ready(images, np.dtype("float32"))
    assert out.dtype == dtype and np.shares_memory(out, images)


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint16", "float16", ">f8", ">f4"])
def test_images_of_other_dtypes(data, dtype):
    """They become the model's, or native: an augmented training is that of the converted images."""
    images = (data[0][:40] > 0.5).astype(dtype)
    native = ready(images, np.dtype("float32"))
    wanted = {">f8": "float64", ">f4": "float32"}.get(dtype, "float32")
    assert native.dtype == wanted and native.dtype.isnative and np.array_equal(native, images)
    losses = []
    for x in (images, native):
        history = small().fit(x, data[1][:40], 1, 16, augmentation=Augmentation(1), seed=3, verbose=False)
        losses.append(history["loss"])
    assert losses[0] == losses[1]


def test_images_in_another_order_of_memory_and_read_only_ones(data):
    images = np.ascontiguousarray(data[0][:20].transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    images.flags.writeable = False
    losses = [
        small().fit(x, data[1][:20], 1, 8, augmentation=Augmentation(1), seed=3, verbose=False)["loss"]
        for x in (images, data[0][:20])
    ]
    assert losses[0] == losses[1]


class Seen(FullyConnect):
    """The model's first layer, which keeps what it was shown in training."""

    def forward(self, x):
        self.batches.append(np.array(x))
        return super().forward(x)


def seen_by(images, *, epochs=1, batch_size=16, size=None, **options):
    """All batches of a training on `images`, whose first pixel is the image's number."""
    first = Seen((1, *(size or images.shape[1:3]), images.shape[3]), 2, dtype="float64")
    first.batches = []
    model = Sequential([first, Softmax((1, 2), dtype="float64")])
    model.fit(images, np.arange(len(images)) % 2, epochs, batch_size, learning_rate=0, verbose=False, **options)
    return first.batches


@pytest.fixture
def marked(rng):
    """Images whose every pixel says which of them it is: image i has i + 1 in its whole parts."""
    return (
        np.floor(rng.random((40, 6, 6, 1)) * 0 + np.arange(1, 41)[:, None, None, None]) + rng.random((40, 6, 6, 1)) / 2
    )


def sorted_images(batches):
    """The batches' images in the order of the set."""
    images = np.concatenate(batches)
    return images[np.argsort(np.floor(images.max(axis=(1, 2, 3))), kind="stable")]


def test_what_happens_follows_from_seed_and_epoch(backend, marked):
    """Not from the batch size; every epoch and every seed has its own."""
    augmentation = Augmentation(1, True)
    options = {"augmentation": augmentation, "epochs": 2, "seed": 5}
    a, b = (seen_by(marked, batch_size=size, **options) for size in (16, 40))
    np.testing.assert_array_equal(np.concatenate(a), np.concatenate(b))
    first, second = sorted_images(b[:1]), sorted_images(b[1:])
    assert np.array_equal(first // 1 * (first > 0), first // 1) and (first != second).any()
    other = sorted_images(seen_by(marked, batch_size=40, augmentation=augmentation, seed=6))
    assert (other != first).any()
    np.testing.assert_array_equal(sorted_images(seen_by(marked, augmentation=augmentation, seed=5)), first)


def test_no_augmentation_changes_nothing(marked):
    for augmentation in (None, Augmentation()):
        batches = seen_by(marked, augmentation=augmentation, seed=1)
        assert [len(batch) for batch in batches] == [16, 16, 8]
        np.testing.assert_array_equal(sorted_images(batches), marked)


def test_crops_of_larger_images(backend, marked):
    """Training takes rectangles from anywhere, validation those from the middle."""
    batches = seen_by(marked, size=(4, 3), augmentation=Augmentation(crop=(4, 3)), seed=0, epochs=3)
    places = set()
    for image in np.concatenate(batches):
        whole = marked[int(image.max()) - 1]
        found = [(i, j) for i in range(3) for j in range(4) if np.array_equal(whole[i : i + 4, j : j + 3], image)]
        assert len(found) == 1
        places |= set(found)
    assert len(places) == 12


def test_validation_is_on_the_middle(data, digits):
    np.random.seed(0)
    model = Sequential([FullyConnect((1, 20, 20, 1), 10, initializer="he"), Softmax((1, 10))])
    test = digits.test_images[:60] / 255, digits.test_labels[:60]
    augmentation = Augmentation(crop=20)
    history = model.fit(*data, 1, 20, validation_data=test, augmentation=augmentation, verbose=False)
    middle = test[0][:, 4:24, 4:24]
    assert history["val_loss"] == [model.evaluate(middle, test[1]).loss]
    again = model.fit(*data, 1, 20, validation_data=(middle, test[1]), augmentation=augmentation, verbose=False)
    assert again["val_loss"] == [model.evaluate(middle, test[1]).loss]


@pytest.mark.parametrize(
    ("size", "slices"),
    [(4, (slice(1, 5), slice(0, 4))), ((6, 5), (slice(None), slice(None))), ([1, 2], (slice(2, 3), slice(1, 3)))],
)
def test_center_crop(rng, size, slices):
    images = rng.random(SHAPE)
    out = center_crop(images, size)
    np.testing.assert_array_equal(out, images[(slice(None), *slices)])
    assert np.shares_memory(out, images)


@pytest.mark.parametrize(
    ("images", "size", "message"),
    [
        (
            np.zeros(SHAPE),
            6,
            r"center_crop: `images` must have the shape \(N, 6 or more, 6 or more, C\). .*\(40, 6, 5, 2\)",
        ),
        (np.zeros((6, 5)), 2, r"center_crop: `images` must have the shape .* Received the shape \(6, 5\)$"),
        (np.zeros(SHAPE), (1, 2, 3), r"center_crop: `size` must be an integer or a pair \(height, width\). Received"),
        (np.zeros(SHAPE), 0, "center_crop: `size` must be an integer of at least 1. Received size=0"),
    ],
)
def test_what_has_no_such_middle(images, size, message):
    with pytest.raises(ValueError, match=message):
        center_crop(images, size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": -1}, "Augmentation: `shift` must be an integer of at least 0. Received shift=-1"),
        ({"shift": 0.1}, "Augmentation: `shift` must be an integer of at least 0. Received shift=0.1"),
        ({"flip": "yes"}, "Augmentation: `flip` must be True or False. Received flip='yes'"),
        ({"crop": 0}, "Augmentation: `crop` must be an integer of at least 1. Received crop=0"),
        ({"crop": (3, 0)}, "Augmentation: `crop` must be an integer of at least 1. Received crop=0"),
        ({"crop": (3,)}, r"Augmentation: `crop` must be an integer or a pair \(height, width\). Received crop=\(3,\)"),
        ({"crop": "33"}, "Augmentation: `crop` must be an integer of at least 1. Received crop='33'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)


def test_bad_augmentations_of_fit(data, digits):
    model, images = small(), np.zeros((4, 30, 28, 1))
    flat = Sequential([FullyConnect((1, 784), 10), Softmax((1, 10))])
    labels = np.zeros(4, int)
    for fitted, x, augmentation, error, message in (
        (model, images[:, :28], "flip", TypeError, "fit: `augmentation` must be an Augmentation. Received aug"),
        (model, images, Augmentation(), ValueError, r"fit: `x` must have the shape \(images, 28, 28, 1\), one image"),
        (model, images, Augmentation(crop=20), ValueError, "must be a crop of 28 x 28 pixels, what the model takes. R"),
        (model, images[:, :20], Augmentation(crop=28), ValueError, r"`x` must have the shape \(images, 28 or more, 28"),
        (model, images[..., [0, 0]], Augmentation(crop=28), ValueError, r"or more, 1\). Received the shape \(4, 30"),
        (model, images[:0], Augmentation(crop=28), ValueError, r"Received the shape \(0, 30, 28, 1\)"),
        (model, images + np.inf, Augmentation(crop=28), ValueError, "fit: `x` must be finite"),
        (flat, images.reshape(4, -1), Augmentation(1), ValueError, r"`augmentation` is for models that take images"),
    ):
        with pytest.raises(error, match=message):
            fitted.fit(x, labels[: len(x)], augmentation=augmentation, verbose=False)
    with pytest.raises(ValueError, match=r"fit, validation_data: `x` must have the shape .* \(4, 20, 28, 1\)"):
        model.fit(*data, validation_data=(images[:, :20], labels), augmentation=Augmentation(crop=28), verbose=False)


def test_text():
    assert repr(Augmentation(2, True, (4, 3))) == "Augmentation(shift=2, flip=True, crop=(4, 3))"
    assert repr(Augmentation()) == "Augmentation(shift=0, flip=False, crop=None)"
    assert "augmentation" in training.fit.__doc__


def test_the_middle_of_what_is_no_array():
    with pytest.raises(TypeError, match=r"center_crop: `images` must hold real numbers. Received images=None"):
        center_crop(None, 2)
    np.testing.assert_array_equal(center_crop(np.arange(9).reshape(1, 3, 3, 1).tolist(), 1), [[[[4]]]])
