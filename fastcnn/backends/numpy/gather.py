"""Batches cut out of a set of images, in NumPy. Conventions: :mod:`fastcnn.backends`."""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare


def draw(source: Source) -> tuple:
    shape, count, rng = source.image(), source.integer("count", 1, 5), source.rng
    images = rng.integers(0, 256, shape, np.uint8) if source.boolean("bytes") else source.array(*shape)
    index, top, left = rng.integers(0, shape[0], count), rng.integers(-12, 13, count), rng.integers(-12, 13, count)
    height, width = source.integer("height cut out", 1, 11), source.integer("width cut out", 1, 11)
    return images, index, top, left, rng.random(count) < 0.5, height, width


@declare(draw, warm=({"bytes": 0}, {"bytes": 1}))
def gather_images(
    images: np.ndarray,
    index: np.ndarray,
    top: np.ndarray,
    left: np.ndarray,
    flip: np.ndarray,
    height: int,
    width: int,
) -> np.ndarray:
    """A rectangle of each image that `index` names, mirrored where `flip`.

    Parameters
    ----------
    images : (N, H, W, C) array of float32, float64 or uint8
    index : (B,) array of int64
        From 0 to N - 1; the same image may come twice.
    top, left : (B,) arrays of int64
        Row and column of the image at which the rectangle starts; it may lie outside in part or entirely.
    flip : (B,) array of bool
        Whether the rectangle is mirrored, left to right.
    height, width : int
        Of the rectangle.

    Returns
    -------
    (B, height, width, C) array of the dtype of `images`
        0 outside the image.
    """
    _, h, w, _ = images.shape
    rows = top[:, np.newaxis] + np.arange(height)
    columns = np.arange(width)
    columns = left[:, np.newaxis] + np.where(flip[:, np.newaxis], columns[::-1], columns)
    inside = ((rows >= 0) & (rows < h))[:, :, np.newaxis] & ((columns >= 0) & (columns < w))[:, np.newaxis, :]
    at = index[:, np.newaxis, np.newaxis], rows.clip(0, h - 1)[:, :, np.newaxis], columns.clip(0, w - 1)[:, np.newaxis]
    return np.where(inside[..., np.newaxis], images[at], images.dtype.type(0))
