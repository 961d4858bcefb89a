"""The interface between layers and kernels: what every backend offers, under the same names.

`fastcnn.backends.numpy` is the definition: short, vectorised, meant to be read; each kernel's docstring says what it
computes. `fastcnn.backends.numba` computes the same fast, and `fastcnn.backends.check` runs both and compares.
``python -m fastcnn.backends`` prints all kernels.

Conventions: layers hand over arrays that are C-contiguous, aligned, writeable and all of one dtype, float32 or float64,
and numbers that are Python's. Kernels check nothing, change no argument, and return new arrays of that dtype. The
exception are optimizers' updates, which change parameters in place and return nothing. The batch alone may be empty: so
are results then, and sums over the batch are 0.

An image batch is (B, H, W, C), convolution weights are (k, k, C, O), `eta` is the gradient of the loss with respect to
a kernel's output. `padding` is (before, after), zeros on both image axes. A ReLU can be fused into the layer that
follows it: `rectify` of convolutions and of the maximum, `gate` of the convolution's input gradient.
"""

from typing import Any

from fastcnn.backends.offsets import pool_index_dtype, pool_no_index

__all__ = ["KERNELS", "UPDATES", "pool_index_dtype", "pool_no_index"]


def __getattr__(name: str) -> Any:
    """The names of all kernels: `KERNELS`, and `UPDATES` that change arrays in place."""
    if name in ("KERNELS", "UPDATES"):
        from fastcnn.backends.numpy import registry

        return tuple(key for key, kernel in registry.DECLARED.items() if bool(kernel.changes) == (name == "UPDATES"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
