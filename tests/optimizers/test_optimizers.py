"""Optimizers: PyTorch's arithmetic, written out here number by number, and what goes into and out of files."""

import json
import math

import numpy as np
import pytest

import fastcnn
from fastcnn import FileFormatError, Sequential, optimizers, schedules
from fastcnn.layers import FullyConnect, Layer, Relu, Softmax
from fastcnn.optimizers import SGD, Adam, AdamW, Momentum, Nesterov, RMSProp
from tests.helpers.models import small
from tests.helpers.processes import run_python
from tests.helpers.switches import BACKENDS

RULES = (SGD, Momentum, Nesterov, RMSProp, Adam, AdamW)
MANY = 40  # images in a batch of the hand-written steps
NUMBERS = ("learning_rate", "weight_decay", "clip_norm", "clip_value")


def textbook(rule, p, gradients, rates, decay=0.0, **constants):
    """One parameter, a Python float, after a step for each of `gradients`: as torch.optim's documentation has it."""
    usual = {"momentum": 0.9, "rho": 0.99, "betas": (0.9, 0.999), "epsilon": 1e-8}
    momentum, rho, betas, epsilon = (usual | constants).values()
    v = m = s = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        if rule is AdamW:
            p *= 1 - rate * decay
        else:
            g += decay * p
        if rule is SGD:
            p -= rate * g
        elif rule in (Momentum, Nesterov):
            v = momentum * v + g
            p -= rate * (g + momentum * v if rule is Nesterov else v)
        elif rule is RMSProp:
            s = rho * s + (1 - rho) * g * g
            p -= rate * g / (math.sqrt(s) + epsilon)
        else:
            m = betas[0] * m + (1 - betas[0]) * g
            s = betas[1] * s + (1 - betas[1]) * g * g
            p -= rate * (m / (1 - betas[0] ** t)) / (math.sqrt(s / (1 - betas[1] ** t)) + epsilon)
    return p


def clip(gradients, norm=None, value=None):
    """Each step's gradients, one for each number of the model, as torch.nn.utils clips them: by value, then by norm."""
    if value is not None:
        gradients = [[max(-value, min(value, g)) for g in step] for step in gradients]
    if norm is not None:
        lengths = [math.sqrt(math.fsum(g * g for g in step)) for step in gradients]
        gradients = [
            [g * min(1.0, norm / length) for g in step] for step, length in zip(gradients, lengths, strict=True)
        ]
    return gradients


def two_layers(dtype="float64"):
    """Two layers with parameters, one without between them: 3 * 4 + 4 + 4 * 2 + 2 = 26 numbers."""
    np.random.seed(0)
    first = FullyConnect((5, 3), 4, initializer="he", dtype=dtype)
    return [first, Relu((5, 4), dtype=dtype), FullyConnect((5, 4), 2, initializer="he", dtype=dtype)]


def numbers_of(layers, what="parameters"):
    """All parameters, or gradients, in one row."""
    return np.concatenate([array.ravel() for layer in layers for array in getattr(layer, what)().values()])


def plant(layers, row):
    """Make `row` the layers' gradients."""
    start = 0
    for layer in layers:
        for name, attribute in layer.gradient_names.items():
            shape = getattr(layer, name).shape
            setattr(layer, attribute, row[start : start + math.prod(shape)].reshape(shape))
            start += math.prod(shape)


OPTIONS = [{}, {"weight_decay": 0.1}, {"clip_norm": 0.8}, {"clip_value": 0.3}]
OPTIONS += [{"weight_decay": 0.1, "clip_norm": 0.8, "clip_value": 0.3}]


@pytest.mark.parametrize("backend_name", [*BACKENDS, "check"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_pytorchs(rule, options, backend_name, rng):
    """Five steps; gradients are sums over a batch, and rates, clipping and decay are those of the mean."""
    layers, rates = two_layers(), [0.1, 0.05, 0.2, 0.0, 0.1]
    means = rng.standard_normal((5, 26)) * np.array([1, 0.01, 3, 1, 1])[:, None]
    before = numbers_of(layers)
    optimizer = rule(layers, lambda done: rates[round(done * 5)], **{"weight_decay": 0.0} | options)
    with fastcnn.use_backend(backend_name):
        for i, mean in enumerate(means):
            plant(layers, mean * MANY)
            optimizer.step(MANY, i / 5)
            assert not numbers_of(layers, "gradients").any()
    clipped = clip(means.tolist(), options.get("clip_norm"), options.get("clip_value"))
    if set(options) & {"clip_norm", "clip_value"}:
        changed = [a != b for a, b in zip(clipped, means.tolist(), strict=True)]
        assert any(changed) and not all(changed)  # otherwise the limit tests nothing
    decay = options.get("weight_decay", 0.0)
    wanted = [textbook(rule, p, gs, rates, decay) for p, gs in zip(before, zip(*clipped, strict=True), strict=True)]
    np.testing.assert_allclose(numbers_of(layers), wanted, rtol=1e-11, atol=1e-13)
    assert optimizer.steps == 5


@pytest.mark.parametrize(
    ("rule", "own", "textbooks"),
    [
        (Momentum, {"momentum": 0.5}, {"momentum": 0.5}),
        (Nesterov, {"momentum": 0.0}, {"momentum": 0.0}),
        (RMSProp, {"rho": 0.5, "epsilon": 0.1}, {"rho": 0.5, "epsilon": 0.1}),
        (Adam, {"beta1": 0.5, "beta2": 0.7, "epsilon": 0.1}, {"betas": (0.5, 0.7), "epsilon": 0.1}),
        (AdamW, {"beta1": 0.0, "beta2": 0.0}, {"betas": (0.0, 0.0), "decay": 0.01}),
    ],
)
def test_arguments_of_the_rules(rule, own, textbooks, backend, rng):
    """AdamW's decay is 0.01 where nobody says otherwise, as PyTorch's."""
    layers, gradients = two_layers(), rng.standard_normal((3, 26))
    before, optimizer = numbers_of(layers), rule(layers, 0.1, **own)
    for gradient in gradients:
        plant(layers, gradient)
        optimizer.step()
    wanted = [textbook(rule, p, gs, [0.1] * 3, **textbooks) for p, gs in zip(before, gradients.T, strict=True)]
    np.testing.assert_allclose(numbers_of(layers), wanted, rtol=1e-11, atol=1e-13)
    assert own.items() <= optimizer.config().items() and f"{next(iter(own))}={own[next(iter(own))]}" in repr(optimizer)


def test_default_rates():
    rates = {rule.__name__: rule(two_layers()).learning_rate for rule in RULES}
    assert rates == {"SGD": 0.1, "Momentum": 0.01, "Nesterov": 0.01, "RMSProp": 1e-3, "Adam": 1e-3, "AdamW": 1e-3}


def test_a_rate_assigned_between_two_steps_is_that_of_the_next():
    layers = two_layers()
    before, optimizer = numbers_of(layers), SGD(layers, 1.0)
    optimizer.learning_rate = 0.5
    plant(layers, np.ones(26))
    optimizer.step()
    np.testing.assert_allclose(numbers_of(layers), before - 0.5, rtol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_fit_steps_as_one_does_by_hand(rule, backend, data):
    """A model or a list of its layers, an optimizer or its name: the same steps."""
    x, y = data[0][:20], data[1][:20]
    fitted, named, stepped = (small(dtype="float64") for _ in range(3))
    fitted.fit(x, y, 2, 8, optimizer=rule(fitted, schedules.cosine(0.01)), shuffle=False, verbose=False)
    rate = schedules.cosine(0.01)
    named.fit(x, y, 2, 8, optimizer=rule.__name__.upper(), learning_rate=rate, shuffle=False, verbose=False)
    optimizer, loss = rule(stepped.layers, schedules.cosine(0.01)), stepped.loss_layer
    for epoch in range(2):
        for start in (0, 8, 16):
            batch = slice(start, start + 8)
            loss.cal_loss(stepped.logits(x[batch], phase="train"), y[batch])
            stepped.gradient(loss.gradient())
            optimizer.step(len(x[batch]), (epoch + start / 20) / 2)
    for other in (named, stepped):
        np.testing.assert_array_equal(numbers_of(fitted.layers), numbers_of(other.layers))
    assert (numbers_of(fitted.layers) != numbers_of(small(dtype="float64").layers)).any()


def test_gradients_that_nobody_stepped_by_are_no_part_of_a_training(data):
    """Those of a batch whose loss was NaN, for one: they would make every parameter NaN in the first step."""
    clean, stale = small(), small()
    stale.layers[0].w_gradient = np.full((5, 5, 1, 4), np.nan)
    for model in (clean, stale):
        model.fit(*data, 1, 100, seed=0, verbose=False)
    np.testing.assert_array_equal(numbers_of(clean.layers), numbers_of(stale.layers))


ON_THREADS = """
import numpy as np
import fastcnn
from fastcnn.layers import FullyConnect
from fastcnn.optimizers import OPTIMIZERS

gradient = np.random.default_rng(0).standard_normal((900, 200))
for name, rule in OPTIMIZERS.items():
    found = []
    for count in (1, 2, 3):
        layer = FullyConnect((5, 900), 200, rng=0, dtype="float64")
        optimizer = rule([layer], 0.1, weight_decay=0.01, clip_norm=0.3)
        fastcnn.set_num_threads(count)
        for step in (1, 2, 3):
            layer.w_gradient, layer.b_gradient = gradient * step, gradient[0]
            optimizer.step(7)
        found.append(layer.weights.tobytes() + layer.bias.tobytes())
    assert found[0] == found[1] == found[2], name
"""


def test_equal_on_any_number_of_threads():
    """To the last bit, with a norm over a layer of more numbers than BLAS sums on one thread."""
    done = run_python("-c", ON_THREADS, FASTCNN_NUM_THREADS="3")
    assert done.returncode == 0, done.stderr


# What an optimizer keeps


def train(model, optimizer, data, steps, rng):
    for _ in range(steps):
        index = rng.integers(0, len(data[0]), 16)
        model.loss_layer.cal_loss(model.logits(data[0][index], "train"), data[1][index])
        model.gradient(model.loss_layer.gradient())
        optimizer.step(16)


@pytest.mark.parametrize("ending", [None, "npz", "safetensors"])
@pytest.mark.parametrize("rule", RULES)
def test_the_state_continues_to_the_last_bit(rule, ending, tmp_path, data):
    if ending == "safetensors":
        pytest.importorskip("safetensors")
    model = small()
    optimizer = rule(model, 0.01)
    train(model, optimizer, data, 3, np.random.default_rng(1))
    path = tmp_path / f"model.{ending}"
    if ending is None:
        other, state = small(), optimizer.state_dict()
        for a, b in zip(model.layers, other.layers, strict=True):
            for name, array in a.parameters().items():
                setattr(b, name, array)
        continued = rule(other, 0.01)
        continued.load_state_dict(state)
        for slots in state["kept"].values():  # copies on both ways
            for array in slots.values():
                array.fill(np.nan)
    else:
        model.save(path, optimizer=optimizer)
        other = Sequential.load(path)
        continued = rule(other, 0.01)
        continued.load(path)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert continued.steps == 3
    for each, rule_of in ((model, optimizer), (other, continued)):
        train(each, rule_of, data, 3, np.random.default_rng(2))
    np.testing.assert_array_equal(numbers_of(model.layers), numbers_of(other.layers))
    fresh = rule(other, 0.01)
    assert fresh.steps == 0 and fresh.kept == {}


def test_the_file_of_a_fresh_optimizer(tmp_path):
    model = small()
    model.save(tmp_path / "m.npz", optimizer=Adam(model))
    optimizer = Adam(model)
    optimizer.load(tmp_path / "m.npz")
    assert optimizer.steps == 0 and optimizer.kept == {}


def rewrite(path, change):
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays.pop("architecture")))
    change(header, arrays)
    np.savez(path, architecture=np.array(json.dumps(header)), **arrays)


DAMAGES = {
    "no state": lambda header, _: header.pop("optimizer"),
    "a list for a state": lambda header, _: header.update(optimizer=[]),
    "no class": lambda header, _: header["optimizer"].pop("class"),
    "no steps": lambda header, _: header["optimizer"].pop("steps"),
    "steps below 0": lambda header, _: header["optimizer"].update(steps=-1),
    "text for steps": lambda header, _: header["optimizer"].update(steps="3"),
    "half of the slots": lambda _, arrays: arrays.pop("optimizer.0.weights.mean"),
    "a parameter less": lambda _, arrays: [arrays.pop(f"optimizer.0.weights.{slot}") for slot in ("mean", "square")],
    "no arrays": lambda _, arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("optimizer.")],
    "arrays before the first step": lambda header, _: header["optimizer"].update(steps=0),
    "a slot more": lambda _, arrays: arrays.update({"optimizer.0.weights.wings": np.zeros(2)}),
    "a parameter more": lambda _, arrays: arrays.update({"optimizer.9.weights.mean": np.zeros(2)}),
    "a name without a dot": lambda _, arrays: arrays.update({"optimizer.mean": np.zeros(2)}),
    "another shape": lambda _, arrays: arrays.update({"optimizer.3.bias.mean": np.zeros(11)}),
    "text for an array": lambda _, arrays: arrays.update({"optimizer.3.bias.mean": np.array(["a"] * 10)}),
    "NaN": lambda _, arrays: arrays["optimizer.3.bias.mean"].fill(np.nan),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_hold_no_such_state(damage, tmp_path, data):
    """One error, and nothing is changed."""
    path, model = tmp_path / "m.npz", small()
    optimizer = Adam(model)
    train(model, optimizer, data, 1, np.random.default_rng(0))
    model.save(path, optimizer=optimizer)
    rewrite(path, DAMAGES[damage])
    other = Adam(model)
    train(model, other, data, 2, np.random.default_rng(0))
    before = other.state_dict()
    with pytest.raises(FileFormatError, match=r"m\.npz: "):
        other.load(path)
    np.testing.assert_equal(other.state_dict(), before)


def test_a_square_that_is_infinite_is_kept(tmp_path):
    """A gradient of 1e25 in float32: its parameter stays as it is from then on, here and after a file."""
    model = small()
    optimizer = Adam(model)
    model.layers[0].w_gradient = np.full((5, 5, 1, 4), 1e25)
    with np.errstate(over="ignore"):
        optimizer.step()
    assert np.isinf(optimizer.kept["0.weights"]["square"]).all() and np.isfinite(model.layers[0].weights).all()
    model.save(tmp_path / "m.npz", optimizer=optimizer)
    other = Adam(model)
    other.load(tmp_path / "m.npz")
    np.testing.assert_equal(other.state_dict(), optimizer.state_dict())


def test_the_state_of_another_rule_or_model(tmp_path, data):
    path, model = tmp_path / "m.npz", small()
    optimizer = Adam(model)
    train(model, optimizer, data, 1, np.random.default_rng(0))
    model.save(path, optimizer=optimizer)
    with pytest.raises(FileFormatError, match=r"m.npz: it holds the state of Adam, and not of AdamW$"):
        AdamW(model).load(path)
    with pytest.raises(FileFormatError, match=r"m.npz: Adam: `3.weights.mean` must have the shape \(144, 7\). Rec"):
        Adam(small(classes=7)).load(path)
    longer = Sequential([*small().body, FullyConnect((8, 10), 3), Softmax((8, 3))])
    with pytest.raises(FileFormatError, match=r"m.npz: Adam: `state` must hold .*4.weights"):
        Adam(longer).load(path)
    model.save(path)
    with pytest.raises(FileFormatError, match=r"m.npz: it holds no optimizer's state$"):
        optimizer.load(path)
    with pytest.raises(FileNotFoundError):
        optimizer.load(tmp_path / "none.npz")


@pytest.mark.parametrize("state", [None, {}, {"steps": 1}, {"steps": 1, "kept": 5}, {"steps": 1, "kept": {"0": None}}])
def test_what_is_no_state(state):
    with pytest.raises(ValueError, match="Adam: `state` must "):
        Adam(two_layers()).load_state_dict(state)


# Layers of one's own


class Scale:
    """No base class, one number to learn, and no way to say it but `backward`."""

    def __init__(self):
        self.factor = 1.0

    def forward(self, x):
        self.x = x
        return x * self.factor

    def gradient(self, eta):
        self.change = float((self.x * eta).sum())
        return eta * self.factor

    def backward(self, alpha, weight_decay):
        self.factor -= weight_decay * self.factor
        self.factor -= alpha * self.change


class Named(Scale):
    """The same with its number in an array, and names for it and its gradient."""

    def __init__(self):
        self.factor, self.change = np.ones(1), np.zeros(1)

    def gradient(self, eta):
        self.change += (self.x * eta).sum()
        return eta * self.factor

    def parameters(self):
        return {"factor": self.factor, "frozen": np.ones(2)}

    def gradients(self):
        return {"factor": self.change}


def test_a_layer_that_only_has_backward_is_trained_by_gradient_descent():
    scale = Scale()
    optimizer = SGD([scale], 0.5, weight_decay=0.1)
    scale.change = 8.0
    optimizer.step(4)
    assert scale.factor == pytest.approx(1 - 0.5 * 0.1 - 0.5 * 8 / 4, rel=1e-15)
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.steps == 1


@pytest.mark.parametrize(
    ("rule", "options"), [(rule, {}) for rule in RULES[1:]] + [(SGD, {"clip_norm": 1}), (SGD, {"clip_value": 1})]
)
def test_a_layer_that_only_has_backward_is_trained_by_nothing_else(rule, options):
    message = rf"{rule.__name__}: the layer 1, a Scale, has a `backward` of its own and no gradients\(\): give it"
    with pytest.raises(TypeError, match=message):
        rule([FullyConnect((1, 2), 2), Scale()], **options)


@pytest.mark.parametrize("options", [{}, {"clip_value": 0.5}], ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_a_layer_with_names_for_its_gradients(rule, options, backend):
    named = Named()
    optimizer = rule([named], 0.1, weight_decay=0.1, **options)
    for _ in range(3):
        named.change[...] = 8.0
        optimizer.step(4)
        clears_itself = rule is SGD and not options  # SGD calls its `backward`, which leaves the gradient alone
        assert named.change == (8.0 if clears_itself else 0)
    assert named.factor == pytest.approx(
        textbook(rule, 1.0, [min(2.0, options.get("clip_value", 2.0))] * 3, [0.1] * 3, 0.1)
    )
    assert set(optimizer.kept) == ({"0.factor"} if rule.slots else set())
    other = rule([named], 0.1)
    other.load_state_dict(optimizer.state_dict())
    np.testing.assert_equal(other.kept, optimizer.kept)


def test_a_layer_of_ones_own_in_a_model(data):
    for optimizer in ("sgd", "adam"):
        named = Named()
        model = Sequential([named, *small().layers])
        history = model.fit(*data, 3, 20, optimizer=optimizer, seed=0, verbose=False)
        assert named.factor != 1 and history["loss"][-1] < history["loss"][0]


class WithoutBackward:
    """The same, and no `backward`."""

    __init__, forward, gradient = Named.__init__, Named.forward, Named.gradient
    parameters, gradients = Named.parameters, Named.gradients


class Gain(Layer):
    """A layer as the guide has it, with a parameter and no `backward`."""

    gradient_names = {"factor": "change"}  # noqa: RUF012

    def __init__(self, shape):
        super().__init__(shape)
        self.factor, self.change = np.ones(1, np.float32), np.zeros(1, np.float32)

    def forward(self, x):
        self.x = x = self.take_x(x)
        return x * self.factor

    def parameter_gradient(self, eta):
        self.change = self.change + (self.x * eta).sum()

    def input_gradient(self, eta):
        return eta * self.factor

    def clear_gradients(self):
        self.change = np.zeros(1, np.float32)


@pytest.mark.parametrize("make", [lambda shape: WithoutBackward(), Gain], ids=["foreign", "Layer"])
@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_layer_with_gradients_and_no_backward_is_trained_wherever_it_stands(data, make, place, optimizer):
    layers = small().layers
    layer = make(layers[place].input_shape)
    assert not hasattr(layer, "backward")
    Sequential([*layers[:place], layer, *layers[place:]]).fit(*data, 1, 20, optimizer=optimizer, verbose=False)
    assert layer.factor != 1


class Turned(Layer):
    """A layer whose arrays no kernel takes: columns first, and in half precision."""

    gradient_names = {"a": "a_gradient", "b": "b_gradient"}  # noqa: RUF012

    def __init__(self):
        super().__init__((1, 2))
        self.a, self.b = np.ones((4, 3)).T, np.ones(2, np.float16)
        self.a_gradient, self.b_gradient = np.ones((3, 4), np.float32), np.ones(2, np.float16)

    def clear_gradients(self):
        pass


@pytest.mark.parametrize("rule", RULES)
def test_arrays_that_no_kernel_takes_are_changed_as_well(rule, backend):
    layer = Turned()
    optimizer = rule([layer], 0.1, weight_decay=0)
    for _ in range(2):
        optimizer.step()
    np.testing.assert_allclose(layer.a, textbook(rule, 1.0, [1.0] * 2, [0.1] * 2), rtol=1e-6)
    np.testing.assert_allclose(layer.b, textbook(rule, 1.0, [1.0] * 2, [0.1] * 2), rtol=1e-2)


# Bad arguments


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [-1, np.nan, np.inf, "a", True, [1]], ids=repr)
@pytest.mark.parametrize("name", NUMBERS)
def test_bad_numbers(rule, name, value):
    with pytest.raises(ValueError) as caught:
        rule(two_layers(), **{name: value})
    start = f"{rule.__name__}: `{name}` must be a finite number of at least 0. Received {name}={value!r}"
    assert str(caught.value) == start


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (SGD, {"clip_norm": 0}, "SGD: `clip_norm` must be a number above 0. Received clip_norm=0"),
        (Adam, {"clip_value": 0.0}, "Adam: `clip_value` must be a number above 0. Received clip_value=0.0"),
        (Momentum, {"momentum": 1}, "Momentum: `momentum` must be a number of at least 0 and below 1. Received mom"),
        (Nesterov, {"momentum": -0.1}, "Nesterov: `momentum` must be a finite number of at least 0. Received"),
        (RMSProp, {"rho": 1.5}, "RMSProp: `rho` must be a number of at least 0 and below 1. Received rho=1.5"),
        (RMSProp, {"epsilon": 0}, "RMSProp: `epsilon` must be a number above 0. Received epsilon=0"),
        (Adam, {"beta1": 1.0}, "Adam: `beta1` must be a number of at least 0 and below 1. Received beta1=1.0"),
        (AdamW, {"beta2": None}, "AdamW: `beta2` must be a finite number of at least 0. Received beta2=None"),
        (AdamW, {"epsilon": 0}, "AdamW: `epsilon` must be a number above 0. Received epsilon=0"),
        (AdamW, {"weight_decay": None}, "AdamW: `weight_decay` must be a finite number of at least 0. Received"),
    ],
)
def test_bad_arguments(rule, options, message):
    with pytest.raises(ValueError, match=message):
        rule(two_layers(), **options)


@pytest.mark.parametrize("layers", [None, [], [Relu((1, 2))], "abc", 5, FullyConnect((1, 2), 2)], ids=repr)
def test_nothing_to_train(layers):
    with pytest.raises(ValueError, match=r"SGD: `layers` must be a model or layers of which one has parameters. Rec"):
        SGD(layers)


def test_one_layer_twice():
    """It would be stepped twice, and decay twice."""
    layer = FullyConnect((1, 2), 2)
    with pytest.raises(ValueError, match=r"SGD: `layers` must hold each layer once. Received .*FullyConnect"):
        SGD([layer, layer])


@pytest.mark.parametrize("size", [0, -1, 1.5, None])
def test_bad_batch_sizes(size):
    layers = two_layers()
    optimizer, before = Momentum(layers), numbers_of(layers)
    plant(layers, np.ones(26))
    with pytest.raises(
        ValueError, match=rf"Momentum: `batch_size` must be an integer of at least 1. Received .*={size}"
    ):
        optimizer.step(size)
    assert (numbers_of(layers) == before).all() and optimizer.steps == 0 and numbers_of(layers, "gradients").all()


def test_a_schedule_that_returns_no_rate():
    layers = two_layers()
    optimizer = Adam(layers, lambda done: -1)
    with pytest.raises(ValueError, match="Adam: `learning_rate` must be a finite number of at least 0"):
        optimizer.step()
    assert optimizer.steps == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"optimizer": "best"},
            ValueError,
            "fit: `optimizer` must be one of sgd, momentum, nesterov, rmsprop, adam, adamw, or an Optimizer. Received "
            "optimizer='best'",
        ),
        ({"optimizer": None}, ValueError, "Received optimizer=None"),
        ({"optimizer": Adam}, ValueError, "Received optimizer=<class 'fastcnn.optimizers.rules.Adam'>"),
        ({"optimizer": SGD(two_layers())}, ValueError, "fit: `optimizer` must be made for this model. Received opt"),
        ({"optimizer": "adam", "weight_decay": -1}, ValueError, "Adam: `weight_decay` must be a finite number of at"),
    ],
)
def test_bad_optimizers_of_fit(data, options, error, message):
    with pytest.raises(error, match=message):
        small().fit(*data, verbose=False, **options)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
def test_an_optimizer_has_its_own_rate(data, name):
    model = small()
    message = f"fit: `{name}` must be left to the optimizer, which has its own. Received {name}=0.1"
    with pytest.raises(ValueError, match=message):
        model.fit(*data, optimizer=Adam(model), verbose=False, **{name: 0.1})


def test_what_an_optimizer_is_made_with_stays():
    """`step` trains the layers of the constructor: others that are assigned would be left as they are."""
    model, other = small(), small()
    optimizer = Adam(model)
    optimizer.layers = model
    for layers in (other, [model.layers[0]]):
        with pytest.raises(ValueError, match="Adam: `layers` stay those of the constructor: make a new optimizer"):
            optimizer.layers = layers
    with pytest.raises(ValueError, match=r"Adam: `steps` must be an integer of at least 0. Received steps=2.5"):
        optimizer.steps = 2.5
    with pytest.raises(TypeError, match="Adam: `kept` must be a dict of what is kept for each parameter"):
        optimizer.kept = None
    assert optimizer.steps == 0 and optimizer.layers == model.layers


@pytest.mark.parametrize(("name", "value"), [("lr", 1e-9), ("momentum", 0.9), ("learning_rates", 0.1)])
def test_a_name_that_nothing_reads(name, value):
    """Such as another framework's: the training would go on at the old rate."""
    message = rf"SGD: nothing reads an attribute `{name}`. What may be assigned: .*clip_norm, .*learning_rate, steps"
    with pytest.raises(AttributeError, match=message):
        setattr(optimizers.SGD(small()), name, value)


def test_an_optimizer_of_a_script_has_attributes_of_its_own():
    class Own(optimizers.SGD):
        def __init__(self, layers):
            super().__init__(layers)
            self.kept, self.note = {}, 3

    optimizer = Own(small())
    optimizer.step()
    assert optimizer.note == 3 and optimizer.kept == {}


def test_kept_arrays_of_another_shape_reach_no_kernel():
    """Kernels check no index."""
    model = small()
    optimizer = Momentum(model)
    model.train_on_batch(np.zeros((2, *model.input_shape[1:])), [0, 1])
    optimizer.step()
    optimizer.kept["0.weights"]["velocity"] = np.zeros((7, 3), np.float32)
    with pytest.raises(ValueError, match="operands could not be broadcast"):
        optimizer.step()


def test_names():
    assert {name: rule.__name__.lower() for name, rule in optimizers.OPTIMIZERS.items()} == {
        name: name for name in ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw")
    }
    assert isinstance(optimizers.make("Adam", two_layers(), learning_rate=0.5), Adam)


@pytest.mark.parametrize("done", ["a", None, np.ones(3), float("nan"), {}, -0.1, 1.01, 30, 2**62])
def test_a_share_that_is_none(done):
    """Such as the number of an epoch: a schedule's formula would give some rate."""
    model = small()
    optimizer = optimizers.SGD(model, schedules.cosine(0.1))
    with pytest.raises(ValueError, match=r"SGD: `done` must be a number from 0 to 1. Received done="):
        optimizer.step(2, done)
    assert optimizer.steps == 0


@pytest.mark.parametrize("layers", [np.array(None), np.broadcast_to(0, 2**52)])
def test_an_array_is_no_list_of_layers(layers):
    with pytest.raises(ValueError, match="SGD: `layers` must be a model or layers of which one has parameters"):
        optimizers.SGD(layers)
