"""Images cut into tiles, and the transforms of a block of them. Requires numba."""

from typing import NamedTuple

from fastcnn.backends.numba.convolution.winograd.transforms import call
from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store


class Cut(NamedTuple):
    """How an image is cut into tiles, the same way for rows and columns.

    first: the first pixel of the first tile, which may lie outside. apart: pixels from one tile to the next. side:
    pixels on a side of a tile. across: tiles in a row of them. number: tiles of an image.
    """

    first: int
    apart: int
    side: int
    across: int
    number: int


class Elements(NamedTuple):
    """Transformed tiles: element g of tile t lies at array[first + g * step + t * width :]."""

    array: Array
    first: int
    step: int
    width: int


@inline
def corner_of(cut, t):
    """(image, row, column) of the first pixel of tile t, counted over all images."""
    n, q = t // cut.number, t % cut.number
    return n, cut.first + cut.apart * (q // cut.across), cut.first + cut.apart * (q % cut.across)


@inline
def rows_under(image, cut, first, count):
    """The first and the last element of the image rows under tile number `first` and the `count` that follow it: more
    or less, as it is for prefetching."""
    _, h, w, c = image.shape
    n, y, _ = corner_of(cut, first)
    begin = (n * h + max(0, y)) * w * c
    return min(image.size, begin), min(image.size, begin + (count + cut.across - 1) // cut.across * cut.apart * w * c)


@serial
def copy_tile(image, corner, side, channels, target, width):
    """Copy side x side pixels, and of each the `channels` (first, number), to rows of `width` elements, which are whole
    vectors; what lies outside the image or beyond the channels is 0."""
    (_, h, w, c), (n, top, left) = image.shape, corner
    source, v = flat(image), lanes(target)
    for i in range(side):
        y = top + i
        for j in range(side):
            x, to = left + j, (i * side + j) * width
            count = channels[1] if 0 <= y < h and 0 <= x < w else 0
            at = ((n * h + y) * w + x) * c + channels[0] if count else 0
            for t in range(0, width, v):
                store(target, to + t, load_part(source, at + t, max(0, count - t)))


@serial
def transform_tiles(image, cut, tiles, channels, function, elements, edge):
    """The transforms of `tiles` (first, number) of the `channels` (first, number) of an image; `edge` is memory for a
    tile. `function` is the address of the transform."""
    (_, h, w, c), source = image.shape, flat(image)
    width, side, extra = elements.width, cut.side, (edge, 0)
    for t in range(tiles[1]):
        n, y, x = corner_of(cut, tiles[0] + t)
        target, strides = (elements.array, elements.first + t * width), (elements.step, 0)
        if y >= 0 and x >= 0 and y + side <= h and x + side <= w:
            start = source, ((n * h + y) * w + x) * c + channels[0]
            call(function, start, (w * c, c), target, strides, extra, channels[1])
        else:
            copy_tile(image, (n, y, x), side, channels, edge, width)
            call(function, (edge, 0), (side * width, width), target, strides, extra, width)
