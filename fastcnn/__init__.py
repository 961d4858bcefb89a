"""fastcnn: a CNN training engine for CPUs in Python, NumPy and Numba.

The layers take and return NHWC arrays, ``(batch, height, width, channels)``. Public names load when first used:
``import fastcnn`` alone imports neither NumPy nor numba, nor anything else that takes time.
"""

from __future__ import annotations

import importlib

from fastcnn import moved

TYPE_CHECKING = False  # type checkers take it for True; `typing` itself takes longer to import than all else here
if TYPE_CHECKING:
    from typing import Any

    from fastcnn import augmentation as augmentation
    from fastcnn import backend as backend
    from fastcnn import datasets as datasets
    from fastcnn import errors as errors
    from fastcnn import initializers as initializers
    from fastcnn import layers as layers
    from fastcnn import metrics as metrics
    from fastcnn import model as model
    from fastcnn import optimizers as optimizers
    from fastcnn import plotting as plotting
    from fastcnn import profiling as profiling
    from fastcnn import runtime as runtime
    from fastcnn import testing as testing
    from fastcnn import training as training
    from fastcnn import zoo as zoo
    from fastcnn.config import get_backend as get_backend
    from fastcnn.config import get_conv_algorithm as get_conv_algorithm
    from fastcnn.config import get_dtype as get_dtype
    from fastcnn.config import get_num_threads as get_num_threads
    from fastcnn.config import set_backend as set_backend
    from fastcnn.config import set_conv_algorithm as set_conv_algorithm
    from fastcnn.config import set_dtype as set_dtype
    from fastcnn.config import set_num_threads as set_num_threads
    from fastcnn.config import use_backend as use_backend
    from fastcnn.config import using as using
    from fastcnn.errors import BackendMismatch as BackendMismatch
    from fastcnn.errors import DatasetNotFoundError as DatasetNotFoundError
    from fastcnn.errors import FileFormatError as FileFormatError
    from fastcnn.model import Sequential as Sequential
    from fastcnn.predictor import Predictor as Predictor
    from fastcnn.training import callbacks as callbacks
    from fastcnn.training import diagnosis as diagnosis
    from fastcnn.training import schedules as schedules

__version__ = "0.1.0"

_HOME = {
    "using": "config",
    "set_backend": "config",
    "get_backend": "config",
    "use_backend": "config",
    "set_dtype": "config",
    "get_dtype": "config",
    "set_num_threads": "config",
    "get_num_threads": "config",
    "set_conv_algorithm": "config",
    "get_conv_algorithm": "config",
    "BackendMismatch": "errors",
    "DatasetNotFoundError": "errors",
    "FileFormatError": "errors",
    "Sequential": "model",
    "Predictor": "predictor",
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


if not TYPE_CHECKING:  # or they would take any name

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(importlib.import_module(f"fastcnn.{_HOME[name]}"), name)
        if name in _MODULES:
            return importlib.import_module(f"fastcnn.{name}")
        raise AttributeError(f"module 'fastcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
