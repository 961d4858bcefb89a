"""Data sets: the digits in the package, and readers for the files that the known ones come in.

``load("digits")`` always works. ``load("mnist")``, ``load("fashion-mnist")`` and ``load("cifar10")`` look for the
original files; ``load("path/to/folder")`` and ``load("file.npz")`` read what is there.
"""

from fastcnn.datasets.base import Dataset
from fastcnn.datasets.cifar import read_cifar10
from fastcnn.datasets.find import NAMES, load, search_paths
from fastcnn.datasets.idx import read_idx, read_idx_folder
from fastcnn.datasets.npz import read_npz_dataset

__all__ = [
    "NAMES",
    "Dataset",
    "load",
    "read_cifar10",
    "read_idx",
    "read_idx_folder",
    "read_npz_dataset",
    "search_paths",
]
