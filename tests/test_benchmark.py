"""What `fastcnn bench` compares does the same work; how it counts. The command itself: test_cli.py."""

import numpy as np
import pytest

from fastcnn import benchmark, layers, original


def train(kit, x, labels):
    """Two steps of the benchmark's LeNet from `kit`; the losses, and all parameters after them."""
    np.random.seed(0)
    *body, loss_layer = benchmark.lenet_layers(x.shape, kit)
    losses = []
    for _ in range(2):
        out = x
        for layer in body:
            out = layer.forward(out)
        losses.append(loss_layer.cal_loss(out, labels))
        eta = loss_layer.gradient()
        for layer in reversed(body):
            eta = layer.gradient(eta)
        for layer in body:
            if hasattr(layer, "backward"):
                layer.backward(1e-3, 4e-4)
    learned = [layer for layer in body if hasattr(layer, "backward")]
    return losses, eta, [array for layer in learned for array in (layer.weights, layer.bias)]


@pytest.mark.usefixtures("backend", "float64")
def test_the_slow_contestant_computes_the_same(rng):
    x, labels = rng.random((3, 28, 28, 1)), np.array([3, 0, 9])
    (slow, slow_eta, slow_parameters), (fast, fast_eta, parameters) = (
        train(kit, x, labels) for kit in (original, layers)
    )
    np.testing.assert_allclose(fast, slow, rtol=1e-10)
    np.testing.assert_allclose(fast_eta, slow_eta, rtol=1e-10, atol=1e-14)
    assert len(parameters) == len(slow_parameters) == 6
    for got, wanted in zip(parameters, slow_parameters, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-14)


def test_every_contestant_has_every_workload():
    for workload in benchmark.WORKLOADS.values():
        for contestant in ("numpy", "numba"):
            workload(contestant)()
        assert callable(workload("original"))


def test_ratios_are_those_of_medians_to_the_first():
    assert benchmark.ratios({"a": [2.0, 1.0, 9.0], "b": [8.0], "c": [1.0, 0.5, 2.0]}) == {"a": 1, "b": 4, "c": 0.5}


def test_unknown_names():
    with pytest.raises(ValueError, match=r"bench: `workload` must be one of 'lenet'. Received workload='resnet'"):
        benchmark.measure("resnet")
    with pytest.raises(ValueError, match=r"bench: `contestant` must be one of .*. Received contestant='jax'"):
        benchmark.measure("lenet", ["jax"])
