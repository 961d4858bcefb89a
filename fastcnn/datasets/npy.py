"""Data sets as four `.npy` files in a folder: x_train.npy, y_train.npy, x_test.npy, y_test.npy.

They are mapped into memory, so that a set may be larger than that, and ranks that share the work read what they use.
"""

import math
import os
from typing import Literal

import numpy as np

from fastcnn.datasets.base import Dataset, first_file, require_files
from fastcnn.datasets.npz import KEYS, dataset_of
from fastcnn.errors import FileFormatError
from fastcnn.files import open_to_read
from fastcnn.saving.npy import read_header

FILES = {key: [f"{key}.npy"] for key in KEYS}


def is_npy_folder(folder: str | os.PathLike) -> bool:
    return first_file(folder, FILES["x_train"]) is not None


def read_npy(path: str | os.PathLike) -> np.ndarray:
    """The array in an `.npy` file, mapped: what is written into it stays in this process. No pickled objects."""
    with open_to_read(path, "an .npy file") as file:
        try:
            header = read_header(file, os.fstat(file.fileno()).st_size)
            order: Literal["C", "F"] = "F" if header.fortran_order else "C"
            if not math.prod(header.shape):  # which cannot be mapped
                return np.zeros(header.shape, header.dtype)
            return np.asarray(np.memmap(file, header.dtype, "c", header.start, header.shape, order))
        except Exception as error:  # a damaged header raises a dozen classes, of Python's parser and NumPy
            what = "not an .npy file, or a truncated or corrupt one"
            raise FileFormatError(f"{os.fspath(path)}: {what} ({error})") from error


def read_npy_folder(folder: str | os.PathLike, name: str) -> Dataset:
    """Images (N, H, W) or (N, H, W, C) and labels (N,) or (N, 1), of integers."""
    arrays = {key: read_npy(path) for key, path in require_files(folder, FILES).items()}
    return dataset_of(arrays, name, folder)
