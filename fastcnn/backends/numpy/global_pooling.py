"""The mean of each channel over the whole image, in NumPy. Shapes and meaning: :mod:`fastcnn.backends`."""

from __future__ import annotations

import numpy as np


def global_avg_pool_forward(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=(1, 2))


def global_avg_pool_backward(eta: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    share = eta / eta.dtype.type(image_shape[1] * image_shape[2])
    return np.broadcast_to(share[:, np.newaxis, np.newaxis], image_shape).copy()
