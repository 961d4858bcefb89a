"""The command line: parsing, and the one place where an error becomes a line on stderr and an exit status.

Exit status: 0 success, 2 a usage error, 1 a failure; 130, 143 or 129 where Ctrl-C, SIGTERM or SIGHUP ended it. Each
command is a module of :mod:`fastcnn.commands`; nothing heavy is imported before the arguments are known to be good.
"""

import argparse
import contextlib
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from fastcnn import __version__, interrupt, streams
from fastcnn.commands import COMMANDS, LASTING, UsageError
from fastcnn.distributed import failures
from fastcnn.files import reason

# Errors whose text says enough by itself.
KNOWN = (ValueError, TypeError, OSError, ImportError, RuntimeError, FloatingPointError, MemoryError)


class Parser(argparse.ArgumentParser):
    """Prints a usage error as one line, without the usage text, and names the command whose --help says more."""

    distributed = False  # whether this is one of several MPI ranks, which all parse the same arguments
    divide: Any = None  # splits off the arguments of a script, where the command runs one

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse would pass unknown arguments on to the parent parser, whose error names the wrong --help."""
        Parser.distributed = "--distributed" in (sys.argv[1:] if args is None else args) or Parser.distributed
        args, script_arguments = self.divide(args) if self.divide else (args, None)
        known, others = super().parse_known_args(args, namespace)
        if others:
            self.error(f"unrecognized arguments: {' '.join(others)}")
        if script_arguments is not None:
            known.arguments = script_arguments
        return known, others

    def error(self, message: str) -> NoReturn:
        text = f"{self.prog}: error: {message} (see {self.prog} --help)"
        if self.distributed and failures.launched():  # one rank prints it, and no rank waits for one that has ended
            with contextlib.suppress(ImportError, RuntimeError):
                from fastcnn.distributed import world

                self.exit(failures.Ending(world()).fail(text, 2))
        self.exit(2, f"{text}\n")


def build_parser() -> argparse.ArgumentParser:
    Parser.distributed = False
    parser = Parser(prog="fastcnn", description="Train, evaluate and use convolutional networks on the CPU.")
    parser.add_argument("--version", action="version", version=f"fastcnn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        sub = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        sub.add_argument("--debug", action="store_true", help="show the traceback of a failure")
        sub.add_argument("--json", action="store_true", help="print the result as JSON, in the last line")
        module.add_arguments(sub)
        sub.divide = getattr(module, "divide", None)
        sub.set_defaults(run=module.run, prog=sub.prog)
    return parser


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return reason(error)
    known = isinstance(error, KNOWN)
    return text if known and text else f"{type(error).__name__}: {text}".rstrip(": ")


def run(arguments: argparse.Namespace) -> int:
    """Apply the options that all commands share, and run the command; its exit status."""
    from fastcnn.backends import helpers
    from fastcnn.backends.active import compilation_announced
    from fastcnn.config import (
        get_backend,
        get_conv_algorithm,
        get_dtype,
        get_num_threads,
        set_backend,
        set_dtype,
        set_num_threads,
    )
    from fastcnn.threads import check_pool

    most = join_ranks(arguments)
    try:
        if getattr(arguments, "dtype", None):
            set_dtype(arguments.dtype)
        get_dtype()
        get_conv_algorithm()
        helpers.processes()
        # Before the backend: importing numba fixes the size of its thread pool.
        asked = getattr(arguments, "threads", None)
        threads = asked or min(most, get_num_threads())
        if threads > most:
            raise UsageError(
                f"argument --threads: expected at most {most}, as ranks share the cores of a node, received {threads}"
            )
        check_pool("argument --threads" if asked else "FASTCNN_NUM_THREADS", threads)
        set_num_threads(threads)
        set_backend(getattr(arguments, "backend", None) or get_backend())
    except ValueError as error:  # a bad environment variable is bad usage too
        raise UsageError(str(error)) from error
    another_rank_prints = arguments.comm is not None and arguments.comm.Get_rank() > 0
    with contextlib.nullcontext() if another_rank_prints else compilation_announced():
        if arguments.command == "run":  # signals are the script's
            interrupt.raise_again()
            return arguments.run(arguments)
        with interrupt.raised_once(), warnings_told(arguments.prog):
            return arguments.run(arguments) or 0


@contextlib.contextmanager
def warnings_told(prog: str) -> Iterator[None]:
    """Show a warning as one line of the command, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: streams.say(f"{prog}: warning: {message}")
        yield


def join_ranks(arguments: argparse.Namespace) -> int:
    """Set `arguments.comm`, the communicator of a command with --distributed, else None; the most threads to use."""
    from fastcnn.threads import MAX_THREADS

    arguments.comm = None
    if not getattr(arguments, "on_ranks", False):
        if hasattr(arguments, "on_ranks") and failures.launched() > 1 and not failures.launched_rank():
            text = f"each of the {failures.launched()} processes that mpiexec has started does the whole work"
            print(f"{arguments.prog}: warning: {text}: --distributed shares it", file=sys.stderr)
        return MAX_THREADS
    from fastcnn.distributed import world
    from fastcnn.distributed.cores import threads_per_rank
    from fastcnn.distributed.group import timeout

    comm = world()
    arguments.ending = failures.Ending(comm)
    arguments.comm = comm if comm.Get_size() > 1 else None
    try:
        timeout()
    except ValueError as error:
        raise UsageError(str(error)) from error
    return threads_per_rank(comm) if arguments.comm else MAX_THREADS


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    with streams.guarded() as (output, _):
        try:
            arguments: Any = build_parser().parse_args(argv)
        except SystemExit as ending:  # --help and --version, whose text is what they do, or a usage error
            sys.exit(output_status(output, "fastcnn", lasting=False) or ending.code)
        status = perform(arguments)
        return status or output_status(output, arguments.prog, arguments.command in LASTING)


def perform(arguments: argparse.Namespace) -> int:
    """Run the command, and print the line of its error; the exit status."""
    try:
        return run(arguments)
    except KeyboardInterrupt as error:
        status = interrupt.status_of(getattr(error, "signum", signal.SIGINT))
        return end(arguments, error, f"{arguments.prog}: {str(error) or 'interrupted'}", status)
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        status = 2 if isinstance(error, UsageError) else 1
        return end(arguments, error, f"{arguments.prog}: error: {one_line(error)}", status)


def end(arguments: argparse.Namespace, error: BaseException, message: str, status: int) -> int:
    """Print the one line about an error, on one rank of several; the exit status."""
    if hasattr(arguments, "ending"):
        return arguments.ending.fail(message, status, getattr(error, "remote", False))
    print(message, file=sys.stderr)
    return status


def output_status(output: streams.Guard, prog: str, lasting: bool) -> int:
    """The exit status as far as standard output decides it: what a command has done may be `lasting` without it."""
    text = output.failure()
    if text is not None:
        print(f"{prog}: {'warning' if lasting else 'error'}: {text}", file=sys.stderr)
    return 0 if lasting or text is None else 1


if __name__ == "__main__":
    sys.exit(main())
