"""The mean of each channel over the whole image, in NumPy. Conventions: :mod:`fastcnn.backends`."""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare


def draw_backward(source: Source) -> tuple:
    shape = source.image()
    return source.array(shape[0], shape[3]), shape


@declare(lambda source: (source.array(*source.image()),))
def global_avg_pool_forward(x: np.ndarray) -> np.ndarray:
    """Mean of each channel of each image (Lin, Chen and Yan, "Network in network", 2014).

    Parameters
    ----------
    x : (B, H, W, C) array

    Returns
    -------
    (B, C) array
    """
    return x.mean(axis=(1, 2), dtype=np.float64).astype(x.dtype)


@declare(draw_backward)
def global_avg_pool_backward(eta: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Gradient of the mean: ``eta / (H * W)`` at every pixel.

    Parameters
    ----------
    eta : (B, C) array
    image_shape : (B, H, W, C)

    Returns
    -------
    (B, H, W, C) array
    """
    share = eta / eta.dtype.type(image_shape[1] * image_shape[2])
    return np.broadcast_to(share[:, np.newaxis, np.newaxis], image_shape).copy()
