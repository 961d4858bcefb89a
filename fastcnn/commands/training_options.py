"""The options of `fastcnn train` that decide the course of a training: what a checkpoint keeps, and --resume takes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fastcnn.commands.options import DATA_HELP, UsageError, number
from fastcnn.shapes import shortened

if TYPE_CHECKING:
    from fastcnn.augmentation import Augmentation
    from fastcnn.model import Sequential
    from fastcnn.optimizers import Optimizer

# Of a dozen plain recipes, three seeds each: 97.5 % of the test digits, and 89 % of Fashion-MNIST in 5 epochs.
DEFAULTS: dict[str, Any] = {
    "data": "digits",
    "model": "lenet",
    "epochs": 15,
    "batch_size": 16,
    "validation_batch_size": 256,
    "optimizer": "sgd",
    "lr": None,
    "schedule": "cosine",
    "warm_up": 0.0,
    "weight_decay": None,
    "decay": "all",
    "clip_norm": None,
    "label_smoothing": 0.0,
    "class_weight": None,
    "shift": 0,
    "flip": False,
    "crop": None,
    "patience": None,
    "metric": None,
    "seed": 0,
    "sync_batch_norm": False,
    "dtype": None,
}
SGD_RATE, SGD_DECAY = 0.1, 1e-3

MODELS = ("lenet", "vgg_small", "resnet_small")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw")
METRICS = ("precision", "recall", "f1", "top_3_accuracy", "top_5_accuracy")
SCHEDULES = ("constant", "step", "exponential", "cosine", "one-cycle")


def add_training_options(parser: argparse.ArgumentParser) -> dict[str, dict[str, Any]]:
    """Each is None where it is not given: a resumed run then has that of its checkpoint. What argparse was told of each
    is returned, by its name in `DEFAULTS`: a checkpoint's options are checked by the same rules."""
    rules: dict[str, dict[str, Any]] = {}

    def add(name: str, help_text: str, **options: Any) -> None:
        key = name.strip("-").replace("-", "_")
        default = DEFAULTS[key]
        shown = "" if default in (None, False) else f"; default: {default}"
        rules[key] = options
        parser.add_argument(name, default=None, help=help_text + shown, **options)

    add("--data", DATA_HELP)
    add("--model", "the network", choices=MODELS)
    add("--epochs", "how often each image is seen", type=number(int, 1), metavar="N")
    add("--batch-size", "images in a step", type=number(int, 1), metavar="N")
    add("--validation-batch-size", "test images computed at once after each epoch", type=number(int, 1), metavar="N")
    add("--optimizer", "the rule that changes the weights", choices=OPTIMIZERS)
    rates = "sgd 0.1, momentum and nesterov 0.01, others 0.001"
    add("--lr", f"largest learning rate, of the mean loss; {rates}", type=number(float, 0, above=True), metavar="RATE")
    add("--schedule", "the course of the learning rate", choices=SCHEDULES)
    warm_up = "share of the training in which the rate rises"
    add("--warm-up", warm_up, type=number(float, 0, maximum=0.99), metavar="SHARE")
    decay = "L2 penalty, as in PyTorch; sgd 0.001, adamw 0.01, others 0"
    add("--weight-decay", decay, type=number(float, 0), metavar="D")
    add("--decay", "what decays: all parameters, or weights and no bias, gain or slope", choices=("all", "weights"))
    add("--clip-norm", "largest norm of the gradient", type=number(float, 0, above=True), metavar="NORM")
    add("--label-smoothing", "part of the target that all classes share", type=number(float, 0, maximum=0.99))
    add("--class-weight", "classes count the same, whatever their number of images", choices=("balanced",))
    add("--shift", "augmentation: move images by up to N pixels", type=number(int, 0), metavar="N")
    add("--flip", "augmentation: mirror half of the images", action="store_const", const=True)
    add("--crop", "augmentation: cut N x N pixels out of larger images", type=number(int, 1), metavar="N")
    add("--patience", "stop after N epochs without a smaller test loss", type=number(int, 1), metavar="N")
    add("--metric", "of the test images after each epoch; may be given several times", choices=METRICS, action="append")
    add("--seed", "of weights, order and augmentation", type=number(int, 0), metavar="N")
    synced = "with --distributed: batch normalisation over the whole batch, not each rank's shard"
    add("--sync-batch-norm", synced, action="store_const", const=True)
    return rules


def check_saved(where: str, saved: dict[str, Any]) -> None:
    """FileFormatError where the checkpoint `where` holds an option that no command line could have given it."""
    from fastcnn.config import DTYPES
    from fastcnn.errors import FileFormatError

    rules = add_training_options(argparse.ArgumentParser(add_help=False)) | {"dtype": {"choices": DTYPES}}
    for name, rule in rules.items():
        value = saved.get(name, DEFAULTS[name])
        wrong = None if value is None is DEFAULTS[name] else what_is_wrong(value, rule)
        if wrong:
            raise FileFormatError(f"{where}: argument {option_of(name)}: {wrong}")


def what_is_wrong(value: Any, rule: dict[str, Any]) -> str | None:
    """What an option must be and is not, in one line, by what argparse was told of it; None where it is right."""
    if "type" in rule:
        try:
            rule["type"](repr(value))
        except argparse.ArgumentTypeError as error:
            return str(error)
        return None
    if "choices" in rule:
        several = rule.get("action") == "append"
        wanted = f"{'a list of ' if several else 'one of '}{', '.join(rule['choices'])}"
        right = isinstance(value, list if several else str)
        right = right and all(each in rule["choices"] for each in (value if several else [value]))
    else:
        kind, wanted = (bool, "true or false") if "const" in rule else (str, "text")
        right = isinstance(value, kind)
    return None if right else f"expected {wanted}, received {shortened(repr(value))}"


def option_of(name: str) -> str:
    """How the command line calls an option."""
    return f"--{name.replace('_', '-')}"


def options_of(arguments: argparse.Namespace, saved: dict[str, Any] | None = None) -> dict[str, Any]:
    """All training options: those given, those of the checkpoint that is resumed, defaults.

    UsageError where one is given that the checkpoint has differently.
    """
    given = {name: getattr(arguments, name) for name in DEFAULTS if getattr(arguments, name) is not None}
    if saved is None:
        return DEFAULTS | given
    saved = DEFAULTS | saved
    for name, value in given.items():
        if value != saved[name]:
            raise UsageError(
                f"argument {option_of(name)}: expected {saved[name]!r} as in {arguments.resume}, or nothing: a resumed "
                f"run has the options of its checkpoint; received {value!r}"
            )
    return saved


def make_augmentation(options: dict[str, Any]) -> Augmentation | None:
    from fastcnn.augmentation import Augmentation

    wanted = options["shift"], options["flip"], options["crop"]
    return Augmentation(*wanted) if any(wanted) else None


def make_optimizer(options: dict[str, Any], model: Sequential) -> Optimizer:
    """The optimizer with its schedule."""
    from fastcnn import optimizers
    from fastcnn.training import schedules

    rule, rate, decay = optimizers.OPTIMIZERS[options["optimizer"]], options["lr"], options["weight_decay"]
    plain = options["optimizer"] == "sgd"
    schedule = schedules.SCHEDULES[options["schedule"]](rate or (SGD_RATE if plain else rule.default_rate))
    if options["warm_up"]:
        schedule = schedules.warm_up(schedule, options["warm_up"])
    if decay is None and plain:
        decay = SGD_DECAY
    more = {} if decay is None else {"weight_decay": decay}
    return rule(model, schedule, decay=options["decay"], clip_norm=options["clip_norm"], **more)
