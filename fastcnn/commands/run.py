"""Run a script that was written for the original, unmodified: its `from layers...` imports fastcnn's layers.

Options of fastcnn stand before the script; what follows it is the script's own.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence

from fastcnn.commands.options import UsageError, add_runtime_options, print_json
from fastcnn.compat.own import REPLACED

HELP = "run a script written for the original, unmodified"
VARIABLES = {"backend": "FASTCNN_BACKEND", "dtype": "FASTCNN_DTYPE", "threads": "FASTCNN_NUM_THREADS"}
TAKE_VALUES = (*VARIABLES, "keep")


def modules_of(text: str) -> list[str]:
    """An argparse type: names of the original's modules, with commas between them."""
    names = text.split(",")
    if wrong := [name for name in names if name not in REPLACED]:
        raise argparse.ArgumentTypeError(f"expected modules of {', '.join(REPLACED)}, received {wrong[0]!r}")
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runtime_options(parser)
    parser.add_argument(
        "--keep",
        type=modules_of,
        action="extend",
        default=[],
        metavar="MODULE[,...]",
        help="use the script's own layers/MODULE.py, and not fastcnn's",
    )
    parser.add_argument("--profile", action="store_true", help="print to stderr where the layers' time went")
    parser.add_argument("script", metavar="SCRIPT", help="a Python file with `from layers.base_conv import Conv2D`")
    parser.add_argument(
        "arguments", nargs="*", default=[], metavar="ARGUMENT", help="of the script; they may look like options"
    )


def divide(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words up to the script, and the script's own: argparse would look for fastcnn's options among them."""
    words, position = list(words), 0
    while position < len(words):
        word = words[position]
        if word == "--":
            position += 1
            break
        if word == "-" or not word.startswith("-"):
            break
        takes_value = any(f"--{name}".startswith(word) for name in TAKE_VALUES)
        position += 2 if takes_value else 1
    return words[: position + 1], words[position + 1 :]


def run(arguments: argparse.Namespace) -> int:
    from fastcnn import profiling
    from fastcnn.compat import script
    from fastcnn.config import get_backend, get_dtype, get_num_threads

    path = arguments.script
    try:
        code = script.compile_script(path)
    except OSError as error:
        what = error.strerror or error
        raise UsageError(f"argument SCRIPT: expected a Python script, received {path!r} ({what})") from error
    except SyntaxError as error:
        place = f", line {error.lineno}" if error.lineno else ""
        text = f": {error.text.strip()}" if error.text and error.text.strip() else ""
        raise ValueError(f"{path}{place}: not a Python script ({error.msg}){text}") from error
    settings = {
        "backend": get_backend(),
        "dtype": get_dtype().name,
        "threads": get_num_threads(),
    }
    report = None
    start = time.perf_counter()
    try:
        with environment(arguments), without_launcher():
            if arguments.profile:
                with profiling.profile() as report:
                    status = script.run_script(path, arguments.arguments, code, arguments.keep)
            else:
                status = script.run_script(path, arguments.arguments, code, arguments.keep)
    finally:
        seconds = time.perf_counter() - start
        sys.stdout.flush()
        if report is not None:  # after Ctrl-C too
            print(report, file=sys.stderr, flush=True)
    if arguments.json:
        if getattr(sys.stdout, "last", "\n") != "\n":
            print()  # the script left its last line open
        result = {"script": path, "arguments": arguments.arguments, "status": status, "seconds": seconds}
        print_json(result | settings | ({"profile": report.as_dict()} if report is not None else {}))
    return status


@contextlib.contextmanager
def environment(arguments: argparse.Namespace) -> Iterator[None]:
    """The options as environment variables: processes that the script starts compute as it does."""
    asked = {VARIABLES[name]: str(getattr(arguments, name)) for name in VARIABLES if getattr(arguments, name)}
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def without_launcher() -> Iterator[None]:
    """Without the folder that Python put on the path to start fastcnn: a script that it starts itself has it not."""
    before = sys.path[:]
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[:1]
    try:
        yield
    finally:
        sys.path[:] = before
