"""The old name of what is in :mod:`fastcnn.config` and :mod:`fastcnn.backends.active` now."""

from fastcnn.backends.active import active, compilation_announced
from fastcnn.config import BACKENDS, get_backend, load, set_backend, use_backend

__all__ = ["BACKENDS", "active", "compilation_announced", "get_backend", "load", "set_backend", "use_backend"]
