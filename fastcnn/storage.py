"""Model files: `.npz` archives that hold the architecture as JSON and the parameters as arrays.

They are read with ``allow_pickle=False``: loading a file from a stranger runs none of its content.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import fastcnn.layers
from fastcnn.errors import FileFormatError
from fastcnn.shapes import check_finite, check_path

FORMAT = "fastcnn-model"
VERSION = 1


def destination(path: str | os.PathLike) -> Path:
    """The file that `path` names, behind links; OSError where there is something else, or no folder for it."""
    real = Path(os.path.realpath(path))
    name = os.fspath(path)
    if real.is_dir():
        raise IsADirectoryError(f"cannot write {name!r}: it is a folder, a file name is needed")
    if real.exists() and not real.is_file():
        raise FileExistsError(f"cannot write {name!r}: it is a device or a pipe, and no file")
    if not real.parent.is_dir():
        raise no_folder(f"cannot write {name!r}", real.parent)
    return real


def no_folder(what: str, path: Path) -> OSError:
    """The error where `path` must be a folder and is none: it is not there, or a file stands in its place."""
    there = next((part for part in (path, *path.parents) if part.exists()), path)
    if there.exists() and not there.is_dir():
        return NotADirectoryError(f"{what}: {str(there)!r} is a file, and no folder")
    return FileNotFoundError(f"{what}: there is no folder {str(path)!r}")


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that nobody has: two processes or threads may write the same file at once."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def write_whole(path: str | os.PathLike, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write` with a temporary file beside `path` and rename it: `path` is never seen half-written."""
    real = destination(path)
    temporary = temporary_beside(real)
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if real.exists():
            shutil.copymode(real, temporary)
        os.replace(temporary, real)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def check_writable(path: str | os.PathLike) -> None:
    """Raise OSError at once where `write_whole` would later: before hours of training, not after."""
    real = destination(path)
    temporary = temporary_beside(real)
    try:  # os.access says yes to root wherever it is asked
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        name = os.fspath(path)
        raise type(error)(f"cannot write {name!r}: {error.strerror} in {str(real.parent)!r}") from error


def open_to_read(path: str | os.PathLike, what: str) -> BinaryIO:
    """The file at `path`; OSError that says why there is none."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"cannot read {os.fspath(path)!r}: it is a folder, and not {what}")
    try:
        return open(path, "rb")
    except NotADirectoryError as error:
        raise no_folder(f"cannot read {os.fspath(path)!r}", Path(path).parent) from error


def read_npz(path: str | os.PathLike, what: str) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file, read whole; FileFormatError where it is not one, or is damaged."""
    with open_to_read(path, what) as file:
        try:
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile("it is no zip archive")
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:  # damaged bytes raise a dozen classes, of zipfile, zlib, tokenize and NumPy
            raise FileFormatError(
                f"{os.fspath(path)}: not {what}, or a truncated or corrupt one ({type(error).__name__}: {error})"
            ) from error


def save(path: str | os.PathLike, layers: list[Any], metadata: dict[str, Any]) -> None:
    """Write `layers` to `path`; nothing is touched there where they cannot be written as they are."""
    check_path("save", "path", path)
    described = []
    arrays = {}
    for position, layer in enumerate(layers):
        name = type(layer).__name__
        if not hasattr(layer, "config") or not hasattr(layer, "parameters"):
            raise TypeError(f"save: layers[{position}], a {name}, has no config() and parameters() to save it by")
        described.append({"class": name, "config": layer.config()})
        for key, value in layer.parameters().items():
            check_finite("save", f"layers[{position}].{key}", np.asarray(value))
            arrays[f"{position}.{key}"] = value
    header = {"format": FORMAT, "version": VERSION, "layers": described, "metadata": metadata}
    try:
        architecture = np.array(json.dumps(header))
    except (TypeError, ValueError) as error:
        raise TypeError(f"save: `metadata` and each layer's config() must be what JSON can hold: {error}") from error
    check_writable(path)
    write_whole(path, lambda file: np.savez(file, architecture=architecture, **arrays))


def load(path: str | os.PathLike, custom_layers: dict[str, type]) -> tuple[list[Any], dict[str, Any]]:
    """The layers and metadata of a file that `save` wrote."""
    where = check_path("load", "path", path)
    arrays = read_npz(path, "a fastcnn model file")
    try:
        header = json.loads(str(arrays.pop("architecture")))
        if header["format"] != FORMAT:
            raise KeyError("format")
        version, described, metadata = header["version"], header["layers"], header["metadata"]
        if not (isinstance(described, list) and described and isinstance(metadata, dict)):
            raise TypeError("layers or metadata")
    except Exception as error:  # nesting too deep for Python counts too
        raise FileFormatError(f"{where}: not a fastcnn model file: its architecture is missing or damaged") from error
    if version != VERSION:
        raise FileFormatError(f"{where}: model file version {version}, and this fastcnn reads version {VERSION}")
    layers = [build(where, entry, custom_layers) for entry in described]
    for position, layer in enumerate(layers):
        set_parameters(where, position, layer, arrays)
    if arrays:
        raise FileFormatError(f"{where}: arrays that belong to no layer: {', '.join(sorted(arrays))}")
    return layers, metadata


def set_parameters(where: str, position: int, layer: Any, arrays: dict[str, np.ndarray]) -> None:
    """Move the parameters of one layer out of `arrays` into it; FileFormatError where they are not what it needs."""
    for name in layer.parameters():
        parameter, key = (
            f"{where}: parameter `{name}` of layer {position}, a {type(layer).__name__}",
            f"{position}.{name}",
        )
        if key not in arrays:
            raise FileFormatError(f"{parameter}, is missing")
        try:
            with np.errstate(over="ignore"):  # float64 numbers that float32 cannot hold: infinite, and refused as such
                setattr(layer, name, arrays.pop(key))
            check_finite(type(layer).__name__, name, np.asarray(getattr(layer, name)))
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"{parameter}, is wrong: {error}") from error


def build(where: str, entry: Any, custom_layers: dict[str, type]) -> Any:
    """One layer from its class name and constructor arguments; its parameters are set afterwards."""
    random_state = np.random.get_state()
    try:
        name, config = entry["class"], dict(entry["config"])
        known = {key: value for key, value in vars(fastcnn.layers).items() if isinstance(value, type)}
        layer_class = {**known, **custom_layers}.get(name)
        if layer_class is None:
            raise FileFormatError(f"{where}: unknown layer class {name!r}; pass it to load(..., custom_layers=...)")
        return layer_class(**config)
    except FileFormatError:
        raise
    except Exception as error:  # sizes beyond all memory count too
        raise FileFormatError(f"{where}: a layer cannot be built from {entry!r}: {error}") from error
    finally:
        np.random.set_state(random_state)  # loading a model draws no numbers, as far as the caller can see
