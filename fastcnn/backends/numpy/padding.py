"""Zeros around images, in NumPy. Conventions: :mod:`fastcnn.backends`."""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare
from fastcnn.windows import Pair


def draw_image(source: Source) -> tuple[np.ndarray, tuple[Pair, Pair]]:
    rows, columns = ((source.integer("before", 0, 3), source.integer("after", 0, 3)) for _ in range(2))
    return source.array(*source.image()), (rows, columns)


def draw_padded(source: Source) -> tuple[np.ndarray, tuple[Pair, Pair]]:
    image, padding = draw_image(source)
    return source.array(*pad(image, padding).shape), padding


@declare(draw_image)
def pad(image: np.ndarray, padding: tuple[Pair, Pair]) -> np.ndarray:
    """Images with zeros around both image axes.

    Parameters
    ----------
    image : (B, H, W, C) array
    padding : ((top, bottom), (left, right))

    Returns
    -------
    (B, H + top + bottom, W + left + right, C) array
    """
    return np.pad(image, ((0, 0), *padding, (0, 0)))


@declare(draw_padded)
def unpad(image: np.ndarray, padding: tuple[Pair, Pair]) -> np.ndarray:
    """Adjoint of `pad`: what it added is cut away.

    Parameters
    ----------
    image : (B, H + top + bottom, W + left + right, C) array
    padding : ((top, bottom), (left, right))

    Returns
    -------
    (B, H, W, C) array
    """
    ((top, bottom), (left, right)), (_, h, w, _) = padding, image.shape
    return image[:, top : h - bottom, left : w - right].copy()
