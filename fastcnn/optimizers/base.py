"""What all optimizers share: the layers they train, clipping, and the state they keep between steps."""

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn.arrays import check_array
from fastcnn.backends.active import active
from fastcnn.components import Assignable, Checked
from fastcnn.config import load
from fastcnn.layers.protocol import clear_gradients, has_gradients, has_own_backward, is_weight, update, walk
from fastcnn.optimizers.arrays import is_plain, square_sum
from fastcnn.optimizers.checks import MadeWith, check_decay, check_kept, check_layers, check_rate, number
from fastcnn.optimizers.rates import check_done, rate_text
from fastcnn.saving import model_file
from fastcnn.shapes import check_int, check_number, must_be, received


class Optimizer(Assignable):
    """What all optimizers share.

    Parameters
    ----------
    layers : Sequential or iterable of layers
        Layers with parameters are trained, those inside others too.
    learning_rate : float or callable
        Of the mean loss of a batch. A callable gets the share of the training that is done; see
        :mod:`fastcnn.schedules`. The attribute may be assigned between two steps.
    weight_decay : float
        Added to the gradient as ``weight_decay * p`` (an L2 penalty), but for AdamW.
    decay : 'all', 'weights' or callable, default 'all'
        Which parameters decay: all of them, as the original's do; 'weights', those of two axes or more, and no bias, no
        gain of a normalisation and no slope of a PReLU; or those for which ``decay(place, name)`` is true, such as
        ``lambda place, name: name != "bias"``. A place is a layer's number, '0', or inside another '1.body.0'.
    clip_norm, clip_value : float, optional
        The largest Euclidean norm of all gradients together, of the mean loss; and the largest absolute value of each
        number in them. (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013.)

    Raises
    ------
    ValueError, TypeError
        Bad arguments; nothing to train; a layer of one's own that says neither `gradients()` nor can take this rule.
    """

    slots: ClassVar[tuple[str, ...]] = ()  # the arrays that are kept for each parameter
    default_rate: ClassVar[float] = 0.1
    plain: ClassVar[bool] = False  # whether it is gradient descent, which a layer's own `backward` can do

    learning_rate = Checked(check_rate)
    weight_decay = Checked(number())
    decay = Checked(check_decay)
    clip_norm = Checked(number(above=True, optional=True))
    clip_value = Checked(number(above=True, optional=True))
    steps = Checked(functools.partial(check_int, minimum=0))
    layers = MadeWith(check_layers)
    kept = Checked(check_kept)  # the arrays of each parameter, by ``place.parameter`` and slot
    _asked: tuple[Any, float, float] | None = (
        None  # a rate, the share of the training that is done, and what it is then
    )
    trained: Sequence[tuple[str, Any]] = ()  # each layer that is trained, with its place

    def __init__(
        self,
        layers: Any,
        learning_rate: float | Callable[[float], float] | None = None,
        *,
        weight_decay: float = 0.0,
        decay: str | Callable[[str, str], bool] = "all",
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ):
        self.learning_rate = self.default_rate if learning_rate is None else learning_rate
        self.weight_decay, self.decay = weight_decay, decay
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.layers = layers
        self.steps = 0
        self.kept = {}
        self.trained = list(self.find_trained())
        if not self.trained:
            raise ValueError(must_be(self.name, "layers", "a model or layers of which one has parameters", layers))
        if len({id(layer) for _, layer in self.trained}) < len(self.trained):
            raise ValueError(f"{self.name}: `layers` must hold each layer once. {received('layers', layers)}")

    @property
    def name(self) -> str:
        return type(self).__name__

    def find_trained(self) -> Iterator[tuple[str, Any]]:
        """Each layer that is trained, with its place."""
        for place, layer in walk(self.layers):
            own = has_own_backward(layer)
            named = has_gradients(layer)
            if own and not (self.takes_backward or named):
                raise TypeError(
                    f"{self.name}: the layer {place}, a {type(layer).__name__}, has a `backward` of its own and no "
                    "gradients(): give it parameters() and gradients(), dicts of arrays by the same names, or train "
                    "with SGD, which calls `backward`"
                )
            if own or named:
                yield place, layer

    @property
    def takes_backward(self) -> bool:
        """Whether a layer's own `backward` can make the step: gradient descent without clipping."""
        return self.plain and self.clip_norm is self.clip_value is None and self.decay == "all"

    def factors(self, place: str, layer: Any, name: str, parameter: np.ndarray, scale: float) -> tuple[float, float]:
        """`scale`, and the decay of one parameter."""
        whole = self.decay == "all" or is_weight(layer, name, parameter)
        decays = self.decay(place, name) if callable(self.decay) else whole
        return scale, self.weight_decay if decays else 0.0

    def step(self, batch_size: int = 1, done: float = 0.0) -> None:
        """Update all parameters by the gradients since the last step, and clear these.

        `batch_size` is the number of images that the gradients are sums over; `done` is the share of the training that
        has been done, from 0 to 1, for a learning rate schedule.
        """
        scale = 1 / check_int(self.name, "batch_size", batch_size)
        done = check_done(self.name, done)
        asked, self._asked = self._asked, None
        rate = asked[2] if asked and asked[0] is self.learning_rate and asked[1] == done else self.rate(done)
        self.steps += 1
        if self.clip_value is not None:
            limit = self.clip_value / scale
            for _, gradient in self.pairs():
                np.clip(gradient, -limit, limit, out=gradient)
        if self.clip_norm is not None:
            norm = scale * math.sqrt(sum(square_sum(gradient) for _, gradient in self.pairs()))
            scale *= min(1.0, self.clip_norm / norm) if norm else 1.0
        for place, layer in self.trained:
            if self.takes_backward and has_own_backward(layer):
                update(layer, rate * scale, rate * self.weight_decay)
                continue
            gradients = layer.gradients()
            for name, parameter in layer.parameters().items():
                if name in gradients:
                    kept = [self.slot(place, name, slot, parameter) for slot in self.slots]
                    ready = all(is_plain(array, parameter) for array in (parameter, gradients[name], *kept))
                    factors = self.factors(place, layer, name, parameter, scale)
                    self.update(active() if ready else load("numpy"), parameter, gradients[name], kept, rate, factors)
            clear_gradients(layer)

    def clear_gradients(self) -> None:
        """Clear the gradients of all layers: those of a batch that failed would spoil the next step."""
        for _, layer in self.trained:
            clear_gradients(layer)

    def ask(self, done: float) -> None:
        """Find the rate of the next step before its forward pass: one that is no number then moves no statistics."""
        self._asked = self.learning_rate, done, self.rate(done)

    def rate(self, done: float = 0.0) -> float:
        """The learning rate of a step."""
        rate = self.learning_rate(done) if callable(self.learning_rate) else self.learning_rate
        return check_number(self.name, "learning_rate", rate, 0)

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each parameter and its gradient."""
        for _, layer in self.trained:
            gradients = layer.gradients()
            yield from ((array, gradients[name]) for name, array in layer.parameters().items() if name in gradients)

    def slot(self, place: str, name: str, slot: str, parameter: np.ndarray) -> np.ndarray:
        """The array of that name that is kept for a parameter: zeros before the first step."""
        slots = self.kept.setdefault(f"{place}.{name}", {})
        if slot not in slots:
            slots[slot] = np.zeros_like(parameter)
        return slots[slot]

    def update(
        self,
        kernels: Any,
        parameter: np.ndarray,
        gradient: np.ndarray,
        kept: list[np.ndarray],
        rate: float,
        factors: tuple[float, float],
    ) -> None:
        """Change `parameter` and the arrays `kept` for it in place.

        `factors` are (scale, decay): ``scale * gradient`` is that of the mean loss. `kernels` is the backend whose
        update kernels to call; `rate` is the learning rate of this step.
        """
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """The constructor's arguments but `layers`, as JSON can hold them; a schedule is its text."""
        names = ("weight_decay", "clip_norm", "clip_value")
        texts = {"learning_rate": rate_text(self.learning_rate), "decay": rate_text(self.decay)}
        return texts | {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """`steps`, and `kept`: copies of the arrays kept for each parameter, by ``place.parameter`` and slot."""
        kept = {key: {slot: array.copy() for slot, array in slots.items()} for key, slots in self.kept.items()}
        return {"steps": self.steps, "kept": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned for the same layers; nothing is changed where it does not fit."""
        if not isinstance(state, dict) or set(state) != {"steps", "kept"} or not isinstance(state["kept"], dict):
            raise ValueError(must_be(self.name, "state", "what state_dict() returned", state))
        steps = check_int(self.name, "steps", state["steps"], 0)
        wanted = dict(self.with_slots()) if steps else {}
        for key in sorted({*wanted, *state["kept"]}):
            slots = sorted(state["kept"].get(key) or ())
            if key not in wanted or slots != sorted(self.slots):
                rule = (
                    f"the slots {', '.join(self.slots)} of the parameters {', '.join(wanted)}" if wanted else "nothing"
                )
                raise ValueError(f"{self.name}: `state` must hold {rule}. {received(key, slots)}")
        kept: dict[str, dict[str, np.ndarray]] = {key: {} for key in wanted}
        for key, own in wanted.items():
            for slot, array in state["kept"][key].items():
                name = f"{key}.{slot}"
                kept[key][slot] = check_array(self.name, name, array, own.shape, own.dtype, any_batch=False).copy()
                if np.isnan(kept[key][slot]).any():  # infinity is right: a large gradient squared, and then a step of 0
                    raise ValueError(must_be(self.name, name, "free of NaN", array))
        self.steps, self.kept = steps, kept

    def with_slots(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each parameter for which arrays are kept, with its name in `kept`."""
        for place, layer in self.trained if self.slots else ():
            gradients = layer.gradients()
            yield from ((f"{place}.{name}", array) for name, array in layer.parameters().items() if name in gradients)

    def load(self, path: str | os.PathLike) -> None:
        """Continue from a file that ``model.save(path, optimizer=...)`` wrote, for the same rule and model.

        Raises :class:`fastcnn.errors.FileFormatError` where it holds no such state; nothing is changed then.
        """
        model_file.load_optimizer(model_file.read(path), self)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.config().items())})"
