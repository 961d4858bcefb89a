"""CIFAR-10 as its author distributes it: the binary version and the Python version.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), https://www.cs.toronto.edu/~kriz/cifar.html
"""

import io
import os

import numpy as np

from fastcnn.datasets import cifar_pickle
from fastcnn.datasets.base import Dataset, dataset_in, first_file, require_files
from fastcnn.errors import FileFormatError
from fastcnn.files import memory_for, open_to_read
from fastcnn.shapes import check_path, shortened

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXELS = 3 * 32 * 32


def read_python_batch(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 3072) and labels (N,) of one pickled batch."""
    with open_to_read(path, "a CIFAR-10 batch") as file, memory_for(path):
        content = io.BytesIO(file.read())
        try:
            batch = cifar_pickle.load(content)
            data, labels = (batch[key] if key in batch else batch[key.decode()] for key in (b"data", b"labels"))
            return cifar_pickle.as_array(data), cifar_pickle.as_array(labels)
        except MemoryError:
            raise
        except Exception as error:  # a corrupt pickle raises whatever its opcodes happen to hit
            reason = shortened(f"{type(error).__name__}: {error}", 300)
            raise FileFormatError(f"{path}: not a CIFAR-10 batch ({reason})") from error


def read_binary_batch(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 3072) and labels (N,) of one binary batch: records of a label byte and 3072 pixels."""
    with open_to_read(path, "a CIFAR-10 batch") as file, memory_for(path):
        content = np.fromfile(file, np.uint8)
    if not content.size or content.size % (1 + PIXELS):
        raise FileFormatError(
            f"{path}: truncated or corrupt: {content.size} bytes, which is no multiple of a record's {1 + PIXELS}"
        )
    records = content.reshape(-1, 1 + PIXELS)
    return records[:, 1:], records[:, 0]


READERS = {".bin": read_binary_batch, "": read_python_batch}


def batch_files(suffix: str) -> dict[str, list[str]]:
    train = {f"train {i}": [f"data_batch_{i}{suffix}"] for i in range(1, 6)}
    return train | {"test": [f"test_batch{suffix}"]}


def cifar_suffix(folder: str | os.PathLike) -> str | None:
    """'.bin' for the binary version, '' for the Python version, None where the folder holds neither."""
    return next((s for s in READERS if first_file(folder, batch_files(s)["train 1"])), None)


def read_cifar10(folder: str | os.PathLike) -> Dataset:
    """The five training batches and the test batch of CIFAR-10 in `folder`, as NHWC images."""
    folder = check_path("read_cifar10", "folder", folder)
    suffix = cifar_suffix(folder) or ""
    images: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for part, path in require_files(folder, batch_files(suffix)).items():
        pixels, classes = READERS[suffix](path)
        right = pixels.dtype == np.uint8 and classes.dtype.kind in "iu" and classes.ndim == 1 and classes.size
        if not right or pixels.shape != (len(classes), PIXELS):
            raise FileFormatError(
                f"{path}: {pixels.dtype} pixels of the shape {pixels.shape} and {classes.dtype} labels of the shape "
                f"{classes.shape}; expected uint8 (N, {PIXELS}) and integers (N,)"
            )
        if classes.min() < 0 or classes.max() >= len(CLASS_NAMES):
            raise FileFormatError(f"{path}: labels from {classes.min()} to {classes.max()}; expected 0 to 9")
        split = part.split()[0]
        images[split].append(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels[split].append(classes.astype(np.uint8))
    arrays = (np.concatenate(part[split]) for split in ("train", "test") for part in (images, labels))
    return dataset_in(folder, "cifar10", arrays, CLASS_NAMES)
