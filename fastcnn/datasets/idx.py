"""IDX files, the format of MNIST and Fashion-MNIST: plain or gzip-compressed.

A file is two zero bytes, a type code, the number of axes, each size as a big-endian 32-bit integer, and the data
(http://yann.lecun.com/exdb/mnist/, "The IDX file format").
"""

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


def read_bytes(path: str | os.PathLike, mapped: bool) -> np.ndarray:
    """The content of a file, decompressed where its first two bytes are those of gzip."""
    if mapped and os.path.getsize(path):  # an empty file cannot be mapped
        content = np.asarray(np.memmap(path, np.uint8, "c"))
    else:
        with open(path, "rb") as file:
            content = np.frombuffer(bytearray(file.read()), np.uint8)
    if content[:2].tobytes() != b"\x1f\x8b":
        return content
    try:
        return np.frombuffer(bytearray(gzip.decompress(content.data)), np.uint8)
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(f"{os.fspath(path)}: truncated or corrupt gzip file ({error})") from error


def read_idx(path: str | os.PathLike, mapped: bool = False) -> np.ndarray:
    """The array in an IDX file, in native byte order.

    With `mapped` a plain file of bytes is mapped into memory, and read as it is used; what is written into the array
    stays in this process, and the file must not be shortened meanwhile.
    """
    content = read_bytes(path, mapped)
    head = content[: 4 + 4 * MAX_AXES].tobytes()
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or head[3] > MAX_AXES:
        raise FileFormatError(f"{os.fspath(path)}: not an IDX file: it starts with the bytes {head[:4].hex(' ')!r}")
    dtype, axes = np.dtype(TYPES[head[2]]), head[3]
    start = 4 + 4 * axes
    sizes = struct.unpack_from(f">{axes}I", head, 4) if len(head) >= start else ()
    expected = start + math.prod(sizes) * dtype.itemsize
    if len(content) != expected or len(sizes) != axes:
        raise FileFormatError(
            f"{os.fspath(path)}: truncated or corrupt IDX file: {len(content)} bytes where its header, sizes {sizes}, "
            f"asks for {expected}"
        )
    array = content[start:].view(dtype).reshape(sizes)
    return array.astype(dtype.newbyteorder("="), copy=False)


def is_idx_folder(folder: str | os.PathLike) -> bool:
    return first_file(folder, FILES["train images"]) is not None


def read_idx_folder(
    folder: str | os.PathLike, name: str, class_names: tuple[str, ...] = (), mapped: bool = False
) -> Dataset:
    """The four files of MNIST or a set in its format: train and t10k, images and labels. `mapped` as in `read_idx`."""
    parts = {part: read_idx(path, mapped) for part, path in require_files(folder, FILES).items()}
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
