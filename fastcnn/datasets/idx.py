"""IDX files, the format of MNIST and Fashion-MNIST: plain or gzip-compressed.

A file is two zero bytes, a type code, the number of axes, each size as a big-endian 32-bit integer, and the data
(http://yann.lecun.com/exdb/mnist/, "The IDX file format").
"""

import gzip
import math
import os
import struct
import sys
import zlib
from dataclasses import dataclass
from itertools import product
from typing import IO

import numpy as np

from fastcnn.datasets.base import Dataset, dataset_in, first_file, require_files
from fastcnn.errors import FileFormatError
from fastcnn.files import memory_for, open_to_read
from fastcnn.saving.limits import check_expansion
from fastcnn.shapes import check_path

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

MAX_AXES = 32  # what every NumPy can hold
Content = IO[bytes] | gzip.GzipFile
BLOCK = 1 << 20  # bytes that are decompressed at a time

FILES = {
    f"{split} {kind}": [
        f"{prefix}-{kind}{separator}idx{axes}-ubyte{suffix}" for separator, suffix in product("-.", ("", ".gz"))
    ]
    for split, prefix in (("train", "train"), ("test", "t10k"))
    for kind, axes in (("images", 3), ("labels", 1))
}


@dataclass(frozen=True)
class IdxHeader:
    """What stands before the numbers of an array."""

    sizes: tuple[int, ...]
    dtype: np.dtype  # big-endian
    start: int  # of the numbers, in bytes

    @property
    def end(self) -> int:
        """The size of the whole file."""
        return self.start + math.prod(self.sizes) * self.dtype.itemsize


def read_header(file: Content, name: str) -> IdxHeader:
    """The header at the beginning of `file`; FileFormatError where there is none."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or head[3] > MAX_AXES:
        raise FileFormatError(f"{name}: not an IDX file: it starts with the bytes {head.hex(' ')!r}")
    dtype, axes = np.dtype(TYPES[head[2]]), head[3]
    content = file.read(4 * axes)
    if len(content) < 4 * axes:
        asks = f"{4 + len(content)} bytes where its {axes} sizes alone take {4 + 4 * axes}"
        raise FileFormatError(f"{name}: truncated or corrupt IDX file: {asks}")
    sizes = struct.unpack(f">{axes}I", content)
    if math.prod(max(1, size) for size in sizes) * dtype.itemsize > sys.maxsize:  # an empty one too
        raise FileFormatError(f"{name}: truncated or corrupt IDX file: no array has its sizes, {sizes}")
    return IdxHeader(sizes, dtype, 4 + 4 * axes)


def read_numbers(file: Content, header: IdxHeader) -> tuple[np.ndarray, int]:
    """The array behind a header, and how many bytes were there in all, counted to one more than it needs."""
    content, filled = np.empty(header.end - header.start, np.uint8), 0
    while got := file.read(min(BLOCK, len(content) - filled)):  # and not all at once, which would take it twice
        content[filled : filled + len(got)] = np.frombuffer(got, np.uint8)
        filled += len(got)
    return content.view(header.dtype).reshape(header.sizes), header.start + filled + len(file.read(1))


def read_compressed(file: IO[bytes], name: str) -> np.ndarray:
    """The array in a gzip file."""
    stored = os.fstat(file.fileno()).st_size
    try:
        with gzip.GzipFile(fileobj=file) as content:
            header = read_header(content, name)
            check_expansion(stored, header.end)
            array, size = read_numbers(content, header)
    except FileFormatError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise FileFormatError(f"{name}: truncated or corrupt gzip file ({error})") from error
    check_size(name, header, size, " or more" if size > header.end else "")
    return array


def check_size(name: str, header: IdxHeader, size: int, more: str = "") -> None:
    if size != header.end:
        asks = f"its header, sizes {header.sizes}, asks for {header.end}"
        raise FileFormatError(f"{name}: truncated or corrupt IDX file: {size} bytes{more} where {asks}")


def read_idx(path: str | os.PathLike, mapped: bool = False) -> np.ndarray:
    """The array in an IDX file, in native byte order.

    With `mapped` a plain file is mapped into memory, and read as it is used; what is written into the array stays in
    this process, and the file must not be shortened meanwhile.
    """
    name = check_path("read_idx", "path", path)
    with open_to_read(path, "an IDX file") as file, memory_for(path):
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if compressed:
            array = read_compressed(file, name)
        else:
            header = read_header(file, name)
            check_size(name, header, os.fstat(file.fileno()).st_size)
            if mapped and header.end > header.start:  # nothing cannot be mapped
                array = np.asarray(np.memmap(file, header.dtype, "c", header.start, header.sizes))
            else:
                array, size = read_numbers(file, header)
                check_size(name, header, size)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def is_idx_folder(folder: str | os.PathLike) -> bool:
    return first_file(folder, FILES["train images"]) is not None


def read_idx_folder(
    folder: str | os.PathLike, name: str, class_names: tuple[str, ...] = (), mapped: bool = False
) -> Dataset:
    """The four files of MNIST or a set in its format: train and t10k, images and labels. `mapped` as in `read_idx`."""
    parts, folder = {}, check_path("read_idx_folder", "folder", folder)
    for part, path in require_files(folder, FILES).items():
        parts[part] = array = read_idx(path, mapped)
        axes = 3 if part.endswith("images") else 1
        if array.ndim != axes or not array.size:
            raise FileFormatError(f"{path}: the {part} have the shape {array.shape}; expected {axes} axes")
    arrays = [array[..., np.newaxis] if part.endswith("images") else array for part, array in parts.items()]
    return dataset_in(folder, name, arrays, class_names)
