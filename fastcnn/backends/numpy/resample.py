"""Images of another size, in NumPy: weighted sums over rows and columns. Conventions: :mod:`fastcnn.backends`."""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare


def draw_taps(source: Source, size: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Runs and weights of up to 9 pixels that are made of up to 4 of `size`, or of 2."""
    number, most = source.integer(name, 1, 9), min(size, 4)
    first = source.rng.integers(0, size, number)
    last = np.minimum(
        size, first + source.rng.integers(min(2, most) if source.boolean("pairs") else 1, most + 1, number)
    )
    weights = source.rng.standard_normal((number, most))
    return np.stack([first, last], axis=1), np.where(np.arange(most) < (last - first)[:, np.newaxis], weights, 0)


def draw(source: Source) -> tuple:
    shape = source.image()
    down, across = draw_taps(source, shape[1], "rows"), draw_taps(source, shape[2], "columns")
    return source.array(*shape), *down, *across


def weighted(x: np.ndarray, axis: int, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums over runs along an axis of x, tap by tap; what is after the last tap counts nothing, also NaN."""
    shape = [-1 if number == axis else 1 for number in range(x.ndim)]
    total = np.zeros(())
    for tap in range(weights.shape[1]):
        place, weight = runs[:, 0] + tap, weights[:, tap].reshape(shape)
        exists = (place < runs[:, 1]).reshape(shape)
        total = total + weight * np.where(exists, x.take(np.minimum(place, x.shape[axis] - 1), axis), 0)
    return total


@declare(draw)
def resample(x: np.ndarray, rows: np.ndarray, down: np.ndarray, columns: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Images of another size: each pixel a weighted sum over some rows and columns of the input's.

    Parameters
    ----------
    x : (B, H, W, C) array
    rows : (OH, 2) array of int64
        For each row of the result the first row of x that it is made of, and the one after the last.
    down : (OH, most) array of float64
        Their weights; 0 after the last.
    columns, across
        The same of columns, (OW, 2) and (OW, most).

    Returns
    -------
    (B, OH, OW, C) array
    """
    return weighted(weighted(x.astype(np.float64), 1, rows, down), 2, columns, across).astype(x.dtype, order="C")
