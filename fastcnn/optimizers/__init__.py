"""Optimizers: how gradients change parameters.

The layers' gradients are sums over the batch, and an optimizer divides by its size: rates are those of the mean loss,
as in PyTorch, whose arithmetic these are. A step by hand:

    optimizer = Adam(model, learning_rate=1e-3)
    loss.cal_loss(model.logits(x, phase="train"), y)
    model.gradient(loss.gradient())
    optimizer.step(len(x))
"""

from typing import Any

from fastcnn.optimizers.base import Optimizer
from fastcnn.optimizers.rules import SGD, Adam, AdamW, Momentum, Nesterov, RMSProp
from fastcnn.shapes import must_be

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "rmsprop": RMSProp, "adam": Adam, "adamw": AdamW,
}  # fmt: skip


def make(name: Any, layers: Any, owner: str = "make", **options: Any) -> Optimizer:
    """An optimizer by its name in `OPTIMIZERS`."""
    if not isinstance(name, str) or name.lower() not in OPTIMIZERS:
        raise ValueError(must_be(owner, "optimizer", f"one of {', '.join(OPTIMIZERS)}, or an Optimizer", name))
    return OPTIMIZERS[name.lower()](layers, **options)


__all__ = ["OPTIMIZERS", "SGD", "Adam", "AdamW", "Momentum", "Nesterov", "Optimizer", "RMSProp", "make"]
