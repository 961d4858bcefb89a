"""How a maximum's place in its pooling window is written down: an offset, ``i * width + j``."""

import math

import numpy as np

from fastcnn.windows import Pair


def pool_index_dtype(ksize: Pair) -> np.dtype:
    """The dtype that holds an offset into a window of that height and width: one byte wherever it fits."""
    return np.dtype(np.uint8 if math.prod(ksize) < 256 else np.int32)


def pool_no_index(ksize: Pair) -> int:
    """The offset that no pixel of a window has: the gradient goes nowhere. A number that float32 can hold."""
    return 255 if math.prod(ksize) < 256 else 2**30
