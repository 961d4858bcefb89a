"""Data sets in one `.npz` file with the arrays x_train, y_train, x_test, y_test (the layout of Keras's mnist.npz)."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fastcnn.datasets.base import Dataset, dataset_in
from fastcnn.errors import FileFormatError
from fastcnn.saving.containers import read_npz
from fastcnn.shapes import check_path

KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz_dataset(path: str | os.PathLike, name: str | None = None) -> Dataset:
    """Images (N, H, W) or (N, H, W, C) and labels (N,) or (N, 1) from an `.npz` file; pickled objects are refused."""
    path = check_path("read_npz_dataset", "path", path)
    arrays = read_npz(path, "an .npz data set")
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise FileFormatError(
            f"{os.fspath(path)}: a data set needs the arrays {', '.join(KEYS)}; this file holds "
            f"{', '.join(sorted(arrays)) or 'none'}"
        )
    return dataset_of(arrays, name or Path(path).stem, path)


def dataset_of(arrays: Mapping[str, np.ndarray], name: str, path: str | os.PathLike) -> Dataset:
    """The data set of the arrays `KEYS`, which `path` holds."""
    for key in KEYS:
        if not arrays[key].size:
            raise FileFormatError(f"{os.fspath(path)}: the array {key} is empty, of the shape {arrays[key].shape}")
    parts = (with_channels(arrays[key]) if key.startswith("x") else as_vector(arrays[key]) for key in KEYS)
    return dataset_in(path, name, parts)


def with_channels(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W) as (N, H, W, 1); others as they are."""
    return images[..., np.newaxis] if images.ndim == 3 else images


def as_vector(labels: np.ndarray) -> np.ndarray:
    """Labels (N, 1) as (N,); others as they are."""
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
