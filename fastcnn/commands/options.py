"""What commands share: option types, common options, results."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastcnn import interrupt
from fastcnn.shapes import shortened, whole_number

if TYPE_CHECKING:
    import numpy as np

    from fastcnn.datasets import Dataset
    from fastcnn.predictor import Predictor


class Interrupted(interrupt.Interruption):
    """A signal ended a command that has cleaned up; the message says what is left.

    `remote` is True on a rank whose message another rank prints.
    """

    def __init__(self, signum: int, message: str, remote: bool = False):
        super().__init__(signum, message)
        self.remote = remote


class UsageError(ValueError):
    """The arguments or the environment are wrong: exit status 2."""


def number(kind: type, minimum: float, above: bool = False, maximum: float | None = None) -> Callable[[str], Any]:
    """An argparse type: a finite int or float of at least (or above) `minimum`, and at most `maximum`."""
    bounds = f"{'above' if above else 'of at least'} {minimum:g}"
    largest = maximum or (sys.maxsize if kind is int else sys.float_info.max)
    up_to = f"from {minimum:g} to {largest if kind is int else format(largest, 'g')}"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = (whole_number(text) if kind is int else None) or math.nan  # of more digits than Python reads
        if not (minimum < value <= largest or (value == minimum and not above)):  # NaN is neither
            shown = up_to if maximum is not None or largest < value < math.inf else bounds
            what = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"expected {what} {shown}, received {shortened(text)!r}")
        return value

    return parse


def add_runtime_options(parser: argparse.ArgumentParser, dtype: bool = True) -> None:
    """--backend, --dtype, --threads: the three switches."""
    from fastcnn.config import BACKENDS
    from fastcnn.threads import MAX_THREADS

    parser.add_argument("--backend", choices=BACKENDS, help="default: $FASTCNN_BACKEND, else numba")
    if dtype:
        parser.add_argument("--dtype", choices=("float32", "float64"), help="default: $FASTCNN_DTYPE, else float32")
    parser.add_argument(
        "--threads",
        type=number(int, 1, maximum=MAX_THREADS),
        metavar="N",
        help="default: $FASTCNN_NUM_THREADS, else all cores that may be used",
    )


def add_distributed_option(parser: argparse.ArgumentParser) -> None:
    """--distributed, for commands that the ranks of an MPI job do together; `arguments.comm` is their communicator."""
    parser.add_argument(
        "--distributed",
        dest="on_ranks",
        action="store_true",
        help="share the work: this is one of the ranks that mpiexec has started; needs the extra `mpi`",
    )


DATA_HELP = "digits (default), mnist, fashion-mnist, cifar10, a folder, or an .npz file"


def load_data(name: str, mapped: bool = False) -> Dataset:
    """The data set of --data; a name that is neither known nor a path is a usage error. `mapped` as in `load`."""
    from fastcnn import datasets
    from fastcnn.errors import FileFormatError

    try:
        return datasets.load(name, mapped)
    except FileFormatError:
        raise
    except ValueError as error:
        raise UsageError(f"argument --data: {error}") from error


def load_model(path: str) -> Predictor:
    from fastcnn.predictor import Predictor

    return Predictor.load(path)


def cropped_size(model: Predictor, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of what `cropped` makes of images of that `size`."""
    wanted, options = model.input_shape, model.metadata.get("options")
    crops = isinstance(options, dict) and options.get("crop")  # a script may keep anything under that name
    if not crops or wanted is None or len(wanted) != 4:
        return size
    height, width = wanted[1:3]
    return (height, width) if size[0] >= height and size[1] >= width else size


def cropped(model: Predictor, images: np.ndarray) -> np.ndarray:
    """The middle of images (N, H, W, C) for a model that was trained on crops of larger ones; others as they are."""
    from fastcnn.augmentation import center_crop

    if images.ndim != 4:
        return images
    height, width = images.shape[1:3]
    size = cropped_size(model, (height, width))
    return images if size == (height, width) else center_crop(images, size)


def finite(value: Any) -> Any:
    """`value` with None for NaN and infinities, which JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(result: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(finite(result), allow_nan=False), flush=True)
