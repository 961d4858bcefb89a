"""The fully-connected layer's three matrix products in NumPy. Conventions: :mod:`fastcnn.backends`.

Long sums are cut and their parts added in float64: what BLAS does with one is its own, and its error may grow with the
number of terms.
"""

import numpy as np

from fastcnn.backends.arguments import Source
from fastcnn.backends.registry import declare

TERMS = 4096  # of a sum that BLAS computes
# Few rows have a kernel of their own, and large matrices and long sums two more.
WARM = tuple({"rows": rows, "inputs": size, "outputs": size} for rows in (1, 8) for size in (8, 2048))


def draw_sizes(source: Source) -> tuple[int, int, int]:
    return source.integer("rows", 1, 9), source.integer("inputs", 1, 40), source.integer("outputs", 1, 35)


def draw_forward(source: Source) -> tuple:
    rows, inputs, outputs = draw_sizes(source)
    return source.array(rows, inputs), source.array(inputs, outputs), source.array(outputs)


def draw_input_gradient(source: Source) -> tuple:
    rows, inputs, outputs = draw_sizes(source)
    return source.array(rows, outputs), source.array(inputs, outputs)


def draw_weight_gradient(source: Source) -> tuple:
    rows, inputs, outputs = draw_sizes(source)
    return source.array(rows, inputs), source.array(rows, outputs)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a @ b``, of at most `TERMS` terms at a time."""
    if a.shape[1] <= TERMS:
        return a @ b
    total = np.zeros((a.shape[0], b.shape[1]))
    for first in range(0, a.shape[1], TERMS):
        total += a[:, first : first + TERMS] @ b[first : first + TERMS]
    return total.astype(a.dtype)


@declare(draw_forward, warm=WARM)
def dense_forward(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Matrix product, and a bias.

    Parameters
    ----------
    x : (B, I) array
    weights : (I, O) array
    bias : (O,) array

    Returns
    -------
    (B, O) array
    """
    return product(x, weights) + bias


@declare(draw_input_gradient, warm=WARM)
def dense_input_gradient(eta: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gradient of the input of `dense_forward`.

    Parameters
    ----------
    eta : (B, O) array
    weights : (I, O) array

    Returns
    -------
    (B, I) array
    """
    return product(eta, weights.T)


@declare(draw_weight_gradient, warm=WARM)
def dense_weight_gradient(x: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the weights and bias of `dense_forward`, both summed over the batch.

    Parameters
    ----------
    x : (B, I) array
    eta : (B, O) array

    Returns
    -------
    dw : (I, O) array
    db : (O,) array
        Both are 0 for an empty batch.
    """
    return product(x.T, eta), sum_rows(eta)


@declare(lambda source: (source.array(source.integer("rows", 1, 120), source.integer("columns", 1, 40)),))
def sum_rows(matrix: np.ndarray) -> np.ndarray:
    """Sum of the rows of a matrix: the gradient of a bias.

    Parameters
    ----------
    matrix : (N, O) array

    Returns
    -------
    (O,) array
        0 where N is 0. Sums are float64 before they are rounded.
    """
    return matrix.sum(axis=0, dtype=np.float64).astype(matrix.dtype)
