"""Every reader of files, as fuzzing and the quick tests call it: a file's content in, its arrays or an error out."""

import functools
import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn import FileFormatError, Sequential, datasets
from fastcnn.datasets.npy import read_npy
from fastcnn.datasets.pictures import read_picture
from fastcnn.layers import BatchNorm, Conv2D, Dropout, FullyConnect, GlobalAvgPooling, PReLU, Residual, Softmax
from fastcnn.layers.protocol import tensors_of, walk
from fastcnn.optimizers import Adam
from tests.datasets.test_datasets import arrays_of, write_cifar, write_idx, write_mnist

DOCUMENTED = (FileFormatError, OSError)
LONGEST_MESSAGE = 2000  # characters, paths and all


@dataclass(frozen=True)
class Target:
    """A reader, and how a file for it is made."""

    seeds: Callable[[Path], list[bytes]]  # the contents of good files, made in an empty folder
    read: Callable[[Path], list[np.ndarray]]
    name: str = "a"  # of the file
    whole: bool = False  # whether the format has checksums: what is read is then right
    wrap: Callable[[bytes], bytes] = bytes  # puts right the checksums of what was changed


def attempt(target: Target, content: bytes, folder: Path) -> list[np.ndarray] | None:
    """What the target reads from a file of that content; None where it raises an error that it documents."""
    path = folder / target.name
    path.write_bytes(target.wrap(content))
    try:
        return target.read(path)
    except DOCUMENTED as error:
        named = path.name in str(error) or f"{folder}: " in str(error)  # whose files do not fit one another
        assert named, f"no name of the file in: {error}"
        assert len(str(error)) < LONGEST_MESSAGE, f"a message of {len(str(error))} characters"
        return None


def equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(first, second, strict=True)
    )


def of_data(data: datasets.Dataset) -> list[np.ndarray]:
    return [data.train_images, data.train_labels, data.test_images, data.test_labels]


def of_model(model: Any) -> list[np.ndarray]:
    """All that a file says of a model, as arrays."""
    text = json.dumps([[repr(layer) for layer in model.layers], model.metadata])
    return [np.array(text), *(array for layer in model.layers for array in layer.parameters().values())]


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


def made() -> Sequential:
    """A model with a layer of each kind that has arrays."""
    np.random.seed(0)
    conv = Conv2D((2, 4, 4, 1), 2)
    norm, prelu = BatchNorm(conv.output_shape), PReLU(conv.output_shape)
    block = Residual([Conv2D(conv.output_shape, 2, method="SAME")])
    pool, drop = GlobalAvgPooling(conv.output_shape), Dropout((2, 2))
    fc = FullyConnect(drop.output_shape, 3)
    return Sequential([conv, norm, prelu, block, pool, drop, fc, Softmax(fc.output_shape)], {"class_names": ["a"]})


def save_model(path: Path, _: int) -> None:
    made().save(path)


def save_state(path: Path, _: int) -> None:
    """A model with its optimizer's state after a step, and random numbers."""
    model = made()
    optimizer = Adam(model)
    for layer in model.layers[:-1]:
        for gradient in getattr(layer, "gradients", dict)().values():
            gradient += 1
    optimizer.step(2)
    model.save(path, optimizer=optimizer, random_state=True)


def read_state(path: Path) -> list[np.ndarray]:
    state, model = np.random.get_state(), made()
    optimizer = Adam(model)
    try:
        loaded = Sequential.load(path, random_state=True)
        optimizer.load(path)
    finally:
        np.random.set_state(state)
    slots = [array for slots in optimizer.state_dict()["kept"].values() for array in slots.values()]
    return [*of_model(loaded), *slots]


def head_seeds(folder: Path) -> list[bytes]:
    """The JSON of a model file, without its arrays."""
    save_state(folder / "seed.npz", 0)
    with np.load(folder / "seed.npz") as archive:
        return [str(archive["architecture"]).encode()]


@functools.cache
def made_arrays() -> dict[str, np.ndarray]:
    """The arrays of `made`, by their names in a file."""
    return {
        f"{place}.{name}": array for place, layer in walk(made().layers) for name, array in tensors_of(layer).items()
    }


def as_model(head: bytes) -> bytes:
    """A model file with that JSON and the arrays of `made`."""
    buffer = io.BytesIO()
    np.savez(buffer, architecture=np.array(head.decode("latin1")), **made_arrays())
    return buffer.getvalue()


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
        written(lambda path, n: np.save(path, numbers(n)), ".npy", 4), lambda path: [read_npy(path)], "a.npy"
    ),
    "npy_folder": Target(in_folder(write_npy_folder, "y_train.npy"), read_folder, "y_train.npy"),
    "npz": Target(written(save_npz, ".npz", 2), lambda path: of_data(datasets.load(path)), "a.npz", whole=True),
    "npz_member": Target(member, lambda path: of_data(datasets.load(path)), "a.npz", wrap=as_archive),
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
    "model": Target(written(save_model, ".npz"), lambda path: of_model(Sequential.load(path)), "a.npz", whole=True),
    "model_head": Target(
        head_seeds, lambda path: of_model(Sequential.load(path, random_state=True)), "a.npz", wrap=as_model
    ),
    "safetensors": Target(
        written(save_model, ".safetensors"), lambda path: of_model(Sequential.load(path)), "a.safetensors"
    ),
    "state": Target(written(save_state, ".npz"), read_state, "a.npz", whole=True),
    "png": Target(written(save_picture("png"), ".png", 6), read_any_picture, "a.png", whole=True),
    "png_chunks": Target(written(save_picture("png"), ".png", 6), read_any_picture, "a.png", wrap=png_with_checksums),
} | {
    ending: Target(written(save_picture(ending), f".{ending}", count), read_any_picture, f"a.{ending}")
    for ending, count in (("gif", 4), ("jpg", 2), ("tif", 6), ("bmp", 4), ("webp", 2))
}
