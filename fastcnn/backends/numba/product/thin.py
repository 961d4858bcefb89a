"""Products whose result has few rows, of which B is read once and not packed. Requires numba."""

from fastcnn.backends.numba.core.arithmetic import add, fill, multiply
from fastcnn.backends.numba.core.hints import Array, Strided
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part
from fastcnn.backends.numba.product.arguments import Matrix

THIN_ROWS = 3  # fewer rows than half a tile
COLUMNS = 64  # of one task, which is one row


@task_kernel
def multiply_thin(task, a: Matrix, b, bias, out):
    """out = A @ B + bias for one row and some columns of a contiguous matrix B."""
    (k, n), v, source, c = b.shape, lanes(b), flat(b), flat(out)
    parts = (n + COLUMNS - 1) // COLUMNS
    row, start = task // parts, task % parts * COLUMNS
    line, to, last = a.array[row * a.row :], row * n, min(n, start + COLUMNS)
    for j in range(start, last, v):
        count = min(v, last - j)
        even, odd = load_part(bias, j, count), fill(source, 0)  # two sums, as each waits for its last addition
        for i in range(0, k - 1, 2):
            even = add(even, multiply(fill(source, line[i * a.column]), load_part(source, i * n + j, count)))
            odd = add(odd, multiply(fill(source, line[(i + 1) * a.column]), load_part(source, (i + 1) * n + j, count)))
        if k % 2:
            even = add(
                even, multiply(fill(source, line[(k - 1) * a.column]), load_part(source, (k - 1) * n + j, count))
            )
        store_part(c, to + j, add(even, odd), count)


def thin_product(a: Strided, b: Array, bias: Array, out: Array) -> None:
    """out = A @ B + bias, A a `Matrix` of few rows."""
    m, n = out.shape
    multiply_thin(a, b, bias, out, m * -(-n // COLUMNS), work=m * b.size)
