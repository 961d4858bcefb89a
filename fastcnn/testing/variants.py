"""The same class with other arguments: strides, overlapping windows, even kernels, images that are rectangles."""

import copy
import functools
import inspect
from typing import Any

import numpy as np

from fastcnn.layers.protocol import offers
from fastcnn.shapes import shape_text
from fastcnn.testing.checks import FEW, attempt, basic_checks
from fastcnn.testing.probe import Probe, one_line
from fastcnn.testing.report import Check, Failure, Skip
from fastcnn.windows import PADDING_METHODS

SHAPES = ("shape", "input_shape")
LAST_SIZE = ("output_channels", "output_num")  # layers that do not keep them keep `output_shape`
METHODS = ("VALID", "SAME")  # those of the original, which a script's own layer may have too
BY_METHOD = {"padding": None, "output_padding": 0}  # of a convolution whose padding its `method` says
GEOMETRY = "ksize", "stride", "dilation", "padding", "output_padding"
BATCH = 2


def constructor(layer: Any) -> list[inspect.Parameter]:
    """The constructor's arguments that can be named."""
    try:
        parameters = inspect.signature(type(layer)).parameters.values()
    except (TypeError, ValueError):
        raise Skip("the constructor's arguments are not known to Python") from None
    return [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def own_arguments(layer: Any) -> dict[str, Any]:
    """The arguments that would make `layer` again, but for its shape: from `config()`, or attributes of their names."""
    config = layer.config() if offers(layer, "config") else {}
    unsaid = getattr(layer, "unsaid_names", ())  # at their default, where `config` does not say them
    found: dict[str, Any] = {}
    for parameter in constructor(layer):
        name, attribute = parameter.name, getattr(layer, parameter.name, None)
        if name in SHAPES or (name in unsaid and name not in config):
            continue
        if name in config:
            found[name] = config[name]
        elif hasattr(layer, name) and not inspect.ismethod(attribute):
            found[name] = copy.deepcopy(attribute)
        elif name in LAST_SIZE and getattr(layer, "output_shape", None) is not None:
            found[name] = int(layer.output_shape[-1])
        elif parameter.default is parameter.empty:
            raise Skip(f"the constructor's argument `{name}` is no attribute of the layer")
    return found


def build(layer: Any, arguments: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """A layer of the same class."""
    name = next((p.name for p in constructor(layer) if p.name in SHAPES), None)
    if name is None:
        raise Skip("the constructor takes no `shape`")
    return type(layer)(**{name: shape}, **arguments)


def longest_reach(arguments: dict[str, Any]) -> int:
    """Pixels from the first of a window to its last, on the axis where these are more; 2 where nothing says it."""

    def sides(name: str, otherwise: int) -> list[int]:
        value = arguments.get(name, otherwise)
        found = [value] * 2 if isinstance(value, int | np.integer) else value
        pair = isinstance(found, list | tuple) and len(found) == 2
        return (
            [int(side) if isinstance(side, int | np.integer) else otherwise for side in found]
            if pair
            else [otherwise] * 2
        )

    return max((side - 1) * apart + 1 for side, apart in zip(sides("ksize", 2), sides("dilation", 1), strict=True))


def variants_of(arguments: dict[str, Any], shape: tuple[int, ...]) -> list[tuple[str, dict[str, Any], tuple[int, ...]]]:
    """(name, changed arguments, shape of the input) of each variant.

    Images are just large enough for three windows or so. With a stride some are left over or clipped at the border.
    """
    channels, kernel = shape[3], longest_reach(arguments)

    def square(k: int) -> tuple[int, ...]:
        return BATCH, k + 5, k + 5, channels

    convolves = arguments.get("method") in PADDING_METHODS
    by_method = {name: value for name, value in BY_METHOD.items() if name in arguments}
    sides = (kernel + 4, kernel + 6)
    variants: list = [(f"{h} x {w} image", {}, (BATCH, h, w, channels)) for h, w in (sides, sides[::-1])]
    if "stride" in arguments:
        for stride in (2, 3):
            for method in METHODS if convolves else (None,):
                changes = {"stride": stride} | ({"method": method} | by_method if method else {})
                variants.append((f"stride {stride}" + f" {method}" * bool(method), changes, square(kernel)))
    if "ksize" in arguments and "stride" in arguments and not convolves:
        for stride in (1, 2):
            variants.append((f"ksize 3 stride {stride}", {"ksize": 3, "stride": stride}, square(3)))
    if "ksize" in arguments and convolves:
        for even in (2, 4):
            one = {"stride": 1} if "stride" in arguments else {}
            variants.append((f"ksize {even} SAME", {"ksize": even, "method": "SAME"} | by_method | one, square(even)))
    return variants


def check_variant(layer: Any, probe: Probe, arguments: dict[str, Any], shape: tuple[int, ...]) -> str:
    """Forward, shapes and gradients of one variant; the first that fails says so."""
    try:
        built = build(layer, arguments, shape)
    except Exception as error:
        raise Failure(f"the constructor raised {one_line(error)}") from error
    spread = float(probe.x.astype(np.float64).std()) or 1.0
    x = probe.rng.normal(float(probe.x.mean()), spread, shape)
    inner: list[Check] = []
    main = Probe(built, x, probe.seed, probe.tolerance)
    basic_checks(main, inner, (4 * FEW, 2 * FEW))
    for check in inner:
        if check.status == "failed":
            raise Failure(f"input {shape_text(*shape)}: {check.name}: {check.message}")
    same = [value is None or isinstance(value, int | np.integer) for value in map(arguments.get, GEOMETRY)]
    if "ksize" in arguments and all(same) and shape[1] != shape[2] and main.out.ndim == 4:
        turned = Probe(build(layer, arguments, (shape[0], shape[2], shape[1], shape[3])), x.swapaxes(1, 2), probe.seed)
        other = turned.forward(turned.fresh(), turned.x.copy()).shape[1:3]
        if other[::-1] != main.out.shape[1:3]:
            sizes = [" x ".join(map(str, pair)) for pair in (shape[1:3], main.out.shape[1:3], shape[2:0:-1], other)]
            raise Failure("{} pixels give {} outputs, but {} give {}, which is not that turned".format(*sizes))
    return f"input {shape_text(*shape)}: output and gradients"


def variant_checks(layer: Any, probe: Probe) -> list[Check]:
    """A check of each variant, or one that says why there are none."""
    checks: list[Check] = []

    def prepare() -> str:
        if probe.is_loss or probe.x.ndim != 4:
            raise Skip("the input is no batch of images (batch, height, width, channels)")
        try:
            arguments = own_arguments(layer)
            build(layer, copy.deepcopy(arguments), tuple(getattr(layer, "input_shape", probe.x.shape)))
        except Skip:
            raise
        except Exception as error:
            raise Skip(f"the constructor does not take the layer's own attributes: {one_line(error)}") from error
        for name, changes, shape in variants_of(arguments, probe.x.shape):
            np.random.set_state(probe.random_states[0])  # initial weights are drawn from here
            made = copy.deepcopy(arguments) | changes
            attempt(checks, name, functools.partial(check_variant, layer, probe, made, shape))
        return "made"

    first: list[Check] = []
    if not attempt(first, "variants", prepare):
        return first
    return checks
