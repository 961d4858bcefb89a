"""What `fastcnn bench` compares does the same work; how it counts. The command itself: test_cli.py."""

import sys
from pathlib import Path

import numpy as np
import pytest

from fastcnn import layers
from fastcnn.benchmark import networks, original, report, single_layers, turns, whole, workloads
from tests.helpers import contestants


def train(kit, x, labels):
    """Two steps of the benchmark's LeNet from `kit`; the losses, and all parameters after them."""
    np.random.seed(0)
    *body, loss_layer = networks.layers("lenet", len(x), kit)
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


def test_the_workloads_are_those_that_were_asked_for():
    names = set(workloads.WORKLOADS)
    assert {"lenet", "lenet5", "vgg_small", "vgg_small_b8", "predict_lenet", "predict_mlp", "five_by_five"} < names
    assert {"im2col", "col2im", "n64_28x28_1to12_k5_weights", "max_pool_112x112_k2s2_backward"} < names
    assert len(names) == 16 + 5 + 1 + 13 + 3 * 30 + 2 * 2 * 3 + 2 * 3 + 2
    flops = workloads.WORKLOADS["n32_56x56_64to128_k3s2_forward"].flops
    assert flops == 2 * 32 * 28 * 28 * 128 * 9 * 64
    assert all(set(w.make) <= set(turns.CONTESTANTS) and "numba" in w.make for w in workloads.WORKLOADS.values())


LAYERS = [f"layer_{kind}" for kind in single_layers.KINDS]


@pytest.mark.parametrize("name", ["lenet", "predict_lenet", "n64_12x12_12to24_k3_weights", "col2im", *LAYERS])
def test_every_contestant_of_a_workload_does_some_work(name):
    for contestant, make in workloads.WORKLOADS[name].make.items():
        if contestant != "original" and turns.installed(contestant):
            steps = make()
            assert steps and all(step() is not None for step in steps.values())


@pytest.mark.usefixtures("backend", "float64")
@pytest.mark.parametrize("kind", sorted({*single_layers.KINDS} - {"conv", "fc", "dropout"}))
def test_one_layer_does_in_torch_what_it_does_here(kind):
    """The input's gradient, of layers that draw nothing; PyTorch's loss is the mean of the batch."""
    torch = pytest.importorskip("torch")
    mine = single_layers.step(kind)()[-1]
    theirs = workloads.WORKLOADS[f"layer_{kind}"].make["torch"]()["NCHW"]()[0]
    if kind == "softmax":
        theirs = theirs * len(mine)
    array = theirs.permute(0, 2, 3, 1).numpy() if theirs.ndim == 4 else theirs.numpy()
    assert torch.float64 == theirs.dtype
    np.testing.assert_allclose(array, mine, rtol=1e-9, atol=1e-6 if kind.endswith("norm") else 1e-12)


def test_an_epoch_trains_on_the_digits():
    """From small weights, at a small rate: the loss leaves log(10) slowly."""
    (loss,) = networks.epoch("lenet")()["loss"]
    assert 2.2 < loss < np.log(10) + 1e-3


@pytest.mark.slow
def test_contestants_take_turns_in_processes_of_their_own():
    with turns.Contest(["numba", "numpy", "copy"]) as contest:
        seconds = contest.measure("predict_lenet", rounds=2)
        assert list(seconds) == ["numba", "numpy"]  # a copy of predictions there is not
        assert all(len(turns_[""]) == 2 and min(map(min, turns_[""])) > 0 for turns_ in seconds.values())
        with pytest.raises(ValueError, match=r"bench: `workload` must be one of .*. Received workload='resnet'"):
            contest.measure("resnet")
    assert not any(process.is_alive() for process in contest.processes.values())
    with pytest.raises(ValueError, match=r"bench: `contestant` must be one of .*. Received contestant='mxnet'"):
        turns.Contest(["mxnet"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_contestant_that_fails_is_ended_with_its_processes(monkeypatch, tmp_path):
    """The others go on, and another process is there for the next workload."""
    monkeypatch.setenv(contestants.PIDS, str(tmp_path / "pids"))
    monkeypatch.setitem(workloads.WORKLOADS["predict_lenet"].make, "copy", lambda: {})
    with turns.Contest(["numpy", "copy"], contestants.serve) as contest:
        for count in (1, 2):
            seconds = contest.measure("predict_lenet", rounds=1)
            assert list(seconds) == ["numpy"] and contest.failed == {"copy": "ValueError: no such kernel here"}
            left = [int(line) for line in (tmp_path / "pids").read_text().split()]
            assert len(left) == count and not any(is_running(pid) for pid in left)
        assert contest.processes["copy"].is_alive()
    text = report.lines("predict_lenet", report.result(workloads.WORKLOADS["predict_lenet"], seconds))
    assert report.failures("predict_lenet", contest.failed).endswith(" failed: ValueError: no such kernel here")
    assert "numpy" in text
    with pytest.raises(ValueError, match="no such kernel"), turns.Contest(["copy"], contestants.serve) as contest:
        contest.measure("predict_lenet", rounds=1)  # nothing can be compared with the first


def is_running(pid):
    """Whether a process is there that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_the_fastest_variant_counts_by_its_median():
    assert turns.fastest({"a": [[1.0, 9.0], [9.0]], "b": [[3.0, 4.0, 5.0]]}) == ("b", [3.0, 4.0, 5.0])
    workload = workloads.Workload("w", "g", {}, flops=8 * 10**9)
    seconds = {"numba": {"": [[2.0, 1.0, 9.0]]}, "torch": {"NCHW": [[8.0]], "channels_last": [[4.0]]}}
    found = report.result(workload, seconds)
    assert found["numba"]["median_ms"] == 2000 and found["numba"]["min_ms"] == 1000
    assert found["torch"]["variant"] == "channels_last" and found["torch"]["ratio"] == 2
    assert found["torch"]["GFLOP/s"] == 2


def test_contestants_are_compared_turn_by_turn():
    """The machine is three times slower in the second turn and the third, and the original has only the first."""
    seconds = {
        "numba": {"": [[1.0, 1.0], [3.0], [3.0]]},
        "torch": {"": [[2.0], [6.0], [6.0]]},
        "original": {"": [[9.0]]},
    }
    found = report.result(workloads.WORKLOADS["lenet"], seconds)
    assert [facts["ratio"] for facts in found.values()] == [1, 2, 9]
    assert found["numba"]["turns_ms"] == [1000, 3000, 3000]


def test_the_summary():
    times = {who: {"median_ms": ms, "turns_ms": [ms]} for who, ms in (("numba", 1.0), ("torch", 3.0), ("sgemm", 2.0))}
    shape = workloads.CONVOLUTIONS[0].name
    results = {f"{shape}_{way}": times for way in ("forward", "input", "weights")} | {"lenet": times}
    found = report.summary(results)
    assert found["steps: times faster than torch"] == {"lenet": 3.0}
    title = "convolutions, forward and both gradients: times faster than torch"
    assert found[title] == {shape: 3.0, "geometric mean": pytest.approx(3.0)}
    assert found["large convolutions, numba: effective rate over that of sgemm"] == {shape: 2.0}
    assert "lenet" in report.summary_lines(found)


def test_a_whole_process_is_clocked_and_weighed():
    assert 0 < whole.run("print(0.5)", 1) < 1
    with pytest.raises(RuntimeError, match=r"a process of the benchmark failed: ValueError: no"):
        whole.run("raise ValueError('no')", 1)
