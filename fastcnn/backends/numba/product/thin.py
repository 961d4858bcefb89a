"""Products whose result has few rows, of which B is read once and not packed. Requires numba."""

from fastcnn.backends.numba.core.arithmetic import add, fill, multiply
from fastcnn.backends.numba.core.hints import Array, Strided
from fastcnn.backends.numba.core.jit import inline
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part
from fastcnn.backends.numba.product.arguments import Matrix

THIN_ROWS = 3  # fewer rows than half a tile
LONGEST = 1024  # terms that are added up by themselves
COLUMNS = 64  # of one task, which is one row


@inline
def add_row(total, line, column, b, i, start, count):
    """total + A[row, i] * B[i, j : j + count], where `line` begins with A's row and B's row i with b[start]."""
    return add(total, multiply(fill(b, line[i * column]), load_part(b, start, count)))


@task_kernel
def multiply_thin(task, a: Matrix, b, bias, out):
    """out = A @ B + bias for one row and some columns of a contiguous matrix B."""
    (k, n), v, source, c = b.shape, lanes(b), flat(b), flat(out)
    parts = (n + COLUMNS - 1) // COLUMNS
    row, start = task // parts, task % parts * COLUMNS
    line, to, last = a.array[row * a.row :], row * n, min(n, start + COLUMNS)
    for j in range(start, last, v):
        count = min(v, last - j)
        total = load_part(bias, j, count)
        for first in range(0, k, LONGEST):
            even, odd, end = fill(source, 0), fill(source, 0), min(k, first + LONGEST)
            for i in range(first, end - 1, 2):  # two sums, as each waits for its last addition
                even = add_row(even, line, a.column, source, i, i * n + j, count)
                odd = add_row(odd, line, a.column, source, i + 1, (i + 1) * n + j, count)
            if (end - first) % 2:
                even = add_row(even, line, a.column, source, end - 1, (end - 1) * n + j, count)
            total = add(total, add(even, odd))
        store_part(c, to + j, total, count)


def thin_product(a: Strided, b: Array, bias: Array, out: Array) -> None:
    """out = A @ B + bias, A a `Matrix` of few rows."""
    m, n = out.shape
    multiply_thin(a, b, bias, out, m * -(-n // COLUMNS), work=m * b.size)
