"""The networks of the benchmark, as a list of layers that each contestant builds from its own classes."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import fastcnn

CLASSES = 10


def plain(*widths: int, ksize: int = 3) -> tuple[tuple, ...]:
    """Convolutions 'SAME' of so many channels, each with its ReLU; a 0 is a pooling."""
    return tuple(
        layer for width in widths for layer in ((("conv", width, ksize, "SAME"), ("relu",)) if width else (("pool",),))
    )


def normalised(*widths: int) -> tuple[tuple, ...]:
    """The same 3x3, with a BatchNorm before each ReLU."""
    return tuple(
        layer
        for width in widths
        for layer in ((("conv", width, 3, "SAME"), ("bn",), ("relu",)) if width else (("pool",),))
    )


# The input, and the layers: ("conv", channels, side, 'VALID' or 'SAME' or this and the stride), ("depthwise", side),
# ("residual", layers), ("fc", outputs), and without arguments those of `plain_layer`.
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
    "vgg_small": ((32, 32, 3), (*plain(32, 32, 0, 64, 64, 0, 128, 128, 0), ("fc", CLASSES))),
    "five_by_five": (
        (32, 32, 3),
        (*plain(32, 0, 32, 0, 64, 0, ksize=5), ("fc", 64), ("relu",), ("fc", CLASSES)),
    ),
    "odd_widths": ((28, 28, 1), (*plain(24, 40, 0, 72, 0), ("fc", CLASSES))),
    "strided": (
        (96, 96, 3),
        (
            *(layer for width in (32, 64, 128) for layer in (("conv", width, 3, "SAME", 2), ("relu",))),
            *(("global_avg",), ("fc", CLASSES)),
        ),
    ),
    "conv_bn": ((32, 32, 3), (*normalised(32, 32, 0, 64, 64, 0), ("fc", CLASSES))),
    # The first stage of the residual networks for CIFAR-10, without its shortcuts: He et al. (2016), section 4.2.
    "narrow_bn": ((32, 32, 3), (*normalised(16, 16, 16, 16, 16, 16), ("global_avg",), ("fc", CLASSES))),
    "mixed": (
        (32, 32, 3),
        (
            *(*plain(64), *plain(32, ksize=1), *plain(64, 0), *plain(64, ksize=1), *plain(128, 0)),
            ("fc", CLASSES),
        ),
    ),
    "deep": ((128, 128, 3), (*plain(16, 16, 0, 32, 32, 0, 64, 64, 0, 64, 64), ("global_avg",), ("fc", CLASSES))),
    "mlp": ((28, 28, 1), (("fc", 512), ("relu",), ("fc", 256), ("relu",), ("fc", CLASSES))),
    # An inverted residual of 24 channels: Sandler et al., "MobileNetV2" (2018), table 2.
    "mobilenet_block": (
        (56, 56, 24),
        (
            (
                "residual",
                (
                    *(("conv", 144, 1, "SAME"), ("bn",), ("relu6",), ("depthwise", 3), ("bn",), ("relu6",)),
                    *(("conv", 24, 1, "SAME"), ("bn",)),
                ),
            ),
            ("global_avg",),
            ("fc", CLASSES),
        ),
    ),
    # The first layers of He et al., "Deep Residual Learning for Image Recognition" (2016), table 1.
    "resnet_stem": (
        (224, 224, 3),
        (("conv", 64, 7, "SAME", 2), ("bn",), ("relu",), ("stem_pool",), ("global_avg",), ("fc", CLASSES)),
    ),
}
# Images of a training step; 64 for all others.
BATCHES = {
    **{"odd_widths": 100, "strided": 32, "narrow_bn": 128, "mixed": 32, "deep": 8, "mlp": 128},
    **{"mobilenet_block": 32, "resnet_stem": 8},
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
    shape, spec = NETWORKS[name]
    return layers_of((*spec, ("softmax",)), (batch, *shape), kit)


def layers_of(spec: tuple[tuple, ...], shape: tuple[int, ...], kit: ModuleType) -> list[Any]:
    made: list[Any] = []
    for kind, *args in spec:
        if kind == "conv":
            channels, ksize, method, *stride = args
            made.append(kit.Conv2D(shape, channels, ksize, *(() if method == "VALID" else (*(stride or [1]), method))))
        elif kind == "depthwise":
            made.append(kit.DepthwiseConv2D(shape, *args, method="SAME"))
        elif kind == "residual":
            made.append(kit.Residual(layers_of(args[0], shape, kit)))
        elif kind == "fc":
            made.append(kit.FullyConnect(shape, *args))
        else:
            made.append(plain_layer(kind, shape, kit))
        shape = getattr(made[-1], "output_shape", shape)
    return made


def plain_layer(kind: str, shape: tuple[int, ...], kit: ModuleType) -> Any:
    if kind == "stem_pool":
        return kit.MaxPooling(shape, 3, 2, padding=1, geometry="floor")
    names = {"relu": "Relu", "pool": "MaxPooling", "softmax": "Softmax", "bn": "BatchNorm", "relu6": "ReLU6"}
    return getattr(kit, (names | {"global_avg": "GlobalAvgPooling"})[kind])(shape)


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
    """The probabilities of one image, by `Sequential.frozen` where the commit has it, on the backend that is on."""
    from fastcnn import Sequential
    from fastcnn import layers as fast_layers

    np.random.seed(0)
    model = Sequential(layers(name, 1, fast_layers))
    predictor = model.frozen() if hasattr(model, "frozen") else model
    x, _ = data(name, 1)
    return lambda: predictor.forward(x)
