"""Poolings and upsampling against PyTorch, in float64: random ones where it is installed, recorded ones always.

``python -m tests.layers.test_against_torch_pooling`` records anew, with PyTorch.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn import layers
from tests.helpers.switches import BACKENDS

RECORDED = Path(__file__).parent / "data" / "torch_pooling.json"
CONFIGURATIONS, KEPT = 300, 16
TOLERANCE = 1e-12


def axis_of(rng, size, dilated):
    """ksize, stride, dilation and padding that PyTorch takes along an axis."""
    ksize, dilation = int(rng.integers(1, 5)), int(rng.integers(1, 3)) if dilated else 1
    padding = int(rng.integers(0, ksize // 2 + 1))
    while (ksize - 1) * dilation + 1 > size + 2 * padding or (dilation > size and padding):
        ksize, dilation, padding = max(1, ksize - 1), 1, min(padding, max(1, ksize - 1) // 2)
    return ksize, int(rng.integers(1, 4)), dilation, padding


def draw_pooling(rng, kind):
    shape = [int(rng.integers(*limits)) for limits in ((1, 3), (1, 10), (1, 10), (1, 4))]
    axes = [axis_of(rng, size, kind == "MaxPooling") for size in shape[1:3]]
    if rng.integers(2):
        axes = [axis_of(rng, min(shape[1:3]), kind == "MaxPooling")] * 2
    names = ("ksize", "stride", "dilation", "padding")
    given = {name: list(pair) for name, pair in zip(names, zip(*axes, strict=True), strict=True)}
    given["geometry"] = ("floor", "ceil")[rng.integers(2)]
    return shape, given | ({"count_padding": bool(rng.integers(2))} if kind == "AvgPooling" else {})


def draw_other(rng, kind):
    shape = [int(rng.integers(*limits)) for limits in ((1, 3), (1, 10), (1, 10), (1, 4))]
    if kind == "AdaptiveAvgPooling":
        return shape, {"output_size": rng.integers(1, 12, 2).tolist()}
    if kind == "GlobalMaxPooling":
        return shape, {}
    mode = ("nearest", "bilinear")[rng.integers(2)]
    align = bool(rng.integers(2)) and mode == "bilinear"
    return shape, {"factor": rng.integers(1, 5, 2).tolist(), "mode": mode, "align_corners": align}


DRAWN = {
    "MaxPooling": draw_pooling,
    "AvgPooling": draw_pooling,
    "GlobalMaxPooling": draw_other,
    "AdaptiveAvgPooling": draw_other,
    "UpSampling": draw_other,
}


def torch_module(kind, given):
    from torch import nn

    if kind in ("MaxPooling", "AvgPooling"):
        ceil, windows = given["geometry"] == "ceil", [given[name] for name in ("ksize", "stride", "padding")]
        if kind == "MaxPooling":
            return nn.MaxPool2d(*windows, dilation=given["dilation"], ceil_mode=ceil)
        return nn.AvgPool2d(*windows, ceil_mode=ceil, count_include_pad=given["count_padding"])
    if kind == "AdaptiveAvgPooling":
        return nn.AdaptiveAvgPool2d(given["output_size"])
    if kind == "GlobalMaxPooling":
        return nn.AdaptiveMaxPool2d(1)
    align = {"align_corners": given["align_corners"]} if given["mode"] == "bilinear" else {}
    return nn.Upsample(scale_factor=tuple(map(float, given["factor"])), mode=given["mode"], **align)


def arrays(rng, shape, ties):
    """Images, of which many values are equal where `ties`, as a maximum's gradient then shows which one it took."""
    return rng.integers(-2, 3, shape).astype(float) if ties else np.round(rng.standard_normal(shape), 3)


def of_torch(kind, given, x, eta):
    """Output and gradient, NHWC; `eta` as a function of the output's shape."""
    import torch

    image = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    out = torch_module(kind, given)(image)
    eta = eta((len(x), *out.shape[2:], out.shape[1]))
    (back,) = torch.autograd.grad(out, image, torch.from_numpy(eta.transpose(0, 3, 1, 2).copy()))
    return out.detach().numpy().transpose(0, 2, 3, 1), eta, back.numpy().transpose(0, 2, 3, 1)


def assert_equal(kind, given, x, eta, out, back):
    layer = getattr(layers, kind)(x.shape, **given, dtype="float64")
    said = f"{kind}({list(x.shape)}, {given})"
    assert layer.output_shape == (out.shape if kind != "GlobalMaxPooling" else (len(x), x.shape[3])), said
    got = layer.forward(x)
    np.testing.assert_allclose(got.reshape(out.shape), out, rtol=TOLERANCE, atol=TOLERANCE, err_msg=said)
    got = layer.gradient(eta.reshape(layer.output_shape))
    np.testing.assert_allclose(got, back, rtol=TOLERANCE, atol=TOLERANCE, err_msg=said)


def drawn(kind, number):
    rng = np.random.default_rng([number, list(DRAWN).index(kind)])
    shape, given = DRAWN[kind](rng, kind)
    x = arrays(rng, shape, bool(rng.integers(2)))
    return given, x, lambda wanted: np.round(rng.standard_normal(wanted), 3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", DRAWN)
def test_random_configurations(kind, backend):
    pytest.importorskip("torch")
    with fastcnn.use_backend(backend):
        for number in range(CONFIGURATIONS):
            given, x, eta = drawn(kind, number)
            out, eta, back = of_torch(kind, given, x, eta)
            assert_equal(kind, given, x, eta, out, back)


@pytest.mark.parametrize("backend", BACKENDS)
def test_recorded_configurations(backend):
    rows = json.loads(RECORDED.read_text())
    assert {row["kind"] for row in rows} == set(DRAWN)
    with fastcnn.use_backend(backend):
        for row in rows:
            values = (np.array(row[name], dtype=float) for name in ("x", "eta", "out", "back"))
            assert_equal(row["kind"], row["given"], *values)


def record():
    """Write the smallest of the first configurations, as PyTorch computes them."""
    rows = []
    for kind in DRAWN:
        cases = [(kind, *drawn(kind, number)) for number in range(CONFIGURATIONS)]
        small = sorted((case for case in cases if 12 <= case[2].size <= 60), key=lambda case: case[2].size)
        for _, given, x, eta in small[:KEPT:2]:
            out, eta, back = of_torch(kind, given, x, eta)
            values = {"x": x, "eta": eta, "out": out, "back": back}
            rows.append({"kind": kind, "given": given} | {name: value.tolist() for name, value in values.items()})
    RECORDED.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


if __name__ == "__main__":
    record()
