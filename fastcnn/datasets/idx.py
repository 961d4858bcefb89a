"""IDX files, the format of MNIST and Fashion-MNIST: plain or gzip-compressed.

A file is two zero bytes, a type code, the number of axes, each size as a big-endian 32-bit integer, and the data
(http://yann.lecun.com/exdb/mnist/, "The IDX file format").
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from itertools import product

import numpy as np

from fastcnn.datasets.base import Dataset, first_file, require_files
from fastcnn.errors import FileFormatError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

MAX_AXES = 32  # what every NumPy can hold

FILES = {
    f"{split} {kind}": [
        f"{prefix}-{kind}{separator}idx{axes}-ubyte{suffix}" for separator, suffix in product("-.", ("", ".gz"))
    ]
    for split, prefix in (("train", "train"), ("test", "t10k"))
    for kind, axes in (("images", 3), ("labels", 1))
}


def read_bytes(path: str | os.PathLike) -> bytes:
    """The content of a file, decompressed where its first two bytes are those of gzip."""
    with open(path, "rb") as file:
        content = file.read()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(f"{os.fspath(path)}: truncated or corrupt gzip file ({error})") from error


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, in native byte order."""
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or content[3] > MAX_AXES:
        raise FileFormatError(f"{os.fspath(path)}: not an IDX file: it starts with the bytes {content[:4].hex(' ')!r}")
    dtype, axes = np.dtype(TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    sizes = struct.unpack_from(f">{axes}I", content, 4) if len(content) >= start else ()
    expected = start + math.prod(sizes) * dtype.itemsize
    if len(content) != expected or len(sizes) != axes:
        raise FileFormatError(
            f"{os.fspath(path)}: truncated or corrupt IDX file: {len(content)} bytes where its header, sizes {sizes}, "
            f"asks for {expected}"
        )
    array = np.frombuffer(content, dtype, offset=start).reshape(sizes)
    return array.astype(dtype.newbyteorder("="))


def is_idx_folder(folder: str | os.PathLike) -> bool:
    return first_file(folder, FILES["train images"]) is not None


def read_idx_folder(folder: str | os.PathLike, name: str, class_names: tuple[str, ...] = ()) -> Dataset:
    """The four files of MNIST or a set in its format: train and t10k, images and labels."""
    parts = {part: read_idx(path) for part, path in require_files(folder, FILES).items()}
    for part, array in parts.items():
        axes = 3 if part.endswith("images") else 1
        if array.ndim != axes or not array.size:
            raise FileFormatError(f"{os.fspath(folder)}: the {part} have the shape {array.shape}; expected {axes} axes")
    return Dataset(
        name,
        parts["train images"][..., np.newaxis],
        parts["train labels"],
        parts["test images"][..., np.newaxis],
        parts["test labels"],
        class_names,
    )
