"""Compiled kernels on disk: one file for each signature of each function. Requires numba.

numba keeps an index for each function beside its files, which two processes that save two dtypes at once overwrite, and
unpickles what it finds: an empty file ends each later run with EOFError, and a flipped bit is machine code that
computes something else. Here a file's name follows from its key, so that there is no index to share; it is written
under another name and then renamed; and it holds the hash of its content, without which nothing in it is believed.

A cache never costs a run: what is damaged, cannot be read, or cannot be kept is compiled, and said once.
"""

import contextlib
import glob
import hashlib
import os
import pickle
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from fastcnn.backends.numba.core import claims, links
from fastcnn.streams import say_once

MARK = b"fastcnn kernel 2\n"
DIGEST = hashlib.sha256().digest_size
SUFFIX = ".nbc"


class Damaged(Exception):  # noqa: N818 - it is caught right here
    """A file is there, and is not what was written."""


def described(error: Exception) -> str:
    """In one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}".removesuffix(": ")


def check_owner(owner: int) -> None:
    """Raise Damaged where another user than this one or root could change a file: it is machine code, and run."""
    if hasattr(os, "getuid") and owner not in (os.getuid(), 0):
        raise Damaged(f"it belongs to the user {owner}")


def read(path: Path) -> bytes | None:
    """What `write` was given; None where there is no file.

    Raises
    ------
    Damaged
    """
    try:
        with path.open("rb") as file:
            check_owner(os.fstat(file.fileno()).st_uid)  # of what is read, and not of what the name stands for by then
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:  # permissions, a folder in its place, a disk that fails
        raise Damaged(error.strerror) from error
    start = len(MARK) + DIGEST
    if not content.startswith(MARK) or hashlib.sha256(content[start:]).digest() != content[len(MARK) : start]:
        raise Damaged(f"its checksum is wrong, {len(content)} bytes")
    return content[start:]


def write(path: Path, content: bytes) -> None:
    """Keep `content` at `path`, whole or not at all, whatever other processes write there."""
    aside = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex[:16]}")
    path.parent.mkdir(parents=True, exist_ok=True)  # somebody may have emptied the cache meanwhile
    try:
        aside.write_bytes(MARK + hashlib.sha256(content).digest() + content)
        with contextlib.suppress(OSError):
            if path.is_dir():
                os.replace(path, path.with_name(f"{aside.name}.folder"))
        os.replace(aside, path)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    for left in path.parent.glob(f"{glob.escape(path.name)}.tmp.*"):  # of a process that was killed
        with contextlib.suppress(OSError):  # or of one that writes the same now: `save` finds that it is kept
            left.unlink()


class KernelCache(FunctionCache):
    """What a dispatcher of numba's asks before it compiles, and tells afterwards; `folder` is made when needed."""

    def __init__(self, function: Any, folder: str):  # not FunctionCache's, which would write there at each import
        self._name, self._py_func, self._cache_path = repr(function), function, folder
        module = function.__module__.rpartition(".")[2]
        # For what else may differ while the sources are the same, which `folder` follows from.
        self._version = sys.implementation.cache_tag, getattr(sys, "abiflags", ""), numba.__version__
        self._base = f"{module}.{function.__qualname__.replace('<', '').replace('>', '')}"
        self.enable()

    def path_of(self, key: Any) -> Path:
        digest = hashlib.sha256(repr((self._version, key)).encode()).hexdigest()
        return Path(self._cache_path, f"{self._base}-{digest[:16]}{SUFFIX}")

    def place_of(self, sig: Any, target_context: Any) -> Path:
        """Where it keeps what is compiled for a signature."""
        return self.path_of(self._index_key(sig, target_context.codegen()))

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """What was compiled for a signature; None where it must be compiled."""
        target_context.refresh()
        key = self._index_key(sig, target_context.codegen())
        payload = self.load(key) if self._enabled else None
        if payload is None and self._enabled and not claims.claim(self.path_of(key)):
            payload = self.load(key)  # another process has compiled it while this one waited
        if payload is None:
            return None
        try:
            needed, parts = payload
            links.load(needed)
            return CompileResult._rebuild(target_context, *parts)
        except Exception as error:  # whole, but nothing that this numba and LLVM can load, or there is no memory for it
            self.tell_damaged(self.path_of(key), described(error))
            return None

    def load(self, key: Any) -> tuple | None:
        path = self.path_of(key)
        try:
            content = read(path)
            if content is None:
                return None
            try:
                kept, payload = pickle.loads(content)
            except Exception as error:  # whole, but of classes that are not those of this process
                raise Damaged(described(error)) from error
        except (Damaged, MemoryError) as error:
            self.tell_damaged(path, str(error) or described(error))
            return None
        return payload if kept == key else None

    def tell_damaged(self, path: Path, why: str) -> None:
        say_once("damaged", f"fastcnn: damaged kernels in {self.root} are compiled again ({path.name}: {why})")

    def save_overload(self, sig: Any, data: CompileResult) -> None:
        """Keep what was compiled for a signature, where that is possible."""
        key = self._index_key(sig, data.codegen)
        if self._enabled and not data.lifted and not data.library.has_dynamic_globals:
            self.save(key, lambda: (links.links_of(data), data._reduce()))
        claims.release(self.path_of(key))

    def save(self, key: Any, reduce: Callable[[], tuple]) -> None:
        """Keep what `reduce` returns, the parts of what was compiled."""
        path = self.path_of(key)
        try:
            write(path, dumps((key, reduce())))
        except Exception as error:  # of the disk; and of what cannot be pickled, or has no memory for it
            with contextlib.suppress(Damaged, MemoryError):
                if isinstance(error, OSError) and read(path) is not None:
                    return  # on Windows, where another process has just kept the same and somebody reads it
            why = f"{getattr(error, 'strerror', None) or described(error)}; each process compiles anew"
            say_once("not kept", f"fastcnn: kernels cannot be kept in {self.root} ({why})")

    @property
    def root(self) -> Path:
        """The folder of all kernels, which messages name."""
        return Path(self._cache_path).parent

    def flush(self) -> None:
        for path in Path(self._cache_path).glob(f"{self._base}-*{SUFFIX}"):
            path.unlink(missing_ok=True)
