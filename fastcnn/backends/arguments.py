"""Where random arguments of kernels come from: a source of integers, and the shapes and arrays made of them.

The integers have names. Tests draw them with hypothesis, which shows them where a kernel fails, or fix some of them to
reach one algorithm; the warm-up of the numba backend answers with constants.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from fastcnn.windows import GEOMETRIES, Pair, Window, method_padding, pooled, reach_of

AXES = (("top", "bottom"), ("left", "right"))
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])


class Convolution(NamedTuple):
    """The geometry of a convolution, and in how many groups its channels are."""

    image: tuple[int, int, int, int]
    out: Pair  # height and width
    window: Window
    groups: int

    def weights(self, outputs: int) -> tuple[int, ...]:
        """The shape of weights that make so many outputs."""
        return *self.window.ksize, self.image[3] // self.groups, outputs


class Pooling(NamedTuple):
    """The geometry of a pooling."""

    image: tuple[int, int, int, int]
    window: Window
    out: tuple[int, int]  # height and width


class Source(ABC):
    """Random arguments in one dtype.

    Parameters
    ----------
    dtype : str
        'float32' or 'float64'.
    """

    def __init__(self, dtype: str):
        self.dtype = dtype
        self.rng = np.random.default_rng(self.integer("seed", 0, 2**20))

    @abstractmethod
    def integer(self, name: str, low: int, high: int) -> int:
        """A number from `low` to `high`; `name` says what for."""

    def boolean(self, name: str) -> bool:
        return bool(self.integer(name, 0, 1))

    def array(self, *shape: int) -> np.ndarray:
        """Values of a standard normal distribution."""
        return self.rng.standard_normal(shape).astype(self.dtype)

    def special(self, values: np.ndarray, chance: float, among: np.ndarray = SPECIAL) -> np.ndarray:
        """`values`, of which some are replaced by NaN, infinity or zero of either sign."""
        replaced = np.where(self.rng.random(values.shape) < chance, self.rng.choice(among, values.shape), values)
        return replaced.astype(self.dtype)

    def ties(self, *shape: int) -> np.ndarray:
        """Values of which many are equal, and now and then NaN and infinities."""
        values = self.rng.integers(-2, 3, shape).astype(self.dtype)
        return self.special(values, 0.1) if self.boolean("special values") else values

    def image(self) -> tuple[int, int, int, int]:
        """The shape of a batch of images."""
        sides = self.integer("height", 1, 9), self.integer("width", 1, 9)
        return self.integer("batch", 1, 4), *sides, self.integer("channels", 1, 17)

    def convolution(self) -> Convolution:
        """Padded as 'VALID' or 'SAME' or by any numbers; the same on both axes or not; in groups, each of one channel
        or of several, or not. Pixels of a window lie as far apart as fits."""
        (batch, height, width, channels), groups = self.image(), self.integer("groups", 1, 5)
        sizes, groups = (height, width), groups if groups < 5 else channels
        same, rectangle = self.boolean("same"), self.boolean("rectangle")
        dilation, stride = (self.sides(name, most, most, rectangle) for name, most in (("dilation", 3), ("stride", 4)))
        padding = [(0, 0), (0, 0)]
        if rectangle:
            padding = [(self.integer(before, 0, 2), self.integer(after, 0, 2)) for before, after in AXES]
        room = [sizes[axis] + sum(padding[axis]) for axis in (0, 1)]
        room = room if rectangle else [min(room)] * 2
        most = [5 if same else min(5, side) for side in room]
        ksize = self.sides("ksize", most[0], most[1], rectangle)
        if same:
            padding = [method_padding("SAME", 0, reach_of(ksize[axis], dilation[axis]), 1) for axis in (0, 1)]
        else:
            down, across = (min(dilation[axis], max(1, (room[axis] - 1) // max(1, ksize[axis] - 1))) for axis in (0, 1))
            dilation = down, across
        window = Window(ksize, stride, dilation, (padding[0], padding[1]))
        shape = batch, height, width, groups * -(-channels // groups)
        return Convolution(shape, window.positions(height, width), window, groups)

    def sides(self, name: str, down: int, across: int, rectangle: bool) -> Pair:
        """A number from 1 on for each image axis, the same where it is not for a `rectangle`."""
        first = self.integer(name, 1, down)
        return first, self.integer(f"{name} across", 1, across) if rectangle else first

    def outputs(self, convolution: Convolution) -> int:
        """Output channels, as many in each group."""
        return convolution.groups * -(-self.integer("outputs", 1, 20) // convolution.groups)

    def pooling(self) -> Pooling:
        """Windows that lie apart, side by side or overlap, clipped at any side, dilated or not, square or not."""
        shape, geometry = self.image(), GEOMETRIES[self.integer("geometry", 0, len(GEOMETRIES) - 1)]
        if self.boolean("square"):
            axes = [self.pooling_axis(min(shape[1:3]), geometry)] * 2
        else:
            axes = [self.pooling_axis(size, geometry) for size in shape[1:3]]
        pairs = ((rows, columns) for rows, columns in zip(*axes, strict=True))
        found = pooled(shape[1:3], *pairs, geometry)
        return Pooling(shape, found.window, found.out)

    def pooling_axis(self, size: int, geometry: str) -> tuple[int, int, int, tuple[int, int]]:
        """ksize, stride, dilation and padding that an axis of `size` pixels has room for."""
        padding, dilation = (0, 0), 1 + self.integer("more dilation", 0, min(1, size - 1))
        if geometry != "original":
            padding = self.integer("before", 0, 2), self.integer("after", 0, 2)
        least, most = -(-max(padding) // dilation) + 1, (size + sum(padding) - 1) // dilation + 1
        if least > most:
            padding, least, most = (0, 0), 1, (size - 1) // dilation + 1
        ksize = self.integer("ksize", least, max(least, min(4, most)))
        return ksize, self.integer("stride", 1, min(4, size)), dilation, padding
