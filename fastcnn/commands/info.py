"""Show versions, the backend, threads, the SIMD width and the kernel cache: what a bug report should start with."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from typing import Any

from fastcnn.commands.options import add_runtime_options, print_json

HELP = "show versions, backend, threads, SIMD width, cache folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runtime_options(parser)


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def numba_facts() -> dict[str, Any]:
    """What only the numba backend knows; its threading layer is chosen when a kernel first has much to do."""
    import llvmlite.binding as llvm
    import numpy as np

    from fastcnn.backends.numba import relu_forward
    from fastcnn.backends.numba.core import jit
    from fastcnn.backends.numba.core.width import VECTOR_BYTES

    relu_forward(np.zeros(jit.SMALL_WORK, np.float32))
    return {
        "threading layer": jit.threading_layer(),
        "thread pool": jit.numba.config.NUMBA_NUM_THREADS,
        "SIMD width": f"{VECTOR_BYTES * 8} bits",
        "processor": llvm.get_host_cpu_name(),
        "cache folder": str(jit.CACHE_FOLDER) if jit.CACHE_FOLDER else "none: no writable folder, nothing is kept",
    }


def run(arguments: argparse.Namespace) -> None:
    from fastcnn import __version__
    from fastcnn.config import get_backend, get_dtype, get_num_threads

    facts: dict[str, Any] = {"fastcnn": __version__, "python": platform.python_version()}
    facts |= {package: version(package) for package in ("numpy", "numba", "llvmlite")}
    facts |= {
        "platform": platform.platform(),
        "backend": get_backend(),
        "dtype": get_dtype().name,
        "threads": get_num_threads(),
    }
    if get_backend() != "numpy":
        facts |= numba_facts()
    for key, value in facts.items():
        print(f"{key:<16} {value}")
    if arguments.json:
        print_json({key.replace(" ", "_").lower(): value for key, value in facts.items()})
