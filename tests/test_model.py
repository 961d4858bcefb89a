"""Sequential: training, evaluation, prediction, summary. Its files: test_storage.py."""

import itertools
import os

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential, training, zoo
from fastcnn.layers import Conv2D, Layer, Relu, Softmax
from tests.helpers.models import small


def test_fit_learns_and_reports(backend, digits, capsys):
    model = zoo.lenet((32, 28, 28, 1), rng=0)
    history = model.fit(
        digits.train_images[:1000],
        digits.train_labels[:1000],
        epochs=3,
        batch_size=48,
        validation_data=(digits.test_images, digits.test_labels),
        learning_rate=0.2,
        seed=0,
    )
    assert {len(values) for values in history.values()} == {3}
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "seconds", "images_per_second"}
    assert history["val_accuracy"][-1] > 0.85 and history["loss"][0] > history["loss"][-1]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[2].startswith("epoch 3/3  loss ") and "val_accuracy" in lines[2]
    evaluation = model.evaluate(digits.test_images, digits.test_labels)
    assert evaluation.accuracy == history["val_accuracy"][-1]


def test_fit_is_the_sum_of_its_steps(backend, data):
    """Every image once an epoch, the last smaller batch too, and the learning rate that of the mean loss."""
    x, y = data[0][:22], data[1][:22]
    fitted, stepped = small(dtype="float64"), small(dtype="float64")
    history = fitted.fit(x, y, 2, 8, learning_rate=0.2, weight_decay=0.01, shuffle=False, verbose=False)
    losses = []
    for _ in range(2):
        total = 0
        for start in (0, 8, 16):
            batch = slice(start, start + 8)
            logits = stepped.logits(x[batch])
            total += stepped.layers[-1].cal_loss(logits, y[batch])
            stepped.gradient(stepped.layers[-1].gradient())
            stepped.backward(0.2 / len(logits), 0.2 * 0.01)
        losses.append(total / 22)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-12)
    for a, b in zip(fitted.layers, stepped.layers, strict=True):
        for name, array in a.parameters().items():
            np.testing.assert_allclose(array, getattr(b, name), rtol=1e-12)


def test_shuffling_follows_the_seed(data):
    runs = []
    for seed in (1, 1, 2):
        model = small()
        model.fit(*data, 2, 16, seed=seed, verbose=False)
        runs.append(model.layers[0].weights.copy())
    assert (runs[0] == runs[1]).all() and (runs[0] != runs[2]).any()


def test_learning_rate_may_be_a_schedule(data):
    rates = []

    def schedule(done):
        rates.append(done)
        return 0.1

    small().fit(*data, 2, 50, learning_rate=schedule, verbose=False)
    np.testing.assert_allclose(rates, np.arange(8) / 8)
    assert training.cosine(0.2)(0) == 0.2 and abs(training.cosine(0.2)(0.5) - 0.1) < 1e-12


@pytest.mark.parametrize("make", [training.cosine, training.constant])
@pytest.mark.parametrize("rate", ["a", -1, np.nan, None])
def test_bad_rates_of_a_schedule(make, rate):
    """Said where the schedule is made."""
    with pytest.raises(
        ValueError, match=f"{make.__name__}: `learning_rate` must be a finite number of at least 0. Rec"
    ):
        make(rate)


def test_flags_may_be_numpy_booleans_and_bits(data, capsys):
    for shuffle, verbose in ((np.bool_(True), np.bool_(False)), (1, 0), (np.int64(0), False)):
        small().fit(*data, shuffle=shuffle, verbose=verbose)
    assert capsys.readouterr().out == ""


def test_the_first_layers_input_gradient_is_not_computed(monkeypatch, data):
    called = []

    def watch(layer):
        original = layer.input_gradient
        monkeypatch.setattr(layer, "input_gradient", lambda eta: called.append(layer.name) or original(eta))

    model = zoo.lenet((8, 28, 28, 1))
    for layer in model.body:
        watch(layer)
    model.train_on_batch(data[0][:8], data[1][:8])
    assert called == ["FullyConnect", "MaxPooling", "Conv2D", "MaxPooling"]  # which compute the Relus before them


class Scale:
    """A layer as anybody may write one: no base class, a scalar to learn."""

    def __init__(self):
        self.factor, self.calls = 1.0, 0

    def forward(self, x):
        self.x = np.asarray(x, np.float32)
        return self.x * self.factor

    def gradient(self, eta):
        self.calls += 1
        self.change = float((self.x * eta).sum())
        return eta * self.factor

    def backward(self, alpha, weight_decay):
        self.factor -= alpha * self.change


def test_layers_of_ones_own(data):
    scale = Scale()
    model = Sequential([scale, *small().layers])
    history = model.fit(*data, 4, 20, verbose=False)
    assert scale.calls == 40 and scale.factor != 1
    assert history["loss"][-1] < history["loss"][0]
    with pytest.raises(TypeError, match=r"layers\[0\], a Scale, has no config\(\) and parameters\(\)"):
        model.save("never.npz")
    assert not os.path.exists("never.npz")


def test_predict_and_forward_return_probabilities(backend, data):
    model = small()
    probabilities = model.predict(data[0], batch_size=37)
    assert probabilities.shape == (200, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.forward(data[0]), probabilities, rtol=1e-4, atol=1e-7)
    headless = Sequential(model.body)
    np.testing.assert_array_equal(headless.forward(data[0]), model.logits(data[0]))
    with pytest.raises(ValueError, match=r"need a Softmax as the last layer. The last layer is FullyConnect"):
        headless.fit(*data)


def test_evaluate_counts_the_last_batch(backend, data):
    model = small()
    whole, parts = model.evaluate(*data, batch_size=200), model.evaluate(*data, batch_size=37)
    assert whole.accuracy == parts.accuracy and abs(whole.loss - parts.loss) < 1e-5


def test_summary(capsys):
    zoo.lenet((64, 28, 28, 1)).summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "output", "shape", "parameters", "multiply-adds"]
    assert lines[3].split() == ["Conv2D", "(batch,", "24,", "24,", "12)", "312", "172,800"]
    assert lines[-1].split() == ["total", "8,938", "438,000"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((0, 28, 28, 1)), "y": []}, ValueError, r"`x` must have the shape \(images, 28, 28, 1\), one"),
        ({"x": np.zeros((200, 28, 28))}, ValueError, r"Received the shape \(200, 28, 28\)"),
        ({"x": np.zeros((200, 28, 28, 3))}, ValueError, r"Received the shape \(200, 28, 28, 3\)"),
        ({"x": np.full((200, 28, 28, 1), np.nan)}, ValueError, r"`x` must be finite. Received x\[0, 0, 0, 0\]=nan"),
        ({"x": np.full((200, 28, 28, 1), "a")}, TypeError, "`x` must hold real numbers"),
        ({"y": np.zeros(199, int)}, ValueError, r"`y` must have the shape \(200,\).*Received the shape \(199,\)"),
        ({"y": np.full(200, 10)}, ValueError, r"`y` must lie in 0 to 9 for 10 classes. Received y\[0\]=10"),
        ({"y": np.zeros(200)}, TypeError, "`y` must hold integers"),
        ({"epochs": 0}, ValueError, "`epochs` must be an integer of at least 1. Received epochs=0"),
        ({"batch_size": 1.5}, ValueError, "`batch_size` must be an integer of at least 1. Received batch_size=1.5"),
        ({"learning_rate": -1}, ValueError, "`learning_rate` must be a finite number of at least 0"),
        ({"learning_rate": lambda done: np.nan}, ValueError, "`learning_rate` must be a finite number"),
        ({"weight_decay": np.inf}, ValueError, "`weight_decay` must be a finite number"),
        ({"seed": -1}, ValueError, "`seed` must be an integer of at least 0"),
        ({"shuffle": "maybe"}, ValueError, "fit: `shuffle` must be True or False. Received shuffle='maybe'"),
        ({"shuffle": 0.0}, ValueError, "fit: `shuffle` must be True or False. Received shuffle=0.0"),
        ({"verbose": "no"}, ValueError, "fit: `verbose` must be True or False. Received verbose='no'"),
        ({"verbose": 2}, ValueError, "fit: `verbose` must be True or False. Received verbose=2"),
        ({"validation_data": np.zeros(3)}, ValueError, r"`validation_data` must be a pair \(x, y\)"),
        ({"validation_data": (np.zeros((1, 2, 2, 1)), [0])}, ValueError, "fit, validation_data: `x` must have"),
    ],
)
def test_bad_arguments_of_fit(data, change, error, message):
    model = small()
    before = model.layers[0].weights.copy()
    with pytest.raises(error, match=message):
        model.fit(**{"x": data[0], "y": data[1], "verbose": False} | change)
    assert (model.layers[0].weights == before).all()


def test_a_loss_that_is_no_longer_finite_stops_the_run(data):
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="a smaller `learning_rate` usually helps"):
        small().fit(data[0] * 255, data[1], 20, learning_rate=1e30, failure_file=None, verbose=False)


def test_a_last_step_that_diverges_is_noticed(data):
    """Its loss, computed before the update, was still finite."""
    model = small()
    message = (
        r"fit: the last step of epoch 1 made a parameter NaN or infinite: `weights` of `layers\[0\]`, a Conv2D: "
        r"weights\[0, 0, 0, 0\] is -?inf \(100 of 100 are NaN or infinite\); a smaller `learning_rate` usually helps"
    )
    with pytest.raises(FloatingPointError, match=message):
        model.fit(1e9 * data[0][:8], data[1][:8], 1, 8, learning_rate=3e38, failure_file=None, verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": "a"}, "train_on_batch: `learning_rate` must be a finite number of at least 0. Received"),
        ({"learning_rate": -1}, "`learning_rate` must be"),
        ({"weight_decay": -1}, "train_on_batch: `weight_decay` must be a finite number of at least 0. Received"),
    ],
)
def test_bad_arguments_of_one_step(data, options, message):
    with pytest.raises(ValueError, match=message):
        small().train_on_batch(data[0], data[1], **options)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.zeros((0, 28, 28, 1)), [], ValueError, r"train_on_batch: `x` must have the shape .*, one image at least"),
        (np.full((2, 28, 28, 1), np.nan), [0, 1], ValueError, r"train_on_batch: `x` must be finite. Received x\[0"),
        (np.full((2, 28, 28, 1), np.inf), [0, 1], ValueError, r"train_on_batch: `x` must be finite. Received x\[0"),
        (np.zeros((2, 28, 28, 1)), [0, 10], ValueError, "train_on_batch: `y` must lie in 0 to 9"),
        (
            np.zeros((2, 28, 28, 1)),
            [0.0, 1.0],
            TypeError,
            "`y` must hold integers: a label is the number of a class. R",
        ),
        (np.zeros((2, 28, 28, 1)), np.eye(2, 10, dtype=int), ValueError, r"y.argmax\(axis=1\) turns one-hot rows into"),
        (None, [0, 1], TypeError, "train_on_batch: `x` must hold real numbers. Received x=None"),
        (np.zeros((2, 28, 28, 1)), None, TypeError, "train_on_batch: `y` must hold real numbers. Received y=None"),
    ],
)
def test_bad_data_of_one_step(x, y, error, message):
    """What `fit` refuses; nothing has been trained then."""
    model = small()
    before = model.layers[0].weights.copy()
    with pytest.raises(error, match=message):
        model.train_on_batch(x, y)
    assert (model.layers[0].weights == before).all()


def test_data_without_images_for_a_model_that_does_not_say_its_shape():
    with pytest.raises(ValueError, match=r"predict: `x` must have the shape \(images,\), one image at least"):
        Sequential([Scale()]).predict(5.0)


def test_bad_lists_of_layers():
    relu = Relu((1, 4))
    with pytest.raises(ValueError, match="at least one layer"):
        Sequential([])
    with pytest.raises(TypeError, match=r"`layers` must be a list of layers. Received layers=5"):
        Sequential(5)
    with pytest.raises(TypeError, match=r"`layers\[1\]` must be a layer. Received layers\[1\]='relu'"):
        Sequential([relu, "relu"])
    with pytest.raises(ValueError, match=r"`layers\[1\]` takes the shape \(batch, 5\), but `layers\[0\]` returns"):
        Sequential([relu, Relu((1, 5))])
    with pytest.raises(ValueError, match=r"`layers\[1\]` takes the shape \(batch, 5, 4\), but .* returns \(batch,\)"):
        Sequential([Relu((1,)), Relu((1, 5, 4))])
    with pytest.raises(ValueError, match=r"`layers\[0\]` is a Softmax, which can only be the last layer of a model"):
        Sequential([Softmax((1, 4)), relu])
    with pytest.raises(
        TypeError, match=r"`layers\[0\]` must be a layer, and not a class: call it .*=<class '.*Conv2D'>"
    ):
        Sequential([Conv2D])
    with pytest.raises(
        ValueError, match=r"`layers\[2\]` must be another object than `layers\[0\]`. Received .*=Relu\("
    ):
        Sequential([relu, Relu((1, 4)), relu])


def test_layers_of_two_dtypes():
    message = r"`layers\[2\]` must be of the dtype of `layers\[1\]`, a Relu of float32. Received .*=Softmax\(.*float64"
    with pytest.raises(ValueError, match=message):
        Sequential([Scale(), Relu((1, 4)), Softmax((1, 4), dtype="float64")])
    Sequential([Scale(), Relu((1, 4), dtype="float64"), Scale(), Softmax((1, 4), dtype="float64")])


class Forgetful(Layer):
    """It lacks super().__init__, and with it its shape and dtype."""

    def __init__(self, shape):
        self.factor = 2

    def forward(self, x):
        return x * self.factor


def test_a_layer_whose_base_was_not_initialised():
    message = (
        r"Sequential: `layers\[0\]` must be a layer whose __init__ calls super\(\).__init__\(shape\). Received layers"
    )
    with pytest.raises(TypeError, match=message):
        Sequential([Forgetful((1, 4)), Softmax((1, 4))])


def test_vgg_small():
    model = zoo.vgg_small((2, 32, 32, 3), 7, rng=0)
    assert model.predict(np.zeros((3, 32, 32, 3), np.uint8)).shape == (3, 7)
    widths = (3, 32, 32, 64, 64, 128, 128)
    convolutions = sum((9 * a + 1) * b for a, b in itertools.pairwise(widths))
    assert sum(layer.parameter_count() for layer in model.layers) == convolutions + (4 * 4 * 128 + 1) * 7


def test_public_names():
    assert set(fastcnn.__all__) == set(dir(fastcnn))
    for name in fastcnn.__all__:
        assert getattr(fastcnn, name) is not None
    with pytest.raises(AttributeError):
        fastcnn.nothing  # noqa: B018
    assert issubclass(fastcnn.BackendMismatch, AssertionError) and Layer in Conv2D.__mro__


class Bias:
    """A layer in the original's style whose `backward` takes no decay."""

    def __init__(self):
        self.value, self.slope = 0.0, 0.0

    def forward(self, x):
        return np.asarray(x, np.float32) + self.value

    def gradient(self, eta):
        self.slope += float(eta.sum())
        return eta

    def backward(self, alpha):
        self.value -= alpha * self.slope
        self.slope = 0.0


def test_a_backward_without_decay(data):
    bias = Bias()
    model = Sequential([bias, *small().layers])
    model.fit(*data, 1, 20, weight_decay=0.1, verbose=False)
    assert bias.value != 0
    before = bias.value
    model.train_on_batch(data[0][:9], data[1][:9])
    assert bias.value != before


@pytest.mark.parametrize("metadata", [..., [1], np.ones(3), "text", 0])
def test_metadata_that_is_no_dict(metadata):
    with pytest.raises(TypeError, match=r"Sequential: `metadata` must be a dict. Received metadata="):
        Sequential(small().layers, metadata)


@pytest.mark.parametrize("method", ["evaluate", "report"])
def test_labels_are_needed(method, data):
    model = small()
    with pytest.raises(TypeError, match=f"{method}: `y` must hold real numbers. Received y=None"):
        getattr(model, method)(data[0], None)


@pytest.mark.parametrize("layers", [np.array(None), np.ones((2, 2))])
def test_an_array_is_no_list_of_layers(layers):
    with pytest.raises(TypeError, match="Sequential: `layers` must be a list of layers"):
        Sequential(layers)


def test_metadata_and_names_that_nothing_reads():
    model = small()
    with pytest.raises(TypeError, match=r"Sequential: `metadata` must be a dict. Received metadata=5"):
        model.metadata = 5
    model.metadata = {"class_names": ["a", "b"]}
    message = "Sequential: nothing reads an attribute `learning_rate`. What may be assigned: layers, metadata"
    with pytest.warns(UserWarning, match=message):
        model.learning_rate = 0.1
    assert model.metadata == {"class_names": ["a", "b"]}
