"""Softmax and cross-entropy in NumPy. Conventions: :mod:`fastcnn.backends`."""

from collections.abc import Callable

import numpy as np

from fastcnn.backends.arguments import SPECIAL, Source
from fastcnn.backends.registry import declare


def exponential_terms(compute: Callable, arguments: tuple, expected: tuple) -> tuple[np.ndarray, ...]:
    """An exponential's error is that of its exponent, relative to itself; a loss's is that of its largest logit."""
    size = 1 + np.abs(arguments[0]).max(axis=1, keepdims=True)
    return tuple(part * size if part.ndim == 2 else size[:, 0] for part in expected)


def draw_logits(source: Source) -> tuple[np.ndarray]:
    logits = 10 * source.array(source.integer("rows", 1, 9), source.integer("classes", 1, 12))
    return (source.special(logits, 0.05, source.rng.choice(SPECIAL, 1)),)


def draw_logits_and_labels(source: Source) -> tuple[np.ndarray, np.ndarray]:
    (logits,) = draw_logits(source)
    return logits, source.rng.integers(0, logits.shape[1], len(logits))


def exponentials(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits minus the largest of their row, their exponentials, and the sum of these for each row.

    What overflows becomes the dtype's lowest number, whose exponential is 0. Logits that are infinite or NaN, of a
    training that diverges, give NaN without a warning: the loss tells.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        np.maximum(shifted, np.finfo(logits.dtype).min, out=shifted)
        powers = np.exp(shifted)
    return shifted, powers, powers.sum(axis=1, keepdims=True)


@declare(draw_logits, terms=exponential_terms)
def softmax_forward(logits: np.ndarray) -> np.ndarray:
    """Probabilities of classes, ``exp(z) / sum(exp(z))`` of each row.

    Parameters
    ----------
    logits : (B, classes) array
        At least one class.

    Returns
    -------
    (B, classes) array
        Nothing overflows, as the largest logit of a row is subtracted first. A difference below the dtype's lowest
        number counts as that number: the probability is 0. A row with NaN or positive infinity gives NaN, and so does
        one of nothing but negative infinity.
    """
    _, powers, sums = exponentials(logits)
    return powers / sums


@declare(draw_logits_and_labels, terms=exponential_terms)
def softmax_loss(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of classes, and the cross-entropy of each row.

    Parameters
    ----------
    logits : (B, classes) array
    labels : (B,) array of int64
        From 0 to ``classes - 1``.

    Returns
    -------
    probabilities : (B, classes) array
        As `softmax_forward` returns them.
    losses : (B,) array
        ``log(sum(exp(z - max))) - (z[label] - max)``. Finite also where the label's probability is 0, as the difference
        is at least the dtype's lowest number; NaN where the row's probabilities are.
    """
    shifted, powers, sums = exponentials(logits)
    return powers / sums, np.log(sums[:, 0]) - shifted[np.arange(len(labels)), labels]
