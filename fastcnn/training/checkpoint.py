"""Checkpoints: the whole state of a training in a model file, from which it is resumed to the same bits.

A step depends on the parameters, the state of optimizer and layers, NumPy's random state, the seed, and the numbers of
the epoch and the batch. That is what is kept, with the history and the state of the callbacks.
"""

import copy
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.distributed.group import Group
from fastcnn.errors import FileFormatError
from fastcnn.layers.protocol import walk
from fastcnn.saving import checksum, model_file
from fastcnn.shapes import check_int, check_number, must_be, shortened
from fastcnn.training.run import Resumable, TrainingRun

# Arguments of `fit` that checkpoints of earlier versions do not name, and what these versions computed with.
EARLIER = {"validation_batch_size": "256", "optimizer's decay": "'all'"}
MEASURED = ("loss", "accuracy", "seconds", "images_per_second")  # what the history of each training holds
VALIDATED = ("val_loss", "val_accuracy")  # and where there is validation data


def course(run: TrainingRun) -> dict[str, str]:
    """The arguments on which the results of a run depend, as text."""
    config = run.optimizer.config()
    return {
        "optimizer": run.optimizer.name,
        **{f"optimizer's {name}": as_text(value) for name, value in config.items()},
        "epochs": str(run.epochs),
        "batch_size": str(run.batch_size),
        "validation_batch_size": str(run.validation_batch_size),
        "shuffle": str(run.shuffle),
        "augmentation": repr(run.augmentation),
        "label_smoothing": as_text(run.loss_options.get("label_smoothing", 0.0)),
        "class_weight": as_text(run.loss_options.get("class_weights")),
        "metrics": ", ".join(run.metrics) or "none",
        "callbacks": ", ".join(filter(None, (callback.settings() for callback in run.callbacks))) or "none",
    }


def settings(run: TrainingRun) -> dict[str, str]:
    """All on which the results of a run depend, as text: it must be equal where the run is resumed."""
    model = {"model": str(model_file.architecture(run.model.layers))}
    validation = [fingerprint(array, run.group) for array in run.validation_data or ()]
    data = {"x": fingerprint(run.x, run.group), "y": fingerprint(run.y, run.group)}
    return model | course(run) | data | {"validation_data": " and ".join(validation) or "none"}


def as_text(value: Any) -> str:
    """`repr`, which shortens no array."""
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


def fingerprint(array: np.ndarray, group: Group) -> str:
    """Shape, dtype and checksum of an array, of which each rank of `group` reads its shard."""
    shard = array[group.shard(len(array))]
    whole = 0
    for crc, size in group.all_gather((checksum.crc32(shard), shard.nbytes)):
        whole = checksum.joined(whole, crc, size)
    return f"{array.dtype} {array.shape}, CRC-32 {whole:08x}"


def write(run: TrainingRun, path: Any) -> None:
    """Write the state of `run` to `path`, whole or not at all."""
    states: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for label, callback in labelled(run.callbacks):
        states[label], kept = divided(label, callback.state())
        arrays |= {f"training.{label}.{key}": value for key, value in kept.items()}
    stopped = run.stopping
    training = {
        "settings": run.settings,
        "seed": run.seed,
        "epoch": run.epoch,
        "batch": run.batch,
        "loss": run.loss,
        "hits": run.hits,
        "seconds": run.seconds,
        "sync_batch_norm": run.sync_batch_norm if run.group.size > 1 else None,
        "history": {key: [plain(value) for value in values] for key, values in run.history.items()},
        "stopped": None if stopped == "interrupted" else stopped,
        "callbacks": states,
    }
    model = run.model
    model_file.save(
        path, model.layers, model.metadata, run.optimizer, True, more={"training": training}, more_arrays=arrays
    )


def plain(value: Any) -> Any:
    """A NumPy scalar as a Python number, which JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value


def divided(label: str, state: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a callback's `state` returned, divided into what JSON can hold and arrays."""
    try:
        kept = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
        others = {key: plain(value) for key, value in state.items() if key not in kept}
        json.dumps(others)
    except (AttributeError, TypeError, ValueError) as error:
        wanted = "a dict of numbers, text and arrays"
        raise TypeError(must_be("Checkpoint", f"the state() of {label}", wanted, state)) from error
    return others, kept


def resume(run: TrainingRun, file: model_file.ModelFile, any_seed: bool) -> None:
    """Set `run`, its model and its optimizer to the state in a checkpoint, whose `file` has been read.

    Raises
    ------
    FileFormatError
        It is no checkpoint.
    ValueError
        The run of the checkpoint had other arguments, data or layers; nothing has been changed.
    """
    training = file.section("training", "training to resume: it is no checkpoint")
    try:
        saved = EARLIER | training["settings"]
        seed = check_int("resume", "seed", training["seed"], 0, largest=math.inf)
        states = {
            label: dict(state) | file.part(f"training.{label}.") for label, state in training["callbacks"].items()
        }
        numbers = {
            name: value
            for name, value in file.header["optimizer"]["config"].items()
            if name in run.optimizer.config() and isinstance(value, int | float)
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(file.where, error) from error
    check_settings(file.where, saved, run.settings)
    if not any_seed and run.seed != seed:
        raise ValueError(mismatch(file.where, "seed", seed, run.seed))
    synced = training.get("sync_batch_norm")
    if run.group.size > 1 and synced is not None and synced != run.sync_batch_norm:
        raise ValueError(mismatch(file.where, "sync_batch_norm", synced, run.sync_batch_norm))
    try:
        progress = progress_of(run, training)
        history, stopped = history_of(run, training, progress["epoch"] - 1), training.get("stopped")
        if not isinstance(stopped, str | None):
            raise TypeError(must_be("resume", "stopped", "text or nothing", stopped))
        assign(copy.copy(run.optimizer), numbers)  # all or nothing: its own are assigned at the end
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(file.where, error) from error
    model_file.load_layers(
        model_file.ModelFile(file.where, file.header, dict(file.arrays)), custom_of(run)
    )  # all or nothing
    for label, callback in labelled(run.callbacks):
        if label in states:
            try:
                callback.load_state(states[label])
            except (KeyError, TypeError, ValueError) as error:
                raise damaged(file.where, error) from error
    model_file.load_random(file, run.model.layers)
    model_file.load_optimizer(model_file.ModelFile(file.where, file.header, dict(file.arrays)), run.optimizer)
    assign(run.optimizer, numbers)  # a callback may have assigned another rate since the run began
    model_file.fill(file, run.model.layers)
    vars(run).update(progress, seed=seed)
    run.history.update(history)
    run.history.stopped = stopped


def assign(optimizer: Any, numbers: dict[str, float]) -> None:
    """Set what differs: a script's own rule may say in its `config` what cannot be assigned."""
    own = optimizer.config()
    for name, value in numbers.items():
        if value != own[name]:
            setattr(optimizer, name, value)


def progress_of(run: TrainingRun, training: dict[str, Any]) -> dict[str, Any]:
    """Where in its course the run stands, by the attributes of `run`, for whose arguments the numbers must be right."""
    count = len(run.x)
    batch = check_int("resume", "batch", training["batch"], 0, -(-count // run.batch_size))
    return {
        "epoch": check_int("resume", "epoch", training["epoch"], 1, run.epochs + 1),
        "batch": batch,
        "hits": check_int("resume", "hits", training["hits"], 0, min(batch * run.batch_size, count)),
        "loss": check_number("resume", "loss", training["loss"]),
        "seconds": check_number("resume", "seconds", training["seconds"], 0),
    }


def history_of(run: TrainingRun, training: dict[str, Any], epochs: int) -> dict[str, list[Any]]:
    """The history of so many epochs; what a callback of a script's own has added may be anything."""
    history = {key: list(values) for key, values in training["history"].items()}
    validated = VALIDATED if run.validation_data is not None else ()
    for name in (*MEASURED, *validated, *(f"val_{name}" for name in run.metrics)) if epochs else ():
        values = history[name]
        if len(values) != epochs or not all(isinstance(value, int | float) for value in values):
            raise ValueError(must_be("resume", f"history[{name!r}]", f"a number for each of {epochs} epochs", values))
    return history


def damaged(where: str, error: Exception) -> FileFormatError:
    return FileFormatError(f"{where}: its training state is damaged ({type(error).__name__}: {error})")


def labelled(callbacks: Sequence[Resumable]) -> list[tuple[str, Resumable]]:
    """Each callback with its label in a file: its class's name, and its number among those of that class."""
    names = [type(callback).__name__ for callback in callbacks]
    return [(f"{name}_{names[:i].count(name)}", callbacks[i]) for i, name in enumerate(names)]


def custom_of(run: TrainingRun) -> dict[str, type]:
    """The classes of the model's layers, by the names that a file gives them."""
    return {type(layer).__name__: type(layer) for _, layer in walk(run.model.layers)}


def check_settings(where: str, saved: dict[str, str], own: dict[str, str]) -> None:
    for name in [*own, *saved]:
        if saved.get(name) != own.get(name):
            raise ValueError(mismatch(where, name, saved.get(name), own.get(name)))


def mismatch(where: str, name: str, saved: Any, own: Any) -> str:
    return (
        f"fit: `resume` must be the checkpoint of a run with the same arguments: its {name} is "
        f"{shortened(str(saved))} in {where}. Received {shortened(str(own))}"
    )
