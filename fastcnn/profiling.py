"""Where the time of a training goes: calls and seconds of each layer's methods.

::

    with fastcnn.profiling.profile() as report:
        ...
    print(report)

For the duration the methods are wrapped on their classes, those of a script too, so that layers still pickle.
"""

import contextlib
import functools
import itertools
import threading
import time
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fastcnn.components import Component
from fastcnn.optimizers import Optimizer

# What is wrapped, and as what it counts: Sequential calls the parts of a gradient, and fuses a Relu with its neighbour.
METHODS = {
    "forward": "forward",
    "forward_rectified": "forward",
    "gradient": "gradient",
    "parameter_gradient": "gradient",
    "input_gradient": "gradient",
    "backward": "backward",
    "cal_loss": "cal_loss",
    "predict": "predict",
    "step": "step",
}
ROWS_SHOWN = 40


class Row(NamedTuple):
    """One method of one layer: its calls, and the seconds in it without those in other layers that it called."""

    layer: str
    method: str
    calls: int
    seconds: float


class Profile:
    """What :func:`profile` measures; it can be read at any time, and prints as a table.

    Attributes
    ----------
    rows : list of Row, the slowest first
    seconds : float, by the clock, until now or the end of the ``with`` block
    layer_seconds : float, the sum of all rows; of layers that run in several threads at once it may exceed `seconds`
    elsewhere : float, `seconds` without `layer_seconds`, 0 at least
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._end: float | None = None
        self._layers: dict[int, tuple[weakref.ref, str]] = {}
        self._counts: Counter[str] = Counter()
        self._tables: list[dict[tuple[str, str], list[int]]] = []  # one for each thread: no lock in a call
        self._thread = threading.local()
        self._lock = threading.Lock()

    def _name(self, layer: Component) -> str:
        known = self._layers.get(id(layer))
        if known is None or known[0]() is not layer:  # an address may be that of a layer that is no more
            with self._lock:
                known = self._layers.get(id(layer))  # another thread may have been here
                if known is None or known[0]() is not layer:
                    kind = type(layer).__name__
                    self._counts[kind] += 1
                    known = weakref.ref(layer), f"{kind} {self._counts[kind]}{shapes(layer)}"
                    self._layers[id(layer)] = known
        return known[1]

    def _add(self, layer: Component, method: str, nanoseconds: int, calls: int) -> None:
        table = getattr(self._thread, "table", None)
        if table is None:
            table = self._thread.table = {}
            self._tables.append(table)
        entry = table.setdefault((self._name(layer), method), [0, 0])
        entry[0] += calls
        entry[1] += nanoseconds

    def _finish(self) -> None:
        self._end = time.perf_counter()

    @property
    def seconds(self) -> float:
        return (time.perf_counter() if self._end is None else self._end) - self._start

    @property
    def rows(self) -> list[Row]:
        sums: dict[tuple[str, str], list[int]] = {}
        for key, (calls, nanoseconds) in itertools.chain.from_iterable(list(t.items()) for t in list(self._tables)):
            entry = sums.setdefault(key, [0, 0])
            entry[0] += calls
            entry[1] += nanoseconds
        rows = [Row(*key, calls, nanoseconds / 1e9) for key, (calls, nanoseconds) in sums.items()]
        return sorted(rows, key=lambda row: -row.seconds)

    @property
    def layer_seconds(self) -> float:
        return sum(row.seconds for row in self.rows)

    @property
    def elsewhere(self) -> float:
        return max(0.0, self.seconds - self.layer_seconds)

    def as_dict(self) -> dict[str, Any]:
        """The profile as JSON can hold it."""
        return {
            "seconds": self.seconds,
            "layer_seconds": self.layer_seconds,
            "elsewhere": self.elsewhere,
            "rows": [row._asdict() for row in self.rows],
        }

    def __str__(self) -> str:
        wall, rows = self.seconds, self.rows
        each = [f"{r.seconds / r.calls * 1e3:,.3f}" if r.calls else "" for r in rows]
        lines = [(r.layer, r.method, f"{r.calls:,}", r.seconds, e) for r, e in zip(rows, each, strict=True)]
        if len(rows) > ROWS_SHOWN:
            rest = rows[ROWS_SHOWN:]
            calls, seconds = sum(r.calls for r in rest), sum(r.seconds for r in rest)
            lines[ROWS_SHOWN:] = [(f"{len(rest)} more rows", "", f"{calls:,}", seconds, "")]
        inside = sum(r.seconds for r in rows)
        lines += [("all layers", "", "", inside, ""), ("elsewhere", "", "", max(0.0, wall - inside), "")]
        lines += [("by the clock", "", "", wall, "")]
        table = [("layer", "method", "calls", "total ms", "ms per call", "share")]
        table += [(*line[:3], f"{line[3] * 1e3:,.1f}", line[4], f"{line[3] / wall:.1%}") for line in lines]
        w = [max(map(len, column)) for column in zip(*table, strict=True)]
        text = [
            f"{a:<{w[0]}}  {b:<{w[1]}}  {c:>{w[2]}}  {d:>{w[3]}}  {e:>{w[4]}}  {f:>{w[5]}}"
            for a, b, c, d, e, f in table
        ]
        rule = "-" * len(text[0])
        return "\n".join([text[0], rule, *text[1:-3], rule, *text[-3:]])


def shapes(layer: Component) -> str:
    """`` (64, 28, 28, 1) -> (64, 24, 24, 12)``; less where a script's own layer does not say."""
    try:
        return f" {tuple(layer.input_shape)} -> {tuple(layer.output_shape)}"
    except Exception:  # a layer whose class forgot super().__init__
        return ""


Report = Profile  # its former name, which scripts may import


class _Call:
    """A call that is being measured."""

    __slots__ = ("inner", "layer")

    def __init__(self, layer: Component):
        self.layer, self.inner = layer, 0  # nanoseconds in other layers' calls


_profiles: tuple[Profile, ...] = ()
_wrapped: list[tuple[type, str, Callable, Callable]] = []
_lock = threading.Lock()
_calls = threading.local()


@contextlib.contextmanager
def profile() -> Iterator[Profile]:
    """Measure every layer's methods inside a ``with`` block, in all threads of this process.

    Layers are the subclasses of :class:`fastcnn.layers.Layer` and :class:`fastcnn.losses.Loss`, those that are defined
    inside the block too; an optimizer's `step`, which updates all layers of a `Sequential`, has a row of its own. A
    layer's method that calls another one of the same layer, or `super()`, is one call. Blocks may be nested.
    """
    global _profiles  # noqa: PLW0603 - classes are process-wide, and so is what wraps their methods
    own = Profile()
    with _lock:
        if not _profiles:
            wrap_all()
        _profiles = (*_profiles, own)
    try:
        yield own
    finally:
        own._finish()
        with _lock:
            _profiles = tuple(other for other in _profiles if other is not own)
            if not _profiles:
                unwrap_all()


def wrap_all() -> None:
    """Wrap the methods of all classes of layers and losses, and of those that are made from now on."""

    def wrap_new(cls: type[Component], **options: Any) -> None:
        super(Component, cls).__init_subclass__(**options)
        wrap(cls)

    Component.__init_subclass__ = classmethod(wrap_new)  # type: ignore[assignment, arg-type]
    wrap(Optimizer)
    found: list[type[Any]] = [Component]
    for cls in found:
        wrap(cls)
        found += [sub for sub in cls.__subclasses__() if sub not in found]


def wrap(cls: type) -> None:
    for name, method in METHODS.items():
        function = vars(cls).get(name)
        if isinstance(function, types.FunctionType):
            wrapper = timed(function, method)
            setattr(cls, name, wrapper)
            _wrapped.append((cls, name, wrapper, function))


def unwrap_all() -> None:
    del Component.__init_subclass__
    for cls, name, wrapper, function in _wrapped:
        if vars(cls).get(name) is wrapper:  # a script may have put something else there
            setattr(cls, name, function)
    _wrapped.clear()


def timed(function: Callable, method: str) -> Callable:
    """`function`, a layer's method, measured where it is called from outside the layer."""

    @functools.wraps(function)
    def measured(layer: Any, *arguments: Any, **options: Any) -> Any:
        stack = _calls.__dict__.setdefault("stack", [])
        if stack and stack[-1].layer is layer:
            return function(layer, *arguments, **options)
        profiles, calls = _profiles, int(all(call.layer is not layer for call in stack))
        call = _Call(layer)
        stack.append(call)
        start = time.perf_counter_ns()
        try:
            return function(layer, *arguments, **options)
        finally:
            elapsed = time.perf_counter_ns() - start
            stack.pop()
            if stack:
                stack[-1].inner += elapsed
            for each in profiles:
                each._add(layer, method, elapsed - call.inner, calls)

    return measured
