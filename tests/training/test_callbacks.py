"""Callbacks: when each is called, what it decides, and what is in its files."""

import csv
import os
import struct

import numpy as np
import pytest

from fastcnn import Sequential, plotting
from fastcnn.callbacks import Callback, Checkpoint, CSVLogger, EarlyStopping, LearningCurves, TensorBoard
from fastcnn.files import temporary_beside
from fastcnn.optimizers import Adam
from fastcnn.saving import containers
from fastcnn.training import checkpoint
from tests.helpers.models import small
from tests.helpers.processes import run_python


def same(a, b):
    """Whether two models have the same parameters, to the last bit."""
    pairs = zip(a.layers, b.layers, strict=True)
    return all(np.array_equal(array, q.parameters()[name]) for p, q in pairs for name, array in p.parameters().items())


class Notes(Callback):
    """Writes down each call."""

    def __init__(self, notes=None, name=""):
        self.notes, self.name = [] if notes is None else notes, name

    def note(self, hook, run):
        self.notes.append((self.name + hook, run.epoch, run.batch, len(run.history.get("loss", ()))))

    def on_fit_begin(self, run):
        self.note("fit begins", run)

    def on_epoch_begin(self, run):
        self.note("epoch begins", run)

    def on_batch_end(self, run):
        self.note("batch", run)

    def on_epoch_end(self, run):
        self.note("epoch ends", run)

    def on_fit_end(self, run):
        self.note("fit ends", run)


class Script(Callback):
    """Makes the history say what a test needs: `values` of `key`, one for each epoch; and marks the parameters."""

    def __init__(self, key, values):
        self.key, self.values = key, values

    def on_epoch_end(self, run):
        run.history[self.key][-1] = self.values[run.epoch - 2]
        run.model.layers[0].bias = np.full(4, run.epoch - 1)


def marked_epoch(model):
    """The epoch whose parameters a model has, after a training with `Script`."""
    return int(model.layers[0].bias[0])


def scripted(data, values, callback, key="val_loss", epochs=None, more=()):
    """A training whose validation losses are `values`."""
    model = small()
    options = {"validation_data": (data[0][:5], data[1][:5]), "learning_rate": 0, "verbose": False}
    listed = [Script(key, values), callback, *more]
    history = model.fit(data[0][:20], data[1][:20], epochs or len(values), 20, callbacks=listed, **options)
    return model, history


def test_hooks_come_in_order(data):
    notes = Notes()
    small().fit(data[0][:50], data[1][:50], 2, 20, callbacks=[notes], verbose=False)
    assert notes.notes == [
        ("fit begins", 1, 0, 0),
        *[
            ("epoch begins", 1, 0, 0),
            ("batch", 1, 1, 0),
            ("batch", 1, 2, 0),
            ("batch", 1, 3, 0),
            ("epoch ends", 2, 0, 1),
        ],
        *[
            ("epoch begins", 2, 0, 1),
            ("batch", 2, 1, 1),
            ("batch", 2, 2, 1),
            ("batch", 2, 3, 1),
            ("epoch ends", 3, 0, 2),
        ],
        ("fit ends", 3, 0, 2),
    ]


def test_callbacks_are_called_in_the_order_of_the_list_and_savers_last(data, tmp_path, monkeypatch):
    """What a saver keeps is what the others have decided."""
    notes = []
    monkeypatch.setattr(checkpoint, "write", lambda run, path: notes.append(("saved",)))
    listed = [Notes(notes, "a: "), Checkpoint(tmp_path / "c.npz", every_seconds=None), Notes(notes, "b: ")]
    small().fit(data[0][:20], data[1][:20], 1, 20, callbacks=listed, verbose=False)
    ends = [note[0] for note in notes]
    assert ends == [
        *["a: fit begins", "b: fit begins", "saved", "a: epoch begins", "b: epoch begins", "a: batch", "b: batch"],
        *["a: epoch ends", "b: epoch ends", "saved", "a: fit ends", "b: fit ends", "saved"],
    ]


def test_a_run_says_what_it_does(data):
    seen = []

    class Look(Callback):
        def on_batch_end(self, run):
            seen.append((run.epochs, run.batch_size, run.seed, round(run.done, 12), run.loss > 0, run.hits >= 0))

    small().fit(data[0][:30], data[1][:30], 2, 20, seed=9, callbacks=[Look()], verbose=False)
    wanted = [20 / 60, 30 / 60, 50 / 60, 1]
    assert seen == [(2, 20, 9, round(done, 12), True, True) for done in wanted]


@pytest.mark.parametrize(
    ("where", "losses", "batches"), [("on_batch_end", 1, 4), ("on_epoch_end", 1, 3), ("on_fit_begin", 0, 0)]
)
def test_any_callback_may_stop_a_training(data, where, losses, batches):
    """After a step, in the midst of an epoch whose numbers are then not in the history; or after an epoch."""
    counted = Notes()

    class Stop(Callback):
        pass

    def stop(self, run):
        if where != "on_batch_end" or (run.epoch, run.batch) == (2, 1):
            run.stop("enough")

    setattr(Stop, where, stop)
    history = small().fit(data[0][:50], data[1][:50], 5, 20, callbacks=[Stop(), counted], verbose=False)
    assert history.stopped == "enough" and len(history.get("loss", ())) == losses
    assert sum(note[0] == "batch" for note in counted.notes) == batches and counted.notes[-1][0] == "fit ends"


def test_a_training_that_ends_by_itself_was_not_stopped(data):
    assert small().fit(data[0][:20], data[1][:20], verbose=False).stopped is None


@pytest.mark.parametrize(
    ("options", "values", "epochs", "best"),
    [
        ({"patience": 1}, [3, 2, 2, 1], 3, 2),
        ({"patience": 2}, [3, 2, 2.5, 1.5, 1.6, 1.7, 0], 6, 4),
        ({"patience": 1, "min_delta": 0.5}, [3, 2, 1.6, 0], 3, 2),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.5, 0], 2, 1),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 2, 5], 4, 3),
        ({"patience": 1, "monitor": "val_accuracy"}, [0.5, 0.6, 0.6, 0.9], 3, 2),
        ({"patience": 1, "monitor": "val_accuracy", "mode": "min"}, [0.5, 0.4, 0.4, 0.1], 3, 2),
        ({"patience": 1, "monitor": "loss"}, [5, 4, 4.5, 1], 3, 2),
        ({"patience": 2}, [float("nan"), 3, float("nan"), float("inf"), 1], 4, 2),
        ({"patience": 3}, [3, 2, 4], None, 2),
    ],
    ids=str,
)
def test_early_stopping(data, options, values, epochs, best):
    for restore in (False, True):
        stopping = EarlyStopping(**options, restore_best=restore)
        monitor = options.get("monitor", "val_loss")
        model, history = scripted(data, values, stopping, monitor)
        done = epochs or len(values)
        assert len(history["loss"]) == done
        assert history.stopped == (epochs and f"no better {monitor} for {options['patience']} epochs")
        assert marked_epoch(model) == (best if restore else done)


def test_early_stopping_begins_anew_with_each_training(data):
    """Neither the best value nor the parameters of another model are of any use."""
    stopping = EarlyStopping(patience=1, restore_best=True)
    scripted(data, [0.5, 0.25, 1], stopping)
    model, history = scripted(data, [9, 8, 8.5], stopping)
    assert len(history["loss"]) == 3 and marked_epoch(model) == 2
    model, _ = scripted(data, [float("nan")], stopping)
    assert marked_epoch(model) == 1


def test_the_best_parameters_do_not_come_back_where_ctrl_c_ended_the_training(data):
    """It may go on from a checkpoint."""

    class Interrupt(Callback):
        def on_epoch_end(self, run):
            if run.epoch == 4:
                run.stop("interrupted")

    model, history = scripted(data, [1, 2, 3, 4], EarlyStopping(restore_best=True), more=[Interrupt()])
    assert history.stopped == "interrupted" and marked_epoch(model) == 3


def test_checkpoints_are_models_and_the_best_is_the_best(data, tmp_path):
    path, best = tmp_path / "c.npz", tmp_path / "best.npz"
    seen = []

    class Look(Callback):
        comes_last = True

        def on_epoch_end(self, run):
            seen.append((marked_epoch(Sequential.load(path)), marked_epoch(Sequential.load(best))))

    saver = Checkpoint(path, best=best, every_seconds=None)
    model, _ = scripted(data, [3, 2, 4, 1, 1], saver, more=[Look()])
    assert seen == [(1, 1), (2, 2), (3, 2), (4, 4), (5, 4)]
    assert sorted(os.listdir(tmp_path)) == ["best.npz", "c.npz"]
    assert same(Sequential.load(path), model)
    scripted(data, [9], saver)  # a new training: what was best in another one is no yardstick
    assert marked_epoch(Sequential.load(best)) == 1


def test_the_best_alone(data, tmp_path):
    best = tmp_path / "best.npz"
    scripted(data, [0.1, 0.9, 0.5], Checkpoint(None, best=best, monitor="val_accuracy"), "val_accuracy")
    assert marked_epoch(Sequential.load(best)) == 2 and os.listdir(tmp_path) == ["best.npz"]


@pytest.mark.parametrize(
    ("options", "saved"),
    [
        ({"every_seconds": None}, [0, 3, 3]),
        ({"every_seconds": None, "every_steps": 2}, [0, 2, 3, 3]),
        ({"every_seconds": 0}, [0, 1, 2, 3, 3, 3]),
        ({"every_seconds": 1e6, "every_steps": 1}, [0, 1, 2, 3, 3, 3]),
    ],
    ids=str,
)
def test_when_checkpoints_are_written(data, tmp_path, options, saved):
    """When the training begins, within an epoch as asked for, after it, and at the end."""
    path, model, written, steps = tmp_path / "c.npz", small(), [], []
    saver = Checkpoint(path, **options)
    write = saver.write

    def watch(run):
        write(run)
        written.append(len(steps))
        assert same(Sequential.load(path), model)

    class Count(Callback):
        def on_batch_end(self, run):
            steps.append(run.batch)

    saver.write = watch
    model.fit(data[0][:50], data[1][:50], 1, 20, callbacks=[saver, Count()], verbose=False)
    assert written == saved


def test_a_checkpoint_holds_the_optimizers_state(data, tmp_path):
    model = small()
    optimizer = Adam(model)
    model.fit(*data, 1, 50, optimizer=optimizer, callbacks=[Checkpoint(tmp_path / "c.npz")], verbose=False)
    other = Adam(small())
    other.load(tmp_path / "c.npz")
    np.testing.assert_equal(other.state_dict(), optimizer.state_dict())
    assert other.steps == 4


def test_a_checkpoint_that_cannot_be_written_any_more(data, tmp_path, monkeypatch):
    """The one before is whole."""
    path, model = tmp_path / "c.npz", small()

    class Fill(Callback):
        def on_epoch_end(self, run):
            def full(file, **arrays):
                file.write(b"half")
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(containers.np, "savez", full)

    with pytest.raises(OSError, match="No space left"):
        model.fit(*data, 1, 100, callbacks=[Checkpoint(path), Fill()], verbose=False)
    assert same(Sequential.load(path), small()) and os.listdir(tmp_path) == ["c.npz"]


@pytest.mark.parametrize("make", [Checkpoint, lambda path: Checkpoint(None, best=path), CSVLogger, LearningCurves])
def test_paths_that_cannot_be_written_are_said_at_once(make, tmp_path):
    if make is LearningCurves:
        pytest.importorskip("matplotlib")
    with pytest.raises(FileNotFoundError, match=r"cannot write '.*none/a.png': there is no folder '.*none'"):
        make(tmp_path / "none" / "a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"cannot write '.*b.png': it is a folder"):
        make(tmp_path / "b.png")
    assert os.listdir(tmp_path) == ["b.png"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Checkpoint(5),
            TypeError,
            "Checkpoint: `path` must be a path, text or a pathlib.Path. Received path=5",
        ),
        (lambda: Checkpoint(None, best=5), TypeError, "Checkpoint: `best` must be a path, text or a pathlib.Path. R"),
        (
            lambda: Checkpoint("a.npz", best="./a.npz"),
            ValueError,
            "Checkpoint: `best` must be another file than `path`",
        ),
        (lambda: Checkpoint(None), ValueError, "Checkpoint: `path` must be a path, where there is no `best` either. R"),
        (
            lambda: Checkpoint("a", every_steps=0),
            ValueError,
            "`every_steps` must be an integer of at least 1. Received",
        ),
        (
            lambda: Checkpoint("a", every_seconds=-1),
            ValueError,
            "`every_seconds` must be a finite number of at least 0",
        ),
        (
            lambda: Checkpoint("a", monitor=3),
            TypeError,
            "Checkpoint: `monitor` must be the name of a quantity of the h",
        ),
        (lambda: Checkpoint("a", mode="best"), ValueError, "Checkpoint: `mode` must be one of 'min', 'max'. Received"),
        (lambda: EarlyStopping(3), TypeError, "EarlyStopping: `monitor` must be the name of a quantity of the history"),
        (
            lambda: EarlyStopping(patience=0),
            ValueError,
            "EarlyStopping: `patience` must be an integer of at least 1. R",
        ),
        (
            lambda: EarlyStopping(min_delta=-1),
            ValueError,
            "`min_delta` must be a finite number of at least 0. Received",
        ),
        (lambda: EarlyStopping(mode="low"), ValueError, "EarlyStopping: `mode` must be one of 'min', 'max'. Received"),
        (lambda: EarlyStopping(restore_best="yes"), ValueError, "EarlyStopping: `restore_best` must be True or False"),
        (lambda: CSVLogger(None), TypeError, "CSVLogger: `path` must be a path, text or a pathlib.Path. Received"),
    ],
)
def test_bad_arguments(make, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        make()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            EarlyStopping(),
            "fit: `callbacks` must be a list of callbacks. Received callbacks=<fastcnn.training.callbacks.progress",
        ),
        ([EarlyStopping], r"fit: `callbacks\[0\]` must be a fastcnn.callbacks.Callback. Received .*<class"),
        ([EarlyStopping(), "csv"], r"fit: `callbacks\[1\]` must be a fastcnn.callbacks.Callback. Received .*='csv'"),
        (None, "fit: `callbacks` must be a list of callbacks. Received callbacks=None"),
    ],
)
def test_bad_callbacks_of_fit(data, value, message):
    with pytest.raises(TypeError, match=message):
        small().fit(*data, callbacks=value, verbose=False)


@pytest.mark.parametrize("make", [EarlyStopping, lambda **options: Checkpoint(None, best="best.npz", **options)])
def test_quantities_that_no_history_will_have_are_said_before_the_training(data, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, before = small(), small()
    hint = r" \(those that begin with val_ need validation_data\)"
    with pytest.raises(
        ValueError, match=rf"`monitor` must be one of loss, accuracy{hint}. Received monitor='val_loss'"
    ):
        model.fit(*data, callbacks=[make()], verbose=False)
    with pytest.raises(ValueError, match=r"one of loss, accuracy, val_loss, val_accuracy, val_f1. Received .*='f1'"):
        model.fit(*data, validation_data=data, metrics=["f1"], callbacks=[make(monitor="f1")], verbose=False)
    assert same(model, before) and os.listdir(tmp_path) == []


def test_a_quantity_that_a_callback_adds_may_be_monitored(data):
    class Add(Callback):
        def on_epoch_end(self, run):
            run.history.setdefault("own", []).append(run.epoch)

    history = small().fit(*data, 3, 100, callbacks=[Add(), EarlyStopping("own", 1, mode="min")], verbose=False)
    assert history.stopped == "no better own for 1 epochs" and history["own"] == [2, 3]
    with pytest.raises(ValueError, match=r"EarlyStopping: `monitor` must be one of loss, accuracy, own \(those"):
        small().fit(*data, 3, 100, callbacks=[Add(), EarlyStopping("else")], verbose=False)


def test_csv(data, tmp_path):
    path = tmp_path / "log.csv"
    lines = []

    class Look(Callback):
        def on_epoch_end(self, run):
            lines.append(len(path.read_text().splitlines()))

    metrics = {"f1, weighted": lambda labels, probabilities: 1 / 3}
    options = {"validation_data": data, "metrics": metrics, "verbose": False}
    history = small().fit(*data, 3, 50, callbacks=[CSVLogger(path), Look()], **options)
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["epoch", *history] and "val_f1, weighted" in head
    assert [row[0] for row in rows] == ["1", "2", "3"] and lines == [2, 3, 4]
    for column, name in enumerate(history, start=1):
        assert [float(row[column]) for row in rows] == history[name], name
    assert os.listdir(tmp_path) == ["log.csv"]


def test_csv_with_a_quantity_that_a_later_callback_adds(data, tmp_path):
    class Own(Callback):
        def on_epoch_end(self, run):
            run.history.setdefault("own", []).append(run.epoch)

    path = tmp_path / "log.csv"
    small().fit(*data, 3, 100, callbacks=[CSVLogger(path), Own()], verbose=False)
    with open(path, newline="") as file:
        assert [row["own"] for row in csv.DictReader(file)] == ["2", "3", ""]


def read_scalars(folder):
    """(step, value) pairs of each tag: a record is its length, a checksum, an event, and another checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    (path,) = folder.iterdir()
    content, at = path.read_bytes(), 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        at += length + 16
    return found


def test_tensorboard(data, tmp_path):
    pytest.importorskip("tensorboardX")
    shares = []

    def schedule(done):
        assert done < 1
        shares.append(done)
        return 0.1 * (1 - done)

    logs = tmp_path / "logs"
    history = small().fit(
        *data, 3, 120, learning_rate=schedule, validation_data=data, callbacks=[TensorBoard(logs)], verbose=False
    )
    scalars = read_scalars(logs)
    names = {"val_loss": "validation/loss", "val_accuracy": "validation/accuracy"}
    names |= {name: f"training/{name}" for name in ("loss", "accuracy", "seconds", "images_per_second")}
    assert set(scalars) == {*names.values(), "training/learning_rate"}
    for name, tag in names.items():
        steps, values = zip(*scalars[tag], strict=True)
        assert steps == (1, 2, 3)
        np.testing.assert_allclose(values, history[name], rtol=1e-6)
    rates = [value for _, value in scalars["training/learning_rate"]]
    np.testing.assert_allclose(rates, [0.1 * (1 - (i + 0.6) / 3) for i in range(3)], rtol=1e-6)  # the last step's


class Fails(Callback):
    def __init__(self, hook, error):
        setattr(self, hook, self.fail)
        self.error, self.left = error, 0

    def fail(self, run):
        raise self.error

    def on_fit_exit(self, run):
        self.left += 1


@pytest.mark.parametrize("error", [ValueError("own"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("hook", ["on_fit_begin", "on_epoch_end", "on_fit_end"])
def test_logs_are_closed_where_a_training_fails(data, tmp_path, hook, error):
    """What the epochs before have logged is there."""
    pytest.importorskip("tensorboardX")
    board, fails = TensorBoard(tmp_path), Fails(hook, error)
    with pytest.raises(type(error)):
        small().fit(*data, 1, 120, callbacks=[board, fails], verbose=False)
    assert board.writer._writer.closed and fails.left == 1
    assert ("training/loss" in read_scalars(tmp_path)) == (hook != "on_fit_begin")


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
@pytest.mark.parametrize(
    ("extra", "make", "name"),
    [
        (None, Checkpoint, "c.npz"),
        ("safetensors", Checkpoint, "c.safetensors"),
        (None, lambda path: Checkpoint(None, best=path, monitor="loss"), "best.npz"),
        (None, CSVLogger, "log.csv"),
        ("matplotlib", LearningCurves, "curves.png"),
        ("PIL", LearningCurves, "curves.jpg"),
        ("tensorboardX", TensorBoard, "logs"),
    ],
)
def test_a_full_disk_is_named_with_the_file(data, tmp_path, extra, make, name):
    """And what was there before stays. The limit of a file's size stands for that of the disk."""
    import resource

    if extra is not None:
        pytest.importorskip(extra)
    path = tmp_path / name
    if make is not TensorBoard:
        path.write_bytes(b"before")
    callback, limits = make(path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            small().fit(*data, 2, 100, callbacks=[callback], verbose=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename.startswith(str(path)) and os.listdir(tmp_path) == [name]
    assert make is TensorBoard or path.read_bytes() == b"before"


@pytest.mark.parametrize(
    ("module", "make", "message"),
    [
        (
            "tensorboardX",
            "TensorBoard('logs')",
            "TensorBoard logs need tensorboardX: `pip install fastcnn[tensorboard]`",
        ),
        ("matplotlib", "LearningCurves('a.png')", "learning curves need matplotlib: `pip install fastcnn[plot]`"),
        ("safetensors", "Checkpoint('a.safetensors')", "need that library: `pip install fastcnn[safetensors]`"),
        ("safetensors", "Checkpoint(None, best='a.safetensors')", "library: `pip install fastcnn[safetensors]`"),
    ],
)
def test_missing_extras_are_said_before_the_training(module, make, message, tmp_path):
    code = f"import sys; sys.modules[{module!r}] = None; from fastcnn.callbacks import *; {make}"
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith(message), done.stderr
    assert os.listdir(tmp_path) == []


def test_learning_curves(data, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    small().fit(*data, 2, 100, validation_data=data, callbacks=[LearningCurves(path)], verbose=False)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and os.listdir(tmp_path) == ["curves.png"]
    with pytest.raises(ValueError, match=r"the name of a plot must end in one of \..*Received 'curves.exe'"):
        LearningCurves("curves.exe")


def test_states_go_round(tmp_path):
    """What `state` returns is all that decides what happens next."""
    first, second = EarlyStopping(restore_best=True), EarlyStopping(restore_best=True)
    first.best.value, first.wait, first.arrays = -0.5, 2, {"0.weights": np.ones(3)}
    second.load_state(first.state())
    assert (second.best.value, second.wait) == (-0.5, 2) and set(second.arrays) == {"0.weights"}
    second.load_state(EarlyStopping().state())
    assert (second.best.value, second.wait, second.arrays) == (-np.inf, 0, {})
    saver = Checkpoint(tmp_path / "c.npz")
    state = {"best": -0.25, "monitor": "val_loss", "mode": "min"}
    assert saver.state() == state | {"best": None}
    saver.load_state(state)
    assert saver.state() == state
    saver.load_state(state | {"best": 0.9, "monitor": "val_accuracy", "mode": "max"})  # no yardstick for a loss
    assert saver.state() == state | {"best": None}
    best = "monitor='val_loss', mode='min', restore_best=True"
    assert first.settings() == f"EarlyStopping({best}, patience=5, min_delta=0.0)"


def test_leftovers_of_ones_own_file_alone_are_removed(data, tmp_path):
    """What another process writes just now to `run.best` or `run.csv` is not touched, nor what somebody keeps."""
    others = [temporary_beside(tmp_path / name) for name in ("run.best", "run.csv")] + [tmp_path / ".run.mine.tmp"]
    own = temporary_beside(tmp_path / "run")
    for path in (own, *others):
        path.write_bytes(b"half")
    small().fit(data[0][:20], data[1][:20], 1, 20, callbacks=[Checkpoint(tmp_path / "run")], verbose=False)
    assert not own.exists() and all(path.exists() for path in others)


@pytest.mark.parametrize("make", [CSVLogger, LearningCurves])
def test_leftovers_of_logs_are_removed(data, tmp_path, make):
    """A training that is killed again and again leaves one at most."""
    if make is LearningCurves:
        pytest.importorskip("matplotlib")
    path = tmp_path / "log.svg"
    temporary_beside(path).write_bytes(b"half")
    small().fit(data[0][:20], data[1][:20], 1, 20, callbacks=[make(path)], verbose=False)
    assert os.listdir(tmp_path) == ["log.svg"]


class Bare:
    """A layer of a script: what every layer must have, and nothing else."""

    def forward(self, x):
        return x

    def gradient(self, eta):
        return eta


def test_early_stopping_restores_a_model_with_layers_that_hold_nothing(data):
    stopping = EarlyStopping("loss", patience=1, mode="max", restore_best=True)
    model = Sequential([Bare(), *small().layers])
    history = model.fit(*data, 5, 40, callbacks=[stopping], seed=0, verbose=False)
    twin = Sequential([Bare(), *small().layers])
    twin.fit(*data, 5, 40, callbacks=[Stop(2)], seed=0, verbose=False)
    assert len(history["loss"]) == 2 and history.stopped == "no better loss for 1 epochs"
    assert not same(Sequential(model.layers[1:]), Sequential(twin.layers[1:])), "those of the first epoch"
    twin = small()
    twin.fit(*data, 5, 40, callbacks=[Stop(1)], seed=0, verbose=False)
    assert same(Sequential(model.layers[1:]), twin)


class Stop(Callback):
    """Ends the training after so many epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, run):
        if run.epoch > self.epochs:
            run.stop("enough")


def test_early_stopping_cannot_restore_weights_that_it_cannot_see(data):
    """That is said before the training."""

    class Hidden(Bare):
        def backward(self, alpha, weight_decay=0.0):
            raise AssertionError("nothing is trained")

    model = Sequential([Hidden(), *small().layers])
    message = r"`restore_best` cannot restore the weights of the layer 0, a Hidden, which learns and has no parameters"
    with pytest.raises(TypeError, match=message):
        model.fit(*data, 5, 40, callbacks=[EarlyStopping("loss", restore_best=True)], verbose=False)


@pytest.mark.parametrize("history", [None, [1.0], {}, {"loss": 1.0}])
def test_learning_curves_of_no_history(tmp_path, history):
    pytest.importorskip("matplotlib")
    with pytest.raises(TypeError, match="learning_curves: `history` must be what `fit` returns after an epoch"):
        plotting.learning_curves(history, tmp_path / "curves.svg")
    assert not list(tmp_path.iterdir())
