"""im2col and its adjoint in NumPy. Conventions: :mod:`fastcnn.backends`."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastcnn.backends.arguments import Source
from fastcnn.backends.numpy.padding import pad
from fastcnn.backends.registry import declare
from fastcnn.shapes import conv_output_size


def draw_image(source: Source) -> tuple:
    c = source.convolution()
    return source.array(*c.image), c.ksize, c.stride, c.padding


def draw_columns(source: Source) -> tuple:
    c = source.convolution()
    cols = source.array(c.image[0] * c.out[0] * c.out[1], c.ksize * c.ksize * c.image[3])
    return cols, c.image, c.ksize, c.stride, c.padding


@declare(draw_image)
def im2col(image: np.ndarray, ksize: int, stride: int, padding: tuple[int, int]) -> np.ndarray:
    """Windows of images as rows of a matrix.

    Parameters
    ----------
    image : (B, H, W, C) array
    ksize : int
        Height and width of a window.
    stride : int
        Of windows, on both image axes.
    padding : (before, after)
        Zeros around both image axes.

    Returns
    -------
    (B * OH * OW, ksize * ksize * C) array
        A row holds one window: its rows, columns and channels in that order.
    """
    image = pad(image, (padding, padding)) if any(padding) else image
    windows = sliding_window_view(image, (ksize, ksize), axis=(1, 2))[:, ::stride, ::stride]
    b, oh, ow, c = windows.shape[:4]
    # np.array always copies; ascontiguousarray would return the image itself for a 1x1 kernel.
    return np.array(windows.transpose(0, 1, 2, 4, 5, 3), order="C").reshape(b * oh * ow, ksize * ksize * c)


@declare(draw_columns)
def col2im(
    cols: np.ndarray, image_shape: tuple[int, ...], ksize: int, stride: int, padding: tuple[int, int]
) -> np.ndarray:
    """Adjoint of `im2col`: every entry is added to the pixel it was copied from.

    Parameters
    ----------
    cols : (B * OH * OW, ksize * ksize * C) array
    image_shape : (B, H, W, C)
    ksize, stride, padding
        As in `im2col`.

    Returns
    -------
    (B, H, W, C) array
        0 at pixels that no window covers. Sums are float64 before they are rounded.
    """
    b, h, w, c = image_shape
    oh, ow = (conv_output_size(size, ksize, stride, padding) for size in (h, w))
    cols = cols.reshape(b, oh, ow, ksize, ksize, c)
    image = np.zeros((b, h + sum(padding), w + sum(padding), c))
    for i in range(ksize):
        for j in range(ksize):
            image[:, i : i + stride * oh : stride, j : j + stride * ow : stride] += cols[:, :, :, i, j]
    return image[:, padding[0] : padding[0] + h, padding[0] : padding[0] + w].astype(cols.dtype, order="C")
