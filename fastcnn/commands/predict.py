"""Classify images with a saved model: .npy arrays, or image files where Pillow is installed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from fastcnn.commands.options import add_runtime_options, cropped, load_model, print_json

if TYPE_CHECKING:
    import numpy as np

    from fastcnn.model import Sequential

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


def read_image(path: str, model: Sequential, image_shape: tuple[int, ...]) -> np.ndarray:
    """The images in one file as (N, H, W, C); the model takes images of `image_shape`."""
    import numpy as np

    from fastcnn.errors import FileFormatError

    is_array = path.lower().endswith(".npy")
    decode = read_array if is_array else picture_decoder(path, "L" if image_shape[2] == 1 else "RGB")
    with open(path, "rb") as file:
        try:
            image = decode(file)
        except Exception as error:  # damaged bytes raise a dozen classes, of NumPy, Pillow and the codecs below it
            what = "an .npy file" if is_array else "an image"
            raise FileFormatError(f"{path}: not {what}, or a truncated or corrupt one ({error})") from error
    shape = image.shape
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim == 3:
        image = image[np.newaxis]
    image = cropped(model, image)
    if image.shape[1:] != image_shape:
        raise ValueError(
            f"{path}: the model takes images of {' x '.join(map(str, image_shape))} (height x width x channels). "
            f"Received the shape {shape}"
        )
    return image


def read_array(file: BinaryIO) -> np.ndarray:
    import numpy as np

    return np.lib.format.read_array(file, allow_pickle=False)


def picture_decoder(path: str, mode: str) -> Callable[[BinaryIO], np.ndarray]:
    """A function that reads an image file as a uint8 array, in grey levels ('L') or colours ('RGB')."""
    import numpy as np

    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{path}: reading image files needs Pillow: `pip install fastcnn[images]`, or pass an .npy array"
        ) from error

    def decode(file: BinaryIO) -> np.ndarray:
        with Image.open(file) as picture:
            return np.asarray(picture.convert(mode))

    return decode


def run(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.file)
    if model.input_shape is None or len(model.input_shape) != 4:
        raise ValueError(f"{arguments.file}: the model takes no images: its input has the shape {model.input_shape}")
    names = model.metadata.get("class_names") or []
    results = []
    batches = [(path, read_image(path, model, model.input_shape[1:])) for path in arguments.images]
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
