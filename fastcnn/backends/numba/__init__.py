"""The numba backend: parallel compiled kernels. Requires numba; kernels compile at their first call.

A function in one of `ROOMS` with the name of a kernel is its twin and is offered here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastcnn.backends import numpy as definitions
from fastcnn.backends import registry

ROOMS = ("convolution", "pointwise", "pooling", "product")

globals().update(registry.find_twins(__name__, [f"{__name__}.{room}" for room in ROOMS]))

__all__ = definitions.__all__

if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable: ...
