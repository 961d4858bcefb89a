"""`fastcnn info --conv`: which algorithm computes a convolution, and why; or the rule."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from fastcnn.commands.options import UsageError, number
from fastcnn.shapes import LARGEST_SIDE, shortened
from fastcnn.windows import PADDING_METHODS, Pair, Window, both, check_window, conv_output_shape, window_of

if TYPE_CHECKING:
    from fastcnn.backends.numba.convolution.rule import Layer, Row

WIDTH = 16  # of the first column
SIDES = {"ksize": "sides of the kernels (default: 3)", "stride": "(default: 1)", "dilation": "(default: 1)"}
NEEDS_SHAPE = "outputs", *SIDES, "groups", "transposed", "padding", "conv_algorithm"


def shape_of(text: str) -> tuple[int, ...]:
    """An argparse type: BxHxWxC."""
    if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8}){3}", text):
        raise argparse.ArgumentTypeError(
            f"expected a shape such as 64x32x32x16 (BxHxWxC), received {shortened(text)!r}"
        )
    return tuple(map(int, text.split("x")))


def sides_of(text: str) -> Pair:
    """An argparse type: K, or HxW."""
    if not re.fullmatch(r"0*[1-9]\d*(x0*[1-9]\d*)?", text):
        raise argparse.ArgumentTypeError(
            f"expected an integer of at least 1, or two such as 1x7, received {shortened(text)!r}"
        )
    height, _, width = text.partition("x")
    sides = tuple(int(side[-20:]) for side in (height, width or height))  # Python reads no more than 4300 digits
    if max(sides) > LARGEST_SIDE:
        raise argparse.ArgumentTypeError(f"expected at most {LARGEST_SIDE}, received {shortened(text)}")
    return sides[0], sides[1]


def padding_of(text: str) -> str | tuple[Pair, Pair]:
    """An argparse type: a method, or zeros around the image: as many on all sides; or as many at both ends of an axis,
    ROWSxCOLUMNS; or before and after, on both axes or on each."""
    if text in PADDING_METHODS:
        return text
    if re.fullmatch(r"\d{1,9}x\d{1,9}", text):
        rows, columns = map(int, text.split("x"))
        return (rows, rows), (columns, columns)
    if not re.fullmatch(r"\d{1,9}(,\d{1,9}|(,\d{1,9}){3})?", text):
        expected = (
            f"{', '.join(PADDING_METHODS)}, or zeros such as 1, rows x columns 1x3, before and after 0,1, or top, "
        )
        raise argparse.ArgumentTypeError(f"expected {expected}bottom, left, right, received {shortened(text)!r}")
    zeros = [int(part) for part in text.split(",")]
    top, bottom, left, right = zeros if len(zeros) == 4 else [zeros[0], zeros[-1]] * 2
    return (top, bottom), (left, right)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from fastcnn.config import CONV_ALGORITHMS

    conv = parser.add_argument_group("the algorithm of a convolution")
    text = "which algorithm computes a convolution of such an image, and why; without a shape, the rule"
    conv.add_argument("--conv", nargs="?", type=shape_of, const=(), metavar="BxHxWxC", help=text)
    conv.add_argument("--outputs", type=number(int, 1), metavar="O", help="output channels; needed with a shape")
    for name, text in SIDES.items():
        conv.add_argument(f"--{name}", type=sides_of, metavar="N|HxW", help=text)
    text = "a transposed convolution, whose input is BxHxWxC"
    conv.add_argument("--transposed", action="store_const", const=True, help=text)
    conv.add_argument("--groups", type=number(int, 1), metavar="G", help="of channels (default: 1)")
    padding = (
        f"{', '.join(PADDING_METHODS)}, or zeros N, ROWSxCOLUMNS, BEFORE,AFTER or TOP,BOTTOM,LEFT,RIGHT (default: SAME)"
    )
    conv.add_argument("--padding", type=padding_of, metavar="P", help=padding)
    conv.add_argument("--conv-algorithm", choices=CONV_ALGORITHMS, help="default: $FASTCNN_CONV, else auto, the rule")


def kernels_of(row: Row) -> str:
    """What a row of the rule is for."""
    return (
        f"{'x'.join(map(str, both(row.ksize)))}, stride {row.stride}"
        if row.ksize
        else "any kernel" + ", in groups" * row.grouped
    )


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


def print_direction(way: str, layer: Layer, name: str) -> dict[str, Any]:
    """Print which algorithm computes one direction of a layer, and why; the same as data."""
    from fastcnn.backends.numba.convolution.rule import candidates, choose

    taken = choose(name, layer)
    holds = [limit.text(layer) for limit in taken.limits(name)]
    rows = candidates(name)
    before = {row.title: row.missed(layer, name) for row in rows[: rows.index(taken)] if row.takes(layer)}
    missed = {title: [limit.text(layer) for limit in limits] for title, limits in before.items()}
    print(f"{way:<{WIDTH}} {taken.title}: {taken.reason}")
    for line in [", ".join(holds)] * bool(holds) + [f"not {key}: {', '.join(texts)}" for key, texts in missed.items()]:
        print(f"{'':<{WIDTH}} {line}")
    facts = {"algorithm": taken.algorithm, "transform": taken.transform, "reason": taken.reason}
    return facts | {"limits": holds, "passed_over": missed}


class Convolution(NamedTuple):
    """What is asked about; `shape` and `out_shape` are those of the layer."""

    shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    window: Window
    groups: int
    transposed: bool = False


def convolution_of(arguments: argparse.Namespace) -> Convolution | None:
    """The convolution that the arguments describe; None where they give no shape."""
    for option in NEEDS_SHAPE:
        if getattr(arguments, option) is not None and not arguments.conv:
            raise UsageError(f"argument --{option.replace('_', '-')}: goes with --conv BxHxWxC")
    if not arguments.conv:
        return None
    shape, outputs, groups = arguments.conv, arguments.outputs, arguments.groups or 1
    if outputs is None:
        raise UsageError("argument --outputs: the number of output channels is needed with --conv BxHxWxC")
    if outputs > LARGEST_SIDE:
        raise UsageError(f"argument --outputs: expected at most {LARGEST_SIDE}, received {outputs}")
    if shape[3] % groups or outputs % groups:
        expected = f"a number that divides the {shape[3]} channels and the {outputs} outputs"
        raise UsageError(f"argument --groups: expected {expected}, received {groups}")
    padding = arguments.padding or "SAME"
    method, pixels = (padding, None) if isinstance(padding, str) else ("VALID", padding)
    sides = arguments.ksize or (3, 3), arguments.stride or (1, 1), arguments.dilation or (1, 1)
    if arguments.transposed:
        return transposed_of(shape, outputs, sides, (groups, pixels, method))
    window = window_of(shape[1:3], *sides, pixels, method)
    try:
        check_window("info", window, shape)
    except ValueError as error:
        raise UsageError(f"argument --ksize: {str(error).partition(': ')[2]}") from None
    return Convolution(shape, conv_output_shape(shape, (*window.ksize, shape[3], outputs), window), window, groups)


def transposed_of(shape: tuple[int, ...], outputs: int, sides: tuple[Pair, Pair, Pair], others: Any) -> Convolution:
    """A transposed convolution, as its layer sees it."""
    from fastcnn.initializers import LATER
    from fastcnn.layers import Conv2DTranspose

    (ksize, stride, dilation), (groups, padding, method) = sides, others
    options = {"groups": groups, "dilation": dilation, "padding": padding, "initializer": LATER}
    try:
        layer = Conv2DTranspose(shape, outputs, ksize, stride, method, **options)
    except ValueError as error:
        raise UsageError(f"argument --transposed: {error}") from None
    return Convolution(shape, layer.output_shape, layer.window, groups, True)


def side_text(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}" if pair[0] != pair[1] else str(pair[0])


def window_text(window: Window, groups: int) -> str:
    """In words; what is not there is left out."""
    (top, bottom), (left, right) = window.padding
    zeros = f"{top},{bottom}" if (top, bottom) == (left, right) else f"{top},{bottom},{left},{right}"
    words = [f"{window.ksize[0]}x{window.ksize[1]}", f"stride {side_text(window.stride)}"]
    words += [f"dilation {side_text(window.dilation)}"] * (window.dilation != (1, 1)) + [f"padding {zeros}"]
    return ", ".join(words + [f"{groups} groups"] * (groups > 1))


def print_convolution(convolution: Convolution, algorithm: str | None) -> dict[str, Any]:
    """Print which algorithm computes a convolution; the same as data."""
    from fastcnn.backends.numba.convolution.rule import DIRECTIONS, layer_of
    from fastcnn.config import get_conv_algorithm

    shape, out_shape, window, groups, transposed = convolution
    name, asked = algorithm or get_conv_algorithm(), "by default"
    if algorithm or os.environ.get("FASTCNN_CONV"):
        asked = "by --conv-algorithm" if algorithm else "by $FASTCNN_CONV"
    sizes = " -> ".join("x".join(map(str, sides)) for sides in (shape, out_shape))
    kind = "transposed" if transposed else "convolution"
    print(f"{kind:<{WIDTH}} {sizes}, {window_text(window, groups)}")
    print(f"{'asked for':<{WIDTH}} {name}, {asked}")
    turned = (DIRECTIONS[1], DIRECTIONS[0], DIRECTIONS[2]) if transposed else DIRECTIONS
    ends = (out_shape, shape) if transposed else (shape, out_shape)
    layers = [layer_of(direction, *ends, window, groups, transposed) for direction in turned]
    directions = {
        way.replace(" ", "_"): print_direction(way, layer, name) for way, layer in zip(DIRECTIONS, layers, strict=True)
    }
    layer = window._asdict() | {"groups": groups, "transposed": transposed}
    return {"shape": shape, "out_shape": out_shape, "layer": layer, "asked_for": name, "asked": asked, **directions}
