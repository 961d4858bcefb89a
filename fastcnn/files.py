"""Atomic writes: a file is written whole or not at all. And errors that say why one cannot be written or read."""

import errno
import glob
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

LONGEST = 100  # bytes of a file's name that the name of its temporary file holds
TOKEN = 6  # random bytes in the name of a temporary file
ABANDONED = 3600.0  # seconds after which a temporary file that nobody writes to is that of a process that was killed


def destination(path: str | os.PathLike) -> Path:
    """The file that `path` names, behind links; OSError where there is something else, or no folder for it."""
    real = Path(os.path.realpath(path))
    name = os.fspath(path)
    if real.is_dir():
        raise IsADirectoryError(f"cannot write {name!r}: it is a folder, a file name is needed")
    if real.exists() and not real.is_file():
        raise FileExistsError(f"cannot write {name!r}: it is a device or a pipe, and no file")
    if not real.parent.is_dir():
        raise no_folder(f"cannot write {name!r}", real.parent)
    with suppress(FileNotFoundError):
        os.lstat(real)  # OSError where the name is too long, which that of a temporary file is not
    return real


def no_folder(what: str, path: Path) -> OSError:
    """The error where `path` must be a folder and is none: it is not there, or a file stands in its place."""
    there = next((part for part in (path, *path.parents) if part.exists()), path)
    if there.exists() and not there.is_dir():
        return NotADirectoryError(f"{what}: {str(there)!r} is a file, and no folder")
    return FileNotFoundError(f"{what}: there is no folder {str(path)!r}")


def temporary_beside(path: Path) -> Path:
    """A unique name in the same folder: two processes or threads may write the same file at once."""
    return path.with_name(f".{short_name(path.name)}.{secrets.token_hex(TOKEN)}.tmp")


def short_name(name: str) -> str:
    """`name`, or of a long one its beginning and a hash of it: what is added must not make it longer than the 255 bytes
    of most file systems, or the 143 of an encrypted one."""
    whole = os.fsencode(name)
    if len(whole) <= LONGEST:
        return name
    return f"{beginning(name, LONGEST - 17)}-{hashlib.sha256(whole).hexdigest()[:16]}"


def beginning(name: str, most: int) -> str:
    """As much of `name` as takes at most so many bytes, whole characters alone."""
    return os.fsencode(name)[:most].decode("utf-8", "ignore")


def remove_leftovers(path: str | os.PathLike, age: float = 0.0) -> None:
    """Remove the temporary files that killed processes left of `path` at least `age` seconds ago; with 0 the caller
    must be its only writer."""
    real = destination(path)
    token = "[0-9a-f]" * (2 * TOKEN)  # and not `*`: ".run.best.<token>.tmp" belongs to who writes "run.best"
    for left in real.parent.glob(f".{glob.escape(short_name(real.name))}.{token}.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime >= age:
                left.unlink()


def write_whole(path: str | os.PathLike, write: Callable[[BinaryIO], Any]) -> None:
    """Write `path` atomically: call `write` with a temporary file beside it, sync that to the disk, and rename it.

    What processes left that were killed here is removed, an hour later: others may be writing the same file.
    An OSError, such as that of a full disk, names `path`.
    """
    real = destination(path)
    temporary = temporary_beside(real)
    with errors_named(path):
        try:
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if real.exists():
                shutil.copymode(real, temporary)
            os.replace(temporary, real)
            remove_leftovers(real, ABANDONED)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


@contextmanager
def errors_named(path: str | os.PathLike) -> Iterator[None]:
    """The system's OSError in a ``with`` block names `path`: that of a full disk names nothing."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def reason(error: OSError) -> str:
    """Why a file cannot be used, in one line that names it where the system's error does."""
    text = error.strerror or " ".join(str(error).split())
    return text if error.filename is None else f"{text}: {os.fspath(error.filename)!r}"


def write_elsewhere(path: str | os.PathLike, write: Callable[[str], Any]) -> str:
    """Call `write` with a new file in the system's folder for temporary files, and return its name.

    It begins like that of `path` and cannot be guessed: others may write to that folder. OSError where no room is left.
    """
    wanted = Path(path)
    handle, name = tempfile.mkstemp(beginning(wanted.suffix, 50), f"{beginning(wanted.stem, 50)}-")
    os.close(handle)
    try:
        write(name)
    except BaseException:
        os.unlink(name)
        raise
    return name


def check_writable(path: str | os.PathLike) -> None:
    """Raise the OSError of `write_whole` early: before hours of training, not after."""
    real = destination(path)
    temporary = temporary_beside(real)
    try:  # os.access says yes to root wherever it is asked
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        name = os.fspath(path)
        raise type(error)(f"cannot write {name!r}: {error.strerror} in {str(real.parent)!r}") from error


@contextmanager
def memory_for(path: str | os.PathLike) -> Iterator[None]:
    """OSError that names the file where there is no memory for what it holds."""
    try:
        yield
    except MemoryError as error:
        raise OSError(errno.ENOMEM, "there is no memory for what it holds", os.fspath(path)) from error


def open_to_read(path: str | os.PathLike, what: str) -> BinaryIO:
    """The file at `path`; OSError that says why there is none."""
    name = os.fspath(path)
    if os.path.isdir(path):
        raise IsADirectoryError(f"cannot read {name!r}: it is a folder, and not {what}")
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for, /dev/zero never ends
        raise OSError(f"cannot read {name!r}: it is a device or a pipe, and not {what}")
    try:
        return open(path, "rb")
    except NotADirectoryError as error:
        raise no_folder(f"cannot read {name!r}", Path(path).parent) from error
