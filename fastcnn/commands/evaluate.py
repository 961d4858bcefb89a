"""Measure a saved model's loss and accuracy on the test images of a data set."""

import argparse

from fastcnn.commands.options import (
    DATA_HELP,
    add_distributed_option,
    add_runtime_options,
    cropped,
    load_data,
    load_model,
    number,
    print_json,
)

HELP = "measure a saved model on a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="MODEL", help="a file that train saved")
    parser.add_argument("--data", default="digits", help=DATA_HELP)
    parser.add_argument("--batch-size", type=number(int, 1), default=256, metavar="N", help="default: 256")
    parser.add_argument("--report", action="store_true", help="the confusion matrix, and how well each class is known")
    add_runtime_options(parser, dtype=False)
    add_distributed_option(parser)


def run(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.file)
    data = load_data(arguments.data, mapped=arguments.comm is not None)
    images, labels = cropped(model, data.test_images), data.test_labels
    comm = arguments.comm
    result = model.evaluate(images, labels, arguments.batch_size, comm)
    report = model.report(images, labels, arguments.batch_size, comm) if arguments.report else None
    if comm is not None and comm.Get_rank():
        return
    print(
        f"{arguments.file} on the {len(data.test_images):,} test images of {data.name}: "
        f"accuracy {result.accuracy:.2%}, loss {result.loss:.4f}"
    )
    if report is not None:
        print(report)
    if arguments.json:
        facts = {"model": arguments.file, "data": data.name, "accuracy": result.accuracy, "loss": result.loss}
        print_json(facts | (report.as_dict() if report is not None else {}))
