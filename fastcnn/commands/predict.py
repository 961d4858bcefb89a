"""Classify images with a saved model: .npy arrays, or image files where Pillow is installed."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from fastcnn.commands.options import add_runtime_options, load_model, print_json

if TYPE_CHECKING:
    import numpy as np

HELP = "classify images with a saved model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="MODEL", help="a file that train saved")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help=".npy with one image (H, W) or (H, W, C) or a batch (N, H, W, C); .png and others need Pillow",
    )
    add_runtime_options(parser, dtype=False)


def read_image(path: str, image_shape: tuple[int, ...]) -> np.ndarray:
    """The images in one file as (N, H, W, C), of the size that the model takes."""
    import numpy as np

    from fastcnn.errors import FileFormatError

    if path.lower().endswith(".npy"):
        try:
            image = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise FileFormatError(f"{path}: not an .npy file, or a truncated one ({error})") from error
    else:
        image = read_picture(path, "L" if image_shape[2] == 1 else "RGB")
    shape = image.shape
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim == 3:
        image = image[np.newaxis]
    if image.shape[1:] != image_shape:
        raise ValueError(
            f"{path}: the model takes images of {' x '.join(map(str, image_shape))} (height x width x channels). "
            f"Received the shape {shape}"
        )
    return image


def read_picture(path: str, mode: str) -> np.ndarray:
    """An image file as a uint8 array, in grey levels ('L') or colours ('RGB')."""
    import numpy as np

    from fastcnn.errors import FileFormatError

    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{path}: reading image files needs Pillow: `pip install fastcnn[images]`, or pass an .npy array"
        ) from error
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: a folder; an image file is needed")
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert(mode))
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise FileFormatError(f"{path}: not an image, or a truncated or corrupt one ({error})") from error


def run(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.file)
    names = model.metadata.get("class_names") or []
    results = []
    batches = [(path, read_image(path, model.input_shape[1:])) for path in arguments.images]
    for path, images in batches:
        for position, probabilities in enumerate(model.predict(images)):
            best = int(probabilities.argmax())
            label = names[best] if best < len(names) else str(best)
            name = path if len(images) == 1 else f"{path}[{position}]"
            print(f"{name}: {label} ({probabilities[best]:.2%})")
            results.append(
                {"image": name, "class": best, "label": label, "probabilities": [float(p) for p in probabilities]}
            )
    if arguments.json:
        print_json({"predictions": results})
