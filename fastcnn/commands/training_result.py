"""What `fastcnn train` prints and saves: its first line, its result, the model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcnn.commands.options import print_json

if TYPE_CHECKING:
    from fastcnn.datasets import Dataset
    from fastcnn.model import Sequential
    from fastcnn.training import History


def print_header(options: dict[str, Any], data: Dataset, ranks: int) -> None:
    from fastcnn.config import get_backend, get_dtype, get_num_threads

    threads = f"threads {get_num_threads()}" if ranks == 1 else f"ranks {ranks}, threads of each {get_num_threads()}"
    print(
        f"{options['model']} on {data.name}: {len(data.train_images):,} training and {len(data.test_images):,} "
        f"test images, backend {get_backend()}, {get_dtype()}, {threads}",
        flush=True,
    )


def resume_hint(arguments: argparse.Namespace) -> str:
    path = arguments.checkpoint or arguments.resume
    return f"; `fastcnn train --resume {path}` goes on" if path else ""


def print_result(
    arguments: argparse.Namespace,
    options: dict[str, Any],
    history: History,
    seconds: float,
    out: Path,
    data: Dataset,
    ranks: int,
) -> None:
    """Print the result."""
    from fastcnn.config import get_backend, get_num_threads

    best = None if options["patience"] is None else history["val_loss"].index(min(history["val_loss"]))
    last = -1 if best is None else best  # the model has the weights of its best epoch
    accuracy, epochs = history["val_accuracy"][last], len(history["loss"])
    if not (arguments.quiet and arguments.json):
        why = f" ({history.stopped})" if history.stopped else ""
        print(f"test accuracy {accuracy:.2%} after {epochs} epochs{why} in {seconds:.1f} s; model saved to {out}")
    if arguments.json:
        print_json(
            {
                "model": options["model"],
                "data": data.name,
                "test_accuracy": accuracy,
                "test_loss": history["val_loss"][last],
                "seconds": seconds,
                "out": str(out),
                "backend": get_backend(),
                "dtype": options["dtype"],
                "threads": get_num_threads(),
                "ranks": ranks,
                "seed": options["seed"],
                "stopped": history.stopped,
                "history": history,
            }
        )


def save(model: Sequential, out: Path) -> None:
    """Save the trained model. Where `out` cannot be written any more (the disk is full), hours of training must not be
    lost: the model goes to the system's folder for temporary files, and the OSError says where."""
    from fastcnn.files import write_elsewhere

    try:
        model.save(out)
    except OSError as error:
        try:
            kept = f"it was saved to {write_elsewhere(out, model.save)!r} instead"
        except OSError as second:
            kept = f"it could not be saved in a folder for temporary files either ({second.strerror or second})"
        raise OSError(f"cannot save the trained model to {str(out)!r} ({error.strerror or error}); {kept}") from error
