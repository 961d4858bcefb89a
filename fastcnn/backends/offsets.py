"""How a maximum's place in its pooling window is written down: an offset, ``i * ksize + j``."""

import numpy as np


def pool_index_dtype(ksize: int) -> np.dtype:
    """The dtype that holds an offset into a `ksize` x `ksize` window: one byte wherever it fits."""
    return np.dtype(np.uint8 if ksize * ksize < 256 else np.int32)


def pool_no_index(ksize: int) -> int:
    """The offset that no pixel of a window has: the gradient goes nowhere. A number that float32 can hold."""
    return 255 if ksize * ksize < 256 else 2**30
