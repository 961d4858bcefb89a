"""Modules that have moved: their old names keep working, with ``python -m`` and in pickles too.

An old name stands for the very module of the new one, so that there is one copy of each class.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `import fastcnn` imports this module, and `typing` takes longer than all of it
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

MOVED = {
    "fastcnn.callbacks": "fastcnn.training.callbacks",
    "fastcnn.checkpoint": "fastcnn.training.checkpoint",
    "fastcnn.checksum": "fastcnn.saving.checksum",
    "fastcnn.containers": "fastcnn.saving.containers",
    "fastcnn.diagnosis": "fastcnn.training.diagnosis",
    "fastcnn.distributed.run": "fastcnn.training.data_parallel.run",
    "fastcnn.loop": "fastcnn.training.loop",
    "fastcnn.schedules": "fastcnn.training.schedules",
    "fastcnn.storage": "fastcnn.saving.model_file",
}


def new_name(name: str) -> str | None:
    """Where the module `name`, or the package that holds it, has moved; None where it has not."""
    for old, new in MOVED.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None


class Finder:
    """Finds modules by their old names, and is the loader of these."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith("fastcnn.") or new_name(name) is None:
            return None
        from importlib.util import spec_from_loader

        return spec_from_loader(name, Finder, origin=moved_spec(name).origin)

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """The usual empty module, which `exec_module` replaces."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        from importlib import import_module

        sys.modules[module.__name__] = import_module(moved_spec(module.__name__).name)

    @staticmethod
    def get_code(name: str) -> CodeType:
        """What ``python -m`` runs."""
        spec = moved_spec(name)
        return spec.loader.get_code(spec.name)


def moved_spec(name: str) -> ModuleSpec:
    """The spec of the module that once had this name."""
    from importlib.util import find_spec

    return find_spec(new_name(name))


def install() -> None:
    """Before all other finders: a submodule of a moved package would be found a second time in its folder."""
    sys.meta_path.insert(0, Finder)
