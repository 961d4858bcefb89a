"""The matrices of Winograd's algorithms, in exact fractions.

F(m, r) computes m neighbouring outputs of a filter with r taps from ``n = m + r - 1`` inputs in n multiplications:

    Y = A' [(G g) * (B' d)]

The construction is Cook and Toom's: polynomials are multiplied by their values at n - 1 points and at infinity. (Lavin
and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015); Blahut, "Fast Algorithms for Signal Processing"
(2010), chapter 5.)
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm, prod

Matrix = list[list[Fraction]]


def toom_cook(m: int, r: int, points: Sequence[Fraction | int]) -> tuple[Matrix, Matrix, Matrix]:
    """B' (n x n), G (n x r) and A' (m x n) of F(m, r); the last point, infinity, is not among the n - 1 `points`.

    Each row of B' is scaled to integers, and the row of G by the inverse.
    """
    n, x = m + r - 1, [Fraction(point) for point in points]
    if len(set(x)) != n - 1 or len(x) != n - 1:
        raise ValueError(f"F({m}, {r}) needs {n - 1} different points. Received {list(map(str, points))}")
    data, weights = [], []
    for i, point in enumerate(x):
        others = x[:i] + x[i + 1 :]
        row = [*polynomial(others), Fraction(0)]
        scale = Fraction(lcm(*(entry.denominator for entry in row)))
        data.append([entry * scale for entry in row])
        weights.append([point**k / scale / prod(point - other for other in others) for k in range(r)])
    data.append(polynomial(x))
    weights.append([Fraction(int(k == r - 1)) for k in range(r)])
    result = [[point**k for point in x] + [Fraction(int(k == m - 1))] for k in range(m)]
    return data, weights, result


def polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the product of (x - root), the lowest power first."""
    found = [Fraction(1)]
    for root in roots:
        found = [low - root * high for low, high in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return found


def transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def spread(matrix: Matrix, places: Sequence[int], columns: int) -> Matrix:
    """The matrix of `columns` columns whose column ``places[k]`` is column k of `matrix`; the others are 0."""
    rows = [[Fraction(0)] * columns for _ in matrix]
    for row, source in zip(rows, matrix, strict=True):
        for place, entry in zip(places, source, strict=True):
            row[place] = entry
    return rows
