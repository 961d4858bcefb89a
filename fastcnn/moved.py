"""Modules that have moved: their old names keep working, with ``python -m`` and in pickles too.

An old name stands for the very module of the new one, so that there is one copy of each class. Type checkers, which
see no finder, read a stub (`callbacks.pyi`) for each old name that is public.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `import fastcnn` imports this module, and `typing` takes longer than all of it
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

MOVED = {
    "fastcnn.callbacks": "fastcnn.training.callbacks",
    "fastcnn.diagnosis": "fastcnn.training.diagnosis",
    "fastcnn.loop": "fastcnn.training.run",  # pickles of a History name it
    "fastcnn.schedules": "fastcnn.training.schedules",
}


def new_name(name: str) -> str | None:
    """The present name of the module `name`, itself moved or in a moved package; None where it has not moved."""
    for old, new in MOVED.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None


def spec_of(name: str) -> Any:
    """The spec of the module that had the name `name`."""
    from importlib.util import find_spec

    return find_spec(new_name(name) or name)


class Finder:
    """Finds modules by their old names, and loads them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith("fastcnn.") or new_name(name) is None or (spec := spec_of(name)) is None:
            return None
        from importlib.util import spec_from_loader

        loader: Any = Finder
        return spec_from_loader(name, loader, origin=spec.origin)

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """The usual empty module, which `exec_module` replaces."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        from importlib import import_module

        sys.modules[module.__name__] = import_module(spec_of(module.__name__).name)

    @staticmethod
    def get_code(name: str) -> CodeType:
        """What ``python -m`` runs."""
        spec = spec_of(name)
        return spec.loader.get_code(spec.name)


def install() -> None:
    """Before all other finders: they would find a submodule of a moved package a second time, in its new folder."""
    sys.meta_path.insert(0, Finder)
