"""A matrix as straight-line code: the product with a line of SIMD vectors, in as few operations as it allows.

Lines of a matrix for the points p and -p differ in signs alone. So do its columns, where a matrix is used the other way
round. They share their sums: that is all that transforms written by hand do.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

Terms = list[tuple[Fraction, int]]  # coefficients, and the numbers of the values that they multiply


class Program(NamedTuple):
    """A straight-line program that multiplies a matrix with a line of values.

    folds: pairs of values that are replaced by their sum and their difference, numbered from the last value on. rows:
    (row, its twin or None, terms in which they agree, terms that the twin subtracts).
    """

    folds: list[tuple[int, int]]
    rows: list[tuple[int, int | None, Terms, Terms]]


def program(matrix: Sequence[Sequence[Fraction]]) -> Program:
    columns = [list(column) for column in zip(*matrix, strict=True)]
    folds = []
    for j in range(len(matrix[0])):
        for k in range(j + 1, len(matrix[0])):
            if folds_into(columns[j], columns[k]):
                folds.append((j, k))
                columns.append([a if a == b else Fraction(0) for a, b in zip(columns[j], columns[k], strict=True)])
                columns.append([a if a == -b else Fraction(0) for a, b in zip(columns[j], columns[k], strict=True)])
                columns[j] = columns[k] = [Fraction(0)] * len(matrix)
    rows: list[tuple[int, int | None, Terms, Terms]] = []
    left = list(zip(*columns, strict=True))
    places = list(range(len(left)))
    while places:
        i = places.pop(0)
        twin = next((t for t in places if all(abs(a) == abs(b) for a, b in zip(left[i], left[t], strict=True))), None)
        terms = [(a, k) for k, a in enumerate(left[i]) if a]
        if twin is not None:
            places.remove(twin)
            same = [(a, k) for a, k in terms if left[twin][k] == a]
            rows.append((i, twin, same, [term for term in terms if term not in same]))
        else:
            rows.append((i, None, terms, []))
    return Program(folds, rows)


def folds_into(a: list[Fraction], b: list[Fraction]) -> bool:
    """Whether sum and difference save more than the two operations that they cost."""
    return all(abs(x) == abs(y) for x, y in zip(a, b, strict=True)) and sum(1 for x in a if x) > 2


class Operations(NamedTuple):
    """What can be done with vectors: a + b, a - b, c * a and c * a + b, where c is a number."""

    add: Callable[[Any, Any], Any]
    subtract: Callable[[Any, Any], Any]
    scale: Callable[[Fraction, Any], Any]
    scale_add: Callable[[Fraction, Any, Any], Any]


def multiply(steps: Program, values: Sequence[Any], do: Operations) -> list[Any]:
    """The matrix times `values`, line by line."""
    values = list(values)
    for j, k in steps.folds:
        values += [do.add(values[j], values[k]), do.subtract(values[j], values[k])]
    found: dict[int, Any] = {}
    for row, twin, same, other in steps.rows:
        if twin is None:
            found[row] = total(same, values, do)
        elif not same or not other:  # the twin is the row itself, or that with its sign turned
            found[row] = total(same or other, values, do)
            found[twin] = found[row] if same else do.scale(Fraction(-1), found[row])
        else:
            a, b = total(same, values, do), total(other, values, do)
            found[row], found[twin] = do.add(a, b), do.subtract(a, b)
    return [found[row] for row in range(len(found))]


def total(terms: Terms, values: Sequence[Any], do: Operations) -> Any:
    """The sum of coefficient times value: plain ones first, and a common coefficient once, at the end."""
    common = abs(terms[0][0])
    if len(terms) > 1 and common != 1 and all(abs(c) == common for c, _ in terms):
        return do.scale(common, total([(c / common, k) for c, k in terms], values, do))
    terms = sorted(terms, key=lambda term: (abs(term[0]) != 1, term[0] < 0))
    (first, k), *rest = terms
    value = values[k] if first == 1 else do.scale(first, values[k])
    for coefficient, k in rest:
        if abs(coefficient) == 1:
            value = (do.add if coefficient == 1 else do.subtract)(value, values[k])
        else:
            value = do.scale_add(coefficient, values[k], value)
    return value
