"""Which algorithm computes a convolution, and by which transform: a table, whose first row that holds decides.

It follows from the shapes alone and was drawn from measurements (`fastcnn bench`). Nothing is timed at run time, so
results repeat bit for bit. `fastcnn info --conv` prints it.
"""

import math
from typing import NamedTuple

from fastcnn.backends.numba.convolution.winograd.table import BOTH, TABLE
from fastcnn.backends.numba.core.copying import MANY_WINDOWS
from fastcnn.backends.numba.core.hints import Shape
from fastcnn.backends.numba.product.sums import LONGEST
from fastcnn.config import CONV_ALGORITHMS
from fastcnn.windows import Sides, Window, both

FORWARD, INPUT, WEIGHTS = DIRECTIONS = ("forward", "input gradient", "weight gradient")


class Layer(NamedTuple):
    """What the rule knows of a convolution: `inputs` and `outputs` are those of a group of channels, `out_shape` is (B,
    OH, OW, O), and `made` (B, rows, columns), the pixels that tiles make or, for the weights' gradient, read: those of
    the image for its gradient, else those of the output. `transposed`: whether it is the direction of a convolution
    that a transposed one asks for.
    """

    direction: str
    window: Window
    groups: int
    inputs: int
    outputs: int
    out_shape: Shape
    made: Shape
    transposed: bool


class Limit(NamedTuple):
    """A measure of the layer (see `MEASURES`) is at least `value`, or `below` it."""

    measure: str
    value: float
    below: bool = False

    def holds(self, layer: Layer) -> bool:
        return self.measured(layer) < self.value if self.below else self.measured(layer) >= self.value

    def measured(self, layer: Layer) -> float:
        return MEASURES[self.measure][1](layer)

    def text(self, layer: Layer | None = None) -> str:
        """In words, with what the layer has: ``channels 3, not >= 16``."""
        limit = f"{'<' if self.below else '>='} {self.value:g}"
        if layer is None:
            return f"{self.measure} {limit}"
        return f"{self.measure} {self.measured(layer):g}{' ' if self.holds(layer) else ', not '}{limit}"


class Row(NamedTuple):
    """An algorithm, and the name of its transform: for kernels of `ksize` and `stride`, where these are given, in some
    `directions`. All limits of `fits` must hold, and where the user leaves the choice to the rule those of `pays`; with
    `asked` it is never left to the rule, with `grouped` it is for groups of channels alone."""

    algorithm: str
    transform: str | None
    reason: str
    ksize: Sides | None = None
    stride: int | None = None
    directions: tuple[str, ...] = DIRECTIONS
    fits: tuple[Limit, ...] = ()
    pays: tuple[Limit, ...] = ()
    grouped: bool = False

    def takes(self, layer: Layer) -> bool:
        """Whether the row is for such kernels at all."""
        if self.grouped and layer.groups == 1:
            return False
        if self.ksize is not None:
            ksize, stride, dilation, _ = layer.window
            dilated = dilation != (1, 1) and self.stride != 1  # of interleaved images, each convolved by itself
            if dilated or (ksize, stride) != (both(self.ksize), both(self.stride or 1)):
                return False
        return layer.direction in self.directions

    def limits(self, name: str) -> tuple[Limit, ...]:
        """Those that must hold where algorithm `name` is asked for."""
        return self.fits + self.pays * (name == "auto")

    def missed(self, layer: Layer, name: str) -> list[Limit]:
        """The limits that do not hold."""
        return [limit for limit in self.limits(name) if not limit.holds(layer)]

    @property
    def title(self) -> str:
        return f"{self.algorithm} {self.transform or ''}".rstrip()


def tiles(layer: Layer, side: int) -> int:
    """Tiles of `side` x `side` pixels that cover one image, or those that are interleaved in it."""
    sides = zip(layer.made[1:], layer.window.dilation, strict=True)
    return math.prod(-(-length // (side * apart)) * apart for length, apart in sides)


def counted_pixels(layer: Layer) -> int:
    return math.prod(layer.out_shape[:3]) * (2 if layer.inputs * layer.outputs >= 8192 else 1)


def products(layer: Layer) -> float:
    return 36 * tiles(layer, 4) / (16 * tiles(layer, 2)) if tiles(layer, 2) else 1.0


def inside(layer: Layer) -> float:
    return (
        math.prod(side / (4 * -(-side // 4)) for side in layer.out_shape[1:3])
        if math.prod(layer.out_shape[:3])
        else 0.0
    )


def filled(layer: Layer) -> float:
    """Images that dilation interleaves may be smaller than a tile."""
    if layer.window.dilation == (1, 1) or not math.prod(layer.made):
        return 1.0
    axes = zip(layer.made[1:], layer.window.ksize, layer.window.dilation, strict=True)
    return math.prod(side / (2 * apart * -(-side // (2 * apart))) for side, ksize, apart in axes if ksize > 1)


def terms(layer: Layer) -> int:
    taps = math.prod(layer.window.ksize)
    if layer.direction == INPUT:  # windows are added up by themselves, but where it is a convolution of eta
        return layer.outputs * (taps if layer.groups > 1 and layer.window.stride == (1, 1) else 1)
    return layer.inputs * taps


def group(layer: Layer) -> float:
    return layer.outputs if layer.inputs in (1, layer.outputs) else math.inf


def taps(layer: Layer) -> int:
    return math.prod(layer.window.ksize) * (layer.outputs if layer.direction == INPUT else layer.inputs)


# What limits speak of: in words, and how it is measured.
MEASURES = {
    "channels": (
        "of the input or the output: the fewer",
        lambda layer: min(layer.inputs, layer.outputs),
    ),
    "pixels": ("of the whole batch's outputs", lambda layer: math.prod(layer.out_shape[:3])),
    "counted pixels": ("these, twice where inputs times outputs are 8192 or more", counted_pixels),
    "made pixels": (
        "the same, but for the input gradient those of the images",
        lambda layer: math.prod(layer.made),
    ),
    "products": ("multiplications of 4 x 4 tiles, over those of 2 x 2 tiles", products),
    "windows": (
        "that cover a pixel, on each axis: a kernel's side over the stride",
        lambda layer: max(-(-side // step) for side, step in zip(layer.window.ksize, layer.window.stride, strict=True)),
    ),
    "terms": ("that are added up: inputs times the kernel's pixels, or for the input gradient outputs", terms),
    "summed channels": (
        "inputs, or for the input gradient outputs",
        lambda layer: layer.outputs if layer.direction == INPUT else layer.inputs,
    ),
    "group": ("outputs of a group that has one input, or as many as outputs; else infinite", group),
    "taps": ("of a kernel, for each channel that they sum up", taps),
    "across": ("pixels of a kernel's row", lambda layer: layer.window.ksize[1]),
    "columns": ("of the output: what is summed up at once", lambda layer: layer.out_shape[2]),
    "filled": ("with dilation, the share of the pixels of tiles of 2 that are an image's; else 1", filled),
    "transposed": ("1 for transposed convolutions; others keep the bits that they had", lambda layer: layer.transposed),
    "inside": ("the share of the pixels of 4 x 4 tiles that are the output's", inside),
}

FILLED = Limit("filled", 0.6)
SUMMED = Limit("summed channels", LONGEST + 1, below=True)  # as a sum that is longer must be cut, which `im2col` does
NOT_OUTSIDE = SUMMED, Limit("products", 0.9, below=True), Limit("made pixels", 128)
PAYS = Limit("channels", 16), Limit("counted pixels", 128)
PAYS_FOR_WEIGHTS = Limit("channels", 16), Limit("counted pixels", 64)
SIXTEEN = Limit("channels", 16), Limit("pixels", 128), FILLED
THIRTY_TWO = Limit("channels", 32), Limit("pixels", 128), FILLED
SIXTY_FOUR = Limit("channels", 64), Limit("pixels", 128), FILLED
SEVEN = Limit("channels", 24), Limit("pixels", 512), FILLED
STRIDED = Limit("channels", 64), Limit("pixels", 2048), Limit("inside", 0.9)
STRIDED_MANY = Limit("channels", 32), Limit("pixels", 8192), Limit("inside", 0.9)
STRIDED_FOUR = Limit("transposed", 1), Limit("channels", 32), Limit("pixels", 2048), Limit("inside", 0.9)
SHORT_LINE = Limit("channels", 64), Limit("pixels", 256), FILLED

FEW = "with fewer channels it gains a tenth at most, with fewer pixels transforming the weights takes what it saves"
FOUR = f"16 outputs for 36 multiplications, not 144; {FEW}"
TWO = f"4 outputs for 16 multiplications, not 36, where 4 x 4 tiles would be few or stick out; {FEW}"
LINE = "4 outputs of a line for 6, 8 or 10 multiplications, not 12, 20 or 28; with fewer channels it was no gain"
FOUR_BY_FOUR = (
    "16 outputs for 100 multiplications, not 256; with fewer channels or pixels, or 0.77 inside, it was no gain"
)
TWO_BY_TWO = "16 outputs for 25 multiplications, not 64; with half the channels it was no gain"
FOUR_KERNEL = "25 outputs for 64 multiplications, not 400; with 8 channels it was no gain"
FIVE = "16 outputs for 64 multiplications, not 400; with 8 or 12 channels it was no gain"
SEVENS = "4 outputs for 64 multiplications, not 196; with 16 channels or 7 x 7 pixels it was no gain"
FIVE_TWICE = "16 outputs for 121 multiplications, not 400; with half the channels it was no gain"
SEVEN_TWICE = "16 outputs for 169 multiplications, not 784; with half the channels it was no gain"
TWICE = "16 outputs for 81 multiplications, not 144; with half the channels or pixels, or 0.75 inside, it was no gain"

SHORT = Limit("terms", LONGEST + 1, below=True)  # what `direct` adds up one after another
FEW_IN_GROUP = Limit("group", 17, below=True)
NARROW = Limit("across", 65, below=True)  # as all are unrolled: 512 take 16 s to compile
COLUMNS = Limit("columns", LONGEST + 1, below=True)
LANES = "vectors of neighbouring channels times weights of their own; in groups of 32 it was no gain"
READS = "any shape: one matrix product that reads the image where it lies"

WINOGRAD = (
    Row("winograd", "F(4,3)", FOUR, 3, 1, (FORWARD, INPUT), NOT_OUTSIDE, PAYS),
    Row("winograd", "F(4,3)", FOUR, 3, 1, (WEIGHTS,), NOT_OUTSIDE, PAYS_FOR_WEIGHTS),
    Row("winograd", "F(2,3)", TWO, 3, 1, (FORWARD, INPUT), (SUMMED,), (*PAYS, FILLED)),
    Row("winograd", "F(2,3)", TWO, 3, 1, (WEIGHTS,), pays=(*PAYS_FOR_WEIGHTS, FILLED)),
    Row("winograd", "F(4,2)", TWO_BY_TWO, 2, 1, (FORWARD,), (SUMMED,), SIXTY_FOUR),
    Row("winograd", "F(4,2)", TWO_BY_TWO, 2, 1, (INPUT, WEIGHTS), (SUMMED,), THIRTY_TWO),
    Row("winograd", "F(5,4)", FOUR_KERNEL, 4, 1, DIRECTIONS, (SUMMED,), SIXTEEN),
    Row("winograd", "F(4,5)", FIVE, 5, 1, DIRECTIONS, (SUMMED,), SIXTEEN),
    Row("winograd", "F(2,7)", SEVENS, 7, 1, DIRECTIONS, (SUMMED,), SEVEN),
    Row("winograd", "F(4,5)/2", FIVE_TWICE, 5, 2, (FORWARD, INPUT), (SUMMED,), THIRTY_TWO),
    Row("winograd", "F(4,5)/2", FIVE_TWICE, 5, 2, (WEIGHTS,), (SUMMED,), SIXTY_FOUR),
    Row("winograd", "F(4,7)/2", SEVEN_TWICE, 7, 2, DIRECTIONS, (SUMMED,), THIRTY_TWO),
    Row("winograd", "F(4,3)/2", TWICE, 3, 2, DIRECTIONS, (SUMMED,), STRIDED),
    Row("winograd", "F(4,3)/2", TWICE, 3, 2, DIRECTIONS, (SUMMED,), STRIDED_MANY),
    Row("winograd", "F(4,4)/2", FOUR_BY_FOUR, 4, 2, DIRECTIONS, (SUMMED,), STRIDED_FOUR),
    *(
        Row("winograd", row.name, LINE, row.ksize, 1, DIRECTIONS, (SUMMED,), THIRTY_TWO if row.r > 3 else SHORT_LINE)
        for row in TABLE
        if row.axis != BOTH
    ),
)
ROWS = (
    Row(
        "lanes",
        None,
        LANES,
        directions=(FORWARD, INPUT),
        fits=(FEW_IN_GROUP, NARROW, Limit("taps", LONGEST + 1, below=True)),
        grouped=True,
    ),
    Row("lanes", None, LANES, directions=(WEIGHTS,), fits=(FEW_IN_GROUP, NARROW, COLUMNS), grouped=True),
    *WINOGRAD,
    Row("direct", None, READS, directions=(FORWARD,), fits=(SHORT,)),
    Row("direct", None, READS, directions=(INPUT,), fits=(SHORT, Limit("windows", MANY_WINDOWS + 1, below=True))),
    Row("direct", None, READS, directions=(WEIGHTS,), fits=(COLUMNS,)),
    Row("im2col", None, "any shape: a column matrix and one matrix product; its sums are cut however long they are"),
)


def candidates(name: str) -> list[Row]:
    """The rows to look at where algorithm `name` is asked for: what it does not fit is computed by the next ones."""
    allowed = CONV_ALGORITHMS[max(1, CONV_ALGORITHMS.index(name)) :]
    return [row for row in ROWS if row.algorithm in allowed]


def choose(name: str, layer: Layer) -> Row:
    """The first row that holds for a layer, where algorithm `name` is asked for."""
    return next(row for row in candidates(name) if row.takes(layer) and not row.missed(layer, name))


def layer_of(
    direction: str, shape: Shape, out_shape: Shape, window: Window, groups: int = 1, transposed: bool = False
) -> Layer:
    """What the rule knows of a convolution of an image (B, H, W, C) to (B, OH, OW, O)."""
    made = (shape if direction == INPUT else out_shape)[:3]
    return Layer(direction, window, groups, shape[3] // groups, out_shape[3] // groups, out_shape, made, transposed)
