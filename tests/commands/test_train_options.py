"""The options of `fastcnn train`, and `evaluate --report`: each does what it says, or says what is wrong with it."""

import copy
import csv
import json
import os
import sys
import warnings

import numpy as np
import pytest

from fastcnn import FileFormatError, Sequential, cli, metrics, optimizers, schedules, zoo
from fastcnn.commands import train as train_command
from fastcnn.commands.training_options import DEFAULTS, METRICS, MODELS, check_saved
from tests.helpers.processes import assert_fails, run_fastcnn
from tests.helpers.switches import switches_kept

FAST = ["--backend", "numpy"]


@pytest.fixture
def main(monkeypatch, tmp_path, capfd, rng):
    """``main(text)`` runs a command in this process and a folder with own.npz: (status, stdout, stderr).

    40 images of 4 classes, 14 x 16 pixels: a class is a bright quarter.
    """
    monkeypatch.chdir(tmp_path)
    y = np.arange(40) % 4
    x = rng.integers(0, 100, (40, 14, 16)).astype(np.uint8)
    for i, label in enumerate(y):
        x[i, 7 * (label // 2) :, 8 * (label % 2) :][:7, :8] += 150
    np.savez("own.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])

    def run(text):
        try:
            status = cli.main([*text.split(), *FAST])
        except SystemExit as error:
            status = error.code
        return (status, *capfd.readouterr())

    with switches_kept():
        yield run


@pytest.fixture
def train(main):
    """``train(text)``: the JSON of a training that succeeds, and what `fit` was called with."""

    def run(text="", model="lenet-own.npz"):
        status, out, err = main(f"train --data own.npz --epochs 2 --quiet --json {text}")
        assert (status, err) == (0, ""), err
        result = json.loads(out)
        assert result["out"] == model
        return result

    return run


@pytest.fixture
def fit_options(monkeypatch):
    """What `fit` gets from the command line."""
    seen = {}
    fit = Sequential.fit

    def watch(self, *args, **options):
        seen.update(options, epochs=args[2], batch_size=args[3], model=self)
        return fit(self, *args, **options)

    monkeypatch.setattr(Sequential, "fit", watch)
    return seen


def recorded(path="lenet-own.npz"):
    return Sequential.load(path).metadata["options"]


def test_defaults(train, fit_options):
    train()
    assert recorded() == DEFAULTS | {"data": "own.npz", "epochs": 2, "dtype": "float32"}
    optimizer = fit_options["optimizer"]
    assert repr(optimizer) == (
        "SGD(learning_rate='cosine(0.1, last=0.0)', decay='all', weight_decay=0.001, clip_norm=None, clip_value=None)"
    )
    assert (
        fit_options["augmentation"] is None and fit_options["callbacks"] == [] and fit_options["label_smoothing"] == 0
    )
    assert os.listdir() == ["lenet-own.npz", "own.npz"] or sorted(os.listdir()) == ["lenet-own.npz", "own.npz"]


@pytest.mark.parametrize(
    ("name", "rate", "decay"),
    [
        ("sgd", 0.1, 0.001),
        ("momentum", 0.01, 0.0),
        ("nesterov", 0.01, 0.0),
        ("rmsprop", 0.001, 0.0),
        ("adam", 0.001, 0.0),
        ("adamw", 0.001, 0.01),
    ],
)
def test_optimizers(train, fit_options, name, rate, decay):
    train(f"--optimizer {name}")
    optimizer = fit_options["optimizer"]
    assert type(optimizer) is optimizers.OPTIMIZERS[name] and recorded()["optimizer"] == name
    assert optimizer.learning_rate(0) == rate and optimizer.weight_decay == decay and optimizer.clip_norm is None
    train(f"--optimizer {name} --lr 0.5 --weight-decay 0.25 --clip-norm 2")
    optimizer = fit_options["optimizer"]
    assert (optimizer.learning_rate(0), optimizer.weight_decay, optimizer.clip_norm) == (0.5, 0.25, 2)
    assert {"lr": 0.5, "weight_decay": 0.25, "clip_norm": 2.0}.items() <= recorded().items()


def test_metrics(train):
    result = train("--metric f1 --metric top_3_accuracy --csv log.csv")
    assert len(result["history"]["val_f1"]) == len(result["history"]["val_top_3_accuracy"]) == 2
    with open("log.csv", encoding="utf-8") as file:
        assert "val_f1,val_top_3_accuracy" in file.readline()
    assert recorded()["metric"] == ["f1", "top_3_accuracy"] and set(METRICS) == set(metrics.METRICS)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("constant", "constant(0.2)"),
        ("step", "step(0.2, factor=0.1, at=[0.5, 0.75])"),
        ("exponential", "exponential(0.2, last=0.002)"),
        ("cosine", "cosine(0.2, last=0.0)"),
        ("one-cycle", "one_cycle(0.2, share=0.3, start=0.04, last=4e-06)"),
        ("constant --warm-up 0.25", "warm_up(constant(0.2), share=0.25, start=0.01)"),
        ("constant --warm-up 0", "constant(0.2)"),
    ],
)
def test_schedules(train, fit_options, option, text):
    train(f"--lr 0.2 --schedule {option}")
    assert repr(fit_options["optimizer"].learning_rate) == text
    assert recorded()["schedule"] == option.split()[0]
    assert option.split()[0] in schedules.SCHEDULES


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("--label-smoothing 0.2", "label_smoothing", 0.2),
        ("--class-weight balanced", "class_weight", "balanced"),
        ("--seed 7", "seed", 7),
        ("--batch-size 9", "batch_size", 9),
        ("--validation-batch-size 5", "validation_batch_size", 5),
    ],
)
def test_options_that_fit_takes(train, fit_options, option, name, value):
    assert train(option)["seed"] == recorded()["seed"]
    assert fit_options[name] == recorded()[name] == value


@pytest.mark.parametrize(
    "option",
    [
        *("--optimizer adam", "--lr 0.01", "--schedule constant", "--warm-up 0.5", "--weight-decay 0.1", "--seed 1"),
        *("--clip-norm 0.1", "--label-smoothing 0.2", "--shift 2", "--flip", "--crop 13", "--batch-size 8"),
    ],
)
def test_every_option_changes_the_training(train, option):
    plain, other, again = train(), train(option), train(option)
    assert plain["history"]["loss"] != other["history"]["loss"]
    assert other["history"]["loss"] == again["history"]["loss"]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--shift 2", "Augmentation(shift=2, flip=False, crop=None)"),
        ("--flip", "Augmentation(shift=0, flip=True, crop=None)"),
        ("--crop 12 --flip", "Augmentation(shift=0, flip=True, crop=(12, 12))"),
        ("--shift 0", "None"),
    ],
)
def test_augmentation(train, fit_options, option, text):
    train(option)
    assert repr(fit_options["augmentation"]) == text


@pytest.fixture
def hopeless(main):
    """own.npz with other labels in the test: the more a model learns, the larger is its test loss."""
    with np.load("own.npz") as file:
        arrays = dict(file)
    arrays["y_test"] = (arrays["y_test"] + np.array([0, 1] * 4)) % 4
    np.savez("own.npz", **arrays)


def test_patience_and_the_best(hopeless, train):
    """The result is that of the best epoch, whose weights the model has."""
    result = train("--epochs 12 --patience 2 --best best.npz")
    losses = result["history"]["val_loss"]
    best = losses.index(min(losses))
    assert result["stopped"] == "no better val_loss for 2 epochs" and len(losses) == best + 3 < 12
    assert result["test_loss"] == losses[best] and result["test_accuracy"] == result["history"]["val_accuracy"][best]
    data = np.load("own.npz")
    x, y = data["x_test"][..., None], data["y_test"]
    for path in ("lenet-own.npz", "best.npz"):
        assert Sequential.load(path).evaluate(x, y).loss == pytest.approx(losses[best], rel=1e-5), path
    assert result["test_loss"] < losses[-1]


def test_why_the_training_ended_is_in_the_line(hopeless, main):
    status, out, _ = main("train --data own.npz --epochs 12 --patience 2 --quiet")
    assert status == 0 and out.count("\n") == 1
    assert " epochs (no better val_loss for 2 epochs) in " in out and out.endswith("model saved to lenet-own.npz\n")


def test_logs(train):
    pytest.importorskip("matplotlib")
    result = train("--csv log.csv --plot curves.png --checkpoint c.npz")
    with open("log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == result["history"]["val_loss"] and rows[-1]["epoch"] == "2"
    assert sorted(os.listdir()) == ["c.npz", "curves.png", "lenet-own.npz", "log.csv", "own.npz"]
    kept, model = Sequential.load("c.npz"), Sequential.load("lenet-own.npz")
    np.testing.assert_array_equal(kept.layers[1].weights, model.layers[1].weights)
    files = {"out": None, "best": None, "csv": "log.csv", "tensorboard": None, "plot": "curves.png"}
    assert kept.metadata == model.metadata | {"files": files}


def test_tensorboard(train):
    pytest.importorskip("tensorboardX")
    train("--tensorboard logs/deep")
    assert [name.startswith("events.out.tfevents.") for name in os.listdir("logs/deep")] == [True]


def test_json(train):
    result = train("--dtype float64 --seed 5")
    history = result.pop("history")
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "seconds", "images_per_second"}
    assert {len(values) for values in history.values()} == {2}
    assert result.pop("seconds") > 0 and result.pop("threads") >= 1 and result.pop("ranks") == 1
    assert result == {
        "model": "lenet",
        "data": "own",
        "test_accuracy": history["val_accuracy"][-1],
        "test_loss": history["val_loss"][-1],
        "out": "lenet-own.npz",
        "backend": "numpy",
        "dtype": "float64",
        "seed": 5,
        "stopped": None,
    }


def test_safetensors(train, main):
    pytest.importorskip("safetensors")
    result = train("--out model.safetensors --best best.safetensors --checkpoint c.safetensors", "model.safetensors")
    with open("model.safetensors", "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        assert "1.weights" in json.loads(file.read(size))
    for name in ("model", "c"):
        status, out, err = main(f"evaluate {name}.safetensors --data own.npz --json")
        assert (status, err) == (0, "") and json.loads(out.splitlines()[-1])["accuracy"] == result["test_accuracy"]
    assert main("evaluate best.safetensors --data own.npz")[0] == 0


def test_report(train, main):
    """The table and the JSON say the same, of classes with the names of the data."""
    train("--epochs 4")
    status, out, err = main("evaluate lenet-own.npz --data own.npz --report --json")
    assert (status, err) == (0, "")
    first, head, *rows, means, last = out.splitlines()
    result = json.loads(last)
    matrix = np.array(result["confusion_matrix"])
    assert first.startswith("lenet-own.npz on the 8 test images of own: accuracy ")
    assert head.split() == ["class", "0", "1", "2", "3", "precision", "recall", "f1"]
    assert matrix.shape == (4, 4) and matrix.sum() == 8 and matrix.sum(axis=1).tolist() == [2] * 4
    assert result["accuracy"] == np.trace(matrix) / 8
    for i, row in enumerate(rows):
        name, number, *counts, precision, recall, f1 = row.split()
        assert (name, number, [int(count) for count in counts]) == (str(i), str(i), matrix[i].tolist())
        shown = [f"{result[key][i]:.2%}" for key in ("precision", "recall", "f1")]
        assert [precision, recall, f1] == shown
    assert means.split() == ["mean", *(f"{np.mean(result[key]):.2%}" for key in ("precision", "recall", "f1"))]
    plain = json.loads(main("evaluate lenet-own.npz --data own.npz --json")[1].splitlines()[-1])
    assert set(plain) == {"model", "data", "accuracy", "loss"}


def test_crops_are_evaluated_and_predicted_in_the_middle(train, main):
    result = train("--crop 12")
    model = Sequential.load("lenet-own.npz")
    assert model.input_shape[1:] == (12, 12, 1)
    data = np.load("own.npz")
    middle = data["x_test"][:, 1:13, 2:14, None]
    assert model.evaluate(middle, data["y_test"]).loss == pytest.approx(result["test_loss"], rel=1e-5)
    status, out, _ = main("evaluate lenet-own.npz --data own.npz --report --json")
    facts = json.loads(out.splitlines()[-1])
    assert status == 0 and facts["loss"] == pytest.approx(result["test_loss"], rel=1e-5)
    np.save("large.npy", data["x_test"])
    np.save("large4.npy", data["x_test"][..., None])
    np.save("middle.npy", middle)
    np.save("one.npy", data["x_test"][0])
    np.save("small.npy", middle[:, :11])
    status, out, _ = main("predict lenet-own.npz large4.npy middle.npy one.npy --json")
    found = [entry["probabilities"] for entry in json.loads(out.splitlines()[-1])["predictions"]]
    assert status == 0
    np.testing.assert_allclose(
        found, np.concatenate([model.predict(middle)] * 2 + [model.predict(middle[:1])]), rtol=1e-5
    )
    status, _, err = main("predict lenet-own.npz small.npy")
    assert status == 1 and "small.npy: the model takes images of 12 x 12 x 1 (height x width x channels). Rec" in err


def test_a_model_without_crops_takes_no_larger_images(train, main):
    train()
    np.save("large.npy", np.zeros((1, 20, 20, 1)))
    status, _, err = main("predict lenet-own.npz large.npy")
    assert status == 1 and "the model takes images of 14 x 16 x 1 (height x width x channels). Received" in err


def test_a_training_that_diverges_leaves_what_computes_it_again(main):
    status, out, err = main("train --data own.npz --quiet --lr 1e30 --out m.npz")
    assert (status, out) == (1, "") and err.count("\n") == 1
    assert err.startswith("fastcnn train: error: fit: the loss is ") and err.endswith(
        "`python -m fastcnn.diagnosis m-failure.npz` computes it again\n"
    )
    assert sorted(os.listdir()) == ["m-failure.npz", "own.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--optimizer best", "argument --optimizer: invalid choice: 'best' (choose from"),
        ("--schedule linear", "argument --schedule: invalid choice: 'linear' (choose from"),
        ("--warm-up 1", "argument --warm-up: expected a number from 0 to 0.99, received '1'"),
        ("--warm-up x", "argument --warm-up: expected a number from 0 to 0.99, received 'x'"),
        ("--clip-norm 0", "argument --clip-norm: expected a number above 0, received '0'"),
        ("--clip-norm inf", "argument --clip-norm: expected a number above 0, received 'inf'"),
        ("--label-smoothing 1", "argument --label-smoothing: expected a number from 0 to 0.99, received '1'"),
        ("--label-smoothing -0.1", "argument --label-smoothing: expected a number from 0 to 0.99, received '-0.1'"),
        ("--class-weight even", "argument --class-weight: invalid choice: 'even' (choose from"),
        ("--shift -1", "argument --shift: expected an integer of at least 0, received '-1'"),
        ("--shift 1.5", "argument --shift: expected an integer of at least 0, received '1.5'"),
        ("--flip yes", "unrecognized arguments: yes"),
        (
            f"--epochs {'9' * 5000}",
            f"argument --epochs: expected an integer from 1 to {sys.maxsize}, received '{'9' * 117}...'",
        ),
        (f"--epochs -{'9' * 5000}", "argument --epochs: expected an integer of at least 1, received '-99"),
        ("--seed \u00b2", "argument --seed: expected an integer of at least 0, received '\u00b2'"),
        (f"--threads {'9' * 5000}", "argument --threads: expected an integer from 1 to 1024, received '999"),
        (f"--lr {'9' * 5000}", "argument --lr: expected a number above 0, received '999"),
        ("--crop 0", "argument --crop: expected an integer of at least 1, received '0'"),
        ("--crop 15", "argument --crop: expected at most 14, the size of the images, received 15"),
        ("--metric beauty", "argument --metric: invalid choice: 'beauty' (choose from"),
        ("--patience 0", "argument --patience: expected an integer of at least 1, received '0'"),
        ("--model resnet", "argument --model: invalid choice: 'resnet' (choose from"),
        ("--csv", "argument --csv: expected one argument"),
        (
            "--best m.npz --checkpoint ./m.npz",
            "argument --best: expected another file than that of --checkpoint, received 'm.npz'",
        ),
        ("--best m.npz --out m.npz", "argument --best: expected another file than that of --out, received 'm.npz'"),
        ("--checkpoint lenet-own.npz", "argument --checkpoint: expected another file than that of --out, received"),
        ("--out own.npz", "argument --out: expected another file than that of --data, received 'own.npz'"),
        ("--best ./own.npz", "argument --best: expected another file than that of --data, received './own.npz'"),
        *(
            (
                f"--lr 1e30 --out m.npz --{option} ./m-failure.npz",
                f"argument --{option}: expected another file than that of --out, where a training fails, received",
            )
            for option in ("checkpoint", "best", "csv", "plot")
        ),
    ],
)
def test_usage_errors(main, arguments, message):
    """One line on stderr that names the option, and no file."""
    status, out, err = main(f"train --data own.npz --quiet {arguments}")
    assert (status, out) == (2, "") and message in err, err
    assert err.count("\n") == 1 and err.startswith("fastcnn train: error: ") and os.listdir() == ["own.npz"]


def test_an_output_is_no_file_of_a_data_set_in_a_folder(main):
    """Which it would be written over; other files may lie there."""
    os.mkdir("set")
    with np.load("own.npz") as arrays:
        for name, array in arrays.items():
            np.save(f"set/{name}.npy", array)
    status, _, err = main("train --data set --epochs 1 --quiet --out ./set/x_train.npy")
    assert status == 2
    assert "argument --out: expected another file than one of --data, received 'set/x_train.npy'" in err
    assert np.load("set/x_train.npy").shape == (40, 14, 16)
    for _ in range(2):
        assert main("train --data set --epochs 1 --quiet --out set/m.npz")[0] == 0


def test_floats_that_are_no_shares_of_1(main):
    """Whole numbers are divided by 255, and floats are taken as they are."""
    with np.load("own.npz") as file:
        arrays = dict(file)
    for name, x, told in (
        ("bytes", arrays["x_train"].astype(np.float32), True),
        ("shares", arrays["x_train"] / 255, False),
        ("normal", (arrays["x_train"] - 100.0) / 50, False),
    ):
        np.savez(f"{name}.npz", **arrays | {"x_train": x, "x_test": x[:8]})
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            status, _, err = main(f"train --data {name}.npz --epochs 1 --lr 1e-6 --quiet")
        assert status == 0
        said = (
            f"fastcnn train: warning: data set bytes: the images are floats of up to {x.max():.4g}, which are taken as "
            "they are; whole numbers are divided by 255. A training from such numbers hardly succeeds: images / 255 "
            "are from 0 to 1\n"
        )
        assert err == (said if told else "")


@pytest.mark.parametrize(
    ("options", "batches"),
    [("--crop 7", "16 images of 7 x 7 x 1"), (f"--batch-size {2**62}", f"{2**62:,} images of 14 x 16 x 1")],
)
def test_images_that_a_model_does_not_take(main, options, batches):
    status, _, err = main(f"train --data own.npz {options}")
    wanted = f"the model lenet takes no batches of {batches} (height x width x channels): "
    assert status == 1 and err.startswith(f"fastcnn train: error: {wanted}")


def test_a_data_set_that_has_moved_since_a_checkpoint(main):
    assert main("train --data own.npz --epochs 1 --quiet --checkpoint c.npz")[0] == 0
    os.rename("own.npz", "moved.npz")
    status, _, err = main("train --resume c.npz --quiet")
    assert status == 2
    assert err.endswith("Received data='own.npz', as c.npz names it: resume in the folder of the first run\n")


HOSTILE = (None, True, False, -1, 0, 1, 0.5, 10**30, 10**400, 1e300, float("nan"), "", "1", "text", [], [1], [[]], {})


def parsed(name, value):
    """What the command line makes of a value, written as it would be there; SystemExit where it takes none such."""
    option = f"--{name.replace('_', '-')}"
    items = value if isinstance(value, list) and value else [value]
    words = [option] if value is True else [f"{option}={item}" for item in items]
    return getattr(cli.build_parser().parse_args(["train", *words]), name)


@pytest.mark.parametrize("name", DEFAULTS)
def test_saved_options_are_those_that_the_command_line_takes(name, capsys):
    """Of each type and range: a checkpoint is a file like others."""
    for value in HOSTILE:
        try:
            given = parsed(name, value)
            whole = type(value) is int and type(given) is float  # JSON's 1 may stand for 1.0
            right = given == (float(value) if whole else value) and (whole or type(value) is type(given))
        except SystemExit:
            right = value is False is DEFAULTS[name] or (value == [] and name == "metric")  # which is not given
        if right or value is DEFAULTS[name] is None:
            check_saved("c.npz", DEFAULTS | {name: value})
            continue
        with pytest.raises(FileFormatError, match=r"^c\.npz: argument --[a-z-]+: expected .*, received ") as error:
            check_saved("c.npz", DEFAULTS | {name: value})
        assert f"--{name.replace('_', '-')}: " in str(error.value) and len(str(error.value)) < 300


def test_a_checkpoint_with_wrong_options_or_files(train, main):
    """One line that names the file and the option; without a key, the default was meant."""
    train("--epochs 1 --checkpoint c.npz")
    with np.load("c.npz") as file:
        arrays = dict(file)
    head = json.loads(str(arrays.pop("architecture")))
    names = sorted(os.listdir())

    def resumed(kind, name, value):
        changed = copy.deepcopy(head)
        changed["metadata"][kind][name] = value
        np.savez("c.npz", architecture=np.array(json.dumps(changed)), **arrays)
        status, out, err = main("train --resume c.npz --quiet")
        assert (status, out) == (1, "") and err.count("\n") == 1 and sorted(os.listdir()) == names, err
        return err

    for name in DEFAULTS:
        assert f"error: c.npz: argument --{name.replace('_', '-')}: expected " in resumed("options", name, [1])
    for name in train_command.FILES:
        for value in (5, [1], True, "", "a\0b", "\ud800"):
            line = f"error: c.npz: argument --{name}: expected a path, received {value!r}\n"
            assert resumed("files", name, value).endswith(line)
    assert "argument --optimizer: expected one of sgd, momentum, " in resumed("options", "optimizer", "none")
    np.savez("c.npz", architecture=np.array(json.dumps(head)), **arrays)
    assert main("train --resume c.npz --quiet")[0] == 0


@pytest.mark.parametrize("option", ["--best", "--checkpoint", "--csv", "--plot"])
def test_places_that_cannot_be_written(main, option):
    if option == "--plot":
        pytest.importorskip("matplotlib")
    status, out, err = main(f"train --data own.npz --quiet {option} none/a.png")
    assert (status, out) == (1, "") and "cannot write 'none/a.png': there is no folder '" in err
    assert err.count("\n") == 1 and os.listdir() == ["own.npz"]


def test_a_file_for_a_folder_of_logs(main):
    pytest.importorskip("tensorboardX")
    status, out, err = main("train --data own.npz --quiet --tensorboard own.npz")
    assert (status, out) == (1, "") and "own.npz" in err and err.count("\n") == 1 and os.listdir() == ["own.npz"]


@pytest.mark.parametrize(
    ("module", "option", "message"),
    [
        ("safetensors", "--out a.safetensors", "need that library: `pip install fastcnn[safetensors]`"),
        ("safetensors", "--best a.safetensors", "need that library: `pip install fastcnn[safetensors]`"),
        ("safetensors", "--checkpoint a.safetensors", "need that library: `pip install fastcnn[safetensors]`"),
        (
            "tensorboardX",
            "--tensorboard logs",
            "TensorBoard logs need tensorboardX: `pip install fastcnn[tensorboard]`",
        ),
        ("matplotlib", "--plot a.png", "learning curves need matplotlib: `pip install fastcnn[plot]`"),
    ],
)
def test_missing_extras(main, tmp_path, monkeypatch, module, option, message):
    """Said before the training, which would be lost."""
    (tmp_path / "stubs").mkdir()
    (tmp_path / "stubs" / f"{module}.py").write_text(f"raise ModuleNotFoundError({module!r}, name={module!r})")
    path = os.pathsep.join([str(tmp_path / "stubs"), os.path.dirname(os.path.dirname(cli.__file__))])
    arguments = f"train --data own.npz --quiet --epochs 1 {option}".split()
    done = run_fastcnn(*arguments, *FAST, cwd=tmp_path, PYTHONPATH=path)
    assert_fails(done, 1, message)
    assert done.stdout == "" and sorted(os.listdir(tmp_path)) == ["own.npz", "stubs"]


def test_the_help_names_every_option():
    done = run_fastcnn("train", "--help", FASTCNN_BACKEND="numpy")
    assert done.returncode == 0
    for name in DEFAULTS:
        assert f"--{name.replace('_', '-')}" in done.stdout
    assert train_command.HELP and tuple(zoo.MODELS) == MODELS
