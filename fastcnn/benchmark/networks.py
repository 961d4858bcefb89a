"""The networks of the benchmark, as a list of layers that each contestant builds from its own classes."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import fastcnn

CLASSES = 10

# The input, and the layers: ("conv", channels, side, 'VALID' or 'SAME'), ("fc", outputs), ("relu",), ("pool",).
NETWORKS: dict[str, tuple[tuple[int, int, int], tuple[tuple, ...]]] = {
    "lenet": (
        (28, 28, 1),
        (
            *(("conv", 12, 5, "VALID"), ("relu",), ("pool",), ("conv", 24, 3, "VALID"), ("relu",), ("pool",)),
            ("fc", CLASSES),
        ),
    ),
    "lenet5": (
        (32, 32, 1),
        (
            *(("conv", 6, 5, "VALID"), ("relu",), ("pool",), ("conv", 16, 5, "VALID"), ("relu",), ("pool",)),
            *(("fc", 120), ("relu",), ("fc", 84), ("relu",), ("fc", CLASSES)),
        ),
    ),
    "vgg_small": (
        (32, 32, 3),
        (
            *(
                layer
                for width in (32, 64, 128)
                for layer in (("conv", width, 3, "SAME"), ("relu",), ("conv", width, 3, "SAME"), ("relu",), ("pool",))
            ),
            ("fc", CLASSES),
        ),
    ),
}


def data(name: str, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, of the dtype that is on, and labels."""
    rng = np.random.default_rng(0)
    images = rng.random((batch, *NETWORKS[name][0]), np.float32).astype(fastcnn.get_dtype())
    return images, rng.integers(0, CLASSES, batch)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The 4,000 images and labels that come with the package: (4000, 28, 28, 1), from 0 to 1."""
    from fastcnn import datasets

    found = datasets.load("digits")
    return (found.train_images / 255).astype(fastcnn.get_dtype()), found.train_labels.astype(np.int64)


def layers(name: str, batch: int, kit: ModuleType) -> list[Any]:
    """The network from the layer classes in `kit`, `fastcnn.layers` or the scalar loops, with a Softmax at the end."""
    shape, made = (batch, *NETWORKS[name][0]), []
    for kind, *args in (*NETWORKS[name][1], ("softmax",)):
        if kind == "conv":
            channels, ksize, method = args
            made.append(kit.Conv2D(shape, channels, ksize, *(() if method == "VALID" else (1, method))))
        elif kind == "fc":
            made.append(kit.FullyConnect(shape, *args))
        else:
            made.append({"relu": kit.Relu, "pool": kit.MaxPooling, "softmax": kit.Softmax}[kind](shape))
        shape = getattr(made[-1], "output_shape", shape)
    return made


def training_step(name: str, batch: int, kit: str = "fastcnn") -> Callable[[], object]:
    """One step of gradient descent on one batch, on the backend that is on.

    The first layer's input gradient is not computed. The scalar loops of `original` compute it all the same: their
    layers know no other way, so what they do is what they are compared by.
    """
    from fastcnn import Sequential
    from fastcnn import layers as fast_layers
    from fastcnn.benchmark import original

    np.random.seed(0)
    x, labels = data(name, batch)
    if kit == "original":
        slow = layers(name, batch, original)
        return lambda: original.step(slow, x, labels)
    model = Sequential(layers(name, batch, fast_layers))
    return lambda: model.train_on_batch(x, labels, learning_rate=1e-3, weight_decay=1e-3)


def epoch(name: str) -> Callable[[], object]:
    """One epoch of `fit` on the digits of the package: shuffled, in batches of 64, on the backend that is on."""
    from fastcnn import Sequential
    from fastcnn import layers as fast_layers

    np.random.seed(0)
    images, labels = digits()
    model = Sequential(layers(name, 64, fast_layers))
    return lambda: model.fit(images, labels, epochs=1, batch_size=64, learning_rate=0.01, verbose=False)


def prediction(name: str) -> Callable[[], object]:
    """The probabilities of one image, on the backend that is on."""
    from fastcnn import Sequential
    from fastcnn import layers as fast_layers

    np.random.seed(0)
    model = Sequential(layers(name, 1, fast_layers))
    x, _ = data(name, 1)
    return lambda: model.forward(x)
