"""A training that goes bad: the message names the first layer and array, and the file shows it again."""

import json
import os
import re
import tempfile

import numpy as np
import pytest

from fastcnn import FileFormatError, Sequential, diagnosis
from fastcnn.augmentation import Augmentation
from fastcnn.callbacks import Callback, Checkpoint, CSVLogger
from fastcnn.diagnosis import explain, replay
from fastcnn.layers import BatchNorm, Dropout, FullyConnect, Layer, Relu, Residual, Softmax
from fastcnn.layers.protocol import walk
from tests.helpers.models import small
from tests.helpers.processes import run_python


class Plant(Callback):
    """Puts a number into a parameter after so many steps."""

    def __init__(self, layer, name, value, step=1):
        self.layer, self.name, self.value, self.step, self.steps = layer, name, value, step, 0

    def on_batch_end(self, run):
        self.steps += 1
        if self.steps == self.step:
            getattr(run.model.layers[self.layer], self.name).flat[3] = self.value


def fail(model, data, path=..., **options):
    """The message of a training that must fail."""
    options = {"batch_size": 20, "verbose": False, "seed": 0} | options
    if path is not ...:
        options["failure_file"] = path
    with pytest.raises(FloatingPointError) as caught:
        model.fit(*data, **options)
    return str(caught.value)


def found_in(message):
    """What went bad first, by the message of `fit`."""
    return re.search("the first to go bad is (.*); a smaller `learning_rate` usually helps", message).group(1)


@pytest.mark.parametrize(
    ("layer", "name", "where"),
    [
        (0, "weights", r"\[0, 0, 0, 3\]"),
        (0, "bias", r"\[3\]"),
        (3, "weights", r"\[0, 3\]"),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_parameter_is_named(backend, data, tmp_path, monkeypatch, layer, name, where, value):
    """In the default file, in the present folder."""
    monkeypatch.chdir(tmp_path)
    model = small()
    message = fail(model, data, callbacks=[Plant(layer, name, value, step=3)])
    kind, size = type(model.layers[layer]).__name__, getattr(model.layers[layer], name).size
    assert message.startswith("fit: the loss is ") and " in batch 4 of epoch 1; " in message
    found = found_in(message)
    assert re.fullmatch(
        rf"`{name}` of `layers\[{layer}\]`, a {kind}: {name}({where}) is {value} \(1 of {size} are NaN or infinite\)",
        found,
    ), found
    assert message.endswith(
        "Received learning_rate=0.1; `python -m fastcnn.diagnosis fastcnn-failure.npz` computes it again"
    )
    assert os.listdir() == ["fastcnn-failure.npz"]
    assert replay("fastcnn-failure.npz") == found


class Sour(Relu):
    """A layer of one's own whose output becomes NaN for one image of a batch, after so many batches."""

    sweet = 2

    def forward(self, x):
        out = super().forward(x)
        if np.max(x) > 0.9:
            self.sweet -= 1
        if self.sweet < 0:
            out = out.copy()
            out[1, 2] = np.nan
        return out


class Sourer(Layer):
    """One that does it always, for images that say so."""

    def forward(self, x, phase="test"):
        self.x = x = self.take_x(x)
        return np.where(x > 100, np.nan, x).astype(x.dtype)

    def input_gradient(self, eta):
        return eta


@pytest.fixture
def tainted(data):
    """Images of which the 50th makes `Sourer` fail."""
    x = data[0].copy()
    x[50, 5, 6, 0] = 101
    return x, data[1]


def test_a_layer_of_ones_own_whose_output_is_nan(backend, tainted, tmp_path):
    path = tmp_path / "failure.npz"
    model = Sequential([Sourer((1, 28, 28, 1)), *small().layers])
    message = fail(model, tainted, path, shuffle=False)
    found = "the output of `layers[0]`, a Sourer: output[10, 5, 6, 0] is nan (1 of 15680 are NaN or infinite)"
    assert found_in(message) == found and "the loss is nan in batch 3 of epoch 1" in message
    assert replay(path, {"Sourer": Sourer}) == found
    with pytest.raises(FileFormatError, match="unknown layer class 'Sourer'"):
        replay(path)
    with np.load(path) as file:
        np.testing.assert_array_equal(file["training.x"], tainted[0][40:60])
        np.testing.assert_array_equal(file["training.y"], tainted[1][40:60])
        assert json.loads(str(file["architecture"]))["failure"] == {"epoch": 1, "batch": 3}


def test_what_does_not_happen_again_is_said(data, tmp_path):
    """A layer that counts its calls."""
    head = Sour((1, 10))
    model = Sequential([*small().body, head, Softmax((1, 10))])
    message = fail(model, (data[0] * 100, data[1]), tmp_path / "f.npz", learning_rate=1e-9)
    assert "`layers[4]`, a Sour: output[1, 2] is nan" in message
    head.sweet = 2
    assert replay(tmp_path / "f.npz", {"Sour": Sour}) is None


class Counting(Relu):
    """A layer with random numbers of its own, as it were: the fourth makes it fail."""

    random_names = ("drawn",)
    drawn = 0

    def forward(self, x):
        self.drawn += 1
        out = super().forward(x)
        return np.full_like(out, np.nan) if self.drawn == 4 else out


def test_random_numbers_of_layers_are_those_of_the_step(data, tmp_path):
    model = Sequential([Counting((1, 28, 28, 1)), *small().layers])
    message = fail(model, data, tmp_path / "f.npz")
    assert "in batch 4 of epoch 1" in message and "the output of `layers[0]`, a Counting: output[0, 0, 0, 0]" in message
    assert replay(tmp_path / "f.npz", {"Counting": Counting}) == found_in(message)


@pytest.mark.parametrize("options", [{"label_smoothing": 0.5}, {"class_weight": {2: 3e38}}], ids=str)
def test_a_loss_that_overflows(options, tmp_path):
    """All outputs are finite; the options of the loss are in the file."""
    fc = FullyConnect((1, 3), 3, initializer="zeros")
    fc.weights = np.full((3, 3), 3e38) if "label_smoothing" in options else np.diag([3e3, 3e3, 3e3])
    model = Sequential([fc, Softmax((1, 3))])
    data = np.eye(3), np.array([1, 2, 2])
    message = fail(model, data, tmp_path / "f.npz", learning_rate=0, batch_size=3, shuffle=False, **options)
    assert re.fullmatch(r"`loss` of `layers\[1\]`, a Softmax: it is (-?inf|nan)", found_in(message))
    assert replay(tmp_path / "f.npz") == found_in(message)


def test_an_overflow_within_the_forward_is_named(data, tmp_path):
    model = small()
    model.layers[0].weights = np.full((5, 5, 1, 4), 3e38)
    message = fail(model, data, tmp_path / "f.npz")
    assert found_in(message).startswith("the output of `layers[0]`, a Conv2D: output[")
    assert replay(tmp_path / "f.npz") == found_in(message)


def test_running_statistics_are_those_before_the_step(data, tmp_path):
    """They are no cause, but a consequence; and the model may be trained again."""
    body = small().body
    norm, drop = BatchNorm(body[0].output_shape), Dropout(body[0].output_shape, 0.5)
    model = Sequential([body[0], norm, drop, *body[1:], Softmax((8, 10))])
    model.fit(*data, 1, 50, seed=0, verbose=False)
    before, calls = [norm.moving_mean.copy(), norm.moving_var.copy()], drop.calls
    body[0].weights = np.full((5, 5, 1, 4), 3e38)
    message = fail(model, data, tmp_path / "f.npz")
    assert found_in(message).startswith("the output of `layers[0]`, a Conv2D: output[")
    assert replay(tmp_path / "f.npz") == found_in(message)
    np.testing.assert_array_equal([norm.moving_mean, norm.moving_var], before)
    assert drop.calls == calls


def test_the_seed_that_the_failed_step_drew_is_that_of_the_file(tmp_path):
    """An element in two is dropped: with another seed another one is bad, and the message of the file another."""
    drop = Dropout((1, 4000), 0.5)
    fc = FullyConnect(drop.output_shape, 3, initializer=1.0)
    model = Sequential([drop, fc, Softmax(fc.output_shape)])
    x = np.full((1, 4000), 3e38)
    message = fail(model, (x, [0]), tmp_path / "f.npz")
    seed = drop.seed
    loaded = Sequential.load(tmp_path / "f.npz", random_state=True)
    assert seed is not None and loaded.layers[0].seed == seed and loaded.layers[0].calls == drop.calls == 0
    assert replay(tmp_path / "f.npz") == found_in(message)


def test_the_model_is_not_lost(data, tmp_path):
    """It has its parameters from before the step, and no gradient of the batch that failed: it may be trained again."""
    model, clean = small(), small()
    x = data[0].copy()
    model.fit(*data, 1, 20, seed=0, verbose=False)
    clean.fit(*data, 1, 20, seed=0, verbose=False)
    before = model.layers[3].weights.copy()
    head = Sourer((1, 28, 28, 1))
    x[:, 0, 0, 0] = 101
    fail(Sequential([head, *model.layers]), (x, data[1]), tmp_path / "f.npz")
    np.testing.assert_array_equal(model.layers[3].weights, before)
    for each in (model, clean):
        each.train_on_batch(*data)
    np.testing.assert_array_equal(model.layers[3].weights, clean.layers[3].weights)
    assert np.isfinite(model.layers[0].weights).all()


def test_the_last_step_of_an_epoch(data, tmp_path):
    """Nobody has seen its loss; crops too."""
    for options in ({}, {"augmentation": Augmentation(crop=28)}):
        x = np.pad(data[0], ((0, 0), (0, 3), (1, 0), (0, 0))) if options else data[0]
        message = fail(
            small(), (x, data[1]), tmp_path / "f.npz", callbacks=[Plant(3, "bias", np.nan, step=10)], **options
        )
        found = "`bias` of `layers[3]`, a FullyConnect: bias[3] is nan (1 of 10 are NaN or infinite)"
        assert f"fit: the last step of epoch 1 made a parameter NaN or infinite: {found}; a smaller" in message
        assert replay(tmp_path / "f.npz") == found


@pytest.mark.parametrize("step", [2, 10])
def test_a_checkpoint_within_an_epoch_says_the_same(data, tmp_path, step):
    """It comes before the next loss; the checkpoint before stays."""
    saver, kept = Checkpoint(tmp_path / "c.npz", every_steps=1), tmp_path / "f.npz"
    message = fail(small(), data, kept, callbacks=[Plant(3, "bias", np.nan, step=step), saver])
    found = "`bias` of `layers[3]`, a FullyConnect: bias[3] is nan (1 of 10 are NaN or infinite)"
    name = "step 2" if step == 2 else "the last step"
    assert f"fit: {name} of epoch 1 made a parameter NaN or infinite: {found}; a smaller" in message
    assert replay(kept) == found
    assert np.isfinite(Sequential.load(tmp_path / "c.npz").layers[3].bias).all()


def test_without_a_file(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = fail(small(), data, None, callbacks=[Plant(0, "bias", np.nan)])
    assert message.endswith("Received learning_rate=0.1") and os.listdir() == []


@pytest.mark.parametrize("place", ["none/f.npz", "file/f.npz", "folder"])
def test_a_place_that_cannot_be_written(data, tmp_path, monkeypatch, place):
    """The file goes to the folder for temporary files, under a name that no stranger can have put there before."""
    (tmp_path / "temp").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    planted = tmp_path / "temp" / place.split("/")[-1]
    planted.symlink_to(tmp_path / "file")
    message = fail(small(), data, tmp_path / place, callbacks=[Plant(0, "bias", np.nan)])
    (kept,) = (path for path in (tmp_path / "temp").iterdir() if path != planted)
    assert (tmp_path / "file").read_text() == ""
    assert message.endswith(f"; `python -m fastcnn.diagnosis {kept}` computes it again")
    assert replay(kept).startswith("`bias` of `layers[0]`, a Conv2D: bias[3] is nan")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "temp"] and os.listdir(tmp_path / "folder") == []


def test_no_place_at_all(data, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    message = fail(small(), data, tmp_path / "none" / "f.npz", callbacks=[Plant(0, "bias", np.nan)])
    assert message.endswith("; no file reproduces it: none could be written") and os.listdir(tmp_path) == []


def test_a_format_whose_library_is_missing(data, tmp_path, monkeypatch):
    """The error is that of the training."""
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    message = fail(small(), data, tmp_path / "f.safetensors", callbacks=[Plant(0, "bias", np.nan)])
    assert message.endswith("; no file reproduces it: none could be written") and os.listdir(tmp_path) == []


def test_safetensors(data, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "f.safetensors"
    x = (data[0] * 255).astype(np.uint8)
    message = fail(small(), (x, data[1]), path, class_weight="balanced", callbacks=[Plant(0, "bias", np.nan)])
    assert replay(path) == found_in(message)


class Bare:
    """A layer that cannot be saved."""

    def forward(self, x):
        return x

    def gradient(self, eta):
        return eta


def test_a_layer_that_cannot_be_saved(data, tmp_path):
    model = Sequential([Bare(), *small().layers])
    message = fail(model, data, tmp_path / "f.npz", callbacks=[Plant(1, "bias", np.nan)])
    assert "`bias` of `layers[1]`, a Conv2D: bias[3] is nan" in message
    assert message.endswith(
        "; no file reproduces it: save: layers[0], a Bare, has no config() and parameters() to save it by"
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Checkpoint, "Checkpoint's `path`"),
        (lambda path: Checkpoint(None, best=path), "Checkpoint's `best`"),
        (CSVLogger, "CSVLogger's `path`"),
        (None, "`resume`"),
    ],
)
def test_a_failure_file_that_something_else_is_kept_in(data, tmp_path, monkeypatch, make, name):
    """A training that fails would write over it."""
    monkeypatch.chdir(tmp_path)
    options = {"resume": "./c.npz"} if make is None else {"callbacks": [make("c.npz")]}
    with pytest.raises(ValueError, match=f"fit: `failure_file` must be another file than {name}. Received failure_fi"):
        small().fit(*data, failure_file=tmp_path / "c.npz", verbose=False, **options)
    assert os.listdir() == []


@pytest.mark.parametrize(("value", "error"), [(5, TypeError), ("", ValueError)])
def test_a_failure_file_that_is_no_path(data, value, error):
    with pytest.raises(error, match=r"fit: `failure_file` must be a path, .* Received failure_file="):
        small().fit(*data, failure_file=value, verbose=False)


# python -m fastcnn.diagnosis


@pytest.fixture(scope="module")
def failures(tmp_path_factory, digits):
    """A folder with a failure's file, and files that are none."""
    folder = tmp_path_factory.mktemp("failures")
    np.random.seed(0)
    data = digits.train_images[:40] / 255, digits.train_labels[:40]
    model = small()
    model.save(folder / "model.npz")
    message = fail(model, data, folder / "failure.npz", callbacks=[Plant(3, "weights", np.inf)], label_smoothing=0.1)
    (folder / "cut.npz").write_bytes((folder / "failure.npz").read_bytes()[:2000])
    (folder / "text.npz").write_text("neither")
    with np.load(folder / "failure.npz") as file:
        arrays = {name: file[name] for name in file.files}
    for name, without in (("no_x.npz", "training.x"), ("no_weights.npz", "3.weights")):
        np.savez(folder / name, **{key: array for key, array in arrays.items() if key != without})
    healed = arrays | {"3.weights": np.zeros((144, 10), np.float32)}
    for name, change in (
        ("healed.npz", {}),
        ("few_labels.npz", {"training.y": np.zeros(3, int)}),
        ("strange.npz", {"training.wings": np.zeros(3)}),
        ("small.npz", {"training.x": np.zeros((20, 3, 3, 1))}),
    ):
        np.savez(folder / name, **healed | change)
    return folder, found_in(message)


def test_command(failures):
    folder, found = failures
    done = run_python("-m", "fastcnn.diagnosis", "failure.npz", cwd=folder, FASTCNN_BACKEND="numpy")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == f"the first to go bad is {found}\n"


def main(capsys, *arguments):
    status = diagnosis.main([str(argument) for argument in arguments])
    return (status, *capsys.readouterr())


def test_command_where_nothing_goes_bad(failures, capsys):
    assert main(capsys, failures[0] / "healed.npz") == (1, "all arrays are finite\n", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.npz", "model.npz: it holds no batch that failed: no file that a training left when its loss was NaN"),
        ("none.npz", "No such file or directory"),
        ("cut.npz", "cut.npz: not a fastcnn model file, or a truncated or corrupt one"),
        ("text.npz", "text.npz: not a fastcnn model file, or a truncated or corrupt one"),
        ("no_x.npz", "no_x.npz: the batch that failed is missing"),
        ("no_weights.npz", "no_weights.npz: parameter `weights` of layer 3, a FullyConnect, is missing"),
        ("few_labels.npz", "few_labels.npz: the batch that failed is damaged: "),
        ("strange.npz", "strange.npz: the batch that failed is damaged: "),
        ("small.npz", "small.npz: the batch that failed is damaged: "),
    ],
)
def test_files_that_show_nothing(failures, capsys, name, message):
    status, out, err = main(capsys, failures[0] / name)
    assert (status, out) == (1, "") and err.startswith("fastcnn.diagnosis: error: ") and message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("a", "b")])
def test_usage(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(capsys, *arguments)
    assert ended.value.code == 2 and "usage: python -m fastcnn.diagnosis [-h] FILE" in capsys.readouterr().err


class Tap(Relu):
    """Counts its forwards, and is not finite where it is told to be."""

    bad, count = False, 0

    def forward(self, x):
        self.count += 1
        out = super().forward(x)
        return np.where(out > 0, np.inf, out).astype(out.dtype) if self.bad else out


def nested(place):
    """Residuals in residuals with Dropout and BatchNorm; the `Tap` at `place` is not finite."""
    shape = (4, 6)
    inner = Residual([Tap(shape), Dropout(shape, 0.5, rng=1), Tap(shape)])
    outer = Residual([Dropout(shape, 0.5, rng=2), BatchNorm(shape), inner, Tap(shape)], [Tap(shape)])
    fc = FullyConnect(shape, 3, rng=0)
    model = Sequential([Tap(shape), outer, fc, Softmax(fc.output_shape)])
    for name, layer in walk(model.layers):
        if isinstance(layer, Tap):
            layer.bad = name == place
    return model


@pytest.mark.parametrize("place", ["0", "1.body.2.body.0", "1.body.2.body.2", "1.body.3", "1.shortcut.0", None])
def test_each_layer_is_computed_once(place, rng):
    """Those inside others too: Dropout draws what it drew in the step, and the first bad output is named."""
    x, y = rng.standard_normal((4, 6)).astype(np.float32), np.arange(4) % 3
    model, twin = nested(place), nested(None)
    twin.batch_loss(x, y)
    found = explain(model, x, y, {})
    if place is None:
        assert found is None
    else:
        assert re.match(rf"the output of `layers\[{re.escape(place)}\]`, a Tap: output\[\d, \d\] is inf", found), found
    for (_, layer), (_, other) in zip(walk(model.layers), walk(twin.layers), strict=True):
        if isinstance(layer, Tap):
            assert layer.count == 1 or (layer.count == 0 and place is not None)
            assert "forward" not in vars(layer), "nothing is left of it"
        elif isinstance(layer, Dropout):
            assert layer.calls == 1 or (layer.calls == 0 and place is not None)
        elif isinstance(layer, BatchNorm) and place is None:
            np.testing.assert_array_equal(layer.moving_mean, other.moving_mean)


def test_a_draw_of_dropout_decides(rng):
    """What is bad in one element that Dropout drops is found where it is first kept."""

    class Sting(Relu):
        def forward(self, x):
            out = super().forward(x) * np.float32(0)
            out[0, 0] = np.nan if x[0, 0] else 0
            return out

    x, y, shape = np.ones((4, 6), np.float32), np.arange(4) % 3, (4, 6)
    drop, last = Dropout(shape, 0.5), Tap(shape)
    fc = FullyConnect(shape, 3, rng=0)
    for seed in range(8):
        drop.seed, drop.calls = seed, 0
        kept = drop.forward(x)[0, 0] != 0
        drop.calls = 0
        model = Sequential([Residual([drop, Sting(shape), last]), fc, Softmax(fc.output_shape)])
        found = explain(model, x, y, {})
        assert (found is not None) == kept
        assert not kept or found.startswith("the output of `layers[0.body.1]`, a Sting: output[0, 0] is nan")


class Slotted:
    """A layer of one's own on which no attribute can be set."""

    __slots__ = ()

    def forward(self, x):
        return x

    def gradient(self, eta):
        return eta


def test_a_layer_inside_that_cannot_be_watched(rng):
    """What it returns is seen where the next layer has computed with it."""
    shape, last = (4, 6), Tap((4, 6))
    model = Sequential([Residual([Relu(shape), Slotted(), last]), Softmax(shape)])
    x, y = rng.standard_normal((4, 6)).astype(np.float32), np.arange(4)
    assert explain(model, x, y, {}) is None
    last.bad = True
    assert explain(model, x, y, {}).startswith("the output of `layers[0.body.2]`, a Tap")
