"""Zeros around images, in NumPy. Shapes and meaning: :mod:`fastcnn.backends`."""

from __future__ import annotations

import numpy as np


def pad(image: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    return np.pad(image, ((0, 0), padding, padding, (0, 0)))


def unpad(image: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    (before, after), (_, h, w, _) = padding, image.shape
    return image[:, before : h - after, before : w - after].copy()
