"""What a script has under the name `layers` itself: which of its files are used, and which fastcnn's modules replace.

Nothing of a script is run here: files are looked for, and ``__init__.py`` is parsed.
"""

import ast
import os
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

NAME = "layers"
# The original's modules, which are replaced; any other name is first looked for in the script's own package.
REPLACED = ("base_conv", "bn", "fc", "pooling", "relu", "softmax")
ORIGINAL_NAMES = (*REPLACED, "dropout")  # `layers.NAME` without an import of its own; the original had no dropout


def package(path: Sequence[str] | None = None) -> ModuleSpec | None:
    """What the name `layers` would mean without fastcnn: a file, a package, or nothing; on `sys.path`, or `path`."""
    return PathFinder.find_spec(NAME, path)


def module(theirs: ModuleSpec, name: str) -> str | None:
    """The file of a module of the package, or None."""
    found = PathFinder.find_spec(f"{NAME}.{name}", theirs.submodule_search_locations or [])
    return found.origin if found else None  # a folder without files of Python has no origin


def is_original(theirs: ModuleSpec) -> bool:
    """Whether this is the original's package, or one that was: another one, or a single file, is all the script's own.

    A package without an ``__init__.py`` has nothing that replacing it could hide.
    """
    if not theirs.submodule_search_locations:
        return False
    return not theirs.has_location or not init_runs(theirs) or any(module(theirs, name) for name in REPLACED)


def hidden(theirs: ModuleSpec, keep: Sequence[str] = ()) -> list[str]:
    """The files of the original's package that are not used, as fastcnn's modules are; `keep` names exceptions."""
    files = [file for name in REPLACED if name not in keep and (file := module(theirs, name))]
    return ([str(theirs.origin)] if theirs.has_location and init_runs(theirs) else []) + files


def init_runs(theirs: ModuleSpec) -> bool:
    """Whether the package's ``__init__.py`` holds more than comments and docstrings, as one that is unreadable may."""
    try:
        source = init_source(theirs)
        return source is None or any(
            not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)) for line in ast.parse(source).body
        )
    except (ImportError, OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return True  # where it cannot be read, or is nested too deep for the parser


def init_source(theirs: ModuleSpec) -> str | None:
    """The text of the package's ``__init__.py``; None where there is compiled code alone."""
    loader: Any = theirs.loader
    if not hasattr(loader, "get_source"):
        return None
    try:
        return loader.get_source(NAME)
    except (SyntaxError, ValueError):  # GBK or Latin-1 that does not say so: where a comment ends is the same in ASCII
        return loader.get_data(theirs.origin).decode("latin-1")


def told(theirs: ModuleSpec, keep: Sequence[str] = ()) -> str:
    """One line: which files are not used, and what is used instead."""
    files, folder = hidden(theirs, keep), next(iter(theirs.submodule_search_locations or []))
    names = [os.path.relpath(file, folder) for file in files]
    words = f"{', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]
    options = [f"--keep {name}" for name in REPLACED if name not in keep and module(theirs, name)]
    how = f", or `{options[0]}` for the script's own" if options else ""
    return f"fastcnn run: fastcnn.layers is used instead of {words} in {folder} (`python` runs all of them{how})"


def explained(error: BaseException, script: str, keep: Sequence[str] = ()) -> str | None:
    """One line for an error about a name that fastcnn's module lacks, where the script has such a module itself."""
    if isinstance(error, ImportError):
        lacking = error.name or ""
    else:
        lacking = getattr(getattr(error, "obj", None), "__name__", "") if isinstance(error, AttributeError) else ""
    prefix, _, name = lacking.rpartition(".")
    theirs = package()
    if not theirs or not is_original(theirs):
        return None
    if lacking == NAME and theirs.origin in hidden(theirs):
        return f"fastcnn run: {theirs.origin} is not run, as fastcnn.layers is used instead: `python {script}` runs it"
    file = module(theirs, name) if prefix == "fastcnn.layers" and name in REPLACED and name not in keep else None
    if file is None:
        return None
    ways = f"`python {script}` uses it, and `fastcnn run --keep {name} {script}` this one alone of the script's modules"
    return f"fastcnn run: fastcnn.layers.{name} is used instead of {file}: {ways}"
