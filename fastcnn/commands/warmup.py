"""Compile every kernel of the numba backend and keep the result, so that later runs start at once."""

import argparse
import time

from fastcnn.commands.options import UsageError, add_runtime_options, print_json

HELP = "compile all kernels beforehand and fill the cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runtime_options(parser)


def run(arguments: argparse.Namespace) -> None:
    from fastcnn.config import DTYPES, get_backend

    if get_backend() == "numpy":
        raise UsageError("argument --backend: the NumPy backend has nothing to compile; expected numba or check")
    from fastcnn.backends.numba import compilation
    from fastcnn.backends.numba.core.cache import CACHE_FOLDER

    start = time.perf_counter()
    compiled = compilation.warm_up([arguments.dtype] if arguments.dtype else list(DTYPES))
    total = time.perf_counter() - start
    for name, seconds in sorted(compiled.items(), key=lambda item: -item[1]):
        print(f"{name:<44} {seconds:>6.2f} s")
    what = f"{len(compiled)} functions compiled" if compiled else "all kernels were compiled already"
    folder = str(CACHE_FOLDER) if CACHE_FOLDER else "none: no writable folder, each process compiles anew"
    print(f"{what}, {total:.1f} s\ncache: {folder}")
    if arguments.json:
        kept = str(CACHE_FOLDER) if CACHE_FOLDER else None
        print_json({"compiled": compiled, "seconds": total, "cache_folder": kept})
