"""The table of Winograd's algorithms: exact in fractions, in as few operations as code written by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcnn.backends.numba.convolution import rule
from fastcnn.backends.numba.convolution.winograd import lines, matrices, table
from fastcnn.windows import square

EXACT = lines.Operations(
    lambda a, b: a + b, lambda a, b: a - b, lambda factor, a: factor * a, lambda factor, a, b: factor * a + b
)
POINTS = [0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2), 3, -3, 4]
whole = st.integers(-9, 9).map(Fraction)


def product(matrix, values):
    return lines.multiply(lines.program(matrix), values, EXACT)


def line_of(algorithm):
    """What it does in one dimension, where it does something."""
    return algorithm.down if algorithm.across == table.SINGLE else algorithm.across


def test_the_other_dimension_of_a_long_kernel_is_left_alone():
    down, across, square = (table.forward(name) for name in ("F(4,7) down", "F(4,7) across", "F(4,3)"))
    assert (down.taps, down.taken, down.made, down.apart) == ((7, 1), (10, 1), (4, 1), (4, 1))
    assert (across.taps, across.taken, across.made, across.apart) == ((1, 7), (1, 10), (1, 4), (1, 4))
    assert down.down == across.across and down.across == across.down == table.SINGLE
    assert square.down == square.across and square.taps == (3, 3)


@given(st.data(), st.integers(1, 6), st.integers(1, 5))
def test_any_algorithm_from_its_points(data, m, r):
    n = m + r - 1
    points = data.draw(st.permutations(POINTS))[: n - 1]
    inputs, taps = (data.draw(st.lists(whole, min_size=size, max_size=size)) for size in (n, r))
    transformed, weights, result = matrices.toom_cook(m, r, points)
    products = [a * b for a, b in zip(product(transformed, inputs), product(weights, taps), strict=True)]
    assert product(result, products) == [sum(taps[k] * inputs[i + k] for k in range(r)) for i in range(m)]


def test_points_must_differ():
    with pytest.raises(ValueError, match=r"F\(2, 3\) needs 3 different points. Received \['0', '1', '1'\]"):
        matrices.toom_cook(2, 3, (0, 1, 1))


@pytest.mark.parametrize("row", table.TABLE, ids=lambda row: row.name)
@given(data=st.data())
def test_a_row_of_the_table_convolves(row, data):
    """Forward, and both gradients as its adjoints, in one dimension."""
    algorithm, back = line_of(table.forward(row.name)), line_of(table.input_gradient(row.name))
    sizes = len(algorithm.data[0]), row.r, len(algorithm.result), len(back.data[0])
    inputs, taps, eta, far = (data.draw(st.lists(whole, min_size=size, max_size=size)) for size in sizes)
    weights, groups = product(algorithm.weights, taps), range(len(algorithm.result[0]))
    multiplied = [a * b for a, b in zip(product(algorithm.data, inputs), weights, strict=True)]
    sums = [sum(p for p, group in zip(multiplied, algorithm.groups, strict=True) if group == g) for g in groups]
    windows = [inputs[i * row.stride : i * row.stride + row.r] for i in range(row.m)]
    assert product(algorithm.result, sums) == [
        sum(a * b for a, b in zip(taps, window, strict=True)) for window in windows
    ]

    e = product(matrices.transposed(algorithm.result), eta)
    m = [d * e[group] for d, group in zip(product(algorithm.data, inputs), algorithm.groups, strict=True)]
    gradient = [sum(eta[i] * windows[i][k] for i in range(row.m)) for k in range(row.r)]
    assert product(matrices.transposed(algorithm.weights), m) == gradient

    turned = product(back.weights, taps[::-1])
    elements = product(back.data, far)
    made = product(back.result, [turned[p] * elements[back.groups[p]] for p in range(len(turned))])
    full = [Fraction(0)] * (row.stride * len(far) + row.r)  # all that windows of `far` add to
    for i, value in enumerate(far):
        for k, tap in enumerate(taps):
            full[i * row.stride + k] += value * tap
    first = row.r - row.stride
    assert made == full[first : first + len(made)]


@pytest.mark.parametrize(
    ("name", "counts"), [("F(2,3)", (4, 6, 4)), ("F(4,3)", (13, 12, 10)), ("F(4,3)/2", (19, 12, 8))]
)
def test_as_few_operations_as_by_hand(name, counts):
    """Of B' d, G g and A' m: p and -p share their sums."""
    algorithm, done = line_of(table.forward(name)), []
    count = lines.Operations(*[lambda *_: done.append(1)] * 4)
    for matrix, wanted in zip((algorithm.data, algorithm.weights, algorithm.result), counts, strict=True):
        done.clear()
        lines.multiply(lines.program(matrix), [None] * len(matrix[0]), count)
        assert len(done) == wanted


def test_products_are_numbered_group_by_group():
    algorithm = table.forward("F(4,3)/2")
    assert algorithm.starts[:5] == [0, 4, 8, 12, 16] and algorithm.starts[-3:] == [78, 80, 81]
    assert algorithm.order[:5] == [(0, 0), (0, 5), (5, 0), (5, 5), (0, 1)]
    assert table.forward("F(2,3)").starts == list(range(17))


def test_every_row_of_the_table_has_its_place_in_the_rule():
    layer = rule.layer_of(rule.FORWARD, (8, 8, 8, 64), (8, 8, 8, 64), square(7))
    assert (rule.choose("winograd", layer).transform, rule.choose("auto", layer).algorithm) == ("F(2,7)", "winograd")
    assert {row.transform for row in rule.ROWS} == {*table.ROWS, None}
