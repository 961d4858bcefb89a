"""Images cut into tiles for Winograd's algorithm: which kind, and the transforms of the inputs. Requires numba.

Both :mod:`fastcnn.backends.numba.convolution.winograd` and the weight gradient begin with them.
"""

from __future__ import annotations

from fastcnn.backends.numba.convolution import tiles2, tiles4, tiles_stride2, tiles_stride2_back
from fastcnn.backends.numba.core.arithmetic import at_least, fill
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store

# The kinds of tiles. What kernels know of each: pixels on a side of what is transformed, from one tile to the next, and
# on a side of what comes out; the products, as many as elements of the weights; and the sums of products, as many as
# elements of the outputs, or of what gradients are transformed to.
SMALL, LARGE = 0, 1  # stride 1, and 2 x 2 or 4 x 4 outputs
STRIDED, UNSTRIDED = 2, 3  # stride 2: 4 x 4 outputs; and the gradient of its inputs, 8 x 8 pixels
TAKEN, APART, MADE = (4, 6, 9, 5), (2, 4, 8, 4), (2, 4, 4, 8)
PRODUCTS, SUMS = (16, 36, 81, 81), (16, 36, 25, 25)
KINDS = {"F(2,3)": SMALL, "F(4,3)": LARGE, "stride2": STRIDED}  # by the names in the rule that chooses
WORK = 81  # vectors that the largest transform needs for itself

input_tile2, input_tile4 = tiles2.input_tile, tiles4.input_tile
input_tile_stride2, eta_tile_stride2 = tiles_stride2.input_tile, tiles_stride2_back.eta_tile


def tiles_of(pixels: int, kind: int) -> int:
    """Tiles that make a line of so many pixels."""
    return -(-pixels // MADE[kind])


@inline
def products_of(kind, g):
    """The first and the last of the products that are added to sum g, by their numbers."""
    row, column = g // 5, g % 5
    if kind < STRIDED:
        first, count = g, 1
    elif row < 4:
        first, count = 18 * row + 4 * column, 4 if column < 4 else 2
    else:
        first, count = 72 + 2 * column, 2 if column < 4 else 1
    return first, first + count


@inline
def rows_under(image, top, apart, grid, first, count):
    """The first and the last element of the image rows under tile number `first` and those that follow it, `count` of
    them and `apart` pixels from one to the next: more or less, as it is for prefetching."""
    (_, h, w, c), (_, columns, tiles, _) = image.shape, grid
    begin = (first // tiles * h + max(0, top + apart * (first % tiles // columns))) * w * c
    return min(image.size, begin), min(image.size, begin + (count + columns - 1) // columns * apart * w * c)


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

    `corner` is (top, left) of the first tile, `channels` (first, number), `grid` (kind, tiles in a row, tiles of an
    image, rows and columns of the first tile's result that are not there); `edge` is memory for a tile.
    """
    (_, h, w, c), (top, left), (kind, columns, tiles, _) = image.shape, corner, grid
    source, size, side = flat(image), TAKEN[kind], APART[kind]
    whole, work = c % lanes(source) == 0, edge[size * size * width :]
    for t in range(count):
        n, q = (first + t) // tiles, (first + t) % tiles
        y, x = top + side * (q // columns), left + side * (q % columns)
        if whole and y >= 0 and x >= 0 and y + size <= h and x + size <= w:
            a, at, row, column, low = source, ((n * h + y) * w + x) * c + channels[0], w * c, c, floor
        else:
            patch(image, n, y, x, size, floor, edge, channels, width)
            a, at, row, column, low = edge, 0, size * width, width, floor
        if kind == LARGE:
            input_tile4(a, at, row, column, channels[1], low, v, t * width, step, work)
        elif kind == SMALL:
            input_tile2(a, at, row, column, channels[1], low, v, t * width, step)
        elif kind == STRIDED:
            input_tile_stride2(a, at, row, column, channels[1], low, v, t * width, step, work)
        else:
            eta_tile_stride2(a, at, row, column, channels[1], low, v, t * width, step, work)
