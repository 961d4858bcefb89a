"""`fit`: its signature, and arguments that no other file is about."""

import contextlib
import inspect
import json

import numpy as np
import pytest

from fastcnn import Sequential, training
from fastcnn.callbacks import Callback, Checkpoint
from fastcnn.layers import FullyConnect, Softmax
from fastcnn.training import TrainingRun
from tests.helpers.models import small

# As in earlier versions, where the method said `**options`: order, kind and default of each.
POSITIONAL = {"epochs": 1, "batch_size": 64, "validation_data": None}
KEYWORDS = {
    "optimizer": "sgd",
    "learning_rate": None,
    "weight_decay": None,
    "shuffle": True,
    "seed": None,
    "augmentation": None,
    "class_weight": None,
    "label_smoothing": 0.0,
    "metrics": (),
    "callbacks": (),
    "resume": None,
    "failure_file": "fastcnn-failure.npz",
    "verbose": True,
    "distributed": None,
    "sync_batch_norm": False,
    "validation_batch_size": 256,
}


def test_the_method_has_the_whole_signature():
    method = inspect.signature(small().fit).parameters
    assert list(method) == ["x", "y", *POSITIONAL, *KEYWORDS]
    for name, default in (POSITIONAL | KEYWORDS).items():
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if name in POSITIONAL else inspect.Parameter.KEYWORD_ONLY
        assert method[name].kind is kind and method[name].default == default, name
    assert list(inspect.signature(training.fit).parameters) == ["model", *method]


def test_each_argument_is_documented():
    text = inspect.getdoc(Sequential.fit)
    assert text == inspect.getdoc(training.fit)
    named = [line.partition(" :")[0] for line in text.splitlines() if " :" in line and not line.startswith(" ")]
    documented = {name.strip() for line in named for name in line.split(",")}
    assert {"x", "y", *POSITIONAL, *KEYWORDS} <= documented


def test_the_function_and_the_method_do_the_same(data):
    both = [small(), small()]
    options = {"seed": 3, "verbose": False}
    histories = [both[0].fit(*data, 2, 40, **options), training.fit(both[1], *data, 2, 40, **options)]
    assert histories[0]["loss"] == histories[1]["loss"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        both[0].fit(*data, epoch=2)


def test_the_old_name_of_the_state(data):
    assert training.Run is TrainingRun


class Sizes:
    """A layer that notes the batches it sees in the phase 'test'."""

    def __init__(self):
        self.seen = []

    def forward(self, x, phase="test"):
        if phase == "test":
            self.seen.append(len(x))
        return x

    def gradient(self, eta):
        return eta


@pytest.mark.parametrize(("options", "sizes"), [({}, [200]), ({"validation_batch_size": 90}, [90, 90, 20])])
def test_the_batch_of_the_validation(data, options, sizes):
    watch = Sizes()
    model = Sequential([watch, *small().layers])
    model.fit(*data, 1, 40, data, verbose=False, **options)
    assert watch.seen == sizes


@pytest.mark.parametrize("value", [0, 2.5, "all"])
def test_bad_batch_of_the_validation(data, value):
    with pytest.raises((TypeError, ValueError), match="fit: `validation_batch_size` must be an integer of at least 1"):
        small().fit(*data, validation_batch_size=value)


def test_checkpoints_know_the_batch_of_the_validation(data, tmp_path):
    """Those of earlier versions do not say it: it was 256."""
    path, old = tmp_path / "c.npz", tmp_path / "old.npz"
    options = {"seed": 0, "verbose": False}
    whole = small().fit(*data, 2, 40, data, callbacks=[Checkpoint(path)], **options)
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(str(arrays.pop("architecture")))
    assert header["training"]["settings"].pop("validation_batch_size") == "256"
    np.savez(old, architecture=np.array(json.dumps(header)), **arrays)
    assert small().fit(*data, 2, 40, data, resume=old, **options) == whole
    for checkpoint in (path, old):
        with pytest.raises(ValueError, match=r"its validation_batch_size is 256 in .*\.npz. Received 7"):
            small().fit(*data, 2, 40, data, resume=checkpoint, validation_batch_size=7, **options)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "validation_batch_size"])
def test_huge_numbers(data, name):
    """What a machine's integer holds is right, however little sense it makes; what it does not hold is named."""

    class Stop(Callback):
        def on_batch_end(self, run):
            run.stop("enough")

    arguments = {"validation_data": data, "callbacks": [Stop()], "verbose": False}
    assert small().fit(*data, **arguments | {name: 2**62}).stopped == "enough"
    for value in (2**63, 10**400):
        with pytest.raises(ValueError, match=f"fit: `{name}` must be an integer from 1 to 9223372036854775807. Rec"):
            small().fit(*data, **arguments | {name: value})


def test_a_seed_of_any_length(data, tmp_path):
    """NumPy recommends 128 bits."""
    seed, path = 2**127 + 1, tmp_path / "c.npz"
    whole = small().fit(*data, 2, seed=seed, callbacks=[Checkpoint(path)], verbose=False)
    again = small().fit(*data, 2, seed=seed, resume=path, verbose=False)
    assert whole == again and whole["loss"] != small().fit(*data, 2, seed=1, verbose=False)["loss"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "`epochs` must be an integer"),
        ({"callbacks": 1}, "`callbacks` must be a list"),
        ({"label_smoothing": np.ones(3)}, "Softmax: `label_smoothing` must be a finite number"),
        ({"verbose": np.ones(3)}, "`verbose` must be True or False"),
        ({"seed": "a"}, "`seed` must be an integer"),
    ],
)
def test_a_refused_training_leaves_the_model_as_it_was(data, arguments, message):
    model = small()
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(*data, **{"verbose": False} | arguments)
    assert model.metadata == {}


FROM_1 = [([1, 2, 3, 3] * 10, True), ([1, 2, 2, 2] * 10, False), ([0, 1, 2, 3] * 10, False), ([1, 2, 3, 3], False)]


@pytest.mark.parametrize(("labels", "warned"), FROM_1)
def test_labels_that_count_from_1(labels, warned):
    """Of four classes; where some others are empty too, it may be a part of a set, and few images say nothing."""
    fc = FullyConnect((4, 5), 4, rng=0)
    model, x = Sequential([fc, Softmax((4, 4))]), np.ones((len(labels), 5))
    message = r"fit: `y` holds every label from 1 to 3 and no 0: the first of 4 classes stays empty\. y = y - 1 counts"
    with pytest.warns(UserWarning, match=message) if warned else contextlib.nullcontext():
        model.fit(x, labels, verbose=False)
