"""Finding data sets: by name, by path, by `FASTCNN_DATA`."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastcnn.datasets.base import Dataset
from fastcnn.datasets.cifar import cifar_suffix, read_cifar10
from fastcnn.datasets.idx import is_idx_folder, read_idx_folder
from fastcnn.datasets.npy import is_npy_folder, read_npy_folder
from fastcnn.datasets.npz import read_npz_dataset
from fastcnn.errors import DatasetNotFoundError, FileFormatError
from fastcnn.shapes import check_path

BUNDLED = Path(__file__).parent / "data" / "mnist_5k.npz"
DEBIAN = "/usr/share/datasets"

FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where the files of a named data set may lie below a data folder, how they are known, read, and had."""

    folders: tuple[str, ...]
    present: Callable[[str], bool]
    read: Callable[[str, bool], Dataset]  # a folder, and whether files are mapped
    advice: str


SOURCES = {
    "mnist": Source(
        ("mnist", "MNIST/raw"),
        is_idx_folder,
        lambda folder, mapped: read_idx_folder(folder, "mnist", tuple("0123456789"), mapped),
        "put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
        "t10k-labels-idx1-ubyte.gz of MNIST there (the data set `digits`, 5,000 of its images, needs no files)",
    ),
    "fashion-mnist": Source(
        ("fashion-mnist", "FashionMNIST/raw"),
        is_idx_folder,
        lambda folder, mapped: read_idx_folder(folder, "fashion-mnist", FASHION_NAMES, mapped),
        "`apt-get install dataset-fashion-mnist` on Debian, or put the four files of "
        "https://github.com/zalandoresearch/fashion-mnist there",
    ),
    "cifar10": Source(
        ("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py"),
        lambda folder: cifar_suffix(folder) is not None,
        lambda folder, _: read_cifar10(folder),
        "unpack cifar-10-binary.tar.gz or cifar-10-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html there",
    ),
}

NAMES = ("digits", *SOURCES)


def search_paths(name: str) -> list[str]:
    """The folders where a named set is looked for, in order: below each folder of `FASTCNN_DATA`, in that
    folder itself (unless its name is another set's: MNIST and Fashion-MNIST have the same file names), the system's."""
    bases = [base for base in os.environ.get("FASTCNN_DATA", "").split(os.pathsep) if base]
    folders = SOURCES[name].folders
    paths = [os.path.join(base, folder) for base in bases for folder in folders]
    others = {part for key, source in SOURCES.items() if key != name for part in source.folders}
    own = [base for base in bases if not os.path.abspath(base).endswith(tuple(os.sep + other for other in others))]
    return [*paths, *own, os.path.join(DEBIAN, name)]


def load(name: str | os.PathLike = "digits", mapped: bool = False) -> Dataset:
    """A data set by name ('digits', 'mnist', 'fashion-mnist', 'cifar10') or path (a folder, or an `.npz` file).

    `.npy` files, and with `mapped` plain IDX files too, are mapped into memory, and read as they are used.

    Raises
    ------
    TypeError, ValueError
        Neither a known name nor a path that exists.
    DatasetNotFoundError
        A known name whose files are nowhere; the message says where it was looked and how to get them.
    FileFormatError
        A file is truncated, corrupt or not what it should be.
    """
    expected = f"one of {', '.join(NAMES)}, a folder, or an .npz file that exists"
    text = check_path("load", "name", name, expected)
    if text == "digits":
        return load_digits()
    if text in SOURCES:
        source = SOURCES[text]
        for path in search_paths(text):
            if source.present(path):
                return source.read(path, mapped)
        raise DatasetNotFoundError(
            f"the data set {text!r} is not on this machine. Looked in: {', '.join(search_paths(text))} "
            f"(FASTCNN_DATA={os.environ.get('FASTCNN_DATA', '')!r}). To get it: {source.advice}; or set FASTCNN_DATA "
            f"to a folder with a folder {source.folders[0]!r} in it, or pass the path of the files' folder itself"
        )
    if os.path.isdir(text):
        return read_folder(text, mapped)
    if os.path.isfile(text):
        return read_npz_dataset(text)
    raise ValueError(f"unknown data set: expected {expected}. Received data={text!r}")  # whole: its end is the name


def load_digits() -> Dataset:
    """The 5,000 MNIST digits in the package, 4,000 to train and 1,000 to test; provenance in data/README.md."""
    expected = BUNDLED.with_name(f"{BUNDLED.name}.sha256").read_text().split()[0]
    if hashlib.sha256(BUNDLED.read_bytes()).hexdigest() != expected:
        raise FileFormatError(f"{BUNDLED}: its SHA-256 is not {expected}: the file is damaged; install fastcnn again")
    digits = read_npz_dataset(BUNDLED, "digits")
    return Dataset(
        "digits",
        digits.train_images,
        digits.train_labels,
        digits.test_images,
        digits.test_labels,
        tuple("0123456789"),
    )


def read_folder(folder: str, mapped: bool = False) -> Dataset:
    """The data set in a folder: four IDX files, four `.npy` files, or the batches of CIFAR-10 in either version."""
    if is_idx_folder(folder):
        return read_idx_folder(folder, Path(folder).resolve().name, mapped=mapped)
    if is_npy_folder(folder):
        return read_npy_folder(folder, Path(folder).resolve().name)
    if cifar_suffix(folder) is not None:
        return read_cifar10(folder)
    raise FileNotFoundError(
        f"{folder}: no data set in this folder: expected train-images-idx3-ubyte[.gz] and the three files beside it, "
        "x_train.npy, y_train.npy, x_test.npy and y_test.npy, or data_batch_1[.bin] to data_batch_5[.bin] and "
        "test_batch[.bin]"
    )
