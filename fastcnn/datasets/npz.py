"""Data sets in one `.npz` file with the arrays x_train, y_train, x_test, y_test (the layout of Keras's mnist.npz)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fastcnn.datasets.base import Dataset
from fastcnn.errors import FileFormatError
from fastcnn.saving.containers import read_npz

KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz_dataset(path: str | os.PathLike, name: str | None = None) -> Dataset:
    """Images (N, H, W) or (N, H, W, C) and labels (N,) or (N, 1) from an `.npz` file; pickled objects are refused."""
    arrays = read_npz(path, "an .npz data set")
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise FileFormatError(
            f"{os.fspath(path)}: a data set needs the arrays {', '.join(KEYS)}; this file holds "
            f"{', '.join(sorted(arrays)) or 'none'}"
        )
    return Dataset(name or Path(path).stem, *as_parts(path, arrays))


def as_parts(path: str | os.PathLike, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays of `KEYS`, images with an axis of channels and labels with one axis."""
    parts = []
    for key in KEYS:
        array = arrays[key]
        if not array.size:
            raise FileFormatError(f"{os.fspath(path)}: the array {key} is empty, of the shape {array.shape}")
        if key.startswith("x") and array.ndim == 3:
            array = array[..., None]
        elif key.startswith("y") and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        parts.append(array)
    return parts
