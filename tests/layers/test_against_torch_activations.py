"""Activations and normalisations are PyTorch's: random configurations in float64, where PyTorch is installed, and what
it once returned for some of them, recorded in `data/torch_activations.npz`, where it is not.

``python -m tests.layers.test_against_torch_activations`` records anew.
"""

from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn import layers
from tests.helpers.switches import BACKENDS

RECORDED = Path(__file__).parent / "data" / "torch_activations.npz"
ALLOWED = 1e-12  # of the largest number of an array
CONFIGURATIONS, KEPT = 300, 2  # of each kind; those that are recorded
KINKS = (-3.0, 0.0, 3.0, 6.0, -0.0)


def pick(rng, *choices):
    return choices[int(rng.integers(len(choices)))]


def divisor(rng, number):
    return int(rng.choice([n for n in range(1, number + 1) if number % n == 0]))


# Each draws the arguments of a layer for a shape.
DRAWN = {
    "Relu": lambda rng, shape: {"at_zero": False},
    "LeakyRelu": lambda rng, shape: {"alpha": float(rng.normal()), "at_zero": False},
    "ELU": lambda rng, shape: {"alpha": float(rng.random() * 2), "at_zero": False},
    "PReLU": lambda rng, shape: {"at_zero": False},
    "SiLU": lambda rng, shape: {},
    "GELU": lambda rng, shape: {"approximate": pick(rng, "none", "tanh")},
    "Mish": lambda rng, shape: {},
    "Softplus": lambda rng, shape: {},
    "HardSwish": lambda rng, shape: {},
    "ReLU6": lambda rng, shape: {},
    "HardSigmoid": lambda rng, shape: {},
    "LayerNorm": lambda rng, shape: {
        "axis": int(rng.integers(1, len(shape))),
        "epsilon": float(10 ** rng.uniform(-6, 0)),
    },
    # PyTorch 2.13 takes this variance as a difference of mean squares: with 1e-6 it is itself off by up to 1e-11.
    "GroupNorm": lambda rng, shape: {"groups": divisor(rng, shape[-1]), "epsilon": float(10 ** rng.uniform(-1, 0))},
}


def drawn(kind, seed):
    """Arguments of a layer, its parameters by name, an input with some numbers at kinks, and the output's gradient."""
    rng = np.random.default_rng([seed, *kind.encode()])
    rank = 4 if kind == "GroupNorm" else int(rng.integers(2, 5))
    least = 2 if kind == "GroupNorm" else 1  # PyTorch refuses images of a single number
    shape = tuple(int(size) for size in rng.integers(least, 7, rank))
    given = {"shape": shape, **DRAWN[kind](rng, shape), "dtype": "float64"}
    x = rng.normal(0, float(rng.choice([0.1, 1, 5])), shape) + float(rng.choice([0, 0, 3]))
    if kind not in ("LayerNorm", "GroupNorm"):
        x = np.where(rng.random(shape) < 0.2, rng.choice(KINKS, shape), x)
    layer = getattr(layers, kind)(**given)
    parameters = {name: rng.standard_normal(array.shape) for name, array in layer.parameters().items()}
    return given, parameters, x, rng.standard_normal(shape)


def ours(kind, given, parameters, x, eta):
    """Output, the input's gradient, and those of the parameters."""
    layer = getattr(layers, kind)(**given)
    for name, array in parameters.items():
        setattr(layer, name, array)
    return [layer.forward(x), layer.gradient(eta), *layer.gradients().values()]


def hard_sigmoid(x):
    """As PyTorch defines it; its own gradient in float64 has the factor 1/6 in float32."""
    from torch.nn.functional import hardtanh

    return hardtanh(x / 6 + 0.5, 0.0, 1.0)


def theirs(kind, given, parameters, x, eta):
    import torch
    from torch.nn import functional as f

    at = {name: torch.tensor(array, requires_grad=True) for name, array in parameters.items()}
    x, epsilon = torch.tensor(x, requires_grad=True), given.get("epsilon")
    compute = {
        "Relu": lambda: f.relu(x),
        "LeakyRelu": lambda: f.leaky_relu(x, given["alpha"]),
        "ELU": lambda: f.elu(x, given["alpha"]),
        "PReLU": lambda: f.prelu(x.movedim(-1, 1), at["alpha"]).movedim(1, -1),
        "SiLU": lambda: f.silu(x),
        "GELU": lambda: f.gelu(x, approximate=given["approximate"]),
        "Mish": lambda: f.mish(x),
        "Softplus": lambda: f.softplus(x, threshold=700),  # above 20 it would be x itself, off by 2e-9
        "HardSwish": lambda: f.hardswish(x),
        "ReLU6": lambda: f.relu6(x),
        "HardSigmoid": lambda: hard_sigmoid(x),
        "LayerNorm": lambda: f.layer_norm(x, x.shape[given["axis"] :], at["alpha"], at["beta"], epsilon),
        "GroupNorm": lambda: f.group_norm(x.movedim(-1, 1), given["groups"], at["alpha"], at["beta"], epsilon).movedim(
            1, -1
        ),
    }
    out = compute[kind]()
    gradients = torch.autograd.grad(out, [x, *at.values()], torch.tensor(eta))
    return [np.array(part.tolist()).reshape(tuple(part.shape)) for part in (out.detach(), *gradients)]


def assert_equal(kind, got, wanted):
    for name, own, other in zip(("output", "input's gradient", "alpha", "beta"), got, wanted, strict=False):
        assert own.shape == other.shape, (kind, name)
        size = max(1.0, float(abs(other).max()))
        assert abs(own - other).max() <= ALLOWED * size, (kind, name, abs(own - other).max(), size)


@pytest.mark.parametrize("backend_name", BACKENDS)
@pytest.mark.parametrize("kind", DRAWN)
def test_random_configurations(kind, backend_name):
    pytest.importorskip("torch")
    with fastcnn.use_backend(backend_name):
        for seed in range(CONFIGURATIONS):
            case = drawn(kind, seed)
            assert_equal(kind, ours(kind, *case), theirs(kind, *case))


@pytest.mark.parametrize("kind", DRAWN)
def test_recorded_values(kind, backend):
    rest = recorded(kind)
    for seed in range(KEPT):
        case = drawn(kind, seed)
        got = ours(kind, *case)
        for array in got:
            own, rest = rest[: array.size], rest[array.size :]
            assert_equal(kind, [array], [own.reshape(array.shape)])
    assert rest.size == 0


def recorded(kind):
    """All numbers of its cases, one array after the other."""
    with np.load(RECORDED) as file:
        assert set(file.files) == set(DRAWN)
        return file[kind]


def test_what_is_recorded_is_small():
    assert RECORDED.stat().st_size <= 50_000


def test_an_original_relu_differs_at_zero_alone():
    """That the comparison would tell: with the original's gradient at 0 some configuration is not PyTorch's."""
    given, parameters, x, eta = drawn("Relu", 0)
    x_gradient = ours("Relu", given | {"at_zero": True}, parameters, x, eta)[1]
    differs = x_gradient != recorded("Relu")[x.size : 2 * x.size].reshape(x.shape)
    np.testing.assert_array_equal(differs, (x == 0) & (eta != 0))
    assert differs.any()


def record():
    """Write `RECORDED`."""
    RECORDED.parent.mkdir(exist_ok=True)
    cases = {kind: [theirs(kind, *drawn(kind, seed)) for seed in range(KEPT)] for kind in DRAWN}
    found = {kind: [array.reshape(-1) for case in own for array in case] for kind, own in cases.items()}
    np.savez_compressed(RECORDED, **{kind: np.concatenate(arrays) for kind, arrays in found.items()})


if __name__ == "__main__":
    record()
