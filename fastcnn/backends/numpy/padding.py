"""Zeros around images, in NumPy. Conventions: :mod:`fastcnn.backends`."""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare


def draw_image(source: Source) -> tuple[np.ndarray, tuple[int, int]]:
    return source.array(*source.image()), (source.integer("before", 0, 3), source.integer("after", 0, 3))


def draw_padded(source: Source) -> tuple[np.ndarray, tuple[int, int]]:
    image, padding = draw_image(source)
    return source.array(*pad(image, padding).shape), padding


@declare(draw_image)
def pad(image: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """Images with zeros around both image axes.

    Parameters
    ----------
    image : (B, H, W, C) array
    padding : (before, after)

    Returns
    -------
    (B, H + before + after, W + before + after, C) array
    """
    return np.pad(image, ((0, 0), padding, padding, (0, 0)))


@declare(draw_padded)
def unpad(image: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """Adjoint of `pad`: what it added is cut away.

    Parameters
    ----------
    image : (B, H + before + after, W + before + after, C) array
    padding : (before, after)

    Returns
    -------
    (B, H, W, C) array
    """
    (before, after), (_, h, w, _) = padding, image.shape
    return image[:, before : h - after, before : w - after].copy()
