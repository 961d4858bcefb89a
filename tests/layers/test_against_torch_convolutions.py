"""Convolutions of random options against PyTorch in float64: forward and all gradients, by each algorithm.

PyTorch is no dependency of the tests. Where it is not installed, the numbers that it gave remain: one for each result,
its product with random numbers, in ``data/torch_convolutions.npz``. ``python -m
tests.layers.test_against_torch_convolutions`` records them anew, which a change of what `draw` draws needs.
"""

import collections
import itertools
from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn.layers import Conv2D, Conv2DTranspose, DepthwiseConv2D
from fastcnn.windows import both, padding_pairs

RECORDED = Path(__file__).parent / "data" / "torch_convolutions.npz"
COUNT = 300  # configurations of each layer
KINDS = (Conv2D, DepthwiseConv2D, Conv2DTranspose)
ALGORITHMS = "direct", "winograd", "im2col"
WAYS = [("numpy", "auto"), *[("numba", name) for name in ("auto", *ALGORITHMS)]]
NEAR = 1e-12  # of the largest sum of absolute terms of a result
RESULTS = ("output", "input gradient", "weight gradient", "bias gradient")


def draw(kind, seed):
    """The layer's arguments, x and eta, from a generator whose numbers NumPy has frozen."""
    rng = np.random.RandomState([KINDS.index(kind), seed])

    def sides(low, high):
        """A number, or two."""
        pair = tuple(int(side) for side in rng.randint(low, high + 1, 2))
        return pair if rng.randint(2) else pair[0]

    channels = int(rng.randint(1, 7)) if kind is DepthwiseConv2D else 4 * int(rng.randint(1, 6))
    groups = int(rng.choice([1, 1, 2, 4, channels]))
    usual = rng.randint(2)  # 3x3 or 5x5 with stride 1, or 3x3 with stride 2, which Winograd's algorithm is for
    ksize, stride = ((3, 1), (3, 2), (5, 1))[rng.randint(3)] if usual else (sides(1, 5), sides(1, 4))
    dilation = 1 if rng.randint(2) else sides(1, 3)
    options = {"ksize": ksize, "stride": stride, "dilation": dilation, "bias": bool(rng.randint(4))}
    if kind is DepthwiseConv2D:
        options["multiplier"] = int(rng.randint(1, 4))
    else:
        options |= {"groups": groups, "output_channels": groups * int(rng.randint(1, 1 + 24 // groups))}
    reach = [(k - 1) * apart + 1 for k, apart in zip(both(ksize), both(dilation), strict=True)]
    sizes = [int(side) for side in rng.randint(1, 12, 2)]
    extra = sides(0, 3)
    if rng.randint(2):
        options["padding"] = (sides(0, 3), sides(0, 3)) if rng.randint(2) else int(rng.randint(0, 4))
    else:
        options["method"] = str(rng.choice(["VALID", "SAME", "SAME_UPPER"]))
    around = [sum(axis) for axis in padding_pairs(options.get("padding", 0))]
    fits = "padding" in options or options["method"] == "VALID"
    if kind is Conv2DTranspose and fits:
        more = [min(side, step - 1) for side, step in zip(both(extra), both(stride), strict=True)]
        options["output_padding"] = (more[0], more[1])
        for axis, step in enumerate(both(stride)):  # as many pixels as leave something of the output
            while (sizes[axis] - 1) * step + reach[axis] + more[axis] <= around[axis]:
                sizes[axis] += 1
    elif fits:
        sizes = [max(side, far - more) for side, far, more in zip(sizes, reach, around, strict=True)]
    shape = (int(rng.randint(1, 4)), *sizes, channels)
    layer = kind(shape, **options, initializer=0.0, dtype="float64")
    arrays = [rng.standard_normal(size) for size in (shape, layer.output_shape, layer.weights.shape)]
    return shape, options, (*arrays, rng.standard_normal(layer.output_shape[3]) if options["bias"] else None)


def method_zeros(options, sizes, axis):
    """Zeros before and after an axis of the images that windows slide over; TensorFlow's own formula for SAME."""
    ksize, stride, apart = (both(options[name])[axis] for name in ("ksize", "stride", "dilation"))
    reach, size = (ksize - 1) * apart + 1, sizes[axis]
    if options["method"] == "SAME":
        return (reach - 1) // 2, reach // 2
    if options["method"] == "VALID":
        return 0, 0
    total = max(reach - stride, 0) if size % stride == 0 else max(reach - size % stride, 0)
    return total // 2, total - total // 2


def by_torch(kind, options, x, eta, weights, bias):
    """`RESULTS` of PyTorch, as this package has them."""
    torch = pytest.importorskip("torch")
    functional, steps = torch.nn.functional, {name: both(options[name]) for name in ("stride", "dilation")}
    groups = options.get("groups", x.shape[3])
    held = [torch.tensor(array, requires_grad=True) for array in (x, weights, bias) if array is not None]
    image, kernel = held[0].permute(0, 3, 1, 2).contiguous(), held[1].permute(3, 2, 0, 1).contiguous()
    if kind is Conv2DTranspose:
        image_sizes = [size * step for size, step in zip(x.shape[1:3], steps["stride"], strict=True)]
    else:
        image_sizes = x.shape[1:3]
    if "padding" in options:
        (top, bottom), (left, right) = padding_pairs(options["padding"])
    else:
        (top, bottom), (left, right) = (method_zeros(options, image_sizes, axis) for axis in (0, 1))
    if kind is Conv2DTranspose:
        out = functional.conv_transpose2d(image, kernel, groups=groups, **steps)
        if "output_padding" in options:
            more = both(options["output_padding"])
            bottom, right = bottom - more[0], right - more[1]
        else:
            bottom, right = out.shape[2] - top - image_sizes[0], out.shape[3] - left - image_sizes[1]
        out = functional.pad(out, (-left, -right, -top, -bottom))
    else:
        out = functional.conv2d(functional.pad(image, (left, right, top, bottom)), kernel, groups=groups, **steps)
    out = out.permute(0, 2, 3, 1) + (held[2] if bias is not None else 0)
    (out * torch.tensor(eta)).sum().backward()
    return [out.detach().numpy(), *[tensor.grad.numpy() for tensor in held]]


def by_layer(kind, shape, options, x, eta, weights, bias):
    """`RESULTS` of the layer."""
    layer = kind(shape, **options, initializer=0.0, dtype="float64")
    layer.weights, layer.bias = weights, bias
    out = layer.forward(x)
    back = layer.gradient(eta)
    return [out, back, layer.w_gradient, *([layer.b_gradient] if options["bias"] else [])]


def sizes_of_terms(kind, shape, options, *arrays):
    """The largest sum of absolute terms of each result."""
    positive = [None if array is None else abs(array) for array in arrays]
    with fastcnn.using(backend="numpy"):
        return [result.max() for result in by_layer(kind, shape, options, *positive)]


def shadow(result):
    """The product of a result with random numbers, and the sum of their absolute values."""
    numbers = np.random.RandomState(7).standard_normal(result.size)
    return float(numbers @ result.reshape(-1)), abs(numbers).sum()


def assert_each(kind, way, near, seeds=range(COUNT)):
    """Call ``near(seed, name, result, size)`` with each result of the configurations; by the algorithm meant."""
    backend, algorithm = way
    with fastcnn.using(backend=backend, conv=algorithm):
        for seed in seeds:
            shape, options, arrays = draw(kind, seed)
            results, sizes = by_layer(kind, shape, options, *arrays), sizes_of_terms(kind, shape, options, *arrays)
            for name, result, size in zip(RESULTS, results, sizes, strict=False):
                near(seed, name, result, size)


@pytest.mark.parametrize("way", WAYS, ids="-".join)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_random_convolutions_are_what_pytorch_recorded(kind, way):
    """All of them on the NumPy backend, of which numba's is tested to be the twin; a sixth of them there, as channels
    by themselves compile code for each kind of kernel."""
    compiled = way[0] == "numba"
    if compiled:
        pytest.importorskip("numba")
    recorded = np.load(RECORDED)[kind.__name__]

    def near(seed, name, result, size):
        value, weight = shadow(result)
        assert abs(value - recorded[seed, RESULTS.index(name)]) <= NEAR * size * weight, (seed, name)

    assert_each(kind, way, near, range(0, COUNT, 6 if compiled else 1))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids="-".join)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_random_convolutions_are_those_of_pytorch(kind, way):
    pytest.importorskip("torch")
    wanted = [by_torch(kind, options, *arrays) for _, options, arrays in (draw(kind, seed) for seed in range(COUNT))]

    def near(seed, name, result, size):
        right = wanted[seed][RESULTS.index(name)]
        assert result.shape == right.shape and (abs(result - right) <= NEAR * size).all(), (seed, name)

    assert_each(kind, way, near)


def test_the_configurations_are_of_all_kinds():
    """Else the tests above say little: each option is there, and so is each algorithm in each direction."""
    rule = pytest.importorskip("fastcnn.backends.numba.convolution.rule")
    seen = collections.Counter()
    for kind in KINDS:
        for seed in range(COUNT):
            shape, options, (x, eta, _, bias) = draw(kind, seed)
            layer = kind(shape, **options, initializer=0.0, dtype="float64")
            pairs = [f"{name} differs" for name in ("ksize", "stride", "dilation") if isinstance(options[name], tuple)]
            padding = "uneven padding" * any(top != bottom for top, bottom in layer.window.padding)
            groups = "groups" if layer.groups > 1 else "one group"
            seen.update([options.get("method", "padding"), f"bias {bias is not None}", groups, padding, *pairs])
            image, out = (eta, x) if kind is Conv2DTranspose else (x, eta)
            for way, direction in itertools.product(("auto", *ALGORITHMS), rule.DIRECTIONS):
                facts = rule.layer_of(direction, image.shape, out.shape, layer.window, layer.groups)
                seen[f"{rule.choose(way, facts).algorithm} {direction}"] += 1
    wanted = {"VALID", "SAME", "SAME_UPPER", "padding", "groups", "one group", "uneven padding", "bias False"}
    wanted |= {f"{name} differs" for name in ("ksize", "stride", "dilation")}
    wanted |= {f"{way} {direction}" for way in (*ALGORITHMS, "lanes") for direction in rule.DIRECTIONS}
    assert all(seen[name] >= COUNT // 3 for name in wanted), seen


def record():
    found = {}
    for kind in KINDS:
        found[kind.__name__] = np.zeros((COUNT, len(RESULTS)))
        for seed in range(COUNT):
            _, options, arrays = draw(kind, seed)
            for column, result in enumerate(by_torch(kind, options, *arrays)):
                found[kind.__name__][seed, column] = shadow(result)[0]
    RECORDED.parent.mkdir(exist_ok=True)
    np.savez_compressed(RECORDED, **found)


if __name__ == "__main__":
    record()
