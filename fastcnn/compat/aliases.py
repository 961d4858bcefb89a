"""`layers`, the original's package, as another name for :mod:`fastcnn.layers`, so that its scripts run unmodified.

While the name is installed, ``layers.base_conv`` *is* the module ``fastcnn.layers.base_conv``, wherever it is imported
and whatever lies on the path: pickles name ``fastcnn.layers``, and load in any process that has fastcnn.
"""

import contextlib
import importlib
import multiprocessing
import multiprocessing.spawn
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import fastcnn.layers

NAME = "layers"
# The original's own modules are always replaced; another name is first looked for in the script's package.
REPLACED = ("base_conv", "bn", "dropout", "fc", "pooling", "relu", "softmax")


class LayersFinder(MetaPathFinder):
    """Finds ``layers`` and what fastcnn has of it; the rest is left to the usual finders, in the script's package."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name == NAME:
            spec = ModuleSpec(name, PackageLoader(), is_package=True)
            spec.submodule_search_locations = script_package()
            return spec
        package, _, module = name.rpartition(".")
        if package != NAME or not is_ours(module):
            return None
        if module not in REPLACED and PathFinder.find_spec(name, path):
            return None
        return ModuleSpec(name, ModuleLoader(f"fastcnn.layers.{module}"))


def is_ours(module: str) -> bool:
    return PathFinder.find_spec(f"fastcnn.layers.{module}", fastcnn.layers.__path__) is not None


def script_package() -> list[str]:
    """The folders of the package `layers` on ``sys.path``; nothing in it is run, its ``__init__.py`` neither."""
    spec = PathFinder.find_spec(NAME)
    return list(spec.submodule_search_locations or []) if spec else []


class PackageLoader(Loader):
    """``layers`` itself: a package of its own, so that a script's modules are bound here and not in fastcnn."""

    def exec_module(self, package: ModuleType) -> None:
        def get(name: str) -> Any:
            if name in fastcnn.layers.__all__:
                return getattr(fastcnn.layers, name)
            if name in REPLACED and is_ours(name):
                return importlib.import_module(f"{NAME}.{name}")
            raise AttributeError(f"module {NAME!r} has no attribute {name!r}")

        vars(package).update(__doc__=fastcnn.layers.__doc__, __all__=fastcnn.layers.__all__, __getattr__=get)


class ModuleLoader(Loader):
    """Hands out a module that has been loaded under its own name."""

    def __init__(self, name: str):
        self.module = importlib.import_module(name)
        self.spec = self.module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # importlib has put that of the other name there


class InChild:
    """Pickled into what a new process reads first, before it imports the script, and unpickled by installing the name.

    Only built-in names: the process may not know yet where fastcnn lies, and must not find another one.
    """

    CODE = (
        "import sys; sys.path.insert(0, {!r}); from fastcnn.compat.aliases import install; del sys.path[0]; install()"
    )

    def __reduce__(self) -> tuple[Any, ...]:
        folder = os.path.dirname(os.path.dirname(os.path.abspath(fastcnn.__file__)))
        return exec, (self.CODE.format(folder), {})


def install() -> contextlib.ExitStack:
    """Install the name, here and in the processes that `multiprocessing` starts; closing what returns undoes it."""
    finder, spawn = LayersFinder(), multiprocessing.spawn
    prepare = spawn.get_preparation_data

    def prepare_with_layers(name: str) -> dict[str, Any]:
        return prepare(name) | {"fastcnn": InChild()}

    undo = contextlib.ExitStack()
    if "forkserver" in multiprocessing.get_all_start_methods():  # its server would import the script without the name
        multiprocessing.set_forkserver_preload([])
        undo.callback(multiprocessing.set_forkserver_preload, ["__main__"])
    spawn.get_preparation_data = prepare_with_layers
    undo.callback(setattr, spawn, "get_preparation_data", prepare)
    before = {name: sys.modules.pop(name) for name in loaded()}
    undo.callback(sys.modules.update, before)
    undo.callback(lambda: [sys.modules.pop(name) for name in loaded()])
    sys.meta_path.insert(0, finder)
    undo.callback(sys.meta_path.remove, finder)
    return undo


def loaded() -> list[str]:
    return [name for name in sys.modules if name == NAME or name.startswith(f"{NAME}.")]


@contextlib.contextmanager
def original_names() -> Iterator[None]:
    """``import layers...`` means :mod:`fastcnn.layers` inside a ``with`` block."""
    with install():
        yield
