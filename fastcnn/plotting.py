"""Learning curves as a picture. Requires matplotlib: the extra `plot`."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fastcnn.files import check_writable, write_whole
from fastcnn.shapes import check_path, must_be

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(path: str | os.PathLike) -> Figure:
    """An empty figure that can be saved to `path`, whose ending names the format.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError, ValueError
        `path` is none, or matplotlib writes no such format.
    OSError
        `path` cannot be written.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no window, no global state
    except ModuleNotFoundError as error:
        raise ImportError("learning curves need matplotlib: `pip install fastcnn[plot]`") from error
    path = check_path("learning_curves", "path", path)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    formats = sorted(figure.canvas.get_supported_filetypes())
    if Path(path).suffix[1:].lower() not in formats:
        raise ValueError(f"the name of a plot must end in one of .{', .'.join(formats)}. Received {os.fspath(path)!r}")
    check_writable(path)
    return figure


def learning_curves(history: dict[str, list[float]], path: str | os.PathLike) -> None:
    """Draw loss and accuracy over the epochs of a `fit`, of training and (where there was) validation.

    `history` is what `Sequential.fit` returns. Raises as :func:`new_figure` does; a file that is there is replaced
    whole or not at all.
    """
    if not (isinstance(history, dict) and isinstance(history.get("loss"), list)):
        raise TypeError(
            must_be("learning_curves", "history", "what `fit` returns after an epoch or more, a dict of lists", history)
        )
    figure = new_figure(path)
    epochs = range(1, len(history["loss"]) + 1)
    for axes, key in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for prefix, label in (("", "training"), ("val_", "validation")):
            if prefix + key in history:
                axes.plot(epochs, history[prefix + key], marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(key)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    picture = io.BytesIO()  # Pillow writes to a real file by its descriptor, and does not say when the disk is full
    figure.savefig(picture, format=Path(path).suffix[1:].lower(), dpi=150)
    write_whole(path, lambda file: file.write(picture.getvalue()))
