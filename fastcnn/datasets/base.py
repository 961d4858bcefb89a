"""What every reader returns."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastcnn.arrays import warn_of_channels_first
from fastcnn.errors import FileFormatError
from fastcnn.shapes import IMAGE_AXES, shape_text


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
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            if not isinstance(getattr(self, name), np.ndarray):
                kind = type(getattr(self, name)).__name__
                raise self.error(f"`{name}` is of the type {kind}; expected an array")
        if not isinstance(self.class_names, tuple | list):
            raise self.error(
                f"`class_names` is of the type {type(self.class_names).__name__}; expected a tuple of texts"
            )
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            wanted = ("N", *self.image_shape) if self.train_images.ndim == 4 else ("N", *IMAGE_AXES)
            if images.ndim != 4 or images.shape[1:] != self.image_shape or labels.shape != images.shape[:1]:
                raise self.error(
                    f"the {split} images have the shape {images.shape} and their labels {labels.shape}; expected "
                    f"{shape_text(*wanted)} and (N,), one integer for each image"
                )
            if labels.dtype.kind not in "iu" or images.dtype.kind not in "buif":
                raise self.error(
                    f"the {split} images are {images.dtype} and their labels {labels.dtype}; expected real numbers for "
                    "images, and integers for labels: a label is the number of a class"
                )
            if not images.size:
                raise self.error(f"there are no {split} images: their shape is {images.shape}")
        warn_of_channels_first(f"data set {self.name}", "images", self.train_images.shape, stacklevel=4)
        self.check_classes()

    def check_classes(self) -> None:
        """Raise where labels name no classes: a wrong column may hold millions, and a model would make room for all."""
        both = (self.train_labels, self.test_labels)
        low, high = min(int(labels.min()) for labels in both), max(int(labels.max()) for labels in both)
        limit = len(self.class_names) or sum(map(len, both))
        if low < 0 or high >= limit:
            why = f"{limit} class names" if self.class_names else f"{limit} images, and no more classes than images"
            raise self.error(f"the labels lie in {low} to {high}; expected 0 to {limit - 1} at most: there are {why}")
        if low > 0 and not self.class_names:
            warnings.warn(
                f"data set {self.name}: the labels lie in {low} to {high}, which makes {high + 1} classes, and no "
                f"image is of the first {low}. Labels less {low} count from 0",
                UserWarning,
                stacklevel=4,
            )
        unseen = np.setdiff1d(self.test_labels, self.train_labels)
        if unseen.size and not self.class_names:  # a part of a known set may lack some of its classes
            raise self.error(
                f"the class {unseen[0]} is in the test labels and in no training label"
                f"{f' ({unseen.size} such classes)' if unseen.size > 1 else ''}"
            )

    def error(self, what: str) -> FileFormatError:
        return FileFormatError(f"data set {self.name}: {what}")

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


def dataset_in(
    path: str | os.PathLike, name: str, images_and_labels: Iterable[np.ndarray], class_names: tuple[str, ...] = ()
) -> Dataset:
    """The data set of four arrays that a file or folder holds: FileFormatError that names it where they do not fit."""
    train_images, train_labels, test_images, test_labels = images_and_labels
    try:
        return Dataset(name, train_images, train_labels, test_images, test_labels, class_names)
    except FileFormatError as error:
        raise FileFormatError(f"{os.fspath(path)}: {error}") from error


def first_file(folder: str | os.PathLike, names: Sequence[str]) -> str | None:
    """The first of `names` that is a file in `folder`, as a path."""
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


def require_files(folder: str | os.PathLike, choices: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """For each part of a data set the first of its possible file names that is there; all must be."""
    found = {part: first_file(folder, names) for part, names in choices.items()}
    missing = [names[0] for part, names in choices.items() if found[part] is None]
    if missing:
        raise FileNotFoundError(f"{os.fspath(folder)}: there is no file {' and no '.join(missing)}")
    return {part: path for part, path in found.items() if path is not None}
