"""Max and average pooling in NumPy: a loop over the window, all images and pixels at once.

A window that crosses a border is clipped. Here the image is extended by a value that changes nothing instead: minus
infinity for the maximum, zero for the sum. Sums are float64 before they are rounded. Conventions:
:mod:`fastcnn.backends`.
"""

from collections.abc import Iterator

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.numpy.activation import relu_forward
from fastcnn.backends.offsets import pool_index_dtype, pool_no_index
from fastcnn.backends.registry import declare
from fastcnn.windows import Pair, Window

# Offsets of one byte and of four; windows apart and overlapping, and those that most networks begin with.
WARM = tuple(
    {"batch": 1, "height": 17, "width": 17, "ksize": ksize, "stride": stride}
    for ksize, stride in ((2, 2), (2, 1), (3, 2), (17, 17), (17, 1))
)


def draw_max(source: Source) -> tuple:
    p = source.pooling()
    return source.ties(*p.image), p.window, p.out, source.boolean("rectify")


def draw_max_gradient(source: Source) -> tuple:
    x, window, out, rectify = draw_max(source)
    _, index = max_pool_forward(x, window, out, rectify)
    return source.array(*index.shape), index, x.shape, window


def draw_divisor(source: Source) -> tuple[bool, int]:
    return source.boolean("count padding"), source.integer("divisor", 0, 3)


def draw_mean(source: Source) -> tuple:
    p = source.pooling()
    return source.array(*p.image), p.window, p.out, *draw_divisor(source)


def draw_mean_gradient(source: Source) -> tuple:
    p = source.pooling()
    return source.array(p.image[0], *p.out, p.image[3]), p.image, p.window, *draw_divisor(source)


def extended(image_shape: tuple[int, ...], window: Window, out: Pair) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """`image_shape`, enlarged until no window crosses the border, and where the image lies in it."""
    (b, *sizes, c), begin = image_shape, [before for before, _ in window.padding]
    end = [
        max(before + size, (number - 1) * stride + reach)
        for before, size, number, stride, reach in zip(begin, sizes, out, window.stride, window.reach, strict=True)
    ]
    return (b, *end, c), (slice(None), *(slice(at, at + size) for at, size in zip(begin, sizes, strict=True)))


def extend(x: np.ndarray, window: Window, out: Pair, value: float) -> np.ndarray:
    shape, inside = extended(x.shape, window, out)
    if shape == x.shape:
        return x
    image = np.full(shape, value, x.dtype)
    image[inside] = x
    return image


def window_slices(window: Window, out: Pair) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Each offset in the window, row by row, and the slices that pick that pixel of every window."""
    (kh, kw), (sh, sw), (dh, dw) = window[:3]
    for i in range(kh):
        for j in range(kw):
            rows, columns = (slice(i * dh, i * dh + sh * out[0], sh), slice(j * dw, j * dw + sw * out[1], sw))
            yield i * kw + j, (slice(None), rows, columns)


@declare(draw_max, warm=WARM)
def max_pool_forward(
    x: np.ndarray, window: Window, size: tuple[int, int], rectify: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Maximum of each window, and where in the window it is.

    Parameters
    ----------
    x : (B, H, W, C) array
    window : Window
        Clipped at all sides of the image: padding holds no values. Each window holds a pixel at least.
    size : (OH, OW)
        Windows on each axis, which the layer's geometry says.
    rectify : bool
        Whether the maximum is that of ``max(x, 0)``: a ReLU that is fused into this layer.

    Returns
    -------
    out : (B, OH, OW, C) array
    index : array of the shape of `out`, of the dtype `pool_index_dtype(window.ksize)`
        The offset of the maximum in its window of (kh, kw) pixels, ``i * kw + j``. Of equal values the first one in
        row-major order, and the first NaN beats every number. With `rectify` it is `pool_no_index(window.ksize)` where
        the ReLU stops the gradient.
    """
    image = extend(relu_forward(x) if rectify else x, window, size, -np.inf)
    exists, before = extend(np.ones_like(x, bool), window, size, False), extend(x, window, size, 0)
    shape = (len(x), *size, x.shape[3])
    out, first = np.full(shape, -np.inf, x.dtype), np.zeros(shape, x.dtype)
    index, seen = np.zeros(shape, pool_index_dtype(window.ksize)), np.zeros(shape, bool)
    for offset, at in window_slices(window, size):
        value, new = image[at], exists[at] & ~seen
        better = new | (value > out) | (np.isnan(value) & ~np.isnan(out))
        np.copyto(out, value, where=better)
        np.copyto(first, before[at], where=new)
        index[better] = offset
        seen |= new
    if rectify:  # where the maximum is 0, it is that of the first pixel, and 0 may stand for a negative number
        index[~((out > 0) | ((out == 0) & (first >= 0)))] = pool_no_index(window.ksize)
    return out, index


@declare(draw_max_gradient, warm=WARM)
def max_pool_backward(eta: np.ndarray, index: np.ndarray, image_shape: tuple[int, ...], window: Window) -> np.ndarray:
    """Gradient of a maximum: `eta` added at the pixel that was it.

    Parameters
    ----------
    eta : (B, OH, OW, C) array
    index : array of the shape of `eta`
        What `max_pool_forward` returned.
    image_shape : (B, H, W, C)
    window : Window
        As in `max_pool_forward`.

    Returns
    -------
    (B, H, W, C) array
        Overlapping windows add up; 0 where no window has its maximum.
    """
    shape, inside = extended(image_shape, window, eta.shape[1:3])
    image = np.zeros(shape)
    for offset, at in window_slices(window, eta.shape[1:3]):
        image[at] += np.where(index == offset, eta, eta.dtype.type(0))
    return image[inside].astype(eta.dtype, order="C")


def divisors(image_shape: tuple[int, ...], window: Window, out: Pair, count_padding: bool, divisor: int) -> np.ndarray:
    """What the sum of each window is divided by, as (OH, OW, 1)."""
    sides = []
    for size, number, k, stride, apart, (before, after) in zip(image_shape[1:3], out, *window, strict=True):
        place = stride * np.arange(number)[:, np.newaxis] + apart * np.arange(k) - before
        low, high = (-before, size + after) if count_padding else (0, size)
        sides.append(((place >= low) & (place < high)).sum(axis=1))
    return np.outer(*sides)[:, :, np.newaxis] if divisor == 0 else np.full((1, 1, 1), divisor)


@declare(draw_mean, warm=WARM)
def avg_pool_forward(
    x: np.ndarray, window: Window, size: tuple[int, int], count_padding: bool = False, divisor: int = 0
) -> np.ndarray:
    """Mean of each window, or its sum over a `divisor`.

    Parameters
    ----------
    x : (B, H, W, C) array
    window, size
        As in `max_pool_forward`.
    count_padding : bool
        Whether the mean is over the pixels of the window that lie in the image and its padding, which is zeros then.
        Else over those that lie in the image.
    divisor : int
        What all sums are divided by instead, where it is not 0: 1 for sums.

    Returns
    -------
    (B, OH, OW, C) array
    """
    image = extend(x, window, size, 0)
    total = sum(image[at].astype(np.float64) for _, at in window_slices(window, size))
    return (total / divisors(x.shape, window, size, count_padding, divisor)).astype(x.dtype)


@declare(draw_mean_gradient)
def avg_pool_backward(
    eta: np.ndarray, image_shape: tuple[int, ...], window: Window, count_padding: bool = False, divisor: int = 0
) -> np.ndarray:
    """Gradient of a mean: `eta` over what the sum was divided by, added to each of the window's pixels.

    Parameters
    ----------
    eta : (B, OH, OW, C) array
    image_shape : (B, H, W, C)
    window, count_padding, divisor
        As in `avg_pool_forward`.

    Returns
    -------
    (B, H, W, C) array
        0 at pixels that no window covers.
    """
    size = eta.shape[1:3]
    share, (shape, inside) = (
        eta / divisors(image_shape, window, size, count_padding, divisor),
        extended(image_shape, window, size),
    )
    image = np.zeros(shape)
    for _, at in window_slices(window, size):
        image[at] += share
    return image[inside].astype(eta.dtype, order="C")
