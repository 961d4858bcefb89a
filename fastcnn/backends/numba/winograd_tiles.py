"""Images cut into tiles for Winograd's algorithm: which size, and the transforms of the inputs. Requires numba.

Both :mod:`fastcnn.backends.numba.winograd` and the weight gradient begin with them.
"""

from __future__ import annotations

from fastcnn.backends.numba import tiles2, tiles4
from fastcnn.backends.numba.arithmetic import at_least, fill
from fastcnn.backends.numba.jit import serial
from fastcnn.backends.numba.simd import flat, lanes, load_part, store

input_tile2, input_tile4 = tiles2.input_tile, tiles4.input_tile


def choose_side(rows: int, columns: int) -> int:
    """Outputs on a side of a tile for images of rows x columns outputs: 4, unless too many would lie outside."""
    products = {side: (side + 2) ** 2 * -(-rows // side) * -(-columns // side) for side in (2, 4)}
    return 4 if products[4] < 0.9 * products[2] else 2


@serial
def patch(image, n, top, left, side, floor, target, channels, width):
    """Copy side x side pixels of image n to rows of `width` elements, whole vectors, with zeros outside the image and
    the `channels`, which are (first, number)."""
    _, h, w, c = image.shape
    source, v = flat(image), lanes(target)
    low, zero = fill(source, floor), fill(source, 0)
    for i in range(side):
        y = top + i
        for j in range(side):
            x, to = left + j, (i * side + j) * width
            if 0 <= y < h and 0 <= x < w:
                at = ((n * h + y) * w + x) * c + channels[0]
                for t in range(0, width, v):
                    store(target, to + t, at_least(load_part(source, at + t, channels[1] - t), low))
            else:
                for t in range(0, width, v):
                    store(target, to + t, zero)


@serial
def input_tiles(image, corner, grid, first, count, floor, channels, v, step, width, edge):
    """The transforms of `count` tiles from number `first` on: element g of tile t at v[g * step + t * width :].

    `corner` is (top, left) of the first tile, `grid` (side, tiles in a row, tiles of an image), `channels` (first,
    number); `edge` is memory for a tile.
    """
    (_, h, w, c), (top, left), (side, columns, tiles) = image.shape, corner, grid
    source, size = flat(image), side + 2
    whole, work = c % lanes(source) == 0, edge[size * size * width :]
    for t in range(count):
        n, q = (first + t) // tiles, (first + t) % tiles
        y, x = top + side * (q // columns), left + side * (q % columns)
        if whole and y >= 0 and x >= 0 and y + size <= h and x + size <= w:
            a, at, row, column, low = source, ((n * h + y) * w + x) * c + channels[0], w * c, c, floor
        else:
            patch(image, n, y, x, size, floor, edge, channels, width)
            a, at, row, column, low = edge, 0, size * width, width, floor
        if side == 4:
            input_tile4(a, at, row, column, channels[1], low, v, t * width, step, work)
        else:
            input_tile2(a, at, row, column, channels[1], low, v, t * width, step)
