"""Files are written whole or not at all."""

import os

import pytest

from fastcnn import files


def test_what_was_left_an_hour_ago_is_removed(tmp_path):
    """By the next write of that file; what is younger may be the half of another process's."""
    path = tmp_path / "model.npz"
    old, young = files.temporary_beside(path), files.temporary_beside(path)
    another = files.temporary_beside(tmp_path / "other.npz")
    for left in (old, young, another):
        left.write_bytes(b"half")
    for left in (old, another):
        os.utime(left, (0, 0))
    files.write_whole(path, lambda file: file.write(b"whole"))
    assert path.read_bytes() == b"whole" and {*tmp_path.iterdir()} == {path, young, another}


def test_what_cannot_be_removed_costs_no_write(tmp_path):
    path = tmp_path / "model.npz"
    left = files.temporary_beside(path)
    left.mkdir()
    os.utime(left, (0, 0))
    files.write_whole(path, lambda file: file.write(b"whole"))
    assert path.read_bytes() == b"whole"
    with pytest.raises(OSError, match="full"):
        files.write_whole(path, lambda file: (_ for _ in ()).throw(OSError(28, "full")))
    assert path.read_bytes() == b"whole" and {*tmp_path.iterdir()} == {path, left}
