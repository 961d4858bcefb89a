"""The arguments of `fit`, checked before anything is trained."""

import os
import warnings
from typing import Any, cast

import numpy as np

from fastcnn.arrays import check_array, check_finite, check_labels, real_array
from fastcnn.augmentation import Augmentation, center_crop
from fastcnn.data_range import joined, range_of
from fastcnn.distributed.group import Group
from fastcnn.layers.protocol import dtype_of
from fastcnn.network import Network
from fastcnn.optimizers import Optimizer, make
from fastcnn.shapes import check_int, check_number, check_path, must_be, shape_text
from fastcnn.training.callbacks import Callback


def draw_seed() -> int:
    """A seed of 63 bits from the system's entropy."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))


def check_optimizer(model: Network, optimizer: Any, learning_rate: Any, weight_decay: Any) -> Optimizer:
    """The optimizer over `model`; a rate and a decay go with a name alone."""
    if not isinstance(optimizer, Optimizer):
        options = {"learning_rate": learning_rate, "weight_decay": weight_decay}
        return make(optimizer, model, "fit", **{key: value for key, value in options.items() if value is not None})
    if [id(layer) for layer in optimizer.layers] != [id(layer) for layer in model.layers]:
        raise ValueError(must_be("fit", "optimizer", "made for this model", optimizer))
    for name, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
        if value is not None:
            raise ValueError(must_be("fit", name, "left to the optimizer, which has its own", value))
    return optimizer


def check_augmentation(owner: str, model: Network, augmentation: Any) -> None:
    if augmentation is None:
        return
    if not isinstance(augmentation, Augmentation):
        raise TypeError(must_be(owner, "augmentation", "an Augmentation", augmentation))
    shape = model.input_shape
    if shape is None or len(shape) != 4:
        raise ValueError(f"{owner}: `augmentation` is for models that take images, and not the shape {shape}")
    if augmentation.shift >= min(shape[1:3]):
        wanted = f"a shift smaller than the images, {shape[1]} x {shape[2]}"
        raise ValueError(must_be(owner, "augmentation", wanted, augmentation))
    if augmentation.crop is not None and augmentation.crop != shape[1:3]:
        wanted = f"{shape[1]} x {shape[2]} pixels, what the model takes"
        raise ValueError(must_be(owner, "augmentation", f"a crop of {wanted}", augmentation))


def take_images(
    model: Network, owner: str, x: Any, y: Any, augmentation: Any, group: Group
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, checked whole; larger images than the model takes where they are cropped."""
    if augmentation is None or augmentation.crop is None:
        return model.take_data(owner, x, y, group.shard, used=False)
    x = real_array(owner, "x", x)
    _, height, width, channels = cast(tuple[int, ...], model.input_shape)  # `check_augmentation` has seen it
    if x.ndim != 4 or x.shape[1] < height or x.shape[2] < width or x.shape[3] != channels or not len(x):
        wanted = shape_text("images", f"{height} or more", f"{width} or more", channels)
        raise ValueError(f"{owner}: `x` must have the shape {wanted}. Received the shape {x.shape}")
    check_finite(owner, "x", x, group.shard(len(x)), dtype_of(model.layers[0]))
    return x, check_labels(owner, "y", y, len(x), model.loss_layer.input_shape[1])


def learn_range(model: Network, x: Any, validation: Any, group: Group, anew: bool) -> None:
    """Let the model remember the range of its training images, and warn of validation images that are scaled otherwise,
    or where the training begins `anew` on images that are scaled otherwise than those of the one before.

    Each rank reads its shard, of an array that may be a file larger than memory.
    """
    images = np.asarray(x)
    model.learn_range("fit", joined(group.all_gather(range_of(images[group.shard(len(images))]))), anew)
    if validation is not None:
        images = validation[0]
        model.compare("fit, validation_data", joined(group.all_gather(range_of(images[group.shard(len(images))]))))


def warn_of_empty_class(y: np.ndarray, classes: int) -> None:
    """Warn where every class has images but the first: the labels seem to count from 1. Not of so few images that
    chance may leave a class out."""
    present = np.bincount(y, minlength=classes) > 0
    if len(y) >= 10 * classes > 20 and not present[0] and present[1:].all():
        warnings.warn(
            f"fit: `y` holds every label from 1 to {classes - 1} and no 0: the first of {classes} classes stays empty. "
            f"y = y - 1 counts from 0, for a model of {classes - 1} classes",
            UserWarning,
            stacklevel=2,
        )


def take_validation(model: Network, data: Any, augmentation: Any, group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Validation images and labels; of larger images than the model takes the middle, where training crops them."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(must_be("fit", "validation_data", "a pair (x, y)", data))
    x, y = data
    if augmentation is not None and augmentation.crop is not None:
        x = real_array("fit, validation_data", "x", x)
        if x.ndim == 4 and x.shape[1] >= augmentation.crop[0] and x.shape[2] >= augmentation.crop[1]:
            x = center_crop(x, augmentation.crop)
    return model.take_data("fit, validation_data", x, y, group.shard, used=False)


def check_loss_options(model: Network, y: np.ndarray, class_weight: Any, label_smoothing: Any) -> dict[str, Any]:
    """The keyword arguments of `cal_loss`; none where a plain cross-entropy is asked for."""
    loss = model.loss_layer
    options: dict[str, Any] = {}
    if class_weight is not None:
        options["class_weights"] = class_weights(class_weight, y, loss.input_shape[1], loss.dtype)
    smoothing = check_number(type(loss).__name__, "label_smoothing", label_smoothing, 0)
    if smoothing:
        options["label_smoothing"] = smoothing
    if options:  # the layer itself raises what is wrong with them
        twin = type(loss)((1, loss.input_shape[1]), dtype=loss.dtype)
        twin.cal_loss(np.zeros((1, loss.input_shape[1]), loss.dtype), [0], label_smoothing=smoothing)
    return options


def class_weights(value: Any, y: np.ndarray, classes: int, dtype: np.dtype) -> np.ndarray:
    """(classes,) weights from a dict, an array, or 'balanced'."""
    wanted = f"a dict of class: weight, {classes} weights, or 'balanced'"
    if isinstance(value, str):
        if value != "balanced":
            raise ValueError(must_be("fit", "class_weight", wanted, value))
        counts = np.bincount(y, minlength=classes)
        return (len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(dtype)
    if isinstance(value, dict):
        weights = np.ones(classes)
        for number, weight in value.items():
            place = check_int("fit", "a key of class_weight", number, 0, classes - 1)
            weights[place] = check_number("fit", f"class_weight[{place}]", weight, 0)
        value = weights
    weights = check_array("fit", "class_weight", value, (classes,), dtype, any_batch=False)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError(must_be("fit", "class_weight", "finite weights of at least 0, and not all 0", value))
    return weights


def check_callbacks(callbacks: Any) -> list[Callback]:
    """The callbacks, those that save the state of the others last."""
    if not isinstance(callbacks, list | tuple):
        raise TypeError(must_be("fit", "callbacks", "a list of callbacks", callbacks))
    for i, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise TypeError(must_be("fit", f"callbacks[{i}]", "a fastcnn.callbacks.Callback", callback))
    return sorted(callbacks, key=lambda callback: callback.comes_last)


def check_failure_file(path: Any, resume: Any, callbacks: list[Callback]) -> str | None:
    """The path, unless a training that fails would write over what it goes on from, or what a callback keeps."""
    if path is None:
        return None
    checked = check_path("fit", "failure_file", path)
    kept = {name: file for callback in callbacks for name, file in callback.written_files().items()}
    if isinstance(resume, str | os.PathLike):
        kept["`resume`"] = os.fspath(resume)
    for name, file in kept.items():
        if os.path.realpath(file) == os.path.realpath(checked):
            raise ValueError(must_be("fit", "failure_file", f"another file than {name}", path))
    return checked
