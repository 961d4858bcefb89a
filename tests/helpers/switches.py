"""Switches of the package, each on inside a ``with`` block."""

import contextlib
import dataclasses
import sys

import pytest

import fastcnn
from fastcnn import config

BACKENDS = ("numpy", "numba")


@contextlib.contextmanager
def switches_kept():
    """What `set_backend` and the like change inside a ``with`` block is undone after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "process", dataclasses.replace(config.process))
        yield
    config._settle_blas()


@contextlib.contextmanager
def threads(count):
    """Kernels on `count` threads inside a ``with`` block."""
    with switches_kept():
        fastcnn.set_num_threads(count)
        yield


@contextlib.contextmanager
def conv_algorithm(name):
    """Convolutions by the algorithm `name` inside a ``with`` block."""
    with fastcnn.using(conv=name):
        yield


@contextlib.contextmanager
def winograd(name):
    """Convolutions by the row `name` of Winograd's table inside a ``with`` block, whatever their shapes; those of other
    kernels directly."""
    from fastcnn.backends.numba.convolution import rule

    named, others = ([row for row in rule.ROWS if row.transform == only] for only in (name, None))
    rows = (*(row._replace(fits=()) for row in named), *others)
    with pytest.MonkeyPatch.context() as patch, conv_algorithm("winograd"):
        patch.setattr(rule, "ROWS", rows)
        forget_plans()
        yield
    forget_plans()


@contextlib.contextmanager
def on_threads():
    """Every kernel on all threads inside a ``with`` block, however little it has to do."""
    from fastcnn.backends.numba.core import jit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "SMALL_WORK", 0)
        forget_plans()
        yield
    forget_plans()


def forget_plans():
    """Forget what the numba backend keeps for each shape: it follows from limits that a test may change."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fastcnn.backends.numba."):
            for kept in vars(module).values():
                if hasattr(kept, "cache_clear"):
                    kept.cache_clear()
