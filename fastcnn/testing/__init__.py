"""Checks of layers in the original's style, fastcnn's or anybody's: gradients, update, batches, arguments, strides.

``print(check_layer(layer, x))`` shows a line for each check; ``assert_layer(layer, x)`` is for tests. NumPy alone is
needed, and the layer need not know of fastcnn.
"""

import copy
import inspect
from typing import Any

import numpy as np

from fastcnn.arrays import check_finite, real_array
from fastcnn.layers.protocol import is_layer, offers
from fastcnn.shapes import check_int, check_number, must_be, shape_text
from fastcnn.testing.checks import all_checks
from fastcnn.testing.probe import Probe, kept_randomness, one_line
from fastcnn.testing.report import Check, LayerReport
from fastcnn.testing.variants import variant_checks

__all__ = ["Check", "LayerReport", "Report", "assert_layer", "check_layer"]

Report = LayerReport  # its former name, which scripts may import


def check_layer(layer: Any, x: Any, *, seed: int = 0, tolerance: float | None = None) -> LayerReport:
    """Check a layer on the batch `x`, and its class with other strides, kernels and images.

    Neither the layer nor `x` nor NumPy's global generator is changed: all calls are those of copies.

    Parameters
    ----------
    layer : object with ``forward(x)`` and ``gradient(eta)``, or with ``cal_loss(prediction, label)`` and ``gradient()``
        An instance of any class, as it is: its weights are not drawn anew. `backward`, `output_shape`, `input_shape`,
        `predict`, parameters and their gradients (`weights` and `w_gradient`, `bias` and `b_gradient`, `alpha` and
        `a_gradient`, `beta` and `b_gradient`, or what a dict `gradient_names` says) are used where they are.
    x : (batch, ...) array of real numbers
        Two images or more, of distinct values that are not 0: at the kink of a maximum no slope can be checked. For a
        loss the logits, (batch, classes); labels are drawn.
    seed : int, default 0
        Of all random numbers.
    tolerance : float, optional
        The largest error of a gradient, relative to the absolute sum of its terms; by default 1e-6 for a layer that
        returns float64, 1e-3 for float32.

    Returns
    -------
    LayerReport
        True where nothing failed; as text, a line for each check.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not what it must be. What the layer itself raises is a failed check.
    """
    owner = "check_layer"
    seed = check_int(owner, "seed", seed, 0, 2**32 - 1)
    tolerance = None if tolerance is None else check_number(owner, "tolerance", tolerance, 0)
    is_loss = check_methods(owner, layer)
    x = check_batch(owner, layer, x, is_loss)
    with kept_randomness():
        try:
            layer = copy.deepcopy(layer)
        except Exception as error:
            expected = f"an object that copy.deepcopy copies, which raised {one_line(error)}"
            raise TypeError(must_be(owner, "layer", expected, layer)) from error
        probe = Probe(layer, x, seed, tolerance)
        checks = all_checks(probe) + variant_checks(layer, probe)
    return LayerReport(probe.name, x.shape, probe.dtype.name, checks)


def assert_layer(layer: Any, x: Any, **options: Any) -> None:
    """Raise AssertionError, its text the report, where :func:`check_layer` with the same arguments finds a failure."""
    __tracebackhide__ = True  # pytest shows the line of the test
    report = check_layer(layer, x, **options)
    if not report:
        raise AssertionError(str(report))


def check_methods(owner: str, layer: Any) -> bool:
    """Whether the layer is a loss; TypeError where it is neither that nor a layer."""
    is_loss = offers(layer, "cal_loss") and offers(layer, "gradient")
    if inspect.isclass(layer) or not (is_loss or is_layer(layer)):
        expected = "an instance with the methods `forward` and `gradient`, or `cal_loss` and `gradient`"
        raise TypeError(must_be(owner, "layer", expected, layer))
    return is_loss


def check_batch(owner: str, layer: Any, x: Any, is_loss: bool) -> np.ndarray:
    """`x` as a float64 copy: real, finite, of the layer's rank."""
    array = real_array(owner, "x", x)
    made = getattr(layer, "input_shape", None)
    sizes = list(made) if isinstance(made, list | tuple | np.ndarray) else []
    wanted = shape_text("batch", *sizes[1:]) if sizes else shape_text("batch", "classes") if is_loss else "(batch, ...)"
    fits = array.shape[1:] == tuple(sizes[1:]) and array.ndim == len(sizes) if sizes else array.ndim >= 2
    if not fits or (is_loss and array.ndim != 2) or not array.size:
        raise ValueError(
            f"{owner}: `x` must have the shape {wanted}, one image or more. Received the shape {array.shape}"
        )
    check_finite(owner, "x", array)
    return array.astype(np.float64)
