"""A training that is stopped goes on to bitwise the same weights as one that never was."""

import json
import math
import os
import select
import subprocess
import sys
import time

import numpy as np
import pytest

import fastcnn
from fastcnn import FileFormatError, Sequential, schedules
from fastcnn.augmentation import Augmentation
from fastcnn.callbacks import Callback, Checkpoint, EarlyStopping
from fastcnn.layers.protocol import walk
from fastcnn.optimizers import Adam, Momentum
from tests.helpers.killed import make_model
from tests.helpers.models import small
from tests.helpers.processes import ROOT, run_fastcnn
from tests.helpers.switches import threads
from tests.helpers.victims import assert_same_arrays


class StopAt(Callback):
    """Ends the run after a number of steps, as a kill would: nothing is written that is not written anyway."""

    def __init__(self, steps):
        self.steps = steps

    def on_batch_end(self, run):
        self.steps -= 1
        if not self.steps:
            raise KeyboardInterrupt


def fit(model, data, **options):
    arguments = {"epochs": 3, "batch_size": 32, "seed": 1, "verbose": False, "optimizer": "adam"}
    return model.fit(*data, **arguments | options)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("steps", [1, 7, 8, 14, 20])
def test_resumed_at_any_step(backend, data, tmp_path, steps, suffix):
    """7 steps an epoch: within an epoch and at its end."""
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"c.{suffix}"
    options = {"learning_rate": schedules.cosine(0.01), "augmentation": Augmentation(shift=1)}
    whole = make_model()
    expected = fit(whole, data, **options)
    broken = make_model()
    with pytest.raises(KeyboardInterrupt):
        fit(broken, data, callbacks=[Checkpoint(path, every_steps=1), StopAt(steps)], **options)
    model = make_model()
    np.random.seed(9)
    history = fit(model, data, resume=path, **options)
    for key in ("loss", "accuracy"):
        assert history[key] == expected[key]
    for (place, a), (_, b) in zip(walk(whole.layers), walk(model.layers), strict=True):
        for name, array in a.tensors().items():
            np.testing.assert_array_equal(b.tensors()[name], array, err_msg=f"{place}.{name}")


def test_resumed_on_another_number_of_threads(data, tmp_path):
    weights = []
    for count in (1, 2):
        with threads(2):
            model = small()
            with pytest.raises(KeyboardInterrupt):
                fit(model, data, callbacks=[Checkpoint(tmp_path / "c.npz"), StopAt(10)])
        with threads(count):
            model = small()
            fit(model, data, resume=tmp_path / "c.npz")
        weights.append(model.layers[0].weights)
    np.testing.assert_array_equal(*weights)


def test_a_seed_that_was_drawn_is_kept(data, tmp_path):
    model = small()
    fit(model, data, seed=None, callbacks=[Checkpoint(tmp_path / "c.npz")], epochs=3)
    broken = small()
    np.random.seed(0)
    with pytest.raises(KeyboardInterrupt):
        fit(broken, data, seed=None, callbacks=[Checkpoint(tmp_path / "d.npz"), StopAt(10)])
    first, second = small(), small()
    for twin in (first, second):
        fit(twin, data, seed=None, resume=tmp_path / "d.npz")
    np.testing.assert_array_equal(first.layers[0].weights, second.layers[0].weights)
    assert (first.layers[0].weights != model.layers[0].weights).any()


def test_a_run_that_had_ended(data, tmp_path):
    """Nothing is trained any more, and the history is there; a run that was stopped early stays stopped."""
    path = tmp_path / "c.npz"
    model = small()
    rising = EarlyStopping("loss", patience=1, mode="max", restore_best=True)
    history = fit(model, data, epochs=9, callbacks=[rising, Checkpoint(path)])
    assert len(history["loss"]) == 2 and history.stopped == "no better loss for 1 epochs"
    again = small()
    twin = EarlyStopping("loss", patience=1, mode="max", restore_best=True)
    resumed = fit(again, data, epochs=9, resume=path, callbacks=[twin])
    assert resumed == history and resumed.stopped == history.stopped
    np.testing.assert_array_equal(again.layers[0].weights, model.layers[0].weights)


def test_a_checkpoint_is_a_model_file(data, tmp_path):
    model = small()
    fit(model, data, callbacks=[Checkpoint(tmp_path / "c.npz")])
    np.testing.assert_array_equal(Sequential.load(tmp_path / "c.npz").predict(data[0]), model.predict(data[0]))
    optimizer = Adam(model)
    optimizer.load(tmp_path / "c.npz")
    assert optimizer.steps == 21 and set(optimizer.kept) == {"0.weights", "0.bias", "3.weights", "3.bias"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 4}, "its epochs is 3 in .*c.npz. Received 4"),
        ({"batch_size": 16}, "its batch_size is 32 in .*c.npz. Received 16"),
        ({"seed": 2}, "its seed is 1 in .*c.npz. Received 2"),
        ({"optimizer": "momentum"}, "its optimizer is Adam in .*c.npz. Received Momentum"),
        ({"learning_rate": 0.5}, "its optimizer's learning_rate is 0.001 in .*c.npz. Received 0.5"),
        ({"augmentation": Augmentation(shift=1)}, r"its augmentation is None .* Received Augmentation\(shift=1, flip"),
        ({"label_smoothing": 0.1}, "its label_smoothing is 0.0 in .*c.npz. Received 0.1"),
        ({"metrics": ["f1"], "validation_data": "own"}, "its metrics is none in .*c.npz. Received f1"),
        ({"shuffle": False}, "its shuffle is True in .*c.npz. Received False"),
        (
            {"callbacks": [EarlyStopping("loss")]},
            r"its callbacks is none in .*c.npz. Received EarlyStopping\(m",
        ),
    ],
)
def test_other_arguments(data, tmp_path, change, message):
    path = tmp_path / "c.npz"
    own = {"validation_data": data} if "validation_data" in change else {}
    fit(small(), data, callbacks=[Checkpoint(path)], **own)
    change = change | own
    model = small()
    before = model.layers[0].weights.copy()
    with pytest.raises(ValueError, match=rf"fit: `resume` must be the checkpoint of a run .*: {message}"):
        fit(model, data, **{"resume": path} | change)
    np.testing.assert_array_equal(model.layers[0].weights, before)


def test_other_callbacks_and_metrics(data, tmp_path):
    """What the end of the run or its history would depend on."""
    path, options = tmp_path / "c.npz", {"validation_data": (data[0][:9], data[1][:9])}
    fit(small(), data, callbacks=[EarlyStopping(), Checkpoint(path)], metrics=["f1"], **options)
    with pytest.raises(ValueError, match=r"its metrics is f1 in .*c.npz. Received"):
        fit(small(), data, callbacks=[EarlyStopping()], resume=path, **options)
    with pytest.raises(ValueError, match=r"its callbacks is .*restore_best=False.* Received .*restore_best=True"):
        fit(small(), data, callbacks=[EarlyStopping(restore_best=True)], metrics=["f1"], resume=path, **options)


def test_the_best_by_another_quantity_begins_anew(data, tmp_path):
    path, best = tmp_path / "c.npz", tmp_path / "best.npz"
    options = {"validation_data": data}
    saver = Checkpoint(path, best=best, monitor="val_accuracy", mode="min")
    with pytest.raises(KeyboardInterrupt):
        fit(small(), data, callbacks=[saver, StopAt(10)], **options)
    best.unlink()
    history = fit(small(), data, callbacks=[Checkpoint(path, best=best)], resume=path, **options)
    assert Sequential.load(best).evaluate(*data).loss == min(history["val_loss"][1:])


class Keeps(Callback):
    """Remembers `value`, and adds a number of NumPy to the history."""

    def __init__(self, value):
        self.value, self.loaded = value, None

    def on_epoch_end(self, run):
        run.history.setdefault("own", []).append(np.float32(run.epoch))

    def state(self):
        return self.value

    def load_state(self, state):
        self.loaded = state


def test_numbers_of_numpy_are_numbers(data, tmp_path):
    path, state = tmp_path / "c.npz", {"a": np.int64(3), "b": np.float32(0.5), "c": np.arange(3)}
    history = fit(small(), data, callbacks=[Keeps(state), Checkpoint(path)])
    again = Keeps(state)
    assert fit(small(), data, callbacks=[again], resume=path) == history and history["own"] == [2, 3, 4]
    np.testing.assert_equal(again.loaded, {"a": 3, "b": 0.5, "c": np.arange(3)})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, r"Checkpoint: `the state\(\) of Keeps_0` must be a dict of numbers, text and arrays. Received .*=None"),
        ({"a": {1}}, r"Checkpoint: `the state\(\) of Keeps_0` must be a dict of numbers, text and arrays. Received"),
        ({"a": np.array([None])}, r"save: `training.Keeps_0.a` must be an array of numbers or text, and not of"),
    ],
    ids=["None", "a set", "objects"],
)
def test_a_state_that_no_file_can_hold_is_said_before_the_training(data, tmp_path, state, message):
    model = small()
    before = model.layers[0].weights.copy()
    with pytest.raises(TypeError, match=message):
        fit(model, data, callbacks=[Keeps(state), Checkpoint(tmp_path / "c.npz")])
    np.testing.assert_array_equal(model.layers[0].weights, before)
    assert os.listdir(tmp_path) == []


class Plateau(Callback):
    """Assigns another rate after each epoch."""

    def on_epoch_end(self, run):
        run.optimizer.learning_rate *= 0.5


def test_a_rate_that_a_callback_assigned(data, tmp_path):
    path, whole, broken, model = tmp_path / "c.npz", small(), small(), small()
    fit(whole, data, callbacks=[Plateau()])
    with pytest.raises(KeyboardInterrupt):
        fit(broken, data, callbacks=[Plateau(), Checkpoint(path), StopAt(16)])
    fit(model, data, callbacks=[Plateau()], resume=path)
    np.testing.assert_array_equal(model.layers[0].weights, whole.layers[0].weights)


def test_a_rule_whose_numbers_cannot_be_assigned(data, tmp_path):
    """A script's own: its `config` says them, by properties."""

    class Own(Momentum):
        @property
        def half(self):
            return self.momentum / 2

        def config(self):
            return super().config() | {"half": self.half}

    path = tmp_path / "c.npz"
    whole, model, resumed = small(), small(), small()
    fit(whole, data, optimizer=Own(whole))
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, optimizer=Own(model), callbacks=[Checkpoint(path, every_steps=1), StopAt(9)])
    fit(resumed, data, optimizer=Own(resumed), callbacks=[Checkpoint(path, every_steps=1)], resume=path)
    for one, other in zip(whole.layers, resumed.layers, strict=True):
        for name, array in one.parameters().items():
            np.testing.assert_array_equal(array, other.parameters()[name])


def test_other_data_and_other_models(data, tmp_path):
    path = tmp_path / "c.npz"
    fit(small(), data, callbacks=[Checkpoint(path)])
    x = data[0].copy()
    x[17, 3, 4, 0] += 1e-6
    with pytest.raises(ValueError, match=r"its x is float64 \(200, 28, 28, 1\), CRC-32 \w{8} in .* Received float64"):
        fit(small(), (x, data[1]), resume=path)
    with pytest.raises(ValueError, match=r"its model is .* Received"):
        fit(small(dtype="float64"), data, resume=path)
    with pytest.raises(ValueError, match="`optimizer` must be made for this model"):
        fit(small(), data, resume=path, optimizer=Momentum(small()))


def test_what_is_no_checkpoint(data, tmp_path):
    model = small()
    model.save(tmp_path / "model.npz")
    with pytest.raises(FileFormatError, match=r"model.npz: it holds no training to resume: it is no checkpoint"):
        fit(model, data, resume=tmp_path / "model.npz")
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        fit(model, data, resume=tmp_path / "none.npz")
    with pytest.raises(TypeError, match="fit: `resume` must be a path"):
        fit(model, data, resume=5)
    fit(model, data, callbacks=[Checkpoint(tmp_path / "c.npz")])
    content = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(content[:-300])
    with pytest.raises(FileFormatError, match="not a fastcnn model file, or a truncated or corrupt one"):
        fit(small(), data, resume=tmp_path / "c.npz")


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """The checkpoint of a whole training."""
    path = tmp_path_factory.mktemp("finished") / "c.npz"
    data = digits.train_images[:200] / 255, digits.train_labels[:200]
    fit(small(), data, callbacks=[EarlyStopping("loss"), Checkpoint(path)])
    return path.read_bytes()


def edit(path, change, without=None):
    """Change the JSON of a file, and leave out the array of that name."""
    with np.load(path) as file:
        arrays = {name: array for name, array in file.items() if name != without}
    header = json.loads(str(arrays.pop("architecture")))
    change(header)
    np.savez(path, architecture=np.array(json.dumps(header)), **arrays)


@pytest.mark.parametrize(
    "damage",
    [
        lambda header: header.pop("random"),
        lambda header: header.pop("optimizer"),
        lambda header: header["optimizer"].update(config=5),
        lambda header: header["training"].update(callbacks=5),
        lambda header: header["training"]["callbacks"]["EarlyStopping_0"].pop("wait"),
        lambda header: header["training"]["callbacks"]["EarlyStopping_0"].update(best="good"),
        lambda header: header["training"]["callbacks"]["EarlyStopping_0"].update(wait="x"),
        lambda header: header["training"]["callbacks"]["EarlyStopping_0"].update(arrays=1),
        lambda header: header["training"].update(seed=None),
        lambda header: header["training"].update(epoch=0),
        lambda header: header["training"].update(epoch=5),
        lambda header: header["training"].update(batch=8),
        lambda header: header["training"].update(hits=1),
        lambda header: header["training"].update(loss=float("nan")),
        lambda header: header["training"].update(seconds=-1.0),
        lambda header: header["training"].update(stopped=[1]),
        lambda header: header["training"]["history"].update(loss=[None, 1.0, 2.0]),
        lambda header: header["training"]["history"].update(accuracy=[1.0]),
        lambda header: header["training"]["history"].pop("seconds"),
        lambda header: header["optimizer"]["config"].update(weight_decay=-1),
        lambda header: header["optimizer"]["config"].update(learning_rate=True),
        lambda header: header["optimizer"]["config"].update(beta1=10**400),
    ],
)
def test_a_damaged_state_changes_nothing(data, tmp_path, finished, damage):
    path, model = tmp_path / "c.npz", small()
    path.write_bytes(finished)
    edit(path, damage)
    before, optimizer = model.layers[0].weights.copy(), Adam(model)
    with pytest.raises(FileFormatError, match=r"c\.npz: it"):
        fit(model, data, optimizer=optimizer, callbacks=[EarlyStopping("loss")], resume=path)
    np.testing.assert_array_equal(model.layers[0].weights, before)
    assert optimizer.steps == 0


def test_an_epoch_whose_last_batch_was_done_in_no_time(data, tmp_path):
    """What was kept after it goes on with the validation alone."""
    path = tmp_path / "c.npz"
    with pytest.raises(KeyboardInterrupt):
        fit(small(), data, callbacks=[Checkpoint(path, every_steps=1), StopAt(7)], epochs=1)
    edit(path, lambda header: header["training"].update(batch=7, seconds=0.0))
    history = fit(small(), data, resume=path, epochs=1)
    assert (history["seconds"], history["images_per_second"]) == ([0.0], [math.inf]) and len(history["loss"]) == 1


def test_best_weights_of_another_model(data, tmp_path):
    """Said before the training, and not at its end, where they would be put back."""
    path = tmp_path / "c.npz"
    options = {"callbacks": [EarlyStopping("loss", restore_best=True), Checkpoint(path)], "epochs": 1}
    fit(small(), data, **options)
    edit(path, lambda _: None, without="training.EarlyStopping_0.0.weights")
    with pytest.raises(ValueError, match="EarlyStopping: the best weights that `resume` holds are not those of this m"):
        fit(small(), data, resume=path, **options)


def test_a_disk_that_is_full_keeps_the_last_checkpoint(data, tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    fit(small(), data, callbacks=[Checkpoint(path)])
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fastcnn.saving.containers.np, "savez", fail)
    with pytest.raises(OSError, match="No space left"):
        fit(small(), data, callbacks=[Checkpoint(path)])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["c.npz"]


@pytest.mark.slow
def test_resume_by_the_command_line(tmp_path):
    """Killed, and resumed with nothing but --resume: the file of the model is the same to the last bit."""
    options = (
        "train --optimizer adam --shift 2 --label-smoothing 0.1 --epochs 3 --batch-size 40 --quiet --backend numpy"
    )
    options = f"{options} --data own.npz --warm-up 0.2 --seed 3".split()
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (4000, 12, 12, 1), np.uint8), rng.integers(0, 3, 4000)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    whole = run_fastcnn(*options, "--out", "whole.npz", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fastcnn", *options, "--out", "run.npz", "--checkpoint", "c.npz"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "c.npz").exists() and process.poll() is None and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    assert process.returncode == -9 and not (tmp_path / "run.npz").exists()
    resumed = run_fastcnn(
        "train", "--resume", "c.npz", "--out", "run.npz", "--quiet", "--backend", "numpy", cwd=tmp_path
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_same_arrays(tmp_path / "whole.npz", tmp_path / "run.npz")
    (tmp_path / "run.npz").unlink()
    alone = run_fastcnn("train", "--resume", "c.npz", "--quiet", "--backend", "numpy", cwd=tmp_path)
    assert alone.stdout.endswith("model saved to run.npz\n")  # the name is in the checkpoint
    assert_same_arrays(tmp_path / "whole.npz", tmp_path / "run.npz")
    wrong = run_fastcnn("train", "--resume", "c.npz", "--epochs", "9", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "argument --epochs: expected 3 as in c.npz, or nothing: a resumed run has the options" in wrong.stderr
    none = run_fastcnn("train", "--resume", "none.npz", cwd=tmp_path)
    assert none.returncode == 1 and "No such file or directory: 'none.npz'" in none.stderr
    model = run_fastcnn("train", "--resume", "run.npz", cwd=tmp_path)
    assert model.returncode == 1 and "run.npz: no checkpoint that `fastcnn train --checkpoint` wrote" in model.stderr
