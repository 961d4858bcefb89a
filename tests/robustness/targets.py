"""Every reader of files, as fuzzing and the quick tests call it: a file's content in, its arrays or an error out."""

import contextlib
import gzip
import io
import pickle
import resource
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn import FileFormatError, datasets
from fastcnn.datasets.npy import read_npy
from fastcnn.datasets.pictures import read_picture
from tests.datasets.test_datasets import arrays_of, write_cifar, write_idx, write_mnist
from tests.robustness import models

DOCUMENTED = (ValueError, OSError)  # FileFormatError, and where a checkpoint is another run's, ValueError
LONGEST_MESSAGE = 2000  # characters, paths and all


@dataclass(frozen=True)
class Target:
    """A reader, and how a file for it is made."""

    seeds: Callable[[Path], list[bytes]]  # the contents of good files, made in an empty folder
    read: Callable[[Path], list[np.ndarray]]
    name: str = "damaged"  # of the file
    whole: bool = False  # whether the format has checksums: what is read is then right
    wrap: Callable[[bytes], bytes] = bytes  # puts right the checksums of what was changed


def attempt(target: Target, content: bytes, folder: Path) -> list[np.ndarray] | None:
    """What the target reads from a file of that content; None where it raises an error that it documents."""
    path = folder / target.name
    path.write_bytes(target.wrap(content))
    try:
        return target.read(path)
    except DOCUMENTED as error:
        named = str(path) in str(error) or f"{folder}: " in str(error)  # whose files do not fit one another
        assert named, f"no name of the file in: {error}"
        assert len(str(error)) < LONGEST_MESSAGE, f"a message of {len(str(error))} characters"
        return None


def forget_peak() -> None:
    """Let `memory` count from what the process has now, where the system can: before, it may have had much more."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory() -> int:
    """The most bytes of memory that this process has had, since `forget_peak`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(first, second, strict=True)
    )


def of_data(data: datasets.Dataset) -> list[np.ndarray]:
    return [data.train_images, data.train_labels, data.test_images, data.test_labels]


def written(write: Callable[..., Any], ending: str = "", count: int = 1) -> Callable[[Path], list[bytes]]:
    """Seeds that ``write(path, number)`` writes."""

    def seeds(folder: Path) -> list[bytes]:
        paths = [folder / f"seed{number}{ending}" for number in range(count)]
        for number, path in enumerate(paths):
            write(path, number)
        return [path.read_bytes() for path in paths]

    return seeds


def numbers(number: int) -> np.ndarray:
    dtypes = ("u1", "f4", "i2", "f8")
    return (np.arange(24).reshape((2, 3, 4), order="CF"[number % 2]) % 10).astype(dtypes[number])


def idx(path: Path, number: int) -> None:
    write_idx(path, numbers(number))


def in_folder(write: Callable[[Path], Any], name: str) -> Callable[[Path], list[bytes]]:
    """Seeds of one file of a data set; the others are written beside it, where the target's file will be."""

    def seeds(folder: Path) -> list[bytes]:
        write(folder)
        return [(folder / name).read_bytes()]

    return seeds


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def write_npy_folder(folder: Path) -> None:
    for key, array in arrays_of(rng(), (3, 3)).items():
        np.save(folder / f"{key}.npy", array)


def read_folder(path: Path) -> list[np.ndarray]:
    return of_data(datasets.load(path.parent))


def save_npz(path: Path, number: int) -> None:
    (np.savez, np.savez_compressed)[number](path, **arrays_of(rng(), (3, 3)))


def head_target(save: Callable[[Path, int], None], read: Callable[[Path], list[np.ndarray]]) -> Target:
    """A target whose input is the JSON of a model file, beside the arrays that ``save(path, 0)`` writes."""

    def wrap(head: bytes) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, architecture=np.array(head.decode("latin1")), **models.parts(save)[1])
        return buffer.getvalue()

    return Target(lambda _: [models.parts(save)[0]], read, "damaged.npz", wrap=wrap)


MODELS = {
    "model": (models.save_model, models.load_model),
    "state": (models.save_state, models.load_state),
    "checkpoint": (models.save_checkpoint, models.resume),
    "failure": (models.save_failure, models.replay),
}


def as_archive(content: bytes) -> bytes:
    """An archive with that member among those of a data set."""
    buffer = io.BytesIO()
    save_npz(buffer, 0)
    with zipfile.ZipFile(buffer) as whole, zipfile.ZipFile(other := io.BytesIO(), "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, content if name == "x_train.npy" else whole.read(name))
    return other.getvalue()


def member(folder: Path) -> list[bytes]:
    write_npy_folder(folder)
    return [(folder / "x_train.npy").read_bytes()]


def save_picture(ending: str) -> Callable[[Path, int], None]:
    def save(path: Path, number: int) -> None:
        from PIL import Image

        mode, options = [("L", {}), ("RGB", {}), ("P", {"transparency": 3}), ("1", {}), ("I;16", {}), ("RGBA", {})][
            number
        ]
        grey = Image.fromarray((np.arange(48).reshape(6, 8) * 5).astype(np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 1 + number
        turned = {"exif": exif} if ending in ("png", "jpg", "webp", "tif") else {}
        grey.convert(mode).save(path, ending.replace("jpg", "jpeg").replace("tif", "tiff"), **options, **turned)

    return save


def read_any_picture(path: Path) -> list[np.ndarray]:
    def check(size: tuple[int, int]) -> None:
        """As `predict` refuses what the model does not take."""
        if size[0] * size[1] > 1 << 16:
            raise FileFormatError(f"{path}: {size} is too large")

    return [read_picture(path, colour, check) for colour in (False, True)]


def png_with_checksums(content: bytes) -> bytes:
    """The chunks of a PNG file with right checksums, as far as there are whole ones."""
    fixed, place = content[:8], 8
    while place + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, place)
        body = content[place + 4 : place + 8 + size]
        fixed += content[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + size
    return fixed + content[place:]


def pickled(path: Path, number: int) -> None:
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2]}
    path.write_bytes(pickle.dumps(batch, (2, 4, 5)[number]))


TARGETS = {
    "idx": Target(written(idx, count=4), lambda path: [datasets.read_idx(path)]),
    "idx_mapped": Target(written(idx, count=4), lambda path: [datasets.read_idx(path, mapped=True)]),
    "idx_gz": Target(
        written(lambda path, _: write_idx(path, numbers(0), True)), lambda path: [datasets.read_idx(path)], whole=True
    ),
    "idx_in_gz": Target(written(idx, count=4), lambda path: [datasets.read_idx(path)], wrap=gzip.compress),
    "mnist": Target(
        in_folder(lambda folder: write_mnist(folder, rng()), "train-labels-idx1-ubyte"),
        read_folder,
        "train-labels-idx1-ubyte",
    ),
    "npy": Target(
        written(lambda path, n: np.save(path, numbers(n)), ".npy", 4), lambda path: [read_npy(path)], "damaged.npy"
    ),
    "npy_folder": Target(in_folder(write_npy_folder, "y_train.npy"), read_folder, "y_train.npy"),
    "npz": Target(written(save_npz, ".npz", 2), lambda path: of_data(datasets.load(path)), "damaged.npz", whole=True),
    "npz_member": Target(member, lambda path: of_data(datasets.load(path)), "damaged.npz", wrap=as_archive),
    "cifar_binary": Target(
        in_folder(lambda folder: write_cifar(folder, rng(), 0, 1), "data_batch_2.bin"), read_folder, "data_batch_2.bin"
    ),
    "cifar_python": Target(
        lambda folder: [
            *in_folder(lambda folder: write_cifar(folder, rng(), 2, 1), "data_batch_2")(folder),
            *written(pickled, count=3)(folder),
        ],
        read_folder,
        "data_batch_2",
    ),
    "safetensors": Target(written(models.save_model, ".safetensors"), models.load_model, "damaged.safetensors"),
    "png": Target(written(save_picture("png"), ".png", 6), read_any_picture, "damaged.png", whole=True),
    "png_chunks": Target(
        written(save_picture("png"), ".png", 6), read_any_picture, "damaged.png", wrap=png_with_checksums
    ),
} | {
    ending: Target(written(save_picture(ending), f".{ending}", count), read_any_picture, f"damaged.{ending}")
    for ending, count in (("gif", 4), ("jpg", 2), ("tif", 6), ("bmp", 4), ("webp", 2))
}
TARGETS |= {
    name: Target(written(save, ".npz"), read, "damaged.npz", whole=True) for name, (save, read) in MODELS.items()
}
TARGETS |= {f"{name}_head": head_target(*save_and_read) for name, save_and_read in MODELS.items()}
