"""Products whose result has few rows, of which B is read once and not packed. Requires numba."""

from fastcnn.backends.numba.core.arithmetic import add, fill, multiply_add
from fastcnn.backends.numba.core.hints import Array, Strided
from fastcnn.backends.numba.core.jit import inline
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load, load_part, store, store_part
from fastcnn.backends.numba.product.arguments import Matrix

THIN_ROWS = 3  # fewer rows than half a tile
COLUMNS = 64  # of one task, which is one row
READ = 4  # multiply-adds that take as long as reading one element of B from the caches


@inline
def add_row(sums, a, b, at):
    """sums + a * b[at : at + 4 vectors]."""
    v, (first, second, third, fourth) = lanes(b), sums
    return (
        multiply_add(a, load(b, at), first),
        multiply_add(a, load(b, at + v), second),
        multiply_add(a, load(b, at + 2 * v), third),
        multiply_add(a, load(b, at + 3 * v), fourth),
    )


@task_kernel
def multiply_thin(task, a: Matrix, b, bias, out):
    """out = A @ B + bias for one row and some columns of a contiguous matrix B: four vectors of it at a time, as far as
    there are four, so that what is read of a row of B lies together."""
    (k, n), v, source, c = b.shape, lanes(b), flat(b), flat(out)
    parts = (n + COLUMNS - 1) // COLUMNS
    row, start = task // parts, task % parts * COLUMNS
    line, to, last = a.array[row * a.row :], row * n, min(n, start + COLUMNS)
    none, j = fill(source, 0), start
    while j + 4 * v <= last:
        even = load(bias, j), load(bias, j + v), load(bias, j + 2 * v), load(bias, j + 3 * v)
        odd = none, none, none, none  # two sums, as each waits for its last addition
        for i in range(0, k - 1, 2):
            even = add_row(even, fill(source, line[i * a.column]), source, i * n + j)
            odd = add_row(odd, fill(source, line[(i + 1) * a.column]), source, (i + 1) * n + j)
        if k % 2:
            even = add_row(even, fill(source, line[(k - 1) * a.column]), source, (k - 1) * n + j)
        store(c, to + j, add(even[0], odd[0]))
        store(c, to + j + v, add(even[1], odd[1]))
        store(c, to + j + 2 * v, add(even[2], odd[2]))
        store(c, to + j + 3 * v, add(even[3], odd[3]))
        j += 4 * v
    for t in range(j, last, v):
        count = min(v, last - t)
        one, other = load_part(bias, t, count), none
        for i in range(0, k - 1, 2):
            one = multiply_add(fill(source, line[i * a.column]), load_part(source, i * n + t, count), one)
            place = (i + 1) * n + t
            other = multiply_add(fill(source, line[(i + 1) * a.column]), load_part(source, place, count), other)
        if k % 2:
            place = (k - 1) * n + t
            one = multiply_add(fill(source, line[(k - 1) * a.column]), load_part(source, place, count), one)
        store_part(c, to + t, add(one, other), count)


def thin_product(a: Strided, b: Array, bias: Array, out: Array) -> None:
    """out = A @ B + bias, A a `Matrix` of few rows."""
    m, n = out.shape
    multiply_thin(a, b, bias, out, m * -(-n // COLUMNS), work=READ * m * b.size)
