"""Where compiled kernels are kept, and the key of each. Requires numba's llvmlite alone.

Numba recompiles a kernel when the file that holds it changes. It does not notice a change of a function that the kernel
calls, nor of a constant frozen into it, nor of the width of vectors where two processors have the same name
(`NUMBA_CPU_NAME`). So kernels lie in a folder for each module, whose name holds a hash of the width and of every source
file that the module imports inside this package, directly or not: an edit in pooling recompiles pooling alone.
"""

import functools
import hashlib
import os
import re
import sys
from pathlib import Path

from fastcnn.backends.numba.core.width import VECTOR_BYTES

PACKAGE = __name__.partition(".")[0]
IMPORT = re.compile(rf"\nfrom ({PACKAGE}[\w.]*) import (\([^)]*\)|.*)")
PLAIN_IMPORT = re.compile(rf"\nimport ({PACKAGE}[\w.]*)")
# What reaches kernels as arguments alone: nothing that is compiled holds any of it.
SETTINGS = {f"{PACKAGE}.{name}" for name in ("config", "threads", "backends.helpers", "backends.replay")}


def cache_folder() -> Path | None:
    """Where compiled kernels are kept: `NUMBA_CACHE_DIR`, else the user's cache folder; None if it is of no use: one
    that cannot be written may hold kernels, as in a container's image."""
    try:
        base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base).absolute() / PACKAGE  # the program may change its folder
        folder.mkdir(parents=True, exist_ok=True)
        useful = os.access(folder, os.W_OK) or any(folder.iterdir())
    except (OSError, RuntimeError):  # read-only, or no home folder at all
        return None
    return folder if useful else None


CACHE_FOLDER = cache_folder()


@functools.cache
def read(module: str) -> tuple[bytes, tuple[str, ...]]:
    """The hash of a loaded module's source, and the modules of this package that it imports at its top."""
    source = Path(sys.modules[module].__file__ or "").read_bytes()
    text = source.decode()
    imported = PLAIN_IMPORT.findall(text)
    for package, names in IMPORT.findall(text):
        found = {f"{package}.{name}" for name in re.findall(r"\w+", re.sub(r" as \w+|#.*", "", names))}
        imported += [name if name in sys.modules else package for name in found]
    return hashlib.sha256(source).digest(), tuple(imported)


def sources_of(module: str) -> set[str]:
    """The module, and every one of this package that it imports, directly or not."""
    found, left = set(), [module]
    while left:
        name = left.pop()
        if name not in found and name not in SETTINGS:
            found.add(name)
            left += read(name)[1]
    return found


@functools.cache
def folder_of(module: str) -> str | None:
    """Where the kernels of a module that is being imported are kept; None where nothing can be."""
    if CACHE_FOLDER is None:
        return None
    key = hashlib.sha256(str(VECTOR_BYTES).encode())
    for name in sorted(sources_of(module)):
        key.update(read(name)[0])
    return str(CACHE_FOLDER / f"{module.rpartition('.')[2]}-{key.hexdigest()[:16]}")
