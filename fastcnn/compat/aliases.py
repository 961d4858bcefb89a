"""`layers`, the original's package, as another name for :mod:`fastcnn.layers`, so that its scripts run unmodified.

While the name is installed, ``layers.base_conv`` *is* the module ``fastcnn.layers.base_conv``, wherever it is imported:
pickles name ``fastcnn.layers``, and load in any process that has fastcnn. What the original never had (`own`) stays the
script's own.
"""

import contextlib
import importlib
import multiprocessing
import multiprocessing.spawn
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType
from typing import Any

import fastcnn.layers
from fastcnn.compat import own
from fastcnn.compat.own import NAME
from fastcnn.layers.missing import tell_import


class LayersFinder(MetaPathFinder):
    """Finds ``layers`` and what fastcnn has of it; the rest is left to the usual finders, in the script's package.

    `keep` names modules of the original that are the script's own nevertheless; `tell` is called with the script's
    package where some of its files are not used.
    """

    def __init__(self, keep: Sequence[str] = (), tell: Callable[[ModuleSpec], None] | None = None):
        self.keep, self.tell = keep, tell

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name == NAME:
            return self.find_package()
        package, _, module = name.rpartition(".")
        if package != NAME or module in self.keep:
            return None
        if not is_ours(module):
            return self.not_ours(name, path, sys._getframe(1))
        if module not in own.REPLACED and PathFinder.find_spec(name, path):
            return None
        return ModuleSpec(name, ModuleLoader(f"fastcnn.layers.{module}"))

    @staticmethod
    def not_ours(name: str, path: Sequence[str] | None, asker: FrameType) -> None:
        """None where the usual finders will find it; an import hears what there is, where nobody has it."""
        theirs = own.package()
        if PathFinder.find_spec(name, path) is None and not (theirs and theirs.origin in own.hidden(theirs)):
            tell_import(name, asker)

    def find_package(self) -> ModuleSpec | None:
        theirs = own.package()
        if theirs and not own.is_original(theirs):
            return None
        spec = ModuleSpec(NAME, PackageLoader(lambda: self.tell_hidden(theirs)), is_package=True)
        spec.submodule_search_locations = list(theirs.submodule_search_locations or []) if theirs else []
        return spec

    def tell_hidden(self, theirs: ModuleSpec | None) -> None:
        if theirs and self.tell and own.hidden(theirs, self.keep):
            self.tell(theirs)


def is_ours(module: str) -> bool:
    return PathFinder.find_spec(f"fastcnn.layers.{module}", fastcnn.layers.__path__) is not None


class PackageLoader(Loader):
    """``layers`` itself: a package of its own, so that a script's modules are bound here and not in fastcnn.

    `told` is called where it is imported, and not where somebody only looks for it.
    """

    def __init__(self, told: Callable[[], None]):
        self.told = told

    def exec_module(self, package: ModuleType) -> None:
        self.told()

        def get(name: str) -> Any:
            if name in fastcnn.layers.__all__:
                ours = getattr(fastcnn.layers, name)
                home = importlib.import_module(f"{NAME}.{ours.__module__.rpartition('.')[2]}")
                return getattr(home, name, ours)  # the script's own where it has such a module
            if name in own.ORIGINAL_NAMES:
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
        "import sys; sys.path.insert(0, {!r}); from fastcnn.compat.aliases import install; del sys.path[0]; "
        "install(keep={!r})"
    )

    def __init__(self, keep: Sequence[str]):
        self.keep = tuple(keep)

    def __reduce__(self) -> tuple[Any, ...]:
        folder = os.path.dirname(os.path.dirname(os.path.abspath(fastcnn.__file__)))
        return exec, (self.CODE.format(folder, self.keep), {})


def install(keep: Sequence[str] = (), tell: Callable[[ModuleSpec], None] | None = None) -> contextlib.ExitStack:
    """Install the name, here and in the processes that `multiprocessing` starts; closing what returns undoes it.

    The arguments are those of `LayersFinder`; other processes tell nothing, as this one has.
    """
    finder, spawn = LayersFinder(keep, tell), multiprocessing.spawn
    prepare = spawn.get_preparation_data

    def prepare_with_layers(name: str) -> dict[str, Any]:
        return prepare(name) | {"fastcnn": InChild(keep)}

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
def original_names(keep: Sequence[str] = (), tell: Callable[[ModuleSpec], None] | None = None) -> Iterator[None]:
    """``import layers...`` means :mod:`fastcnn.layers` inside a ``with`` block; the arguments are `LayersFinder`'s."""
    with install(keep, tell):
        yield
