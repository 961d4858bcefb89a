"""Files are written whole or not at all."""

import os
import sys

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


@pytest.mark.skipif(sys.platform == "win32", reason="counts characters, and whole paths")
@pytest.mark.parametrize(
    "name",
    ["n" * 255, "\u732b" * 85, "a.\u00e9" + "\u732b" * 80, "m" * 251 + ".npz", "\udcff" * 255],
    ids=lambda name: ascii(name[:3]),
)
def test_names_of_any_length_that_a_file_may_have(tmp_path, name):
    """The names of temporary files are no longer, differ where the names do, and are found again."""
    path, other = tmp_path / name, tmp_path / f"{name[:-1]}x"
    files.check_writable(path)
    left, others = files.temporary_beside(path), files.temporary_beside(other)
    for temporary in (left, others):
        temporary.write_bytes(b"half")
        assert len(os.fsencode(temporary.name)) <= 143
    files.write_whole(path, lambda file: file.write(b"whole"))
    files.remove_leftovers(path)
    assert path.read_bytes() == b"whole" and {*tmp_path.iterdir()} == {path, others}
    kept = files.write_elsewhere(path, lambda temporary: open(temporary, "w").close())
    os.unlink(kept)
    assert len(os.fsencode(os.path.basename(kept))) <= 143 and kept.endswith(files.beginning(path.suffix, 50))
    with pytest.raises(OSError, match="File name too long"):
        files.check_writable(tmp_path / f"{name}{'n' * 20}")


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
