"""Gradients of poolings whose windows are 3 x 3 and two pixels apart. Requires numba. The others: `gradient`."""

from fastcnn.backends.numba.core.arithmetic import add, fill, multiply
from fastcnn.backends.numba.core.copying import clear, put
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.tasks import task_kernel
from fastcnn.backends.numba.core.vectors import flat, lanes, load_part, store_part
from fastcnn.backends.numba.pooling.arguments import Above, Axis, Lines, Pixels, PoolWindow, Slopes
from fastcnn.backends.numba.pooling.select import load_integers, where_equal
from fastcnn.backends.numba.pooling.spans import counted, whole_windows


@inline
def add_shares(slopes, at, offset, count, scale, sums, maxima):
    """Add to the `sums` of three neighbours what belongs to them of one window."""
    slope, (left, middle, right) = load_part(slopes.values, at, count), sums
    if maxima:
        places = load_integers(slopes.offsets, at, slope, count)
        left = add(left, where_equal(places, offset, slope))
        middle = add(middle, where_equal(places, offset + 1, slope))
        right = add(right, where_equal(places, offset + 2, slope))
    else:
        share = multiply(slope, scale)
        left, middle, right = add(left, share), add(middle, share), add(right, share)
    return left, middle, right


@inline
def column_of_3(slopes, above, place, pixels, carry, width, maxima, two):
    """Write the pixels of a row that one column of 3 x 3 windows with stride 2 covers, and later ones do not.

    `carry` holds what the column before adds to the pixel that both cover, and then the same for the next. `place` are
    (the column, its first pixel). Where `width` is not 0, pixels before or behind a row of so many are left out. `two`:
    of two rows of windows, else of one.
    """
    (column, start), source, c = place, slopes.values, slopes.channels
    at, row, to = slopes.first + column * c, slopes.number * c, pixels.first + start * c
    scale, below = fill(source, above.scale), fill(source, above.below)
    for t in range(0, c, lanes(source)):
        sums, count = (load_part(carry, t, c - t), fill(source, 0), fill(source, 0)), c - t
        sums = add_shares(slopes, at + t, above.offset, count, scale, sums, maxima)
        if two:
            sums = add_shares(slopes, at + row + t, above.offset - 6, count, below, sums, maxima)
        left, middle, right = sums
        if width == 0 or start >= 0:
            put(pixels.image, to + t, left, count, pixels.past)
        if width == 0 or 0 <= start + 1 < width:
            put(pixels.image, to + c + t, middle, count, pixels.past)
        store_part(carry, t, right, count)


@inline
def columns_of_3(slopes, above, run, pixels, carry, maxima, two):
    """Columns of windows that lie inside the image: the first, the one after the last, and the pixel that the first one
    of all begins at."""
    begin, end, start = run
    for column in range(begin, end):
        column_of_3(slopes, above, (column, start + column * 2), pixels, carry, 0, maxima, two)


@serial
def clipped_column(slopes, above, place, pixels, carry, width, maxima, two):
    column_of_3(slopes, above, place, pixels, carry, width, maxima, two)


@inline
def row_of_3_by_2(eta, index, where, window, past, image, carry):
    """Row `where` (image, row) for windows of 3 x 3 pixels with stride 2: each pixel is written once.

    A window's third column is the next one's first: `carry` hands its sum on. Adding each window to a row in the cache
    took 1.6 times as long.
    """
    (_, rows, columns, c), (_, h, w, _), (n, ih), maxima = eta.shape, image.shape, where, index.size > 0
    down, across, target, to = Axis(*window.down), Axis(*window.across), flat(image), (n * h + ih) * w * c
    y, (begin, end), start = ih - down.start, whole_windows(across, columns, w), across.start
    top, bottom = max(0, (y - 1) // 2), min(rows, y // 2 + 1)
    slopes = Slopes(flat(eta), flat(index), (n * rows + top) * columns * c, columns, c)
    pixels, two = Pixels(target, to, c, past), bottom - top == 2
    high, low = counted(down, top), counted(down, top + 1)
    run = begin, end, start
    clear(carry, 0, c)
    column = 0 if top < bottom else columns
    while column < columns:
        wide = counted(across, column)
        scale, below = 1 / (window.divisor or high * wide), 1 / (window.divisor or low * wide)
        above = Above((y - top * 2) * 3, scale, below)
        if column != begin or begin == end:
            clipped_column(slopes, above, (column, start + column * 2), pixels, carry, w, maxima, two)
            column += 1
            continue
        if maxima:
            columns_of_3(slopes, above, run, pixels, carry, True, two)
        else:
            columns_of_3(slopes, above, run, pixels, carry, False, two)
        column = end
    last, at = to + w * c, to + (start + columns * 2) * c if top < bottom else to
    if at < last:
        for t in range(0, c, lanes(carry)):
            put(target, at + t, load_part(carry, t, c - t), c - t, past)
        clear(target, at + c, last)


@task_kernel
def rows_of_3_by_2(task, thread, eta, index, window: PoolWindow, past, image, memory: Lines):
    """Some image rows, counted over all images, under windows of 3 x 3 pixels with stride 2. A kernel of its own: as a
    part of `overlapping_rows` it made that take four times as long to compile."""
    h, line = image.shape[1], memory.lines[thread]
    for number in range(task * window.block, min(image.shape[0] * h, (task + 1) * window.block)):
        row_of_3_by_2(eta, index, (number // h, number % h), window, past, image, line)
