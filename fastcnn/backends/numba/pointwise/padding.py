"""Zeros around images. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.padding`.

Putting zeros around an image and cutting them away are one kernel: a rectangle of an image, with zeros outside.
"""

from fastcnn.backends.numba.core.copying import crop, lowest
from fastcnn.backends.numba.core.hints import Array, Pair
from fastcnn.backends.numba.core.jit import MOVE
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import task_kernel, task_rows
from fastcnn.backends.numba.core.vectors import flat


@task_kernel
def crop_rows(task, image, start, block, floor, out):
    """`block` rows of an image of `out`, whose first pixel is at `start`, (row, column), of `image`."""
    _, rows, columns, c = out.shape
    blocks = (rows + block - 1) // block
    n, first = task // blocks, task % blocks * block
    target = flat(out)[(n * rows + first) * columns * c :]
    crop(image, n, start[0] + first, start[1], min(block, rows - first), columns, floor, target)


def resized(image: Array, more: Pair, start: Pair) -> Array:
    b, h, w, c = image.shape
    h, w = h + more[0], w + more[1]
    out = empty((b, h, w, c), image.dtype)
    block = task_rows(out.shape, out.itemsize)
    crop_rows(image, start, block, lowest(out.dtype, False), out, b * -(-h // block), work=MOVE * out.size)
    return out


def pad(image: Array, padding: tuple[Pair, Pair]) -> Array:
    (top, bottom), (left, right) = padding
    return resized(image, (top + bottom, left + right), (-top, -left))


def unpad(image: Array, padding: tuple[Pair, Pair]) -> Array:
    (top, bottom), (left, right) = padding
    return resized(image, (-top - bottom, -left - right), (top, left))
