"""A script as a user with a type checker writes it: what each public name is, to mypy.

`assert_type` fails where a name has become Any, and with `warn_unused_ignores` so does a call that must be refused and
is not. `python -m mypy` checks it; tests/test_typing.py runs it, and sees that no public name is left out.
"""

import sys
from pathlib import Path

import numpy as np
from typing_extensions import assert_type

import fastcnn
from fastcnn import callbacks, datasets, optimizers, schedules, zoo
from fastcnn.augmentation import Augmentation
from fastcnn.layers import (
    ELU,
    GELU,
    AdaptiveAvgPooling,
    AvgPooling,
    BatchNorm,
    Conv2D,
    Conv2DTranspose,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    FullyConnect,
    GlobalAvgPooling,
    GlobalMaxPooling,
    GroupNorm,
    HardSigmoid,
    HardSwish,
    Layer,
    LayerNorm,
    LeakyRelu,
    MaxPooling,
    Mish,
    PReLU,
    Relu,
    ReLU6,
    Rescaling,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    UpSampling,
)
from fastcnn.model import Sequential

BATCH, EPOCHS = 32, 2


def switches() -> None:
    """What the names of `fastcnn` itself are."""
    assert_type(fastcnn.__version__, str)
    fastcnn.set_backend("numpy")
    fastcnn.set_dtype("float32")
    fastcnn.set_num_threads(1)
    fastcnn.set_conv_algorithm("auto")
    assert_type(fastcnn.get_backend(), str)
    assert_type(fastcnn.get_dtype().name, str)
    assert_type(fastcnn.get_num_threads(), int)
    assert_type(fastcnn.get_conv_algorithm(), str)
    with fastcnn.use_backend("numpy"):
        assert_type(fastcnn.backend.get_backend(), str)
    with fastcnn.using(backend="numpy", dtype="float64", threads=1, conv="auto"):
        assert_type(fastcnn.runtime.get_num_threads(), int)
    error = fastcnn.BackendMismatch("max_pool_forward")
    assert_type(error, fastcnn.errors.BackendMismatch)
    assert_type(fastcnn.FileFormatError("cut short"), fastcnn.errors.FileFormatError)
    assert_type(fastcnn.DatasetNotFoundError("mnist"), fastcnn.errors.DatasetNotFoundError)


def layers(x: np.ndarray) -> None:
    """Each layer by its constructor; `forward`, `gradient` and what a script reads."""
    conv = Conv2D([BATCH, 28, 28, 1], 12, 5, 1)
    assert_type(fastcnn.layers.Conv2D(conv.input_shape, output_channels=4, ksize=3, stride=2, method="SAME"), Conv2D)
    assert_type(conv.forward(x), np.ndarray)
    assert_type(conv.output_shape, tuple[int, ...])
    assert_type(conv.stride, int | tuple[int, int])
    assert_type(conv.weights, np.ndarray)
    conv.weights = np.zeros_like(conv.weights)
    assert_type(conv.window, fastcnn.windows.Window)
    conv.backward(alpha=1e-4, weight_decay=0.0004)
    small = Conv2D(conv.output_shape, 8, (3, 1), (2, 1), "SAME_UPPER", groups=4, dilation=(1, 2), bias=False)
    depthwise = DepthwiseConv2D(small.output_shape, 3, 1, "SAME", multiplier=2, padding=((1, 0), (2, 1)))
    assert_type(depthwise.multiplier, int)
    turned = Conv2DTranspose(depthwise.output_shape, 4, 4, 2, padding=(1, 1), output_padding=(0, 1))
    assert_type(turned.output_padding, int | tuple[int, int])
    shape = conv.output_shape
    row: list[Layer] = [
        BatchNorm(shape),
        Relu(shape, at_zero=False),
        LeakyRelu(shape, alpha=0.1),
        ELU(shape),
        PReLU(shape),
    ]
    row += [Sigmoid(shape), Tanh(shape), Dropout(shape, prob=0.9), Rescaling(shape, 0.5), AvgPooling(shape, 2, 2)]
    row += [MaxPooling(shape, (3, 2), geometry="ceil"), GlobalMaxPooling(shape), UpSampling(shape, mode="bilinear")]
    row += [AdaptiveAvgPooling(shape, (2, 1)), GlobalAvgPooling(shape), Residual([Relu(shape)]), Flatten(shape)]
    row += [SiLU(shape), GELU(shape, approximate="tanh"), Mish(shape), Softplus(shape), HardSwish(shape), ReLU6(shape)]
    row += [HardSigmoid(shape, alpha=0.2), LayerNorm(shape, axis=1), GroupNorm(shape, groups=4, epsilon=1e-3)]
    for layer in row:
        assert_type(layer.forward(np.ones(shape)), np.ndarray)
    dense = FullyConnect(shape, output_num=10)
    loss = Softmax(dense.output_shape)
    assert_type(loss.cal_loss(dense.forward(conv.forward(x)), np.zeros(BATCH, int)), float)
    assert_type(conv.gradient(dense.gradient(loss.gradient())), np.ndarray)
    assert_type(fastcnn.testing.check_layer(Relu((2, 3)), np.ones((2, 3))).ok, bool)


def train(folder: Path) -> Sequential:
    """`fit` with most of its arguments, and what comes of it."""
    data = datasets.load("digits")
    assert_type(data, fastcnn.datasets.Dataset)
    assert_type(data.classes, int)
    x, y = data.train_images[:128], data.train_labels[:128]
    model = zoo.lenet((BATCH, *data.image_shape), data.classes, rng=0)
    assert_type(model, Sequential)
    assert_type(fastcnn.Sequential(model.layers), fastcnn.model.Sequential)
    assert_type(model.train_on_batch(x, y, learning_rate=0.1), tuple[float, int])
    optimizer = optimizers.Adam(model, schedules.warm_up(schedules.cosine(1e-3), 0.1), clip_norm=1.0)
    assert_type(optimizer.step(BATCH), None)
    history = model.fit(
        x,
        y,
        EPOCHS,
        BATCH,
        (data.test_images[:64], data.test_labels[:64]),
        optimizer=optimizer,
        augmentation=Augmentation(shift=1),
        metrics=["f1", fastcnn.metrics.top_k_accuracy(3)],
        callbacks=[callbacks.EarlyStopping(patience=3), callbacks.Checkpoint(folder / "run.npz"), Announce()],
        seed=0,
        verbose=False,
    )
    assert_type(history["val_loss"], list[float])
    assert_type(history.stopped, str | None)
    assert_type(history.signal, int)
    model.fit(x, y, optimizer="momentum", verbose=False)
    assert_type(fastcnn.plotting.learning_curves(history, folder / "curves.png"), None)
    return model


def refused(model: Sequential, x: np.ndarray, y: np.ndarray) -> None:
    """What a checker must refuse; nothing calls this."""
    Conv2D([BATCH, 28, 28, 1], 12, kernel=5)  # type: ignore[call-arg]
    MaxPooling()  # type: ignore[call-arg]
    model.fit(x, y, epoch=1)  # type: ignore[call-arg]
    model.fit(x, y, epochs="3")  # type: ignore[arg-type]
    model.fit(x)  # type: ignore[call-arg]
    model.evaluate(x, y).loss.shape  # type: ignore[attr-defined]  # noqa: B018
    optimizers.SGD(model, learning_rates=0.1)  # type: ignore[call-arg]
    fastcnn.set_backend(1)  # type: ignore[arg-type]
    fastcnn.set_threads(1)  # type: ignore[attr-defined]
    fastcnn.using(backends="numpy")  # type: ignore[call-arg]
    assert_type(fastcnn.diagnosis.replay("failure.npz"), str | None)
    fastcnn.diagnosis.replay("failure.npz", custom=[])  # type: ignore[call-arg]


class Announce(callbacks.Callback):
    """A callback of one's own."""

    def on_epoch_end(self, run: fastcnn.training.Run) -> None:
        assert_type(run.epoch, int)
        print(f"epoch {run.epoch - 1}", file=sys.stderr)


def use(model: Sequential, x: np.ndarray, y: np.ndarray, folder: Path) -> None:
    """Prediction, measures, files."""
    assert_type(model.predict(x), np.ndarray)
    result = model.evaluate(x, y, batch_size=64)
    assert_type(result.loss, float)
    assert_type(result.accuracy, float)
    assert_type(model.report(x, y).f1, np.ndarray)
    assert_type(str(model.report(x, y)), str)
    model.save(folder / "model.npz")
    assert_type(Sequential.load(folder / "model.npz"), Sequential)
    predictor = model.frozen()
    assert_type(predictor, fastcnn.Predictor)
    assert_type(predictor.predict(x), np.ndarray)
    predictor.save(folder / "predictor.npz")
    assert_type(fastcnn.Predictor.load(folder / "predictor.npz"), fastcnn.Predictor)
    with fastcnn.profiling.profile() as report:
        model.predict(x)
    assert_type(report.seconds, float)
    assert_type(fastcnn.initializers.NAMES, tuple[str, str, str, str])
    assert_type(fastcnn.augmentation.center_crop(x, 20), np.ndarray)


def main(folder: Path) -> None:
    switches()
    rng = np.random.default_rng(0)
    layers(rng.random((BATCH, 28, 28, 1)))
    model = train(folder)
    use(model, 255 * rng.random((BATCH, 28, 28, 1)), np.zeros(BATCH, int), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
