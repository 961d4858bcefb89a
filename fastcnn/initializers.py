"""How weights start: the choices of a layer's keyword `initializer`.

==============  ==========================================================================================
'msra'          the default: each layer's own formula, for weights and bias (see the layer's docstring)
'he'            normal with variance 2 / fan_in (He et al., "Delving Deep into Rectifiers", 2015, eq. 10)
'xavier'        normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010, eq. 12)
'zeros'         0
a number        every weight is that number
a callable      ``initializer(shape, rng)`` returns the weights
==============  ==========================================================================================

All but 'msra' start the bias at 0. fan_in is the number of inputs of one output: k * k * C for a convolution.
"""

import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn.arrays import check_array
from fastcnn.shapes import allocate, check_choice, check_number, received

NAMES = ("msra", "he", "xavier", "zeros")
LATER = object()  # what a file's reader passes: the weights are assigned to the layer that is made


def random_source(owner: str, rng: Any) -> Any:
    """NumPy's global generator for None; a generator as it is; a seed as a new generator."""
    if rng is None or rng is np.random:
        return np.random
    if isinstance(rng, np.random.Generator | np.random.RandomState):
        return rng
    if isinstance(rng, numbers.Integral) and not isinstance(rng, bool) and int(rng) >= 0:
        return np.random.default_rng(int(rng))
    raise TypeError(f"{owner}: `rng` must be a NumPy generator or a seed, an integer >= 0. {received('rng', rng)}")


def initial_parameters(
    owner: str,
    shape: tuple[int, ...],
    initializer: str | float | Callable,
    rng: Any,
    msra_scale: float,
    dtype: np.dtype,
    bias_shape: tuple[int, ...] | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Weights of `shape`, inputs before outputs, and a bias of `bias_shape` where there is one, in `dtype`.

    `msra_scale` is the layer's own divisor of standard normal numbers for 'msra'. Numbers are drawn in float64 and
    then rounded, weights before bias, so that a seed gives the same numbers for every dtype. MemoryError where the
    weights do not fit into memory.
    """
    rng = random_source(owner, rng)
    weights = allocate(
        owner, "weights", shape, dtype, lambda: initial_weights(owner, shape, initializer, rng, msra_scale, dtype)
    )
    if bias_shape is None:
        return weights, None
    if isinstance(initializer, str) and initializer == "msra":
        return weights, (rng.standard_normal(bias_shape) / msra_scale).astype(dtype)
    return weights, np.zeros(bias_shape, dtype)


def initial_weights(
    owner: str,
    shape: tuple[int, ...],
    initializer: str | float | Callable,
    rng: Any,
    msra_scale: float,
    dtype: np.dtype,
) -> np.ndarray:
    """The weights alone."""
    if callable(initializer):
        weights = check_array(owner, "initializer(...)", initializer(shape, rng), shape, dtype, any_batch=False)
        return weights.copy()
    if isinstance(initializer, numbers.Real):
        return np.full(shape, check_number(owner, "initializer", initializer), dtype)
    name = check_choice(owner, "initializer", initializer, NAMES, ", a number, or a callable (shape, rng)")
    if name == "zeros":
        return np.zeros(shape, dtype)
    if name == "msra":
        return (rng.standard_normal(shape) / msra_scale).astype(dtype)
    fan_in, fan_out = math.prod(shape[:-1]), math.prod(shape[:-2]) * shape[-1]
    variance = 2 / fan_in if name == "he" else 2 / (fan_in + fan_out)
    return (rng.standard_normal(shape) * math.sqrt(variance)).astype(dtype)
