"""Kernels on disk: what is damaged is never used, and no fault of a cache costs a run."""

import errno
import os
import pickle
import threading
from pathlib import Path

import numba
import pytest
from numba import types

from fastcnn import streams
from fastcnn.backends.numba.core import cache, store
from fastcnn.backends.numba.core.store import KernelCache
from tests.helpers.processes import run_python


def twice(x):
    return x * 2


def kernel(folder, function=twice):
    compiled = numba.njit(function)
    compiled._cache = KernelCache(function, str(folder))
    return compiled


def hits(compiled):
    return sum(compiled.stats.cache_hits.values())


@pytest.fixture
def folder(tmp_path):
    """Of one module, in that of all; what it is called is in messages."""
    return tmp_path / "kernels" / "test_store-0123"


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch):
    monkeypatch.setattr(streams, "_said", set())


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_compiled_is_kept_and_loaded(folder, capsys):
    first, second = kernel(folder), kernel(folder)
    assert not folder.exists()  # importing a module of kernels writes nothing
    assert first(3) == 6 and first(1.5) == 3.0 and hits(first) == 0
    kept = files(folder)
    assert len(kept) == 2 and all(path.name.startswith("test_store.twice-") for path in kept)
    assert second(3) == 6 and second(1.5) == 3.0 and hits(second) == 2
    assert files(folder) == kept and capsys.readouterr().err == ""
    second._cache.flush()
    assert files(folder) == []


def flipped(content, at):
    changed = bytearray(content)
    changed[at] ^= 16
    return bytes(changed)


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "its last byte is missing": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "garbage": lambda content: os.urandom(4096),
    "zeros, as after a crash": lambda content: bytes(len(content)),
    "a bit of the mark": lambda content: flipped(content, 3),
    "a bit of the checksum": lambda content: flipped(content, len(store.MARK)),
    "a bit of the code": lambda content: flipped(content, len(content) // 2),
    "the last bit": lambda content: flipped(content, -1),
    "a pickle of numba's own": lambda content: content[len(store.MARK) + store.DIGEST :],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(folder, capsys, damage):
    kernel(folder)(3)
    (path,) = files(folder)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    again = kernel(folder)
    assert again(3) == 6 and hits(again) == 0
    assert capsys.readouterr().err == (
        f"fastcnn: damaged kernels in {folder.parent} are compiled again "
        f"({path.name}: its checksum is wrong, {len(DAMAGES[damage](whole))} bytes)\n"
    )
    mended = kernel(folder)
    assert mended(3) == 6 and hits(mended) == 1 and files(folder) == [path] and capsys.readouterr().err == ""


def test_many_damaged_files_are_said_once(folder, capsys):
    first = kernel(folder)
    first(3), first(1.5), first(True)
    for path in files(folder):
        path.write_bytes(b"")
    again = kernel(folder)
    assert (again(3), again(1.5), again(True)) == (6, 3.0, 2)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("full", [False, True])
def test_a_folder_in_place_of_a_file(folder, capsys, full):
    kernel(folder)(3)
    (path,) = files(folder)
    path.unlink()
    path.mkdir()
    if full:
        (path / "mine").write_text("kept")
    again = kernel(folder)
    assert again(3) == 6 and path.is_file()
    assert capsys.readouterr().err.count("damaged kernels") == 1
    assert [file.read_text() for file in folder.rglob("mine")] == ["kept"] * full
    mended = kernel(folder)
    assert mended(3) == 6 and hits(mended) == 1


def test_a_file_that_may_not_be_read(folder, capsys, monkeypatch):
    """Without permissions; by a stand-in, as root may read all."""
    kernel(folder)(3)
    (path,) = files(folder)

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        assert kernel(folder)(3) == 6
    assert f"({path.name}: Permission denied)" in capsys.readouterr().err
    mended = kernel(folder)  # replaced by one of this user's
    assert mended(3) == 6 and hits(mended) == 1


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no such owner")
def test_a_file_of_another_user_is_not_run(folder, capsys, monkeypatch):
    """In a folder that several may write to."""
    kernel(folder)(3)
    (path,) = files(folder)
    if os.getuid() == 0:
        os.chown(path, 1, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    again = kernel(folder)
    assert again(3) == 6 and hits(again) == 0
    owner = 1 if os.getuid() == 0 else os.getuid() - 1
    assert f"({path.name}: it belongs to the user {owner})" in capsys.readouterr().err
    if os.getuid() == 0:  # it has been replaced by one of this user's
        mended = kernel(folder)
        assert mended(3) == 6 and hits(mended) == 1


def test_what_a_killed_process_left_is_removed(folder):
    """Once the same kernel is kept; what others are written just now is not touched."""
    kernel(folder)(3)
    (path,) = files(folder)
    own, another = path.with_name(f"{path.name}.tmp.0123"), path.with_name("test_store.other-12.nbc.tmp.0123")
    own.write_bytes(b"half")
    another.write_bytes(b"half")
    path.unlink()
    assert kernel(folder)(3) == 6 and files(folder) == sorted([path, another])


def test_a_file_for_another_key_is_not_used(folder, monkeypatch):
    """Names are 16 digits of a hash: what the file says counts."""
    monkeypatch.setattr(KernelCache, "path_of", lambda self, key: folder / "same.nbc")
    assert kernel(folder)(3) == 6
    other = kernel(folder, lambda x: x + 1)
    assert other(3) == 4 and hits(other) == 0


def full_disk(path, content):
    """Half of it is written."""
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


def read_only(path, **options):
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize(
    ("method", "fault", "words"),
    [("write_bytes", full_disk, "No space left on device"), ("mkdir", read_only, "Read-only file system")],
)
def test_a_disk_that_takes_nothing(folder, capsys, monkeypatch, method, fault, words):
    with monkeypatch.context() as patch:
        patch.setattr(Path, method, fault)
        first = kernel(folder)
        assert (first(3), first(1.5)) == (6, 3.0)
    assert capsys.readouterr().err == (
        f"fastcnn: kernels cannot be kept in {folder.parent} ({words}; each process compiles anew)\n"
    )
    assert files(folder) == []
    assert kernel(folder)(3) == 6 and len(files(folder)) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pickle.PicklingError("Can't pickle\n<x>"), "PicklingError: Can't pickle <x>"),
        (MemoryError(), "MemoryError"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize("place", ["dumps", "CompileResult._reduce"])
def test_kernels_that_cannot_be_pickled(folder, capsys, monkeypatch, place, error, words):
    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"{store.__name__}.{place}", fail)
        first = kernel(folder)
        assert (first(3), first(1.5)) == (6, 3.0)
    assert capsys.readouterr().err == (
        f"fastcnn: kernels cannot be kept in {folder.parent} ({words}; each process compiles anew)\n"
    )
    assert files(folder) == []


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        ("CompileResult._rebuild", MemoryError(), "MemoryError"),
        ("CompileResult._rebuild", RuntimeError("Unable to parse\nobject"), "RuntimeError: Unable to parse object"),
        ("read", MemoryError(), "MemoryError"),
    ],
    ids=["memory", "LLVM", "memory for the file"],
)
def test_kernels_that_cannot_be_loaded(folder, capsys, monkeypatch, place, error, words):
    """Whole as they are; what is compiled replaces them."""
    kernel(folder)(3)
    (path,) = files(folder)

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"{store.__name__}.{place}", fail)
        first = kernel(folder)
        assert first(3) == 6 and hits(first) == 0
    assert capsys.readouterr().err == (
        f"fastcnn: damaged kernels in {folder.parent} are compiled again ({path.name}: {words})\n"
    )
    again = kernel(folder)
    assert again(3) == 6 and hits(again) == 1


def test_a_folder_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "fastcnn"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cache.cache_folder() is None  # empty, it would be of no use
    kernel(tmp_path / "fastcnn" / "test_store-0123")(3)
    assert cache.cache_folder() == tmp_path / "fastcnn"
    monkeypatch.setattr(Path, "iterdir", read_only)  # nor read
    assert cache.cache_folder() is None


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "here")
    assert cache.cache_folder() == tmp_path / "here" / "fastcnn"


def test_a_folder_that_vanishes_is_made_again(folder):
    first = kernel(folder)
    first(3)
    (path,) = files(folder)
    path.unlink()
    folder.rmdir()
    folder.parent.rmdir()
    assert first(1.5) == 3.0 and len(files(folder)) == 1


def test_a_file_in_place_of_the_folder(folder, capsys):
    folder.parent.mkdir()
    folder.write_text("")
    assert kernel(folder)(3) == 6
    assert capsys.readouterr().err.count("cannot be kept") == 1 and folder.read_text() == ""


def test_a_closed_stderr_costs_nothing(folder, monkeypatch):
    class Closed:
        def write(self, text):
            raise ValueError("I/O operation on closed file")

    for stream in (Closed(), None):
        monkeypatch.setattr(streams, "_said", set())
        monkeypatch.setattr("sys.stderr", stream)
        kernel(folder)(3)
        (path,) = files(folder)
        path.write_bytes(b"")
        assert kernel(folder)(3) == 6


def test_writers_at_once_lose_nothing(folder):
    """numba's own index lost one of two signatures that two processes saved at once."""
    keys = [(name, (), ()) for name in (types.float32, types.float64, types.int64, types.int8)]
    barrier = threading.Barrier(len(keys))

    def save(key):
        cache = KernelCache(twice, str(folder))
        for _ in range(20):
            barrier.wait(60)
            cache.save(key, lambda: (str(key[0]),))

    threads = [threading.Thread(target=save, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache = KernelCache(twice, str(folder))
    assert [cache.load(key) for key in keys] == [(str(key[0]),) for key in keys]
    assert len(files(folder)) == len(keys)


@pytest.mark.slow
def test_a_cache_whose_every_file_is_damaged(tmp_path):
    """Kernels, and the loop on threads that all share."""
    code = """
import numpy as np
from fastcnn.layers import Relu
print(Relu((1, 2)).forward(np.array([[1, -2]] * 500_000)).sum())
"""
    for round_, count in enumerate((0, 1, 0)):
        done = run_python("-c", code, NUMBA_CACHE_DIR=str(tmp_path), FASTCNN_NUM_THREADS="2")
        assert done.stdout == "500000.0\n" and done.stderr.count("damaged kernels") == count, done.stderr
        kept = files(tmp_path)
        assert {path.suffix for path in kept} == {".nbc"}
        assert any(path.name.startswith("jit.call_on_threads-") for path in kept)
        if round_ == 0:
            for path in kept:
                path.write_bytes(path.read_bytes()[:-1])
