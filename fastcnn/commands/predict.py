"""Classify images with a saved model: .npy arrays, or image files where Pillow is installed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fastcnn.commands.options import add_runtime_options, cropped, cropped_size, load_model, print_json

if TYPE_CHECKING:
    import numpy as np

    from fastcnn.predictor import Predictor

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


def read_image(path: str, model: Predictor, image_shape: tuple[int, ...]) -> np.ndarray:
    """The images in one file as (N, H, W, C); the model takes images of `image_shape`."""
    import numpy as np

    from fastcnn.datasets.npy import read_npy
    from fastcnn.datasets.pictures import read_picture

    def check(shape: tuple[int, int]) -> None:
        """Raise where the model does not take a picture of that size: it may be as large as memory."""
        if cropped_size(model, shape) != image_shape[:2]:
            raise wrong_shape(path, image_shape, shape)
        low, high = taken(model)
        if high > 2 * 255 or low < -high / 10:  # a picture would be nearly black to it, or too bright
            raise ValueError(
                f"{path}: the model takes numbers from {low:,.6g} to {high:,.6g}, and a picture has bytes, from 0 to "
                "255: pass an .npy array"
            )

    is_array, colour = path.lower().endswith(".npy"), image_shape[2] != 1
    image = read_npy(path) if is_array else read_picture(path, colour, check)
    if not is_array and trained_on_shares(model):
        image = image / 255
    shape = image.shape
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim == 3:
        image = image[np.newaxis]
    image = cropped(model, image)
    if image.shape[1:] != image_shape:
        raise wrong_shape(path, image_shape, shape)
    return image if is_array else np.ascontiguousarray(image)  # the middle alone, where a large picture was cropped


def taken(model: Predictor) -> tuple[float, float]:
    """The smallest and the largest number that a model takes, by the layer that brings its images to 0 to 1 and by its
    training."""
    from fastcnn.data_range import remembered

    first, trained = model.architecture()[0], remembered(model.metadata)
    scale = first["config"]["scale"] if first["class"] == "Rescaling" else 0.0
    rescaled = 1 / scale if scale > 0 else 0.0
    return (trained.low, max(rescaled, trained.high)) if trained else (0.0, rescaled)


def trained_on_shares(model: Predictor) -> bool:
    """Whether its training data were floats from 0 to 1, as bytes over 255 are."""
    from fastcnn.data_range import remembered

    trained = remembered(model.metadata)
    return trained is not None and trained.dtype.startswith("float") and 0 <= trained.low < trained.high <= 1


def wrong_shape(path: str, wanted: tuple[int, ...], shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"{path}: the model takes images of {' x '.join(map(str, wanted))} (height x width x channels). "
        f"Received the shape {shape}"
    )


def run(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.file)
    if model.input_shape is None or len(model.input_shape) != 4:
        raise ValueError(f"{arguments.file}: the model takes no images: its input has the shape {model.input_shape}")
    names = model.metadata.get("class_names")
    names = names if isinstance(names, list) else []  # a script may keep anything under that name
    results = []
    batches = [(path, read_image(path, model, model.input_shape[1:])) for path in arguments.images]
    for path, images in batches:
        try:
            predicted = model.predict(images)
        except (TypeError, ValueError) as error:  # NaN in an array, or text
            raise ValueError(f"{path}: {error}") from error
        for position, probabilities in enumerate(predicted):
            best = int(probabilities.argmax())
            label = names[best] if best < len(names) else str(best)
            name = path if len(images) == 1 else f"{path}[{position}]"
            print(f"{name}: {label} ({probabilities[best]:.2%})")
            results.append(
                {"image": name, "class": best, "label": label, "probabilities": [float(p) for p in probabilities]}
            )
    if arguments.json:
        print_json({"predictions": results})
