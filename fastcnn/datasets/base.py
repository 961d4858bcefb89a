"""What every reader returns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastcnn.errors import FileFormatError


@dataclass(frozen=True)
class Dataset:
    """Images (N, H, W, C) and integer labels (N,), split into a training and a test set."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if images.ndim != 4 or images.shape[1:] != self.image_shape or labels.shape != images.shape[:1]:
                raise FileFormatError(
                    f"data set {self.name}: the {split} images have the shape {images.shape} and their labels "
                    f"{labels.shape}; expected (N, {', '.join(map(str, self.image_shape))}) and (N,)"
                )
            if labels.dtype.kind not in "iu" or images.dtype.kind not in "buif":
                raise FileFormatError(
                    f"data set {self.name}: the {split} images are {images.dtype} and their labels {labels.dtype}; "
                    "expected numbers and integers"
                )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels)"""
        return self.train_images.shape[1:]

    @property
    def classes(self) -> int:
        """Number of classes: the class names, or one more than the largest label of either split."""
        return len(self.class_names) or int(max(self.train_labels.max(), self.test_labels.max())) + 1

    @property
    def scale(self) -> float:
        """The factor that brings integer grey levels to 0 to 1: 1/255 for bytes; 1 for floats, left as they are."""
        if self.train_images.dtype.kind == "f":
            return 1.0
        return 1 / 255 if self.train_images.dtype == np.uint8 else 1 / max(1, int(self.train_images.max()))


def first_file(folder: str | os.PathLike, names: Sequence[str]) -> str | None:
    """The first of `names` that is a file in `folder`, as a path."""
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


def require_files(folder: str | os.PathLike, choices: dict[str, Sequence[str]]) -> dict[str, str]:
    """For each part of a data set the first of its possible file names that is there; all must be."""
    found = {part: first_file(folder, names) for part, names in choices.items()}
    missing = [names[0] for part, names in choices.items() if found[part] is None]
    if missing:
        raise FileNotFoundError(f"{os.fspath(folder)}: there is no file {' and no '.join(missing)}")
    return {part: path for part, path in found.items() if path is not None}
