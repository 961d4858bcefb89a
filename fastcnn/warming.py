"""A process that compiles what others will need, and does nothing else.

:mod:`fastcnn.backends.helpers` starts it and says what its input means. It makes the layers, lets them go forward and
back without calling a kernel, and compiles what they would have called. It prints a line for each function: its name
and the seconds.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastcnn.backends import helpers
from fastcnn.layers import protocol
from fastcnn.losses import Loss
from fastcnn.saving import model_file


def end_with_input() -> None:
    """End when the process ends that this one works for: nobody else holds the other end of its input."""
    sys.stdin.read()
    os._exit(1)


FORWARD, GRADIENT, UPDATE = range(3)


def passes(layer: Any) -> Iterator[int]:
    """Do with a layer what a prediction and a training do, on empty arrays; says what it has just done."""
    x = np.zeros(layer.input_shape, layer.dtype)
    if isinstance(layer, Loss):
        layer.predict(x)
        layer.cal_loss(x, np.zeros(len(x), np.int64))
        yield FORWARD
        layer.gradient()
        yield GRADIENT
        return
    protocol.call(layer, x, "test")
    eta = np.zeros_like(protocol.call(layer, x, "train"))
    yield FORWARD
    layer.gradient(eta)
    yield GRADIENT
    protocol.update(layer, 0.0, 0.0)
    yield UPDATE
    if layer.absorbs_relu:
        layer.forward_rectified(x)
        yield FORWARD
        layer.gradient(eta)
        yield GRADIENT


def noted_of(described: list[str], noted: list[Any]) -> list[Any]:
    """What these layers put into `noted`, in about the order in which a training step calls it."""
    file, found = model_file.ModelFile("warming", {}, {}), []
    for place, text in enumerate(described):
        # What the kernels of a pass would have computed is not there: a layer that asks goes no further.
        with contextlib.suppress(Exception):
            for step in passes(model_file.build(file, json.loads(text), {})):
                found += [(step, -place if step == GRADIENT else place, call) for call in noted]
                noted.clear()
    return [call for *_, call in sorted(found, key=lambda entry: entry[:2])]


def main() -> None:
    work = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_input, daemon=True).start()
    helpers.calls = []  # before kernels are imported
    from fastcnn.backends.numba import compilation

    np.seterr(all="ignore")  # of what no kernel has computed
    noted = [("", call) for call in noted_of(work.get("layers", []), helpers.calls)]
    for dtype in work.get("dtypes", ()):
        compilation.call_all(dtype)
        noted += [(f" {dtype}", call) for call in helpers.calls]
        helpers.calls.clear()
    for dtype, call in noted[::-1] if work["last_first"] else noted:
        for name, seconds in compilation.compile_noted(call).items():
            print(json.dumps([name + dtype, seconds]), flush=True)
