"""Where a training failed: the first layer and array that hold NaN or an infinity, and a file that reproduces it.

The file is a model file with the batch in it, before the step that failed: ``python -m fastcnn.diagnosis FILE`` and
:func:`replay` compute that step again and report what they find.
"""

import argparse
import contextlib
import functools
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastcnn import streams
from fastcnn.errors import FileFormatError
from fastcnn.files import write_elsewhere
from fastcnn.layers.protocol import call, state_of, tensors_of, walk
from fastcnn.losses import Loss
from fastcnn.network import Network
from fastcnn.saving import model_file, random_state
from fastcnn.shapes import received
from fastcnn.training.run import TrainingRun

__all__ = ["main", "replay"]


def first_bad(array: np.ndarray) -> str | None:
    """Where the first NaN or infinity is, and how many there are; None where there is none."""
    finite = np.isfinite(array)
    if finite.all():
        return None
    where = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), array.shape))
    at = f"[{', '.join(map(str, where))}]" if where else ""
    return f"{at} is {array[where]} ({array.size - np.count_nonzero(finite)} of {array.size} are NaN or infinite)"


def bad_parameter(layers: list[Any]) -> str | None:
    """The first array of a layer that holds NaN or an infinity, in one sentence."""
    for place, layer in walk(layers):
        for name, array in tensors_of(layer).items():
            if found := first_bad(np.asarray(array)):
                return f"`{name}` of `layers[{place}]`, a {type(layer).__name__}: {name}{found}"
    return None


class BadOutputError(Exception):
    """The output of a layer holds NaN or an infinity: which one and where, in one sentence."""


def check_output(place: str, layer: Any, output: Any) -> Any:
    """`output`; BadOutputError where it is not finite."""
    if found := first_bad(np.asarray(output)):
        raise BadOutputError(f"the output of `layers[{place}]`, a {type(layer).__name__}: output{found}")
    return output


@contextlib.contextmanager
def inner_outputs_checked(layers: list[Any]) -> Iterator[None]:
    """Inside, a layer inside another one of `layers` raises `BadOutputError` from a forward whose output is not finite.

    The forward itself is watched, and not repeated: it draws random numbers and moves running means.
    """
    with contextlib.ExitStack() as stack:
        inner = [(place, layer) for place, layer in walk(layers) if "." in place and hasattr(layer, "__dict__")]
        for place, layer in inner:
            for name in ("forward", "forward_rectified"):
                if hasattr(layer, name):
                    stack.enter_context(result_checked(place, layer, name))
        yield


@contextlib.contextmanager
def result_checked(place: str, layer: Any, method: str) -> Iterator[None]:
    """Inside, `check_output` is applied to what a method of `layer` returns."""
    original, own = getattr(layer, method), vars(layer)

    @functools.wraps(original)
    def checked(*arguments: Any, **options: Any) -> Any:
        return check_output(place, layer, original(*arguments, **options))

    replaced = own.get(method)
    own[method] = checked
    try:
        yield
    finally:
        if replaced is None:
            del own[method]
        else:
            own[method] = replaced


def checked_forward(layers: list[Any], x: Any) -> Any:
    """The output of the last of `layers` in training; BadOutputError at the first output that is not finite."""
    with inner_outputs_checked(layers):
        for position, layer in enumerate(layers):
            x = check_output(str(position), layer, call(layer, x, "train"))
    return x


def explain(model: Network, x: np.ndarray, y: np.ndarray, loss_options: dict[str, Any]) -> str | None:
    """The first array that is not finite in the forward of a batch, in one sentence; None where all are."""
    with np.errstate(all="ignore"):
        found = bad_parameter(model.layers)
        if found is None:
            try:
                logits = checked_forward(model.body, x)
            except BadOutputError as bad:
                return str(bad)
            loss = model.loss_layer.cal_loss(logits, y, **loss_options)
            if not np.isfinite(loss):
                found = f"`loss` of `layers[{len(model.body)}]`, a {type(model.loss_layer).__name__}: it is {loss}"
    return found


def before_forward(layers: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state that a forward in training changes: the layers' random numbers, and arrays such as a running mean."""
    states = {place: {name: array.copy() for name, array in state_of(layer).items()} for place, layer in walk(layers)}
    return random_state.layer_numbers(layers), states


def undo_forward(layers: list[Any], before: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Restore what `before_forward` returned; a seed that the forward has drawn is kept."""
    numbers, states = before
    drawn = {place: {name: n for name, n in named.items() if n is not None} for place, named in numbers.items()}
    random_state.set_layer_numbers(layers, drawn)
    for place, layer in walk(layers):
        for name, array in states.get(place, {}).items():
            setattr(layer, name, array)


def failure(
    run: TrainingRun, x: np.ndarray, y: np.ndarray, before: tuple[dict[str, Any], dict[str, Any]]
) -> FloatingPointError:
    """The error for a batch whose loss is not finite; `before` is what `before_forward` returned."""
    layers = run.model.layers
    undo_forward(layers, before)
    kept = keep(run, x, y)
    loss, rate = run.model.loss_layer.loss, run.optimizer.rate(run.done)
    found = explain(run.model, x, y, run.loss_options) or "all arrays are finite when it is computed again"
    undo_forward(layers, before)
    return FloatingPointError(
        f"fit: the loss is {loss} in batch {run.batch + 1} of epoch {run.epoch}; the first to go bad is {found}; a "
        f"smaller `learning_rate` usually helps. {received('learning_rate', rate)}{kept}"
    )


def check_parameters(run: TrainingRun) -> None:
    """FloatingPointError where the last step made a parameter NaN or infinite, which no loss has shown yet."""
    if found := bad_parameter(run.model.layers):
        last = slice(len(run.x) - 1, None)
        x = run.x[last]
        if run.augmentation is not None and run.augmentation.crop is not None:
            x = x[:, : run.augmentation.crop[0], : run.augmentation.crop[1]]
        step = f"step {run.batch}" if run.batch * run.batch_size < len(run.x) else "the last step"
        raise FloatingPointError(
            f"fit: {step} of epoch {run.epoch} made a parameter NaN or infinite: {found}; a smaller "
            f"`learning_rate` usually helps{keep(run, x, run.y[last])}"
        )


def keep(run: TrainingRun, x: np.ndarray, y: np.ndarray) -> str:
    """Write the file; the end of a sentence that says where it is, or why there is none."""
    if run.failure_file is None:
        return ""
    options = {key: np.asarray(value) for key, value in run.loss_options.items()}
    arrays = {"x": x, "y": y} | options

    def save(path: str) -> str:
        model_file.save(
            path,
            run.model.layers,
            run.model.metadata,
            random=True,
            more={"failure": {"epoch": run.epoch, "batch": run.batch + 1}},
            more_arrays={f"training.{name}": array for name, array in arrays.items()},
            finite=False,
        )
        return path

    for write in (save, functools.partial(write_elsewhere, write=save)):
        try:
            path = write(run.failure_file)
        except (OSError, ImportError):  # no room, or a format whose library is missing
            continue
        except TypeError as error:  # a script's own layer that cannot be saved
            return f"; no file reproduces it: {error}"
        return f"; `python -m fastcnn.diagnosis {shlex.quote(path)}` computes it again"
    return "; no file reproduces it: none could be written"


def replay(path: Any, custom_layers: dict[str, type] | None = None) -> str | None:
    """Compute the step of a failure's file again; the first array that goes bad, in one sentence, or None."""
    file = model_file.read(path)
    file.section("failure", "batch that failed: no file that a training left when its loss was NaN or infinite")
    arrays = file.part("training.")
    layers = model_file.load_layers(file, custom_layers or {}, finite=False)
    try:
        model = Network(layers, file.header["metadata"])
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{file.where}: {error}") from error
    model_file.load_random(file, model.layers)
    if not {"x", "y"} <= set(arrays) or not isinstance(model.layers[-1], Loss):
        raise FileFormatError(f"{file.where}: the batch that failed is missing")
    x, y = arrays.pop("x"), arrays.pop("y")
    try:
        return explain(model, x, y, {key: value[()] for key, value in arrays.items()})
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{file.where}: the batch that failed is damaged: {error}") from error


def main(arguments: list[str]) -> int:
    """``python -m fastcnn.diagnosis FILE``: exit status 0 where the failure shows again, 1 where it does not."""
    parser = argparse.ArgumentParser("python -m fastcnn.diagnosis", description=(replay.__doc__ or "").split("\n")[0])
    parser.add_argument("file", metavar="FILE", help="what a training left when its loss became NaN or infinite")
    path = parser.parse_args(arguments).file
    with streams.guarded() as (output, _):
        try:
            found = replay(path)
        except (OSError, ValueError, ImportError) as error:
            print(f"fastcnn.diagnosis: error: {error}", file=sys.stderr)
            return 1
        print(f"the first to go bad is {found}" if found else "all arrays are finite")
        if text := output.failure():
            print(f"fastcnn.diagnosis: error: {text}", file=sys.stderr)
        return 0 if found and not text else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
