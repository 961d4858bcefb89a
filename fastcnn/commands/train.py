"""Train a model on a data set, report its accuracy on the test images, and save it."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fastcnn.commands.options import (
    DATA_HELP,
    UsageError,
    add_runtime_options,
    load_data,
    number,
    print_json,
)

if TYPE_CHECKING:
    from fastcnn.model import Sequential

HELP = "train a model (LeNet on the digits in the package, without any option)"

# Of a dozen plain recipes, three seeds each: 97.5 % of the test digits, and 89 % of Fashion-MNIST in 5 epochs.
EPOCHS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 15, 16, 0.1, 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="digits", help=DATA_HELP)
    parser.add_argument("--model", default="lenet", help="lenet (default) or vgg_small")
    parser.add_argument("--epochs", type=number(int, 1), default=EPOCHS, metavar="N", help=f"default: {EPOCHS}")
    parser.add_argument(
        "--batch-size", type=number(int, 1), default=BATCH_SIZE, metavar="N", help=f"default: {BATCH_SIZE}"
    )
    parser.add_argument(
        "--lr",
        type=number(float, 0, above=True),
        default=LEARNING_RATE,
        metavar="RATE",
        help=f"learning rate of the mean loss at the start, falling to 0 along a cosine; default: {LEARNING_RATE}",
    )
    parser.add_argument(
        "--weight-decay",
        type=number(float, 0),
        default=WEIGHT_DECAY,
        metavar="D",
        help=f"L2 penalty: each step multiplies all parameters by 1 - RATE * D; default: {WEIGHT_DECAY}",
    )
    add_runtime_options(parser)
    parser.add_argument(
        "--seed", type=number(int, 0), default=0, metavar="N", help="of weights and shuffling; default: 0"
    )
    parser.add_argument("--out", metavar="FILE", help="the model file; default: MODEL-DATA.npz in this folder")
    parser.add_argument("--plot", metavar="FILE", help="draw the learning curves (.png, .svg, .pdf); needs matplotlib")
    parser.add_argument("--quiet", action="store_true", help="print the result alone, in one line")


def run(arguments: argparse.Namespace) -> None:
    from fastcnn import files, plotting, training, zoo
    from fastcnn.backend import get_backend
    from fastcnn.runtime import get_dtype, get_num_threads

    if arguments.model not in zoo.MODELS:
        choices = ", ".join(zoo.MODELS)
        raise UsageError(f"argument --model: expected one of {choices}, received {arguments.model!r}")
    data = load_data(arguments.data)
    out = Path(f"{arguments.model}-{data.name}.npz" if arguments.out is None else arguments.out)
    files.check_writable(out)
    if arguments.plot is not None:
        plotting.new_figure(arguments.plot)  # what is wrong with it is said before the training

    shape = (arguments.batch_size, *data.image_shape)
    model = zoo.MODELS[arguments.model](shape, data.classes, scale=data.scale, rng=arguments.seed)
    model.metadata = {"model": arguments.model, "data": data.name, "class_names": list(data.class_names)}
    if not arguments.quiet:
        print(
            f"{arguments.model} on {data.name}: {len(data.train_images):,} training and {len(data.test_images):,} test "
            f"images, backend {get_backend()}, {get_dtype()}, threads {get_num_threads()}",
            flush=True,
        )
        model.summary()
    start = time.perf_counter()
    history = model.fit(
        data.train_images,
        data.train_labels,
        arguments.epochs,
        arguments.batch_size,
        validation_data=(data.test_images, data.test_labels),
        learning_rate=training.cosine(arguments.lr),
        weight_decay=arguments.weight_decay,
        seed=arguments.seed,
        verbose=not arguments.quiet,
    )
    seconds = time.perf_counter() - start
    save(model, out)
    if arguments.plot is not None:
        plotting.learning_curves(history, arguments.plot)
    accuracy = history["val_accuracy"][-1]
    if not (arguments.quiet and arguments.json):
        print(f"test accuracy {accuracy:.2%} after {arguments.epochs} epochs in {seconds:.1f} s; model saved to {out}")
    if arguments.json:
        print_json(
            {
                "model": arguments.model,
                "data": data.name,
                "test_accuracy": accuracy,
                "test_loss": history["val_loss"][-1],
                "seconds": seconds,
                "out": str(out),
                "backend": get_backend(),
                "dtype": get_dtype().name,
                "threads": get_num_threads(),
                "seed": arguments.seed,
                "history": history,
            }
        )


def save(model: Sequential, out: Path) -> None:
    """Save the trained model. Where `out` cannot be written any more (the disk is full), hours of training must not be
    lost: the model goes to the system's folder for temporary files, and the OSError says where."""
    try:
        model.save(out)
    except OSError as error:
        try:
            kept = f"it was saved to {save_elsewhere(model, out)!r} instead"
        except OSError as second:
            kept = f"it could not be saved in a folder for temporary files either ({second.strerror or second})"
        raise OSError(f"cannot save the trained model to {str(out)!r} ({error.strerror or error}); {kept}") from error


def save_elsewhere(model: Sequential, out: Path) -> str:
    """Save under a name that nobody has, and return it."""
    handle, path = tempfile.mkstemp(".npz", f"{out.stem[:50]}-")
    os.close(handle)
    try:
        model.save(path)
    except OSError:
        os.unlink(path)
        raise
    return path
