"""The table of Winograd's algorithms: a new one is a row of it.

A row becomes two algorithms, one for the forward pass and the weight gradient, and one for the input gradient, which
with stride 1 is the same.
"""

import functools
from typing import NamedTuple

from fastcnn.backends.numba.convolution.winograd.matrices import Matrix, spread, toom_cook


class Row(NamedTuple):
    """F(m x m, r x r) as a row of the table.

    name: as `fastcnn info --conv` prints it. m: outputs on a side of a tile. r: the kernel's size. stride: of the
    convolution. points: those of Cook and Toom's construction, besides infinity. tiles: of one task, a multiple of the
    6 rows of a register tile. Where it is used says `rule`; what is not named there, where it is asked for.
    """

    name: str
    m: int
    r: int
    stride: int
    points: tuple[int, ...]
    tiles: int


TABLE = (
    Row("F(2,3)", 2, 3, 1, (0, 1, -1), 48),
    Row("F(4,3)", 4, 3, 1, (0, 1, -1, 2, -2), 24),
    Row("F(4,3)/2", 4, 3, 2, (0, 1, -1, 2), 24),
    Row("F(2,5)", 2, 5, 1, (0, 1, -1, 2, -2), 24),
)
ROWS = {row.name: row for row in TABLE}


class Algorithm(NamedTuple):
    """What the kernels need to know of an algorithm, in one dimension; the other is the same.

    Product p multiplies one element of the transformed data and one of the weights, ``weights[p] @ taps``. Products
    are put into groups. Where `deep`, a product has its own element of the data, ``data[p] @ inputs``, and those of a
    group are added up before the result's transform; else a group shares one element of the data, and each of its
    products is an element of the result. With stride 1 a group is one product.

    data: (elements, inputs of a tile). weights: (products, taps). result: (outputs of a tile, elements). groups: of
    each product. apart: inputs from one tile to the next. tiles: of one task.
    """

    name: str
    data: Matrix
    weights: Matrix
    result: Matrix
    groups: tuple[int, ...]
    deep: bool
    apart: int
    tiles: int

    @property
    def taken(self) -> int:
        return len(self.data[0])

    @property
    def made(self) -> int:
        return len(self.result)

    @property
    def order(self) -> list[tuple[int, int]]:
        """The products in two dimensions, (row, column), as they are numbered: group by group."""
        products = range(len(self.groups))
        return sorted(
            ((i, j) for i in products for j in products), key=lambda ij: (self.groups[ij[0]], self.groups[ij[1]], *ij)
        )

    @property
    def starts(self) -> list[int]:
        """The number of the first product of each group in two dimensions, and that of products."""
        groups = [(self.groups[i], self.groups[j]) for i, j in self.order]
        return [n for n, group in enumerate(groups) if n == 0 or group != groups[n - 1]] + [len(groups)]


@functools.cache
def forward(name: str) -> Algorithm:
    """The algorithm of the forward pass and of the weight gradient."""
    row = ROWS[name]
    data, weights, result = toom_cook(row.m, -(-row.r // row.stride), row.points)
    groups = tuple(range(len(data)))
    if row.stride == 2:
        data, weights = by_parity(data, row.r + 2 * row.m - 2), odd_taps_too(weights, row.r)
        groups += groups[:-1]
    return Algorithm(name, data, weights, result, groups, True, row.m * row.stride, row.tiles)


@functools.cache
def input_gradient(name: str) -> Algorithm:
    """The algorithm of the input gradient, whose inputs are eta and whose taps are flipped.

    With stride 2 its outputs are the pixels between the middles of windows, and under them, in turns: m of each.
    """
    row = ROWS[name]
    if row.stride == 1:
        return forward(name)
    data, weights, result = toom_cook(row.m, -(-row.r // 2), row.points)
    n, groups = len(data), tuple(range(len(data)))
    pixels: Matrix = []
    for line in result:
        pixels += spread([line[:-1]], range(n, 2 * n - 1), 2 * n - 1) + spread([line], range(n), 2 * n - 1)
    weights = odd_taps_too(weights, row.r)
    return Algorithm(name, data, weights, pixels, groups + groups[:-1], False, row.m, row.tiles)


# With stride 2 the outputs y[i] = w0 d[2i] + w1 d[2i + 1] + w2 d[2i + 2] are two convolutions with stride 1: of the
# even d with (w0, w2), and of the odd d with (w1, 0). Both end in the same transform, A', so that their products can be
# added before it. The last product of the odd ones is 0: that of the point at infinity, which is the last tap.


def by_parity(data: Matrix, inputs: int) -> Matrix:
    """B' for the even inputs, and for the odd ones."""
    odd = [line[:-1] for line in data[:-1]]
    return spread(data, range(0, inputs, 2), inputs) + spread(odd, range(1, inputs, 2), inputs)


def odd_taps_too(weights: Matrix, taps: int) -> Matrix:
    """G for the even taps, and for the odd ones."""
    odd = [line[:-1] for line in weights[:-1]]
    return spread(weights, range(0, taps, 2), taps) + spread(odd, range(1, taps, 2), taps)
