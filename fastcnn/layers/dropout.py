"""Dropout."""

import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.backends.active import active
from fastcnn.components import Fixed, Setting
from fastcnn.initializers import random_source
from fastcnn.layers.base import Layer
from fastcnn.layers.protocol import check_phase
from fastcnn.shapes import check_int, check_share
from fastcnn.splitmix import mix


def check_seed(owner: str, name: str, value: Any) -> int | None:
    """`value` as a seed of 63 bits, or None: not drawn yet."""
    return None if value is None else check_int(owner, name, value, 0, 2**63 - 1)


class Dropout(Layer):
    """In the phase 'train' each element is kept with probability `prob` and divided by it, or becomes 0.

    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting" (2014), section 10: scaled
    while training, so that the phase 'test' returns its input as it is.

    Which elements are kept follows from `seed`, from `calls` and from their place in the batch: nothing is stored for
    the gradient, the same on every backend and number of threads, and training goes on as before from these two.

    `phase` is 'train' or 'test', or True or False for these.

    Parameters
    ----------
    shape : (batch, ...)
    prob : float, default 0.5
        The probability to *keep* an element, above 0 and at most 1.
    rng : NumPy generator or seed, optional
        From which `seed` is drawn at the first `forward` of the phase 'train'; NumPy's global generator by default.
    dtype : 'float32' or 'float64', optional

    Attributes
    ----------
    seed : int or None, before it is drawn
    calls : how many times `forward` was called in the phase 'train'
    first_image : number of the first image in the batch, default 0; a shard of a batch draws what the whole would
    """

    random_names: ClassVar[tuple[str, ...]] = ("seed", "calls", "first_image")
    shard_names: ClassVar[tuple[str, ...]] = ("first_image",)

    prob = Setting(functools.partial(check_share, positive=True))
    seed = Setting(check_seed)
    calls = Setting(functools.partial(check_int, minimum=0))
    first_image = Setting(functools.partial(check_int, minimum=0))
    output_shape: Fixed[tuple[int, ...]] = Fixed(lambda layer: layer.input_shape)
    _batch: int | None = None
    _drawn: tuple[int, int] | None = None  # the kernel's seed and first number in the last `forward`; None in 'test'

    def __init__(self, shape: Sequence[int], prob: float = 0.5, *, rng: Any = None, dtype: Any = None):
        super().__init__(shape, dtype=dtype)
        self.prob, self.seed, self.calls, self.first_image = prob, None, 0, 0
        source = random_source(self.name, rng)
        self._rng = None if source is np.random else source  # a module cannot be pickled

    def forward(self, x: Any, phase: str = "train") -> np.ndarray:
        train = check_phase(self.name, phase) == "train"
        x = self.take_x(x)
        self.keep("_batch", len(x))
        return self.drop(x, self.keep("_drawn", self.draw() if train else None))

    def draw(self) -> tuple[int, int]:
        """The seed of this call, and the number of its first element."""
        self.draw_seed()
        drawn: Any = self.seed
        seed = mix(drawn, self.calls)
        self.__dict__["calls"] += 1  # past the attribute's check, which would forget this `forward`
        return seed, self.first_image * math.prod(self.input_shape[1:])

    def draw_seed(self) -> None:
        """Draw `seed` now, where it is not there yet."""
        if self.seed is None:
            source = np.random if self._rng is None else self._rng
            integers = source.integers if isinstance(source, np.random.Generator) else source.randint
            self.__dict__["seed"] = int(integers(2**63 - 1, dtype=np.int64))

    def drop(self, values: np.ndarray, drawn: tuple[int, int] | None) -> np.ndarray:
        """What is kept of an input or its gradient; all of it in the phase 'test', where nothing is drawn."""
        return values if drawn is None else active().dropout(values, self.prob, *drawn)

    def input_gradient(self, eta: np.ndarray) -> np.ndarray:
        return self.drop(eta, self._drawn)

    def last_batch(self) -> int | None:
        return self._batch

    def forget(self) -> None:
        self._batch = self._drawn = None

    def config(self) -> dict[str, Any]:
        return super().config() | {"prob": self.prob}
