"""The whole API of the layers and `fit` on random networks, against float64 NumPy: see `oracle.py`."""

import contextlib
import copy
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcnn
from fastcnn import Sequential, layers, optimizers, schedules
from fastcnn.config import CONV_ALGORITHMS
from fastcnn.layers.convolution import ConvolutionLayer
from fastcnn.threads import pool_size
from tests.helpers.arguments import Drawn, Seeded
from tests.helpers.switches import BACKENDS, on_threads
from tests.robustness.networks import among, draw_input, draw_network, twin
from tests.robustness.oracle_training import Rule, evaluate, train

pytest.importorskip("numba")

NETWORKS, TRAININGS = 20_000, 8_000  # of the long part
# Relative to the absolute terms: sums of up to some 3,000 of them.
ALLOWED = {"float32": 1e-5, "float64": 2e-14}
RATE = 0.1  # of the update
TILED = 8  # Winograd adds and subtracts neighbours, so that its errors are relative to the largest terms of a channel


def assert_close(got, wanted, size, dtype, tiled=False):
    """`got` in `dtype` and of that shape, within the rounding errors of terms of that `size`."""
    assert got.dtype == dtype and got.shape == wanted.shape, (got.dtype, got.shape, wanted.shape)
    if tiled:
        size = TILED * size.max(axis=tuple(range(size.ndim - 1)), keepdims=True)
    tiny = np.finfo(dtype).tiny
    wrong = abs(got.astype(np.float64) - wanted) > ALLOWED[dtype] * size + tiny
    assert not wrong.any(), f"{got[wrong][:3]} instead of {wanted[wrong][:3]}"


@contextlib.contextmanager
def chosen(source):
    """A backend, a convolution algorithm and a number of threads for the block, drawn."""
    backend = among(source, "backend", (*BACKENDS, "numba", "check"))
    algorithm = among(source, "algorithm", CONV_ALGORITHMS)
    threads = source.integer("threads", 1, min(3, pool_size()))
    shared = on_threads() if source.boolean("on threads") else contextlib.nullcontext()
    with fastcnn.using(backend=backend, conv=algorithm, threads=threads), shared, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*one value for each channel.*", RuntimeWarning)
        warnings.filterwarnings("ignore", "fit: .* channels first", UserWarning)
        yield


def forward(layer, x, phase):
    return layer.forward(x, phase) if layers_with_phases(layer) else layer.forward(x)


def layers_with_phases(layer):
    return isinstance(layer, layers.BatchNorm | layers.Dropout | layers.Residual)


def check_parameters(layer, own, dtype, decay):
    """Gradients, then the update by them."""
    gradients, before = copy.deepcopy((layer.gradients(), layer.parameters()))
    for name, (slope, size) in own.slopes.items():
        assert_close(gradients[name], slope, size, dtype, isinstance(layer, ConvolutionLayer))
    if before:
        layer.backward(RATE, decay)
    for name, array in layer.parameters().items():
        old, slope = before[name].astype(np.float64), gradients[name].astype(np.float64)
        assert_close(array, (1 - decay) * old - RATE * slope, abs(old) + RATE * abs(slope), dtype)
        assert not layer.gradients()[name].any()


def check_layer(layer, x, phase, source, decay):
    """One layer: output, gradients, update; nothing that was passed or returned changes. Returns the output."""
    own, dtype, held = twin(layer), source.dtype, copy.deepcopy(x)
    exact = np.asarray(x).astype(dtype).astype(np.float64)
    out = forward(layer, x, phase)
    wanted = own.forward(exact, phase == "train")
    assert (len(out), *layer.output_shape[1:]) == wanted.shape
    tiled = isinstance(layer, ConvolutionLayer)
    assert_close(out, wanted, own.size, dtype, tiled)
    if isinstance(layer, layers.BatchNorm):
        for got, right in zip((layer.moving_mean, layer.moving_var), own.moving, strict=True):
            assert_close(got, right, 10 * abs(right) + abs(exact).max() + 1, dtype)
    eta = source.rng.standard_normal(out.shape).astype(dtype)
    kept = out.copy(), eta.copy()
    back = layer.gradient(eta)
    right = own.gradient(eta)
    assert_close(back, right, own.back_size, dtype, tiled)
    check_parameters(layer, own, dtype, decay)
    np.testing.assert_array_equal(out, kept[0])
    np.testing.assert_array_equal(eta, kept[1])
    np.testing.assert_array_equal(x, held)
    return out


def check_residual(layer, x, phase, source, decay):
    """Its layers one by one, each on what the one before really returns; and that it adds up what both ways return."""
    whole, outs = copy.deepcopy(layer), []
    for way in (layer.body, layer.shortcut):
        value = np.asarray(x).astype(source.dtype)
        for inner in way:
            value = check_layer(inner, value, phase, source, decay)
        outs.append(value)
    total, apart = sum(outs), copy.deepcopy(whole)
    np.testing.assert_array_equal(whole.forward(x, phase), total)
    apart.forward(x, phase)
    eta = source.rng.standard_normal(total.shape).astype(source.dtype)
    backs = [back_through(way, eta) for way in (apart.body, apart.shortcut)]
    np.testing.assert_array_equal(whole.gradient(eta), sum(backs))
    return total


def check_network(source):
    """Each layer of a random network on what the one before really returns, then all of them as a model."""
    made = draw_network(source)
    x = draw_input(source, (source.integer("images", 1, 9), *made[0].input_shape[1:]))
    phase, decay = among(source, "phase", ("train", "test")), among(source, "decay", (0.0, 0.01))
    for inner in walked(made):
        inner.draw_seed()
    model = Sequential(copy.deepcopy(made))
    with chosen(source):
        value = x
        for layer in made:
            check = check_residual if isinstance(layer, layers.Residual) else check_layer
            value = check(layer, value, phase, source, decay)
        check_model(model, x, phase, source)


def walked(made):
    """All layers, those inside others too."""
    return [inner for layer in made for inner in (layer, *layer.children().values())]


def back_through(made, eta):
    for layer in reversed(made):
        eta = layer.gradient(eta)
    return eta


def check_model(model, x, phase, source):
    """A model computes what its layers do one after the other, though a Relu may be computed by the next layer."""
    value, apart = x, copy.deepcopy(model.layers)
    for layer in apart:
        value = forward(layer, value, phase)
    out = model.logits(x, phase)
    np.testing.assert_array_equal(out, value)
    eta = source.rng.standard_normal(out.shape).astype(source.dtype)
    np.testing.assert_array_equal(model.gradient(eta), back_through(apart, eta))
    for layer, own in zip(walked(apart), walked(model.layers), strict=True):
        for name, gradient in layer.gradients().items():
            np.testing.assert_array_equal(own.gradients()[name], gradient)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=100)
@given(data=st.data())
def test_random_networks(dtype, data):
    check_network(Drawn(data, dtype))


RATES = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "rmsprop": 0.005, "adam": 0.01, "adamw": 0.01}
CONSTANTS = {
    "momentum": {"momentum": (0.0, 0.5, 0.9)},
    "rmsprop": {"rho": (0.5, 0.99), "epsilon": (1e-2, 1e-3)},
    "adam": {"beta1": (0.0, 0.9), "beta2": (0.5, 0.999), "epsilon": (1e-2, 1e-3)},
}
CONSTANTS |= {"sgd": {}, "nesterov": CONSTANTS["momentum"], "adamw": CONSTANTS["adam"]}
# A training adds up what each step rounds, and an optimizer that divides by a small root makes it larger.
DIVERGED = 100  # a loss from which on rounding errors grow as fast as the weights
ALLOWED_IN_TRAINING = {"float32": 2e-3, "float64": 1e-8}


def draw_optimizer(source, model):
    """An optimizer with random options, and the oracle's."""
    name = among(source, "optimizer", list(RATES))
    rate = among(
        source, "schedule", (RATES[name], schedules.cosine(RATES[name]), schedules.step(RATES[name], at=[0.5]))
    )
    constants = {key: among(source, key, values) for key, values in CONSTANTS[name].items()}
    clips = {key: among(source, key, (None, None, 1e-2)) for key in ("clip_norm", "clip_value")}
    weight_decay, decay = among(source, "weight decay", (0.0, 0.05)), among(source, "decay", ("all", "weights"))
    own = optimizers.make(name, model, learning_rate=rate, weight_decay=weight_decay, decay=decay, **clips, **constants)
    return own, Rule(name, rate, weight_decay, decay == "weights", **clips, **constants)


SMOOTH = (layers.Tanh, layers.Sigmoid, layers.AvgPooling, layers.Flatten, layers.GlobalAvgPooling, layers.Dropout)
SMOOTH += (ConvolutionLayer, layers.FullyConnect)


def draw_trained(source, classes):
    """Layers that end in logits. In float32 smooth ones alone: at a kink a rounding error changes a whole gradient."""
    made = [layer for layer in draw_network(source) if source.dtype == "float64" or isinstance(layer, SMOOTH)]
    fitting = made[:1] and [made[0]]
    for layer in made[1:]:
        if layer.input_shape[1:] == fitting[-1].output_shape[1:]:
            fitting.append(layer)
    shape = fitting[-1].output_shape if fitting else (4, 3, 2, 2)
    last = layers.FullyConnect(shape, classes, initializer="xavier", dtype=source.dtype)
    return [*fitting, last, layers.Softmax(last.output_shape, dtype=source.dtype)]


def check_fit(source):
    """Weights, running statistics and history of a training of some epochs."""
    classes, count = source.integer("classes", 1, 5), source.integer("images", 2, 12)
    model = Sequential(draw_trained(source, classes))
    x = source.rng.standard_normal((count, *model.input_shape[1:])).astype(source.dtype)
    y = source.rng.integers(0, classes, count)
    epochs, batch_size = source.integer("epochs", 1, 3), source.integer("batch size", 1, 12)
    shuffle, smoothing = source.boolean("shuffle"), among(source, "smoothing", (0.0, 0.2))
    weights = among(source, "class weights", (None, np.linspace(0.5, 2, classes).astype(source.dtype)))
    for layer in walked(model.body):
        layer.draw_seed()
    owns = list(map(twin, model.body))
    optimizer, rule = draw_optimizer(source, model)
    batches = []
    for epoch in range(1, epochs + 1):  # from whose number and the seed the order of the images follows
        order = np.random.default_rng((7, epoch)).permutation(count) if shuffle else np.arange(count)
        batches.append(np.split(order, range(batch_size, count, batch_size)))
    wanted = train(owns, rule, (x, y), batches, weights, smoothing)
    if max(wanted["loss"]) > DIVERGED:
        return
    with chosen(source):
        history = model.fit(
            x, y, epochs, batch_size, (x, y), optimizer=optimizer, shuffle=shuffle, seed=7, class_weight=weights,
            label_smoothing=smoothing, verbose=False, validation_batch_size=5, failure_file=None,
        )  # fmt: skip
        probabilities = model.predict(x)
    loss, accuracy, right = evaluate(owns, x, y)
    near = {"rtol": ALLOWED_IN_TRAINING[source.dtype], "atol": ALLOWED_IN_TRAINING[source.dtype]}
    inner_owns = [inner for own in owns for inner in own.all()]
    for layer, own in zip(walked(model.body), inner_owns, strict=True):
        for name, value in own.values.items():
            np.testing.assert_allclose(getattr(layer, name), value, **near)
        if isinstance(layer, layers.BatchNorm):
            np.testing.assert_allclose((layer.moving_mean, layer.moving_var), own.moving, **near)
    np.testing.assert_allclose(history["loss"], wanted["loss"], **near)
    np.testing.assert_allclose(history["val_loss"][-1], loss, **near)
    np.testing.assert_allclose(probabilities, right, **near)
    ties = np.sort(right, axis=1)
    if classes == 1 or (ties[:, -1] - ties[:, -2] > 10 * near["rtol"]).all():
        assert history["val_accuracy"][-1] == accuracy


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=35)
@given(data=st.data())
def test_random_trainings(dtype, data):
    check_fit(Drawn(data, dtype))


@pytest.mark.long
@pytest.mark.parametrize(("check", "count"), [(check_network, NETWORKS), (check_fit, TRAININGS)])
def test_many(check, count, capsys):
    start = time.monotonic()
    for seed in range(count):
        source = Seeded(seed, ("float32", "float64")[seed % 2])
        try:
            check(source)
        except Exception as error:
            raise AssertionError(f"{check.__name__}(Seeded({seed}, {source.dtype!r}))") from error
    with capsys.disabled():
        print(f"\n{check.__name__}: {count:,} in {(time.monotonic() - start) / 60:.1f} minutes")
