"""Files that hold named arrays and a header of what JSON can hold: `.npz`, and `.safetensors` with that extra.

Neither can hold code, and nothing is read that a file of its size should not hold: see :mod:`fastcnn.saving.limits`.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn.errors import FileFormatError
from fastcnn.files import check_writable, memory_for, open_to_read, write_whole
from fastcnn.saving.npz import read_arrays
from fastcnn.shapes import must_be, shortened

HEADER = "architecture"  # the name of the header among the arrays of an .npz file
LONGEST = 1 << 24  # characters of a header: as objects they may take 25 times that


def is_safetensors(path: str | os.PathLike) -> bool:
    return Path(path).suffix.lower() == ".safetensors"


def safetensors() -> Any:
    """The library; ImportError that says which extra it is."""
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ImportError(
            "model files that end in .safetensors need that library: `pip install fastcnn[safetensors]`"
        ) from error
    return safetensors


def check_destination(path: str | os.PathLike) -> None:
    """OSError where `path` cannot be written, and ImportError where the library for its format is missing."""
    check_writable(path)
    if is_safetensors(path):
        safetensors()


def write(path: str | os.PathLike, header: str, arrays: dict[str, np.ndarray]) -> None:
    """Write `header`, JSON, and `arrays` to `path`, whose ending names the format; whole, or nothing."""
    check_destination(path)
    if len(header) > LONGEST:  # `read` refuses it
        raise ValueError(f"save: the header of a file may have {LONGEST:,} characters. Received {len(header):,}")
    for name, array in arrays.items():
        if array.dtype.hasobject:  # NumPy would pickle it, and `read` refuses that
            raise TypeError(must_be("save", name, "an array of numbers or text, and not of objects", array))
    if is_safetensors(path):
        content = safetensors().numpy.save(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()}, {HEADER: header}
        )
        write_whole(path, lambda file: file.write(content))
    else:
        named: dict[str, Any] = {HEADER: np.array(header), **arrays}
        write_whole(path, lambda file: np.savez(file, **named))


def read(path: str | os.PathLike, what: str) -> tuple[Any, dict[str, np.ndarray]]:
    """The header and all arrays; FileFormatError where the file is damaged. The header is None where there is none."""
    if is_safetensors(path):
        header, arrays = read_safetensors(path, what)
    else:
        arrays = read_npz(path, what)
        text = arrays.pop(HEADER, None)
        header = str(text) if text is not None and text.dtype.kind == "U" and not text.ndim else None
    try:
        return json.loads(header) if header is not None and len(header) <= LONGEST else None, arrays
    except Exception:  # nesting too deep for Python counts too
        return None, arrays


def read_safetensors(path: str | os.PathLike, what: str) -> tuple[str | None, dict[str, np.ndarray]]:
    library = safetensors()
    open_to_read(path, what).close()  # its own errors name neither the path nor the reason
    with memory_for(path):
        try:
            with library.safe_open(os.fspath(path), framework="numpy") as file:
                header = (file.metadata() or {}).get(HEADER)
                return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        except MemoryError:
            raise
        except Exception as error:
            raise damaged(path, what, error) from error


def damaged(path: str | os.PathLike, what: str, error: Exception) -> FileFormatError:
    reason = shortened(f"{type(error).__name__}: {error}", 300)
    return FileFormatError(f"{os.fspath(path)}: not {what}, or a truncated or corrupt one ({reason})")


def read_npz(path: str | os.PathLike, what: str) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file, read whole; FileFormatError where it is not one, or is damaged."""
    with open_to_read(path, what) as file, memory_for(path):
        try:
            return read_arrays(file)
        except MemoryError:
            raise
        except Exception as error:  # damaged bytes raise a dozen classes, of zipfile, zlib, tokenize and NumPy
            raise damaged(path, what, error) from error
