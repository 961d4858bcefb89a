"""The NumPy backend: the definition of every kernel. Requires NumPy alone.

Each function with a :func:`~fastcnn.backends.registry.declare` above it is a kernel and is offered here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastcnn.backends import registry

globals().update(registry.find_twins(__name__, [__name__]))

__all__ = list(registry.DECLARED)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable: ...
