"""fastcnn: a CNN training engine for CPUs in Python, NumPy and Numba.

The layers take and return NHWC arrays, ``(batch, height, width, channels)``. Public names load when first used:
``import fastcnn`` alone imports neither NumPy nor numba, nor anything else that takes time.
"""

from __future__ import annotations

import importlib

from fastcnn import moved

TYPE_CHECKING = False  # type checkers know the name; `typing` itself takes longer to import than all else here
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_HOME = {
    "set_backend": "backend",
    "get_backend": "backend",
    "use_backend": "backend",
    "set_dtype": "runtime",
    "get_dtype": "runtime",
    "set_num_threads": "runtime",
    "get_num_threads": "runtime",
    "set_conv_algorithm": "runtime",
    "get_conv_algorithm": "runtime",
    "BackendMismatch": "errors",
    "DatasetNotFoundError": "errors",
    "FileFormatError": "errors",
    "Sequential": "model",
}
_MODULES = (
    "augmentation",
    "backend",
    "callbacks",
    "datasets",
    "diagnosis",
    "errors",
    "initializers",
    "layers",
    "metrics",
    "model",
    "optimizers",
    "plotting",
    "profiling",
    "runtime",
    "schedules",
    "testing",
    "training",
    "zoo",
)

__all__ = ["__version__", *_HOME, *_MODULES]  # noqa: PLE0604 - every entry is a string

moved.install()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"fastcnn.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"fastcnn.{name}")
    raise AttributeError(f"module 'fastcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
