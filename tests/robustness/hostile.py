"""Every public callable, with arguments that are right."""

import copy
import dataclasses
import functools

import numpy as np

import fastcnn
from fastcnn import (
    augmentation,
    callbacks,
    datasets,
    initializers,
    layers,
    metrics,
    optimizers,
    plotting,
    schedules,
    testing,
    zoo,
)
from fastcnn.layers import BatchNorm, Relu, Softmax
from tests.robustness.hostile_values import SHAPE, model


@dataclasses.dataclass
class Target:
    """A callable, arguments that are right, and the object whose state it may change, if any."""

    name: str
    call: object
    arguments: dict
    owner: object = None


def images():
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


LAYERS = {
    layers.Conv2D: {
        **{"output_channels": 4, "ksize": 3, "stride": 1, "method": "SAME", "groups": 2, "dilation": 1},
        **{"padding": None, "bias": True, "initializer": "he", "rng": 0},
    },
    layers.Conv2DTranspose: {
        **{"output_channels": 4, "ksize": (3, 2), "stride": 2, "method": "VALID", "groups": 2, "dilation": (1, 2)},
        **{"padding": ((1, 0), (0, 1)), "output_padding": (1, 0), "bias": False, "initializer": "he", "rng": 0},
    },
    layers.DepthwiseConv2D: {
        **{"ksize": 3, "stride": (1, 2), "method": "SAME_UPPER", "multiplier": 2, "dilation": 1, "padding": None},
        **{"bias": True, "initializer": "he", "rng": 0},
    },
    layers.FullyConnect: {"output_num": 4, "initializer": "he", "rng": 0},
    layers.MaxPooling: {"ksize": 2, "stride": 2, "padding": 1, "geometry": "floor", "dilation": 1},
    layers.AvgPooling: {
        **{"ksize": 3, "stride": 2, "padding": 0, "geometry": "ceil", "dilation": 1, "count_padding": False}
    },
    layers.GlobalAvgPooling: {},
    layers.GlobalMaxPooling: {},
    layers.AdaptiveAvgPooling: {"output_size": 2},
    layers.UpSampling: {"factor": 2, "mode": "bilinear", "align_corners": True},
    layers.Relu: {"at_zero": False},
    layers.LeakyRelu: {"alpha": 0.2, "at_zero": False},
    layers.ELU: {"alpha": 1.0, "at_zero": False},
    layers.PReLU: {"alpha": 0.25, "at_zero": False},
    layers.Sigmoid: {},
    layers.Tanh: {},
    layers.SiLU: {},
    layers.GELU: {"approximate": "tanh"},
    layers.Mish: {},
    layers.Softplus: {},
    layers.HardSwish: {},
    layers.ReLU6: {},
    layers.HardSigmoid: {"alpha": 0.2, "beta": 0.5},
    layers.BatchNorm: {"epsilon": 1e-3, "moving_decay": 0.9},
    layers.LayerNorm: {"axis": -1, "epsilon": 1e-3},
    layers.GroupNorm: {"groups": 2, "epsilon": 1e-3},
    layers.Dropout: {"prob": 0.5, "rng": 0},
    layers.Flatten: {},
    layers.Rescaling: {"scale": 0.5, "offset": 1.0},
}


def used_layer(kind):
    """A layer with a forward pass and gradients behind it; by way of a Relu before it where it computes that."""
    layer = kind(SHAPE, **LAYERS[kind])
    forward = getattr(layer, "forward_rectified", layer.forward)
    layer.gradient(np.ones_like(forward(images())))
    return layer


def assign(owner, name, value):
    """Set an attribute, and see that it is what was assigned; some take it and compute their own."""
    setattr(owner, name, value)
    if name not in ("col_image", "index"):
        assert same(getattr(owner, name), value), f"assigned {value!r} is {getattr(owner, name)!r}"


def same(kept, given):
    """Whether a kept value is the given one, in its own dtype."""
    if given is kept or (given is None and isinstance(kept, np.dtype)):  # the default, which it has
        return True
    if isinstance(kept, np.ndarray):
        return np.array_equal(kept, np.asarray(given).astype(kept.dtype).reshape(kept.shape), equal_nan=True)
    if isinstance(kept, tuple):
        return len(kept) == len(given) and all(map(same, kept, given))
    return kept == (float(given) if isinstance(kept, float) else given)


def made(kind, **given):
    """A layer that was made, and works."""
    layer = kind(**given)
    assert layer.dtype == np.dtype(given["dtype"] or "float32")
    assert layer.input_shape == tuple(map(int, given["shape"]))
    out = layer.forward(np.zeros(layer.input_shape)) if np.prod(layer.input_shape) < 1e4 else None
    assert out is None or (out.shape == tuple(layer.output_shape) and out.dtype == layer.dtype)


def forwarded(layer, x, **phase):
    """An output that is that of the same numbers in the layer's dtype."""
    twin = copy.deepcopy(layer)
    with np.errstate(all="ignore"):
        out = layer.forward(x, **phase)
        wanted = twin.forward(np.array(np.asarray(x), layer.dtype), **phase)
    if not isinstance(layer, layers.Rescaling):  # which multiplies wide numbers before it rounds them
        np.testing.assert_array_equal(out, wanted)


def attributes(layer):
    """Whatever a script may assign."""
    public = {name for name in dir(type(layer)) if not name.startswith("_")}
    kinds = {name: getattr(type(layer), name) for name in public}
    return sorted(name for name, kind in kinds.items() if hasattr(kind, "__set__") and getattr(kind, "fset", kind))


def layer_targets(kind):
    yield Target(kind.__name__, functools.partial(made, kind), {"shape": SHAPE, "dtype": "float32", **LAYERS[kind]})
    for method, arguments in (
        ("forward", {"x": images()}),
        ("gradient", {"eta": used_layer(kind).forward(images())}),
        ("backward", {"alpha": 0.1, "weight_decay": 0.1}),
    ):
        layer = used_layer(kind)
        if method == "forward" and kind in (layers.BatchNorm, layers.Dropout):
            arguments["phase"] = "train"
        if hasattr(layer, method):
            call = functools.partial(forwarded, layer) if method == "forward" else getattr(layer, method)
            yield Target(f"{kind.__name__}.{method}", call, arguments, layer)
    for name in attributes(used_layer(kind)):
        layer = used_layer(kind)
        call = functools.partial(assign, layer, name)
        yield Target(f"{kind.__name__}.{name} =", call, {"value": None}, layer)


def loss_targets():
    yield Target("Softmax", Softmax, {"shape": (3, 4), "dtype": "float32"})
    logits, label = np.arange(12.0).reshape(3, 4), [0, 1, 2]
    options = {"class_weights": [1, 2, 3, 4], "label_smoothing": 0.1}
    for method, arguments in (
        ("cal_loss", {"prediction": logits, "label": label, **options}),
        ("predict", {"prediction": logits}),
        ("forward", {"x": logits}),
    ):
        loss = used_loss()
        yield Target(f"Softmax.{method}", getattr(loss, method), arguments, loss)
    for name in [*attributes(used_loss()), "loss"]:
        loss = used_loss()
        call = functools.partial(assign, loss, name)
        yield Target(f"Softmax.{name} =", call, {"value": None}, loss)


def used_loss():
    loss = Softmax((3, 4))
    loss.cal_loss(np.arange(12.0).reshape(3, 4), [0, 1, 2])
    loss.gradient()
    return loss


class Once(callbacks.Callback):
    """Ends a training after its first step, however long it was meant to be."""

    def on_batch_end(self, run):
        run.stop("once")


def model_targets():
    first, x, y = model(), images(), [0, 1, 2]
    yield Target("Sequential", fastcnn.Sequential, {"layers": first.layers, "metadata": {}})
    yield Target("Sequential.layers =", lambda layers: setattr(first, "layers", layers), {"layers": None}, first)
    batch = {"x": x, "y": y, "batch_size": 2}
    fitted = {
        **{"x": x, "y": y, "epochs": 1, "batch_size": 2, "validation_data": (x, y), "optimizer": "adam"},
        **{"learning_rate": 0.1, "weight_decay": 0.1, "shuffle": True, "seed": 1, "augmentation": None},
        **{"class_weight": "balanced", "label_smoothing": 0.1, "metrics": ["f1"], "callbacks": [Once()]},
        **{"resume": None, "failure_file": None, "verbose": False, "validation_batch_size": 2},
        **{"distributed": None, "sync_batch_norm": False},
    }
    for method, arguments in (
        ("fit", fitted),
        ("train_on_batch", {"x": x, "y": y, "learning_rate": 0.1, "weight_decay": 0.1}),
        ("evaluate", batch),
        ("report", batch),
        ("predict", {"x": x, "batch_size": 2}),
        ("logits", {"x": x, "phase": "test"}),
        ("forward", {"x": x}),
        ("backward", {"alpha": 0.1, "weight_decay": 0.1}),
        ("save", {"path": "model.npz", "optimizer": None, "random_state": False}),
    ):
        own = model()
        yield Target(f"Sequential.{method}", getattr(own, method), arguments, own)
    model().save("given.npz")
    load = {"path": "given.npz", "custom_layers": None, "random_state": False}
    yield Target("Sequential.load", fastcnn.Sequential.load, load)
    for name, make in zoo.MODELS.items():
        yield Target(name, make, {"shape": (2, 12, 12, 1), "classes": 3, "scale": 1.0, "rng": 0, "dtype": "float32"})
    yield Target("resnet_small", zoo.resnet_small, {"shape": (2, 8, 8, 1), "blocks": 1})
    yield Target("Residual", layers.Residual, {"body": [Relu(SHAPE)], "shortcut": [BatchNorm(SHAPE)]})


OPTIONS = {
    optimizers.SGD: {},
    optimizers.Momentum: {"momentum": 0.9},
    optimizers.Nesterov: {"momentum": 0.9},
    optimizers.RMSProp: {"rho": 0.9, "epsilon": 1e-3},
    optimizers.Adam: {"beta1": 0.9, "beta2": 0.9, "epsilon": 1e-3},
    optimizers.AdamW: {"beta1": 0.9, "beta2": 0.9, "epsilon": 1e-3},
}
SHARED = {"learning_rate": 0.1, "weight_decay": 0.1, "decay": "weights", "clip_norm": 1.0, "clip_value": 1.0}


def optimizer_targets():
    for kind, own in OPTIONS.items():
        given = {**SHARED, **own}
        yield Target(kind.__name__, kind, {"layers": model(), **given})
        optimizer = kind(model(), schedules.cosine(0.1))
        yield Target(f"{kind.__name__}.step", optimizer.step, {"batch_size": 3, "done": 0.5}, optimizer)
        state = {"state": optimizer.state_dict()}
        yield Target(f"{kind.__name__}.load_state_dict", optimizer.load_state_dict, state, optimizer)
        for name in given:
            call = functools.partial(assign, optimizer, name)
            yield Target(f"{kind.__name__}.{name} =", call, {"value": None}, optimizer)
    yield Target("make", optimizers.make, {"name": "sgd", "layers": model()})
    yield Target("Optimizer.load", optimizers.SGD(model()).load, {"path": "given.npz"})


def function_targets():
    x, shares = images(), {"share": 0.1, "start": 0.1}
    yield Target("constant", schedules.constant, {"learning_rate": 0.1})
    yield Target("step", schedules.step, {"learning_rate": 0.1, "factor": 0.5, "at": [0.5]})
    yield Target("exponential", schedules.exponential, {"learning_rate": 0.1, "last": 0.01})
    yield Target("cosine", schedules.cosine, {"learning_rate": 0.1, "last": 0.01})
    yield Target("warm_up", schedules.warm_up, {"schedule": 0.1, **shares})
    yield Target("one_cycle", schedules.one_cycle, {"learning_rate": 0.1, "last": 0.01, **shares})
    yield Target("Augmentation", augmentation.Augmentation, {"shift": 1, "flip": True, "crop": (3, 4)})
    yield Target("center_crop", augmentation.center_crop, {"images": x, "size": (3, 4)})
    yield Target("im2col", layers.im2col, {"image": x, "ksize": 2, "stride": 1})
    columns = layers.im2col(x, 2, 1)
    yield Target("col2im", layers.col2im, {"cols": columns, "image_shape": SHAPE, "ksize": 2, "stride": 1})
    labels, probabilities = np.array([0, 1, 2]), np.eye(3)
    yield Target("confusion_matrix", metrics.confusion_matrix, {"labels": labels, "predicted": labels, "classes": 3})
    yield Target("metrics.report", metrics.report, {"labels": labels, "probabilities": probabilities})
    top = {"labels": labels, "probabilities": probabilities}
    yield Target("top_k_accuracy", metrics.top_k_accuracy, {"k": 2})
    yield Target("top_k_accuracy()", metrics.top_k_accuracy(2), top)
    yield Target("random_source", initializers.random_source, {"owner": "test", "rng": 0})
    yield Target("check_layer", testing.check_layer, {"layer": Relu((2, 3)), "x": x[:2, 0, :3, 0], "seed": 0})
    yield Target("learning_curves", plotting.learning_curves, {"history": {"loss": [1.0]}, "path": "curves.svg"})
    yield Target("Checkpoint", callbacks.Checkpoint, checkpoint_arguments())
    stopping = {"monitor": "val_loss", "patience": 5, "min_delta": 0.0, "restore_best": False}
    yield Target("EarlyStopping", callbacks.EarlyStopping, stopping)
    yield Target("CSVLogger", callbacks.CSVLogger, {"path": "log.csv"})
    yield Target("LearningCurves", callbacks.LearningCurves, {"path": "curves.svg"})


def checkpoint_arguments():
    return {"path": "run.npz", "every_steps": 1, "every_seconds": 60, "best": "best.npz", "monitor": "val_loss"}


def data_targets():
    x, y = np.zeros((3, 4, 4, 1)), np.array([0, 1, 0])
    arrays = {"train_images": x, "train_labels": y, "test_images": x, "test_labels": y}
    yield Target("Dataset", datasets.Dataset, {"name": "own", **arrays, "class_names": ("a", "b")})
    yield Target("load", datasets.load, {"name": "digits"})
    for read, name in ((datasets.read_idx, "path"), (datasets.read_cifar10, "folder")):
        yield Target(read.__name__, read, {name: "given.npz"})
    yield Target("read_npz_dataset", datasets.read_npz_dataset, {"path": "given.npz"})
    yield Target("read_idx_folder", functools.partial(datasets.read_idx_folder, name="own"), {"folder": "given.npz"})


def config_targets():
    for name, value in (("set_backend", "numpy"), ("set_conv_algorithm", "auto"), ("use_backend", "numpy")):
        yield Target(name, getattr(fastcnn, name), {"name": value})
    yield Target("set_dtype", fastcnn.set_dtype, {"dtype": "float32"})
    yield Target("set_num_threads", fastcnn.set_num_threads, {"threads": 1})

    def using(**given):
        with fastcnn.using(**given):
            pass

    yield Target("using", using, {"backend": "numpy", "dtype": "float64", "threads": 1, "conv": "direct"})


def targets():
    """All of them, made anew."""
    for kind in LAYERS:
        yield from layer_targets(kind)
    for make in (loss_targets, model_targets, optimizer_targets, function_targets, data_targets, config_targets):
        yield from make()
