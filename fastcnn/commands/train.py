"""Train a model on a data set, report its accuracy on the test images, and save it."""

from __future__ import annotations

import argparse
import math
import signal
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcnn.commands.options import (
    Interrupted,
    UsageError,
    add_distributed_option,
    add_runtime_options,
    load_data,
)
from fastcnn.commands.training_files import FILES, check_files, failure_file, saved_options
from fastcnn.commands.training_options import (
    add_training_options,
    make_augmentation,
    make_optimizer,
    options_of,
)
from fastcnn.commands.training_result import print_header, print_result, resume_hint, save
from fastcnn.files import reason

if TYPE_CHECKING:
    from fastcnn.datasets import Dataset
    from fastcnn.distributed.group import Group
    from fastcnn.model import Sequential
    from fastcnn.training import History
    from fastcnn.training.callbacks import Callback

HELP = "train a model (LeNet on the digits in the package, without any option)"
LARGE = 20  # of a float: normalised images hardly reach it
SOME = 1000  # images that are searched for such: a mapped set may be larger than memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_training_options(parser)
    add_runtime_options(parser)
    add_distributed_option(parser)
    parser.add_argument("--out", metavar="FILE", help="the model file; default: MODEL-DATA.npz in this folder")
    parser.add_argument("--best", metavar="FILE", help="keep the model of the epoch with the least test loss too")
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="keep the state of the training, after each epoch and once a minute"
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        help="go on from that checkpoint with its options and files, and keep it up to date",
    )
    parser.add_argument("--csv", metavar="FILE", help="write a line for each epoch to this file")
    parser.add_argument("--tensorboard", metavar="FOLDER", help="write logs for TensorBoard; needs tensorboardX")
    parser.add_argument("--plot", metavar="FILE", help="draw the learning curves (.png, .svg, .pdf); needs matplotlib")
    parser.add_argument("--quiet", action="store_true", help="print the result alone, in one line")


def run(arguments: argparse.Namespace) -> None:
    from fastcnn.config import get_dtype, set_dtype
    from fastcnn.distributed.group import Group

    group = Group(arguments.comm)
    saved = None
    if arguments.resume:
        saved, files = group.on_lead(lambda: saved_options(arguments))
        vars(arguments).update(files)
    options = options_of(arguments, saved)
    options["dtype"] = options["dtype"] or get_dtype().name
    set_dtype(options["dtype"])
    data = group.together(lambda: load_training_data(arguments, options["data"], group))
    out = Path(f"{options['model']}-{data.name}.npz" if arguments.out is None else arguments.out)
    group.on_lead(lambda: check_files(arguments, options["data"], out))
    model = make_model(options, data)
    model.metadata["files"] = {name: getattr(arguments, name) for name in FILES}
    if group.lead and not arguments.quiet:
        print_header(options, data, group.size)
        model.summary()
    start = time.perf_counter()
    with warnings.catch_warnings():  # without those of what the data set has said already
        warnings.filterwarnings("ignore", "fit: `x` has the shape .* channels first")
        if not data.class_names:
            warnings.filterwarnings("ignore", "fit: `y` holds every label from 1")
        history = fit(arguments, options, model, data, out, group)
    seconds = time.perf_counter() - start
    del model.metadata["files"]  # of the run, and not of the model
    group.on_lead(lambda: save(model, out))
    if history.stopped == "interrupted":
        raise Interrupted(
            history.signal or signal.SIGINT,
            f"the training was interrupted after {len(history.get('loss', ()))} of {options['epochs']} epochs; model "
            f"saved to {out}{resume_hint(arguments)}",
            remote=not group.lead,
        )
    if group.lead:
        print_result(arguments, options, history, seconds, out, data, group.size)
    group.barrier()  # mpiexec may end all ranks when the first one leaves


def load_training_data(arguments: argparse.Namespace, name: str, group: Group) -> Dataset:
    """The data set; a warning where its images are floats that are no shares of 1, and are taken as they are."""
    import numpy as np

    try:
        data = load_data(name, mapped=group.size > 1)
    except UsageError as error:
        if arguments.data is not None or not arguments.resume:
            raise
        raise UsageError(f"{error}, as {arguments.resume} names it: resume in the folder of the first run") from error
    some = data.train_images[:SOME] if data.train_images.dtype.kind == "f" else np.zeros(1)
    largest = float(np.abs(some).max())
    if LARGE < largest < math.inf:
        warnings.warn(
            f"data set {data.name}: the images are floats of up to {largest:,.4g}, which are taken as they are; whole "
            "numbers are divided by 255. A training from such numbers hardly succeeds: images / 255 are from 0 to 1",
            UserWarning,
            stacklevel=2,
        )
    return data


def fit(
    arguments: argparse.Namespace,
    options: dict[str, Any],
    model: Sequential,
    data: Dataset,
    out: Path,
    group: Group,
) -> History:
    """Train; where a file cannot be written any more, the model so far is saved, and the OSError says so."""
    optimizer = make_optimizer(options, model)
    callbacks = group.together(lambda: make_callbacks(arguments, options, group.lead))
    try:
        return model.fit(
            data.train_images,
            data.train_labels,
            options["epochs"],
            options["batch_size"],
            validation_data=(data.test_images, data.test_labels),
            optimizer=optimizer,
            seed=options["seed"],
            augmentation=make_augmentation(options),
            class_weight=options["class_weight"],
            label_smoothing=options["label_smoothing"],
            metrics=options["metric"] or (),
            callbacks=callbacks,
            resume=arguments.resume,
            failure_file=failure_file(out),
            verbose=not arguments.quiet,
            distributed=arguments.comm,
            sync_batch_norm=options["sync_batch_norm"],
            validation_batch_size=options["validation_batch_size"],
        )
    except OSError as error:
        if not optimizer.steps:
            raise
        group.on_lead(lambda: save(model, out))
        if not group.lead:
            raise
        raise OSError(
            f"the training ended early ({reason(error)}); the model so far was saved to {str(out)!r}"
        ) from error


def make_model(options: dict[str, Any], data: Dataset) -> Sequential:
    from fastcnn import zoo

    height, width, channels = data.image_shape
    if options["crop"]:
        if options["crop"] > min(height, width):
            raise UsageError(
                f"argument --crop: expected at most {min(height, width)}, the size of the images, received "
                f"{options['crop']}"
            )
        height = width = options["crop"]
    shape = (options["batch_size"], height, width, channels)
    try:
        model = zoo.MODELS[options["model"]](shape, data.classes, scale=data.scale, rng=options["seed"])
    except ValueError as error:  # which names a layer inside
        batches = f"batches of {shape[0]:,} images of {height} x {width} x {channels} (height x width x channels)"
        raise ValueError(f"the model {options['model']} takes no {batches}: {error}") from error
    model.metadata = {"model": options["model"], "data": data.name, "class_names": list(data.class_names)}
    model.metadata["options"] = options
    return model


def make_callbacks(arguments: argparse.Namespace, options: dict[str, Any], lead: bool) -> list[Callback]:
    """The callbacks that the options ask for; those that write, on the rank alone that leads."""
    from fastcnn.training import callbacks

    made: list[Callback] = []
    if options["patience"]:
        made.append(callbacks.EarlyStopping(patience=options["patience"], restore_best=True))
    if not lead:
        return made
    if arguments.csv is not None:
        made.append(callbacks.CSVLogger(arguments.csv))
    if arguments.tensorboard is not None:
        made.append(callbacks.TensorBoard(arguments.tensorboard))
    if arguments.plot is not None:
        made.append(callbacks.LearningCurves(arguments.plot))
    path = arguments.checkpoint or arguments.resume
    if path or arguments.best:
        made.append(callbacks.Checkpoint(path, best=arguments.best))
    return made
