"""The old name of what is in :mod:`fastcnn.config` and :mod:`fastcnn.threads` now."""

from fastcnn.config import (
    CONV_ALGORITHMS,
    DTYPES,
    at_most_threads,
    get_conv_algorithm,
    get_dtype,
    get_num_threads,
    largest_num_threads,
    layer_dtype,
    set_conv_algorithm,
    set_dtype,
    set_num_threads,
    settle_threads,
)
from fastcnn.threads import MAX_THREADS, available_cores, check_pool, limit_blas, pool_size

__all__ = [
    "CONV_ALGORITHMS",
    "DTYPES",
    "MAX_THREADS",
    "at_most_threads",
    "available_cores",
    "check_pool",
    "get_conv_algorithm",
    "get_dtype",
    "get_num_threads",
    "largest_num_threads",
    "layer_dtype",
    "limit_blas",
    "pool_size",
    "set_conv_algorithm",
    "set_dtype",
    "set_num_threads",
    "settle_threads",
]
