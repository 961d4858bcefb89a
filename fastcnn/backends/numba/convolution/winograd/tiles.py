"""Images cut into tiles, and weights into panels: what is transformed at a time. Requires numba."""

from typing import NamedTuple

from fastcnn.backends.numba.core.calls import call
from fastcnn.backends.numba.core.hints import Array, Pair
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store
from fastcnn.backends.numba.product.arguments import Matrix
from fastcnn.backends.numba.product.packing import pack_panel, panel_width


class Cut(NamedTuple):
    """How an image is cut into tiles.

    With dilation it is cut as that many interleaved images, `dilation` (rows, columns), whose tiles follow each other:
    each is convolved by itself. first: (row, column) of the first pixel of the first tile, which may lie outside.
    apart: pixels from one tile to the next, and sides: those of a tile, both (rows, columns) of an interleaved image.
    down, across: tiles that make an interleaved image.
    """

    first: Pair
    apart: Pair
    sides: Pair
    dilation: Pair
    down: int
    across: int


class Elements(NamedTuple):
    """Transformed tiles: element g of tile t lies at array[first + g * step + t * width :]."""

    array: Array
    first: int
    step: int
    width: int


class Steps(NamedTuple):
    """What an algorithm does, for compiled code.

    data, weights, output: the addresses of its transforms. deep: whether the products of a group are added up (see
    `table.Algorithm`). flipped: whether the weights are rotated, and their channels exchanged. groups: of channels.
    block: tiles that are multiplied at a time. width: of a panel of outputs. own: whether each thread transforms all
    weights for itself.
    """

    data: int
    weights: int
    output: int
    deep: bool
    flipped: bool
    groups: int
    block: int
    width: int
    own: bool


def tiles_of(pixels: int, made: int, dilation: int = 1) -> int:
    """Tiles that make a line of so many pixels, or the longest of the interleaved lines in it."""
    return -(-pixels // (made * dilation))


@inline
def tiles_in(cut):
    """Tiles of an image."""
    return cut.dilation[0] * cut.dilation[1] * cut.down * cut.across


@inline
def corner_of(cut, t):
    """(image, row, column) of the first pixel of tile t, counted over all images."""
    (dh, dw), each, number = cut.dilation, cut.down * cut.across, tiles_in(cut)
    n, q = t // number, t % number
    phase, q = q // each, q % each
    row, column = phase // dw + dh * cut.apart[0] * (q // cut.across), phase % dw + dw * cut.apart[1] * (q % cut.across)
    return n, cut.first[0] + row, cut.first[1] + column


@inline
def inside(cut, y, x, h, w):
    """Whether a whole tile lies inside the image."""
    (dh, dw), (rows, columns) = cut.dilation, cut.sides
    return y >= 0 and x >= 0 and y + (rows - 1) * dh < h and x + (columns - 1) * dw < w


@inline
def rows_under(image, cut, first, count):
    """The first and the last element of the image rows under tile number `first` and the `count` that follow it: more
    or less, as it is for prefetching."""
    _, h, w, c = image.shape
    if cut.dilation != (1, 1):  # interleaved images are the same rows: those of whole images, whose first tile is here
        number, size = tiles_in(cut), h * w * c
        begin, end = (first + number - 1) // number * size, (first + count + number - 1) // number * size
        return min(image.size, begin), min(image.size, end)
    n, y, _ = corner_of(cut, first)
    begin, rows = (n * h + max(0, y)) * w * c, (count + cut.across - 1) // cut.across * cut.apart[0]
    return min(image.size, begin), min(image.size, begin + rows * w * c)


@serial
def copy_tile(image, corner, cut, channels, target, width):
    """Copy the pixels of a tile, and of each the `channels` (first, number), to rows of `width` elements, which are
    whole vectors; what lies outside the image or beyond the channels is 0."""
    (_, h, w, c), (n, top, left), (dh, dw) = image.shape, corner, cut.dilation
    source, v = flat(image), lanes(target)
    for i in range(cut.sides[0]):
        y = top + i * dh
        for j in range(cut.sides[1]):
            x, to = left + j * dw, (i * cut.sides[1] + j) * width
            count = channels[1] if 0 <= y < h and 0 <= x < w else 0
            at = ((n * h + y) * w + x) * c + channels[0] if count else 0
            for t in range(0, width, v):
                store(target, to + t, load_part(source, at + t, max(0, count - t)))


@serial
def transform_tiles(image, cut, tiles, channels, function, elements, edge):
    """The transforms of `tiles` (first, number) of the `channels` (first, number) of an image; `edge` is memory for a
    tile. `function` is the address of the transform."""
    (_, h, w, c), source, (dh, dw) = image.shape, flat(image), cut.dilation
    width, extra, line = elements.width, (edge, 0), cut.sides[1] * elements.width
    for t in range(tiles[1]):
        n, y, x = corner_of(cut, tiles[0] + t)
        target, strides = (elements.array, elements.first + t * width), (elements.step, 0)
        if inside(cut, y, x, h, w):
            start = source, ((n * h + y) * w + x) * c + channels[0]
            call(function, (start, target, extra), (dh * w * c, dw * c, *strides, channels[1]))
        else:
            copy_tile(image, (n, y, x), cut, channels, edge, width)
            call(function, ((edge, 0), target, extra), (line, width, *strides, width))


class Panel(NamedTuple):
    """Some outputs: the number of the first, and how many, as a packed panel has them."""

    first: int
    width: int


@inline
def panel_of(p, outputs, width, lane):
    """Panel number p, of panels of `width`: the last one may be narrower."""
    return Panel(p * width, min(width, panel_width(outputs, p * width, lane)))


@inline
def panel_size(starts, channels, width, lane):
    """Elements of the transformed weights of a panel: see `transform_weights`."""
    return starts[-1] * channels * width + (starts.size - 1) * lane


@serial
def transform_weights(weights, steps, group, panel, packed, u, q):
    """The weights of a panel of outputs of a `group` of channels, transformed and packed as `multiply_rows` reads them,
    from u[q] on.

    The weights of a group of products follow each other; those of the next one lie a vector further, as they would
    evict each other 4096 bytes apart.
    """
    (kh, kw, inputs, outputs), source, v, width, j = weights.shape, flat(weights), lanes(u), panel.width, panel.first
    each = outputs // steps.groups
    first = group * each
    rows, n = (each, inputs) if steps.flipped else (inputs, each)
    matrix = Matrix(source, 1, outputs) if steps.flipped else Matrix(source, outputs, 1)
    size, taps, at, row, tap = rows * width, packed, 0, width, rows * width
    if steps.flipped or j + width > n:
        for k in range(kh * kw):
            start = first + (kh * kw - 1 - k if steps.flipped else k) * inputs * outputs + j * matrix.column
            pack_panel(matrix, start, rows, min(width, n - j), width, packed, k * size)
    else:  # as they lie: packing took longer than the transform
        taps, at, row, tap = source, first + j, outputs, inputs * outputs
    for i in range(rows):
        start, to = (taps, at + i * row), (u, q + i * width)
        call(steps.weights, (start, to, start), (kw * tap, tap, size, v, width))
