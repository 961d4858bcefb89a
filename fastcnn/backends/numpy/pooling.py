"""Max and average pooling in NumPy: a loop over the window, all images and pixels at once.

A window that crosses the bottom or right border is clipped. Here the image is extended by a value that changes
nothing instead: minus infinity for the maximum, zero for the sum. Sums are float64 before they are rounded.
Conventions: :mod:`fastcnn.backends`.
"""

from collections.abc import Iterator

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.numpy.activation import relu_forward
from fastcnn.backends.offsets import pool_index_dtype, pool_no_index
from fastcnn.backends.registry import declare

# Offsets of one byte and of four; windows apart and overlapping.
WARM = tuple(
    {"batch": 1, "height": 17, "width": 17, "ksize": ksize, "stride": stride}
    for ksize, stride in ((2, 2), (2, 1), (17, 17), (17, 1))
)


def draw_max(source: Source) -> tuple:
    shape, ksize, stride = source.pooling()
    return source.ties(*shape), ksize, stride, source.boolean("rectify")


def draw_max_gradient(source: Source) -> tuple:
    x, ksize, stride, rectify = draw_max(source)
    _, index = max_pool_forward(x, ksize, stride, rectify)
    return source.array(*index.shape), index, x.shape, ksize, stride


def draw_mean(source: Source) -> tuple:
    shape, ksize, stride = source.pooling()
    return source.array(*shape), ksize, stride


def draw_mean_gradient(source: Source) -> tuple:
    shape, ksize, stride = source.pooling()
    return source.array(shape[0], shape[1] // stride, shape[2] // stride, shape[3]), shape, ksize, stride


def extended_shape(image_shape: tuple[int, ...], ksize: int, stride: int) -> tuple[int, ...]:
    """`image_shape`, enlarged at the bottom and right until no window crosses the border."""
    b, h, w, c = image_shape
    return b, *(max(size, (size // stride - 1) * stride + ksize) for size in (h, w)), c


def extend(x: np.ndarray, ksize: int, stride: int, value: float) -> np.ndarray:
    shape = extended_shape(x.shape, ksize, stride)
    if shape == x.shape:
        return x
    extended = np.full(shape, value, x.dtype)
    extended[:, : x.shape[1], : x.shape[2]] = x
    return extended


def window_slices(image_shape: tuple[int, ...], ksize: int, stride: int) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Each offset in the window, row by row, and the slices that pick that pixel of every window."""
    oh, ow = image_shape[1] // stride, image_shape[2] // stride
    for i in range(ksize):
        for j in range(ksize):
            rows, columns = slice(i, i + stride * oh, stride), slice(j, j + stride * ow, stride)
            yield i * ksize + j, (slice(None), rows, columns)


@declare(draw_max, warm=WARM)
def max_pool_forward(x: np.ndarray, ksize: int, stride: int, rectify: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Maximum of each window, and where in the window it is.

    Parameters
    ----------
    x : (B, H, W, C) array
    ksize : int
        Height and width of a window.
    stride : int
        Windows start at every `stride` rows and columns, and are clipped at the bottom and right border.
    rectify : bool
        Whether the maximum is that of ``max(x, 0)``: a ReLU that is fused into this layer.

    Returns
    -------
    out : (B, H // stride, W // stride, C) array
    index : array of the shape of `out`, of the dtype `pool_index_dtype(ksize)`
        The offset of the maximum in its window, ``i * ksize + j``. Of equal values the first one in row-major order,
        and the first NaN beats every number. With `rectify` it is `pool_no_index(ksize)` where the ReLU stops the
        gradient.
    """
    image = extend(relu_forward(x) if rectify else x, ksize, stride, -np.inf)
    slices = window_slices(x.shape, ksize, stride)
    _, first = next(slices)
    out = image[first].copy()
    index = np.zeros(out.shape, pool_index_dtype(ksize))
    for offset, at in slices:
        value = image[at]
        better = (value > out) | (np.isnan(value) & ~np.isnan(out))
        np.copyto(out, value, where=better)
        index[better] = offset
    if rectify:  # where the maximum is 0, it is that of the first pixel, and 0 may stand for a negative number
        index[~((out > 0) | ((out == 0) & (x[first] >= 0)))] = pool_no_index(ksize)
    return out, index


@declare(draw_max_gradient, warm=WARM)
def max_pool_backward(
    eta: np.ndarray, index: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int
) -> np.ndarray:
    """Gradient of a maximum: `eta` added at the pixel that was it.

    Parameters
    ----------
    eta : (B, H // stride, W // stride, C) array
    index : array of the shape of `eta`
        What `max_pool_forward` returned.
    image_shape : (B, H, W, C)
    ksize, stride : int
        As in `max_pool_forward`.

    Returns
    -------
    (B, H, W, C) array
        Overlapping windows add up; 0 where no window has its maximum.
    """
    image = np.zeros(extended_shape(image_shape, ksize, stride))
    for offset, at in window_slices(image_shape, ksize, stride):
        image[at] += np.where(index == offset, eta, eta.dtype.type(0))
    return image[:, : image_shape[1], : image_shape[2]].astype(eta.dtype, order="C")


def window_sizes(image_shape: tuple[int, ...], ksize: int, stride: int) -> np.ndarray:
    """Pixels that each window really holds, as (OH, OW, 1)."""
    sides = [np.minimum(ksize, size - stride * np.arange(size // stride)) for size in image_shape[1:3]]
    return np.outer(*sides)[:, :, np.newaxis]


@declare(draw_mean)
def avg_pool_forward(x: np.ndarray, ksize: int, stride: int) -> np.ndarray:
    """Mean of each window.

    Parameters
    ----------
    x : (B, H, W, C) array
    ksize, stride : int
        As in `max_pool_forward`.

    Returns
    -------
    (B, H // stride, W // stride, C) array
        A window that is clipped is divided by the number of pixels that it really has.
    """
    image = extend(x, ksize, stride, 0)
    total = sum(image[at].astype(np.float64) for _, at in window_slices(x.shape, ksize, stride))
    return (total / window_sizes(x.shape, ksize, stride)).astype(x.dtype)


@declare(draw_mean_gradient)
def avg_pool_backward(eta: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int) -> np.ndarray:
    """Gradient of a mean: `eta` over the window's size, added to each of its pixels.

    Parameters
    ----------
    eta : (B, H // stride, W // stride, C) array
    image_shape : (B, H, W, C)
    ksize, stride : int
        As in `max_pool_forward`.

    Returns
    -------
    (B, H, W, C) array
        0 at pixels that no window covers.
    """
    share = eta / window_sizes(image_shape, ksize, stride)
    image = np.zeros(extended_shape(image_shape, ksize, stride))
    for _, at in window_slices(image_shape, ksize, stride):
        image[at] += share
    return image[:, : image_shape[1], : image_shape[2]].astype(eta.dtype, order="C")
