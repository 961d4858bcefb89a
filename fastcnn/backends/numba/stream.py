"""Writing large results past the caches. Requires numba."""

from __future__ import annotations

import numpy as np

from fastcnn.backends.numba.memory import ALIGNMENT

STREAMED = 24 << 20  # bytes; smaller results are still in the caches when the next layer reads them


def streams(result: np.ndarray) -> bool:
    """Whether to write `result`, (..., channels), past the caches: it is large, and every pixel whole vectors."""
    whole = (result.shape[-1] * result.itemsize) % ALIGNMENT == 0
    return result.nbytes >= STREAMED and whole and result.ctypes.data % ALIGNMENT == 0
