"""Measure a saved model's loss and accuracy on the test images of a data set."""

from __future__ import annotations

import argparse

from fastcnn.commands.options import DATA_HELP, add_runtime_options, load_data, load_model, number, print_json

HELP = "measure a saved model on a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="MODEL", help="a file that train saved")
    parser.add_argument("--data", default="digits", help=DATA_HELP)
    parser.add_argument("--batch-size", type=number(int, 1), default=256, metavar="N", help="default: 256")
    add_runtime_options(parser, dtype=False)


def run(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.file)
    data = load_data(arguments.data)
    result = model.evaluate(data.test_images, data.test_labels, arguments.batch_size)
    print(
        f"{arguments.file} on the {len(data.test_images):,} test images of {data.name}: "
        f"accuracy {result.accuracy:.2%}, loss {result.loss:.4f}"
    )
    if arguments.json:
        print_json({"model": arguments.file, "data": data.name, "accuracy": result.accuracy, "loss": result.loss})
