"""Softmax and cross-entropy. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.softmax`.

A dozen NumPy calls on a few hundred numbers took 60 us between two kernels that had emptied the caches, which is 4 % of
a LeNet step; one compiled function takes 10. Of many logits NumPy computes the exponentials faster, as vectors.
"""

import math

import numpy as np

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import single
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numpy import softmax as many

FEW = 4096  # logits


@single
def softmax_rows(logits, labels, lowest, probabilities, losses):
    """The probabilities of each row, and its loss where there are labels."""
    for row in range(logits.shape[0]):
        largest, total = logits[row, 0], logits.dtype.type(0)
        for k in range(1, logits.shape[1]):
            if logits[row, k] > largest or math.isnan(logits[row, k]):
                largest = logits[row, k]
        for k in range(logits.shape[1]):
            shifted = logits[row, k] - largest
            power = math.exp(lowest if shifted < lowest else shifted)
            probabilities[row, k] = power
            total += power
        for k in range(logits.shape[1]):
            probabilities[row, k] /= total
        if labels.size:
            shifted = logits[row, labels[row]] - largest
            losses[row] = math.log(total) - (lowest if shifted < lowest else shifted)


NO_LABELS = np.empty(0, np.int64)
LOWEST = {np.dtype(name): np.finfo(name).min for name in ("float32", "float64")}


def softmax_forward(logits: Array) -> Array:
    if logits.size > FEW:
        return many.softmax_forward(logits)
    probabilities = empty(logits.shape, logits.dtype)
    softmax_rows(logits, NO_LABELS, LOWEST[logits.dtype], probabilities, probabilities[:0, 0])
    return probabilities


def softmax_loss(logits: Array, labels: Array) -> tuple[Array, Array]:
    if logits.size > FEW:
        return many.softmax_loss(logits, labels)
    probabilities, losses = empty(logits.shape, logits.dtype), empty(labels.shape, logits.dtype)
    softmax_rows(logits, labels, LOWEST[logits.dtype], probabilities, losses)
    return probabilities, losses
