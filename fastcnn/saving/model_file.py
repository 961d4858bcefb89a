"""Model files: the architecture as JSON and the parameters as arrays; where asked, optimizer and random state too.

A checkpoint of a training is such a file as well. Loading a file from an untrusted source runs none of its content.
"""

import inspect
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastcnn.layers
from fastcnn.arrays import check_finite
from fastcnn.errors import FileFormatError
from fastcnn.initializers import LATER
from fastcnn.layers.protocol import (
    builds_itself,
    can_be_saved,
    config_of,
    needs_in_config,
    tensor_shapes_of,
    tensors_of,
    walk,
)
from fastcnn.saving import containers, random_state
from fastcnn.shapes import check_path, must_be, received, shortened

FORMAT = "fastcnn-model"
VERSION = 2  # 1 had no layers inside others and nothing but layers; it is read too
WHAT = "a fastcnn model file"
FROZEN = "frozen"  # in the header of a predictor's file
DRAWN = "Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "FullyConnect"  # layers whose constructors draw their weights


@dataclass
class ModelFile:
    """A model file in memory: its path, its header, and those of its arrays that have not been taken out yet."""

    where: str
    header: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """Take out the arrays whose names begin with `prefix`, under the rest of their names."""
        names = [name for name in self.arrays if name.startswith(prefix)]
        return {name[len(prefix) :]: self.arrays.pop(name) for name in names}

    def section(self, name: str, what: str) -> Any:
        """A part of the header; FileFormatError where the file was saved without it."""
        if not isinstance(self.header.get(name), dict):
            raise FileFormatError(f"{self.where}: it holds no {what}")
        return self.header[name]


def architecture(layers: list[Any]) -> list[dict[str, Any]]:
    """Class and constructor's arguments of each layer."""
    for place, layer in walk(layers):
        if not can_be_saved(layer):
            name = type(layer).__name__
            raise TypeError(f"save: layers[{place}], a {name}, has no config() and parameters() to save it by")
        check_config(place, layer)
    return [config_of(layer) for layer in layers]


def check_config(place: str, layer: Any) -> None:
    """TypeError where the constructor would not make the layer again from what `config` returns."""
    if builds_itself(type(layer)):
        return
    arguments = inspect.signature(type(layer)).parameters
    what, config = f"save: the config() of layers[{place}], a {type(layer).__name__},", set(layer.config())
    anything = any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values())
    if not anything and (strays := sorted(config - set(arguments))):
        raise TypeError(f"{what} must hold arguments of the constructor. Received {strays[0]!r}, which is none")
    named = {
        name
        for name, argument in arguments.items()
        if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    }
    if missing := sorted(needs_in_config(layer, named) - config):
        raise TypeError(f"{what} must hold all arguments of the constructor. It lacks {missing[0]!r}")


def save(
    path: Any,
    layers: list[Any],
    metadata: dict[str, Any],
    optimizer: Any = None,
    random: bool = False,
    *,
    more: dict[str, Any] | None = None,
    more_arrays: dict[str, np.ndarray] | None = None,
    finite: bool = True,
) -> None:
    """Write `layers` to `path`; a file already there is left as it is where they cannot be written.

    `more` is added to the header, `more_arrays` to the arrays. With `finite`, NaN and infinity are refused.
    """
    check_path("save", "path", path)
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "layers": architecture(layers),
        "metadata": metadata,
    }
    arrays = dict(more_arrays or {})
    for place, layer in walk(layers):
        for key, value in tensors_of(layer).items():
            if finite:
                check_finite("save", f"layers[{place}].{key}", np.asarray(value))
            arrays[f"{place}.{key}"] = np.asarray(value)
    if optimizer is not None:
        state = optimizer.state_dict()
        header["optimizer"] = {"class": optimizer.name, "config": optimizer.config(), "steps": state["steps"]}
        for key, slots in state["kept"].items():
            arrays |= {f"optimizer.{key}.{slot}": array for slot, array in slots.items()}
    if random:
        header["random"] = random_state.capture(layers)
    try:
        text = json.dumps(header | (more or {}))
    except (TypeError, ValueError) as error:
        raise TypeError(f"save: `metadata` and each layer's config() must be what JSON can hold: {error}") from error
    containers.write(path, text, arrays)


def read_for(path: Any, custom_layers: dict[str, type] | None) -> ModelFile:
    """`read`, once it is sure that these are classes by their names, or None."""
    if not (custom_layers is None or isinstance(custom_layers, dict)):
        raise TypeError(must_be("load", "custom_layers", "a dict of class names and classes", custom_layers))
    return read(path)


def read(path: Any) -> ModelFile:
    """Read the file at `path`; no layer is built yet."""
    where = check_path("load", "path", path)
    header, arrays = containers.read(path, WHAT)
    try:
        if header["format"] != FORMAT:
            raise KeyError("format")
        version, described = header["version"], header["layers"]
        if not (isinstance(described, list) and described and isinstance(header["metadata"], dict)):
            raise TypeError("layers or metadata")
    except Exception as error:
        raise FileFormatError(f"{where}: not {WHAT}: its architecture is missing or damaged") from error
    if version not in (1, VERSION):
        raise FileFormatError(f"{where}: model file version {version}, and this fastcnn reads 1 and {VERSION}")
    return ModelFile(where, header, arrays)


def load_layers(file: ModelFile, custom_layers: dict[str, type], finite: bool = True) -> list[Any]:
    """The layers of a file, with their arrays."""
    layers = [build(file, entry, custom_layers) for entry in file.header["layers"]]
    fill(file, layers, finite)
    strays = [name for name in file.arrays if not name.startswith(("optimizer.", "training."))]
    if strays:
        raise FileFormatError(f"{file.where}: arrays that belong to no layer: {', '.join(sorted(strays))}")
    return layers


def fill(file: ModelFile, layers: list[Any], finite: bool = True) -> None:
    """Move the arrays of a file into layers; FileFormatError where they are not what these need."""
    for place, layer in walk(layers):
        declared = check_shapes(file, place, layer)
        for name in declared:
            fill_tensor(file, place, layer, name, finite)
        for name in sorted(set(tensors_of(layer)) - set(declared)):  # asked after these: it makes what is not there yet
            fill_tensor(file, place, layer, name, finite)


def fill_tensor(file: ModelFile, place: str, layer: Any, name: str, finite: bool) -> None:
    """Move one array."""
    what = describe(file, place, layer, name)
    if f"{place}.{name}" not in file.arrays:
        raise FileFormatError(f"{what}, is missing")
    try:
        setattr(layer, name, file.arrays.pop(f"{place}.{name}"))
        if finite:
            check_finite(type(layer).__name__, name, np.asarray(getattr(layer, name)))
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{what}, is wrong: {error}") from error


def describe(file: ModelFile, place: str, layer: Any, name: str) -> str:
    return f"{file.where}: parameter `{name}` of layer {place}, a {type(layer).__name__}"


def check_shapes(file: ModelFile, place: str, layer: Any) -> list[str]:
    """The names of the arrays that a layer declares; FileFormatError where the file does not hold what it needs."""
    shapes = tensor_shapes_of(layer)
    for name, shape in shapes.items():
        what, array = describe(file, place, layer, name), file.arrays.get(f"{place}.{name}")
        if array is None:
            raise FileFormatError(f"{what}, is missing")
        if array.shape != shape:
            raise FileFormatError(f"{what}, is wrong: its shape is {array.shape}, and the layer needs {shape}")
    return list(shapes)


def build(file: ModelFile, entry: Any, custom_layers: dict[str, type]) -> Any:
    """One layer from its class name and constructor arguments; its arrays are set afterwards."""
    where, state = file.where, np.random.get_state()
    try:
        name, config = entry["class"], dict(entry["config"])
        known = {key: value for key, value in vars(fastcnn.layers).items() if isinstance(value, type)}
        layer_class: Any = {**known, **custom_layers}.get(name)
        if layer_class is None:
            unknown = shortened(repr(name))
            raise FileFormatError(f"{where}: unknown layer class {unknown}; pass it to load(..., custom_layers=...)")
        if builds_itself(layer_class):
            return layer_class.from_config(config, lambda inner: build(file, inner, custom_layers))
        if layer_class.__init__ in {getattr(fastcnn.layers, drawn).__init__ for drawn in DRAWN}:
            config["initializer"] = LATER
        return layer_class(**config)
    except FileFormatError:
        raise
    except Exception as error:  # sizes beyond all memory count too
        reason = shortened(str(error), 300)
        raise FileFormatError(f"{where}: a layer cannot be built: {reason}. {received('layer', entry)}") from error
    finally:
        np.random.set_state(state)  # loading a model leaves NumPy's global generator as it was


def load_optimizer(file: ModelFile, optimizer: Any) -> None:
    """Restore the state of `optimizer`; FileFormatError where it was saved for another rule or other layers."""
    saved = file.section("optimizer", "optimizer's state")
    if saved.get("class") != optimizer.name:
        raise FileFormatError(f"{file.where}: it holds the state of {saved.get('class')}, and not of {optimizer.name}")
    kept: dict[str, dict[str, np.ndarray]] = {}
    for name, array in file.part("optimizer.").items():
        key, _, slot = name.rpartition(".")
        kept.setdefault(key, {})[slot] = array
    try:
        optimizer.load_state_dict({"steps": saved.get("steps"), "kept": kept})
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{file.where}: {error}") from error


def load_random(file: ModelFile, layers: list[Any]) -> None:
    """Restore the random state."""
    state = file.section("random", "random state")
    try:
        random_state.restore(layers, state)
    except Exception as error:  # NumPy raises several classes
        raise FileFormatError(f"{file.where}: its random state is damaged: {error}") from error
