"""Models that several tests train."""

import numpy as np

from fastcnn import Sequential
from fastcnn.layers import Conv2D, FullyConnect, MaxPooling, Relu, Softmax


def small(classes=10, **options):
    """A model of 28 x 28 images that trains in no time."""
    np.random.seed(0)
    conv = Conv2D((8, 28, 28, 1), 4, 5, 2, initializer="he", **options)
    relu = Relu(conv.output_shape, **options)
    pool = MaxPooling(relu.output_shape, **options)
    fc = FullyConnect(pool.output_shape, classes, **options)
    return Sequential([conv, relu, pool, fc, Softmax(fc.output_shape, **options)])
