"""Show versions, the backend, threads, the SIMD width and the kernel cache: what a bug report should start with.

With --conv, show instead which algorithm computes a convolution, and why: `--conv 64x32x32x16 --outputs 32 --ksize 3`;
without a shape, show the rule.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from typing import Any

from fastcnn.commands import info_conv
from fastcnn.commands.options import UsageError, add_runtime_options, print_json

HELP = "show versions, backend, threads, SIMD width, cache folder; or how a convolution is computed"
WIDTH = info_conv.WIDTH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runtime_options(parser)
    info_conv.add_arguments(parser)


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def numba_facts() -> dict[str, Any]:
    """What only the numba backend knows; its threading layer is chosen with the loop that all kernels share."""
    import llvmlite.binding as llvm

    from fastcnn.backends.numba.core import jit
    from fastcnn.backends.numba.core.cache import CACHE_FOLDER
    from fastcnn.backends.numba.core.width import VECTOR_BYTES

    jit.load_loop()
    return {
        "threading layer": jit.threading_layer(),
        "thread pool": jit.numba.config.NUMBA_NUM_THREADS,
        "SIMD width": f"{VECTOR_BYTES * 8} bits",
        "processor": llvm.get_host_cpu_name(),
        "cache folder": str(CACHE_FOLDER) if CACHE_FOLDER else "none: no writable folder, nothing is kept",
    }


def run(arguments: argparse.Namespace) -> None:
    from fastcnn import __version__
    from fastcnn.config import get_backend, get_dtype, get_num_threads, thread_limit

    convolution = info_conv.convolution_of(arguments)
    if arguments.conv is not None:
        if get_backend() == "numpy":
            raise UsageError("argument --conv: the backend 'numpy' has one algorithm; the rule is numba's")
        algorithm = arguments.conv_algorithm
        result = (
            info_conv.print_convolution(convolution, algorithm) if convolution else {"rule": info_conv.print_rule()}
        )
        if arguments.json:
            print_json(result)
        return
    facts: dict[str, Any] = {"fastcnn": __version__, "python": platform.python_version()}
    facts |= {package: version(package) for package in ("numpy", "numba", "llvmlite")}
    facts |= {
        "platform": platform.platform(),
        "backend": get_backend(),
        "dtype": get_dtype().name,
        "threads": get_num_threads(),
        "threads from": "--threads" if arguments.threads else thread_limit().source,
    }
    if get_backend() != "numpy":
        facts |= numba_facts()
    for key, value in facts.items():
        print(f"{key:<{WIDTH}} {value}")
    if arguments.json:
        print_json({key.replace(" ", "_").lower(): value for key, value in facts.items()})
