"""im2col and its adjoint in NumPy. Conventions: :mod:`fastcnn.backends`."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare
from fastcnn.windows import Window


def draw_image(source: Source) -> tuple:
    c = source.convolution()
    return source.array(*c.image), c.window


def draw_columns(source: Source) -> tuple:
    c = source.convolution()
    cols = source.array(c.image[0] * c.out[0] * c.out[1], c.window.ksize[0] * c.window.ksize[1] * c.image[3])
    return cols, c.image, c.window


@declare(draw_image)
def im2col(image: np.ndarray, window: Window) -> np.ndarray:
    """Windows of images as rows of a matrix.

    Parameters
    ----------
    image : (B, H, W, C) array
    window : Window
        Sides kh x kw, strides, dilations and padding with zeros. OH x OW of them fit.

    Returns
    -------
    (B * OH * OW, kh * kw * C) array
        A row holds one window: its rows, columns and channels in that order.
    """
    (dh, dw), (sh, sw) = window.dilation, window.stride
    image = np.pad(image, ((0, 0), *window.padding, (0, 0))) if window.padding != ((0, 0), (0, 0)) else image
    windows = sliding_window_view(image, window.reach, axis=(1, 2))[:, ::sh, ::sw, :, ::dh, ::dw]
    b, oh, ow, _ = windows.shape[:4]
    # np.array always copies; ascontiguousarray would return the image itself for a 1x1 kernel.
    return np.array(windows.transpose(0, 1, 2, 4, 5, 3), order="C").reshape(
        b * oh * ow, math.prod(window.ksize) * image.shape[3]
    )


@declare(draw_columns)
def col2im(cols: np.ndarray, image_shape: tuple[int, ...], window: Window) -> np.ndarray:
    """Adjoint of `im2col`: every entry is added to the pixel it was copied from.

    Parameters
    ----------
    cols : (B * OH * OW, kh * kw * C) array
    image_shape : (B, H, W, C)
    window : Window
        As in `im2col`.

    Returns
    -------
    (B, H, W, C) array
        0 at pixels that no window covers. Sums are float64 before they are rounded.
    """
    (b, h, w, c), (kh, kw), (sh, sw), (dh, dw) = image_shape, *window[:3]
    (top, bottom), (left, right) = window.padding
    oh, ow = window.positions(h, w)
    cols = cols.reshape(b, oh, ow, kh, kw, c)
    image = np.zeros((b, h + top + bottom, w + left + right, c))
    for i in range(kh):
        for j in range(kw):
            rows, columns = slice(i * dh, i * dh + sh * oh, sh), slice(j * dw, j * dw + sw * ow, sw)
            image[:, rows, columns] += cols[:, :, :, i, j]
    return image[:, top : top + h, left : left + w].astype(cols.dtype, order="C")
