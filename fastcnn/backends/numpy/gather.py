"""Batches cut out of a set of images, in NumPy. Shapes and meaning: :mod:`fastcnn.backends`."""

from __future__ import annotations

import numpy as np


def gather_images(
    images: np.ndarray,
    index: np.ndarray,
    top: np.ndarray,
    left: np.ndarray,
    flip: np.ndarray,
    height: int,
    width: int,
) -> np.ndarray:
    _, h, w, _ = images.shape
    rows = top[:, np.newaxis] + np.arange(height)
    columns = np.arange(width)
    columns = left[:, np.newaxis] + np.where(flip[:, np.newaxis], columns[::-1], columns)
    inside = ((rows >= 0) & (rows < h))[:, :, np.newaxis] & ((columns >= 0) & (columns < w))[:, np.newaxis, :]
    at = index[:, np.newaxis, np.newaxis], rows.clip(0, h - 1)[:, :, np.newaxis], columns.clip(0, w - 1)[:, np.newaxis]
    return np.where(inside[..., np.newaxis], images[at], images.dtype.type(0))
