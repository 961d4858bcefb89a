"""`.npz` archives, read with care: directory and headers are compared before memory is taken for an array."""

import itertools
import os
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from fastcnn.saving.limits import check_expansion
from fastcnn.saving.npy import read_header

LOCAL_HEADER = 30  # bytes at least before each member


def read_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """All arrays of an archive by name; an error of any class where it is none, or is damaged."""
    size = os.fstat(file.fileno()).st_size
    if not zipfile.is_zipfile(file):
        raise zipfile.BadZipFile("it is no zip archive")
    with zipfile.ZipFile(file) as archive:
        check_directory(archive)
        check_expansion(size, sum(member.file_size for member in archive.infolist()))
        return dict(arrays_of(archive))


def check_directory(archive: zipfile.ZipFile) -> None:
    """Raise where members share bytes, by which a small archive holds many large ones, or where one is there twice."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    ends = [member.header_offset + LOCAL_HEADER + len(member.filename) + member.compress_size for member in members]
    starts = [*(member.header_offset for member in members[1:]), archive.start_dir]
    for member, end, following in zip(members, ends, starts, strict=False):
        if end > following:
            raise zipfile.BadZipFile(f"{member.filename!r} and what follows it share bytes")
    for first, second in itertools.pairwise(sorted(member.filename for member in members)):
        if first == second:
            raise zipfile.BadZipFile(f"{first!r} is there twice")


def arrays_of(archive: zipfile.ZipFile) -> Iterator[tuple[str, np.ndarray]]:
    """Each array and its name; what is no `.npy` file is left alone."""
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            continue
        if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
            raise zipfile.BadZipFile(f"{member.filename!r} has two sizes")
        with archive.open(member) as file:
            read_header(file, member.file_size)
            file.seek(0)
            yield member.filename.removesuffix(".npy"), np.lib.format.read_array(file, allow_pickle=False)
