"""`.npy` files and those inside an `.npz`: the header first, which says how much memory the array would take."""

import math
from dataclasses import dataclass
from typing import IO

import numpy as np

FORMAT = np.lib.format
HEADERS = {(1, 0): FORMAT.read_array_header_1_0, (2, 0): FORMAT.read_array_header_2_0}  # 3.0 is for records alone


@dataclass(frozen=True)
class NpyHeader:
    """What stands before the numbers of an array."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    start: int  # of the numbers, in bytes

    @property
    def end(self) -> int:
        """The size of the whole file."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], size: int) -> NpyHeader:
    """The header at the beginning of `file`, which holds `size` bytes; an error of any class where it is damaged, where
    the array has another size than the header says, or where it holds pickled objects."""
    version = FORMAT.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"format version {version[0]}.{version[1]}; expected 1.0 or 2.0")
    shape, fortran_order, dtype = HEADERS[version](file)
    header = NpyHeader(shape, fortran_order, dtype, file.tell())
    if dtype.hasobject:
        raise ValueError(f"an array of objects, {dtype}, which could run code; expected numbers")
    if not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"its header describes an array of {dtype} and the shape {shape}")
    if header.end != size:
        raise ValueError(f"{size} bytes where its header, {dtype} of the shape {shape}, asks for {header.end}")
    return header
