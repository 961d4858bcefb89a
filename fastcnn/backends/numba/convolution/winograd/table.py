"""The table of Winograd's algorithms: a new one is a row of it.

A row becomes two algorithms, one for the forward pass and the weight gradient, and one for the input gradient, which
with stride 1 is the same.
"""

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from fastcnn.backends.numba.convolution.winograd.matrices import Matrix, spread, toom_cook
from fastcnn.windows import Pair, Sides

BOTH, DOWN, ACROSS = "both", "down", "across"
HALF = Fraction(1, 2)
SEVEN = 0, 1, -1, 2, -2, HALF, -HALF


class Row(NamedTuple):
    """F(m x m, r x r), or in one dimension F(m, r), as a row of the table.

    name: as `fastcnn info --conv` prints it. m: outputs on a side of a tile. r: the kernel's size. stride: of the
    convolution. points: those of Cook and Toom's construction, besides infinity. tiles: of one task, a multiple of
    the 6 or 8 rows of a register tile. axis: where the kernel's other side is 1, that of its r pixels. `rule` says
    where a row is used.
    """

    name: str
    m: int
    r: int
    stride: int
    points: tuple[int | Fraction, ...]
    tiles: int
    axis: str = BOTH

    @property
    def ksize(self) -> Sides:
        """Sides of the kernel."""
        return self.r if self.axis == BOTH else (self.r, 1) if self.axis == DOWN else (1, self.r)


# Measured, and left out: F(6,3) was a twentieth faster than F(4,3) at best, and a tenth slower on the whole; F(3,4) and
# F(2,5) gained nothing where F(5,4) and F(4,5) have tiles that stick out.
TABLE = (
    Row("F(2,3)", 2, 3, 1, (0, 1, -1), 48),
    Row("F(4,3)", 4, 3, 1, (0, 1, -1, 2, -2), 24),
    Row("F(4,3)/2", 4, 3, 2, (0, 1, -1, 2), 24),
    Row("F(4,4)/2", 4, 4, 2, (0, 1, -1, 2), 24),
    Row("F(4,2)", 4, 2, 1, (0, 1, -1, 2), 24),
    Row("F(5,4)", 5, 4, 1, SEVEN, 24),
    Row("F(4,5)", 4, 5, 1, SEVEN, 24),
    Row("F(2,7)", 2, 7, 1, SEVEN, 24),
    Row("F(4,5)/2", 4, 5, 2, (0, 1, -1, 2, -2), 24),
    Row("F(4,7)/2", 4, 7, 2, (0, 1, -1, 2, -2, HALF), 24),
    *(
        Row(f"F({m},{r}) {axis}", m, r, 1, points, 96, axis)
        for axis in (DOWN, ACROSS)
        for m, r, points in (
            (4, 3, (0, 1, -1, 2, -2)),
            (4, 5, (0, 1, -1, 2, -2, HALF, -HALF)),
            (4, 7, (0, 1, -1, 2, -2, HALF, -HALF, Fraction(3, 4), -Fraction(3, 4))),  # with 4: an error of 2.9e-5
        )
    ),
)
ROWS = {row.name: row for row in TABLE}


class Line(NamedTuple):
    """What an algorithm does in one dimension.

    Product p multiplies one element of the transformed data and one of the weights, ``weights[p] @ taps``. Products
    are put into groups. Where the algorithm is `deep`, a product has its own element of the data, ``data[p] @ inputs``,
    and those of a group are added up before the result's transform; else a group shares one element of the data, and
    each of its products is an element of the result. With stride 1 a group is one product.

    data: (elements, inputs of a tile). weights: (products, taps). result: (outputs of a tile, elements). groups: of
    each product. apart: inputs from one tile to the next.
    """

    data: Matrix
    weights: Matrix
    result: Matrix
    groups: tuple[int, ...]
    apart: int


ONE: Matrix = [[Fraction(1)]]
SINGLE = Line(ONE, ONE, ONE, (0,), 1)  # one tap: one input and one output


class Algorithm(NamedTuple):
    """What the kernels need to know of an algorithm: a `Line` for each image axis, whether it is deep, and the tiles of
    one task. Numbers of pixels are (rows, columns)."""

    name: str
    down: Line
    across: Line
    deep: bool
    tiles: int

    def pair(self, measure: Callable[[Line], int]) -> Pair:
        return measure(self.down), measure(self.across)

    @property
    def taken(self) -> Pair:
        """Inputs of a tile."""
        return self.pair(lambda line: len(line.data[0]))

    @property
    def made(self) -> Pair:
        """Outputs of a tile."""
        return self.pair(lambda line: len(line.result))

    @property
    def taps(self) -> Pair:
        return self.pair(lambda line: len(line.weights[0]))

    @property
    def apart(self) -> Pair:
        """Inputs from one tile to the next."""
        return self.down.apart, self.across.apart

    @property
    def order(self) -> list[Pair]:
        """The products in two dimensions, (row, column), as they are numbered: group by group."""
        rows, columns = self.down.groups, self.across.groups
        products = ((i, j) for i in range(len(rows)) for j in range(len(columns)))
        return sorted(products, key=lambda ij: (rows[ij[0]], columns[ij[1]], *ij))

    @property
    def starts(self) -> list[int]:
        """The number of the first product of each group in two dimensions, and that of products."""
        groups = [(self.down.groups[i], self.across.groups[j]) for i, j in self.order]
        return [n for n, group in enumerate(groups) if n == 0 or group != groups[n - 1]] + [len(groups)]


def algorithm_of(row: Row, line: Line, deep: bool) -> Algorithm:
    down, across = (SINGLE if row.axis == other else line for other in (ACROSS, DOWN))
    return Algorithm(row.name, down, across, deep, row.tiles)


@functools.cache
def forward(name: str) -> Algorithm:
    """The algorithm of the forward pass and of the weight gradient."""
    row = ROWS[name]
    data, weights, result = toom_cook(row.m, -(-row.r // row.stride), row.points)
    groups = tuple(range(len(data)))
    if row.stride == 2:
        odd = odd_products(row, data)
        data, weights = by_parity(data, odd, row.r + 2 * row.m - 2), by_parity(weights, odd, row.r)
        groups += groups[:odd]
    return algorithm_of(row, Line(data, weights, result, groups, row.m * row.stride), True)


@functools.cache
def input_gradient(name: str) -> Algorithm:
    """The algorithm of the input gradient, whose inputs are eta and whose taps are flipped.

    With stride 2 its outputs are the pixels that odd taps make, and those that even ones make, in turns: m of each.
    """
    row = ROWS[name]
    if row.stride == 1:
        return forward(name)
    data, weights, result = toom_cook(row.m, -(-row.r // 2), row.points)
    n, odd, groups = len(data), odd_products(row, data), tuple(range(len(data)))
    pixels: Matrix = []
    for line in result:
        pixels += spread([line[:odd]], range(n, n + odd), n + odd) + spread([line], range(n), n + odd)
    return algorithm_of(row, Line(data, by_parity(weights, odd, row.r), pixels, groups + groups[:odd], row.m), False)


# With stride 2 the outputs y[i] = w0 d[2i] + w1 d[2i + 1] + w2 d[2i + 2] are two convolutions with stride 1: of the
# even d with (w0, w2), and of the odd d with (w1, 0). Both end in the same transform, A', so that their products can be
# added before it. Where there is an even tap more, the last product of the odd ones is 0: that of the point at
# infinity, which is the last tap.


def odd_products(row: Row, data: Matrix) -> int:
    """Products of the odd inputs with the odd taps."""
    return len(data) - row.r % 2


def by_parity(matrix: Matrix, odd: int, columns: int) -> Matrix:
    """B' or G for the even inputs or taps, and for the odd ones, of which so many products are not 0."""
    odd_columns = range(1, columns, 2)
    rest = [line[: len(odd_columns)] for line in matrix[:odd]]
    return spread(matrix, range(0, columns, 2), columns) + spread(rest, odd_columns, columns)
