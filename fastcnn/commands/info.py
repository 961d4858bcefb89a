"""Show versions, the backend, threads, the SIMD width and the kernel cache: what a bug report should start with.

With --conv, show instead which algorithm computes a convolution, and why: `--conv 64x32x32x16 --outputs 32 --ksize 3`;
without a shape, show the rule.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from fastcnn.commands.options import UsageError, add_runtime_options, number, print_json
from fastcnn.shapes import shortened

if TYPE_CHECKING:
    from fastcnn.backends.numba.convolution.rule import Layer, Row

HELP = "show versions, backend, threads, SIMD width, cache folder; or how a convolution is computed"
METHODS = "SAME", "VALID"
WIDTH = 16  # of the first column


def shape_of(text: str) -> tuple[int, ...]:
    """An argparse type: BxHxWxC."""
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8}){3}", text):
        raise argparse.ArgumentTypeError(
            f"expected a shape such as 64x32x32x16 (BxHxWxC), received {shortened(text)!r}"
        )
    return tuple(map(int, text.split("x")))


def padding_of(text: str) -> str | tuple[int, int]:
    """An argparse type: a method, or zeros before and after the image."""
    if text in METHODS:
        return text
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})?", text):
        expected = f"{', '.join(METHODS)}, or zeros before and after such as 1,1"
        raise argparse.ArgumentTypeError(f"expected {expected}, received {shortened(text)!r}")
    before, _, after = text.partition(",")
    return int(before), int(after or before)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from fastcnn.config import CONV_ALGORITHMS

    add_runtime_options(parser)
    conv = parser.add_argument_group("the algorithm of a convolution")
    text = "which algorithm computes a convolution of such an image, and why; without a shape, the rule"
    conv.add_argument("--conv", nargs="?", type=shape_of, const=(), metavar="BxHxWxC", help=text)
    conv.add_argument("--outputs", type=number(int, 1), metavar="O", help="output channels; needed with a shape")
    conv.add_argument("--ksize", type=number(int, 1), metavar="K", help="pixels on a side of the kernels (default: 3)")
    conv.add_argument("--stride", type=number(int, 1), metavar="S", help="(default: 1)")
    padding = f"{', '.join(METHODS)}, or zeros BEFORE,AFTER (default: SAME)"
    conv.add_argument("--padding", type=padding_of, metavar="P", help=padding)
    conv.add_argument("--conv-algorithm", choices=CONV_ALGORITHMS, help="default: $FASTCNN_CONV, else auto, the rule")


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


def kernels_of(row: Row) -> str:
    """What a row of the rule is for."""
    return f"{row.ksize}x{row.ksize}, stride {row.stride}" if row.ksize else "any kernel"


def print_rule() -> list[dict[str, Any]]:
    """Print the rule; its rows."""
    from fastcnn.backends.numba.convolution.rule import MEASURES, ROWS

    found = []
    for row in ROWS:
        limits = [limit.text() for limit in row.limits("auto")]
        print(f"{row.title:<{WIDTH}} {kernels_of(row)}; {', '.join(row.directions)}")
        for line in [f"if {', '.join(limits)}"] * bool(limits) + [row.reason]:
            print(f"{'':<{WIDTH}} {line}")
        facts = {"kernels": kernels_of(row), "directions": row.directions, "limits": limits, "reason": row.reason}
        found.append({"algorithm": row.algorithm, "transform": row.transform, **facts})
    print("\nThe first row that holds decides.")
    for name, (words, _) in MEASURES.items():
        print(f"{name:<{WIDTH}} {words}")
    return found


def print_direction(layer: Layer, name: str) -> dict[str, Any]:
    """Print which algorithm computes one direction of a convolution, and why; the same as data."""
    from fastcnn.backends.numba.convolution.rule import candidates, choose

    taken = choose(name, layer)
    holds = [limit.text(layer) for limit in taken.limits(name)]
    rows = candidates(name)
    before = {row.title: row.missed(layer, name) for row in rows[: rows.index(taken)] if row.takes(layer)}
    missed = {title: [limit.text(layer) for limit in limits] for title, limits in before.items()}
    print(f"{layer.direction:<{WIDTH}} {taken.title}: {taken.reason}")
    for line in [", ".join(holds)] * bool(holds) + [f"not {key}: {', '.join(texts)}" for key, texts in missed.items()]:
        print(f"{'':<{WIDTH}} {line}")
    facts = {"algorithm": taken.algorithm, "transform": taken.transform, "reason": taken.reason}
    return facts | {"limits": holds, "passed_over": missed}


class Convolution(NamedTuple):
    """What is asked about."""

    shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    ksize: int
    stride: int
    padding: tuple[int, int]


def convolution_of(arguments: argparse.Namespace) -> Convolution | None:
    """The convolution that the arguments describe; None where they give no shape."""
    from fastcnn.shapes import LARGEST_SIDE, conv_output_shape, conv_padding

    for option in ("outputs", "ksize", "stride", "padding", "conv_algorithm"):
        if getattr(arguments, option) is not None and not arguments.conv:
            raise UsageError(f"argument --{option.replace('_', '-')}: goes with --conv BxHxWxC")
    if not arguments.conv:
        return None
    ksize, stride, padding = arguments.ksize or 3, arguments.stride or 1, arguments.padding or "SAME"
    if arguments.outputs is None:
        raise UsageError("argument --outputs: the number of output channels is needed with --conv BxHxWxC")
    if isinstance(padding, str):
        padding = conv_padding(ksize, padding)
    largest = min(arguments.conv[1:3]) + sum(padding)
    if ksize > largest:
        raise UsageError(f"argument --ksize: expected at most {largest}, the image with its padding, received {ksize}")
    for option, value in (("outputs", arguments.outputs), ("ksize", ksize), ("stride", stride)):
        if value > LARGEST_SIDE:
            raise UsageError(f"argument --{option}: expected at most {LARGEST_SIDE}, received {value}")
    out_shape = conv_output_shape(arguments.conv, (ksize, ksize, arguments.conv[3], arguments.outputs), stride, padding)
    return Convolution(arguments.conv, out_shape, ksize, stride, padding)


def print_convolution(convolution: Convolution, algorithm: str | None) -> dict[str, Any]:
    """Print which algorithm computes a convolution; the same as data."""
    from fastcnn.backends.numba.convolution.rule import DIRECTIONS, layer_of
    from fastcnn.config import get_conv_algorithm

    shape, out_shape, ksize, stride, (before, after) = convolution
    name, asked = algorithm or get_conv_algorithm(), "by default"
    if algorithm or os.environ.get("FASTCNN_CONV"):
        asked = "by --conv-algorithm" if algorithm else "by $FASTCNN_CONV"
    sizes = " -> ".join("x".join(map(str, sides)) for sides in (shape, out_shape))
    print(f"{'convolution':<{WIDTH}} {sizes}, {ksize}x{ksize}, stride {stride}, padding {before},{after}")
    print(f"{'asked for':<{WIDTH}} {name}, {asked}")
    layers = [layer_of(direction, shape, out_shape, ksize, stride) for direction in DIRECTIONS]
    directions = {layer.direction.replace(" ", "_"): print_direction(layer, name) for layer in layers}
    return {"shape": shape, "out_shape": out_shape, "asked_for": name, "asked": asked, **directions}


def run(arguments: argparse.Namespace) -> None:
    from fastcnn import __version__
    from fastcnn.config import get_backend, get_dtype, get_num_threads, thread_limit

    convolution = convolution_of(arguments)
    if arguments.conv is not None:
        if get_backend() == "numpy":
            raise UsageError("argument --conv: the backend 'numpy' has one algorithm; the rule is numba's")
        algorithm = arguments.conv_algorithm
        result = print_convolution(convolution, algorithm) if convolution else {"rule": print_rule()}
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
