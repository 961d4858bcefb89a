"""The files of `fastcnn train`: none is written over another one, and a checkpoint names those of its run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from fastcnn.commands.options import UsageError
from fastcnn.commands.training_options import check_saved, option_of
from fastcnn.files import remove_leftovers
from fastcnn.shapes import shortened

FILES = ("out", "best", "csv", "tensorboard", "plot")  # options that a resumed run takes over from its checkpoint


def failure_file(out: Path) -> Path:
    """What a training leaves whose loss becomes NaN or infinite."""
    return out.parent / f"{out.stem}-failure.npz"


def check_files(arguments: argparse.Namespace, data: str, out: Path) -> None:
    """UsageError where two options name one file: one would write over what the other keeps or reads. OSError where the
    model could not be saved."""
    from fastcnn.saving import containers

    named = {"--data": data if os.path.isfile(data) else None, "--out": out}
    named |= {"--out, where a training fails": failure_file(out)}
    named |= {f"--{name}": getattr(arguments, name) for name in ("resume", "checkpoint", "best", "csv", "plot")}
    seen: dict[str, str] = {}
    for option, path in named.items():
        first = seen.setdefault(os.path.realpath(path), option) if path is not None else option
        if first != option and (first, option) != ("--resume", "--checkpoint"):  # which keeps it up to date
            raise UsageError(f"argument {option}: expected another file than that of {first}, received {str(path)!r}")
        if path is not None and option != "--data" and is_part_of(data, path):
            raise UsageError(f"argument {option}: expected another file than one of --data, received {str(path)!r}")
    containers.check_destination(out)
    remove_leftovers(out)  # of a training that was killed while it saved its model


def is_part_of(data: str, path: str | Path) -> bool:
    """Whether a data set that is a folder may be read from that file; no other than these has models, logs, plots."""
    there = os.path.isfile(path) and os.path.dirname(os.path.realpath(path)) == os.path.realpath(data)
    return there and os.path.splitext(path)[1].lower() in ("", ".npy", ".gz", ".bin")


def saved_options(arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The training options that a checkpoint keeps, and the files: those that `arguments` name, or else it."""
    from fastcnn.errors import FileFormatError
    from fastcnn.saving import model_file

    file = model_file.read(arguments.resume)
    saved, files = (file.header["metadata"].get(name) for name in ("options", "files"))
    if not isinstance(saved, dict) or not isinstance(files, dict) or "training" not in file.header:
        raise FileFormatError(f"{arguments.resume}: no checkpoint that `fastcnn train --checkpoint` wrote")
    check_saved(arguments.resume, saved)
    given = {name: getattr(arguments, name) for name in FILES}
    taken = {name: files.get(name) for name, path in given.items() if path is None}
    for name, path in taken.items():
        if path is not None and not names_a_file(path):
            text = f"expected a path, received {shortened(repr(path))}"
            raise FileFormatError(f"{arguments.resume}: argument {option_of(name)}: {text}")
    return saved, given | taken


def names_a_file(path: Any) -> bool:
    """Whether a value of JSON is the text of a path that the system can have."""
    try:
        return bool(path) and b"\0" not in os.fsencode(path)
    except (TypeError, ValueError):  # no text; half of a character
        return False
