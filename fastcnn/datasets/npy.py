"""Data sets as four `.npy` files in a folder: x_train.npy, y_train.npy, x_test.npy, y_test.npy.

They are mapped into memory, so that a set may be larger than that, and ranks that share the work read what they use.
"""

import os

import numpy as np

from fastcnn.datasets.base import Dataset, first_file, require_files
from fastcnn.datasets.npz import KEYS, dataset_of
from fastcnn.errors import FileFormatError

FILES = {key: [f"{key}.npy"] for key in KEYS}


def is_npy_folder(folder: str | os.PathLike) -> bool:
    return first_file(folder, FILES["x_train"]) is not None


def read_npy(path: str | os.PathLike) -> np.ndarray:
    """The array in an `.npy` file, mapped: what is written into it stays in this process. No pickled objects."""
    try:
        return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except (ValueError, EOFError) as error:
        what = "not an .npy file, or a truncated or corrupt one"
        raise FileFormatError(f"{os.fspath(path)}: {what} ({error})") from error


def read_npy_folder(folder: str | os.PathLike, name: str) -> Dataset:
    """Images (N, H, W) or (N, H, W, C) and labels (N,) or (N, 1), of integers."""
    arrays = {key: read_npy(path) for key, path in require_files(folder, FILES).items()}
    return dataset_of(arrays, name, folder)
