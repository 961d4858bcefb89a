"""Which algorithm computes a convolution, and by which transform: a table, whose first row that holds decides.

It follows from the shapes alone and was drawn from measurements (`fastcnn bench`). Nothing is timed at run time, so
results repeat bit for bit. `fastcnn info --conv` prints it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

FORWARD, INPUT, WEIGHTS = DIRECTIONS = ("forward", "input gradient", "weight gradient")


class Layer(NamedTuple):
    """What the rule knows of a convolution: `out_shape` is (B, OH, OW, O), and `made` (B, rows, columns), the pixels
    that tiles make or, for the weights' gradient, read: those of the image for its gradient, else those of the output.
    """

    direction: str
    ksize: int
    stride: int
    inputs: int
    out_shape: tuple[int, ...]
    made: tuple[int, ...]


class Limit(NamedTuple):
    """A measure of the layer (see `MEASURES`) is at least `value`, or `below` it."""

    measure: str
    value: float
    below: bool = False

    def holds(self, layer: Layer) -> bool:
        measured = MEASURES[self.measure](layer)
        return measured < self.value if self.below else measured >= self.value

    def __str__(self) -> str:
        return f"{self.measure} {'<' if self.below else '>='} {self.value}"


class Row(NamedTuple):
    """An algorithm, and the name of its transform: for kernels of `ksize` and `stride`, where these are given, in some
    `directions`. All limits of `fits` must hold, and where the user leaves the choice to the rule those of `pays`."""

    algorithm: str
    transform: str | None
    directions: tuple[str, ...]
    ksize: int | None
    stride: int | None
    fits: tuple[Limit, ...]
    pays: tuple[Limit, ...]
    reason: str

    def takes(self, layer: Layer) -> bool:
        """Whether the row is for such kernels at all."""
        same = self.ksize in (None, layer.ksize) and self.stride in (None, layer.stride)
        return same and layer.direction in self.directions

    def missed(self, layer: Layer, name: str) -> list[Limit]:
        """The limits that do not hold where algorithm `name` is asked for."""
        return [limit for limit in self.fits + self.pays * (name == "auto") if not limit.holds(layer)]


def tiles(layer: Layer, side: int) -> int:
    """Tiles of `side` x `side` pixels that cover one image."""
    return math.prod(-(-length // side) for length in layer.made[1:])


def counted_pixels(layer: Layer) -> int:
    return math.prod(layer.out_shape[:3]) * (2 if layer.inputs * layer.out_shape[3] >= 8192 else 1)


def products(layer: Layer) -> float:
    return 36 * tiles(layer, 4) / (16 * tiles(layer, 2)) if tiles(layer, 2) else 1.0


def inside(layer: Layer) -> float:
    return (
        math.prod(side / (4 * -(-side // 4)) for side in layer.out_shape[1:3])
        if math.prod(layer.out_shape[:3])
        else 0.0
    )


MEASURES = {
    "channels": lambda layer: min(layer.inputs, layer.out_shape[3]),  # on the side that has fewer
    "pixels": lambda layer: math.prod(layer.out_shape[:3]),  # of the whole batch's outputs
    "counted pixels": counted_pixels,  # twice from 8192 pairs of channels on, which need half as many
    "made pixels": lambda layer: math.prod(layer.made),
    "products": products,  # of 4 x 4 tiles, over those of 2 x 2 tiles
    "inside": inside,  # the share of the pixels of 4 x 4 tiles that are pixels of the outputs
}

LARGE = Limit("products", 0.9, below=True), Limit("made pixels", 128)
FEW = "for fewer channels it gains a tenth at most, for fewer pixels transforming the weights costs more than it saves"
LARGE_REASON = f"16 outputs for 36 multiplications, not 144; {FEW}"
SMALL_REASON = f"4 outputs for 16 multiplications, not 36, where 4 x 4 tiles would stick out or be few; {FEW}"
PAYS = Limit("channels", 16), Limit("counted pixels", 128)
PAYS_FOR_WEIGHTS = Limit("channels", 16), Limit("counted pixels", 64)
STRIDED = Limit("channels", 64), Limit("pixels", 2048), Limit("inside", 0.9)

ROWS = (
    Row("winograd", "F(4,3)", (FORWARD, INPUT), 3, 1, LARGE, PAYS, LARGE_REASON),
    Row("winograd", "F(4,3)", (WEIGHTS,), 3, 1, LARGE, PAYS_FOR_WEIGHTS, LARGE_REASON),
    Row("winograd", "F(2,3)", (FORWARD, INPUT), 3, 1, (), PAYS, SMALL_REASON),
    Row("winograd", "F(2,3)", (WEIGHTS,), 3, 1, (), PAYS_FOR_WEIGHTS, SMALL_REASON),
    Row(
        "winograd",
        "stride2",
        DIRECTIONS,
        3,
        2,
        (),
        STRIDED,
        "16 outputs for 81 multiplications, not 144; with half the channels or pixels, or 0.75 inside, it gained nothing",
    ),
    Row(
        "direct",
        None,
        DIRECTIONS,
        None,
        None,
        (),
        (),
        "any shape: one matrix product that reads the image where it lies",
    ),
    Row(
        "im2col",
        None,
        DIRECTIONS,
        None,
        None,
        (),
        (),
        "any shape: a column matrix and one matrix product; where asked for",
    ),
)


def candidates(name: str) -> list[Row]:
    """The rows to look at where algorithm `name` is asked for: what `winograd` does not fit is computed directly."""
    allowed = ("winograd", "direct") if name in ("auto", "winograd") else (name,)
    return [row for row in ROWS if row.algorithm in allowed]


def choose(name: str, layer: Layer) -> Row:
    """The first row that holds for a layer, where algorithm `name` is asked for."""
    return next(row for row in candidates(name) if row.takes(layer) and not row.missed(layer, name))


def layers(shape: tuple[int, ...], out_shape: tuple[int, ...], ksize: int, stride: int) -> list[Layer]:
    """The three directions of a convolution of an image (B, H, W, C) to (B, OH, OW, O)."""
    made = out_shape[:3], shape[:3], out_shape[:3]
    return [
        Layer(name, ksize, stride, shape[3], out_shape, sides) for name, sides in zip(DIRECTIONS, made, strict=True)
    ]
