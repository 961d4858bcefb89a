"""What a model file holds besides layers, and the other format: .safetensors."""

import json
import os
import struct

import numpy as np
import pytest

from fastcnn import FileFormatError, Sequential
from fastcnn.layers import Relu, Softmax
from fastcnn.optimizers import Adam
from tests.helpers.models import small
from tests.helpers.processes import ROOT, run_python


class Drawing(Relu):
    """A layer with random numbers of its own."""

    random_names = ("seed", "drawn")

    def __init__(self, shape, seed=None, *, dtype=None):
        super().__init__(shape, dtype=dtype)
        self.seed, self.drawn = seed, 0


CUSTOM = {"Drawing": Drawing}


@pytest.fixture(params=["npz", "safetensors", "SafeTensors"])
def path(request, tmp_path):
    if request.param != "npz":
        pytest.importorskip("safetensors")
    return tmp_path / f"model.{request.param}"


def test_both_formats_hold_the_same(path, data):
    model = small()
    optimizer = Adam(model)
    model.fit(*data, 1, 50, optimizer=optimizer, verbose=False)
    model.metadata["names"] = ["ä", None, {"deep": [1.5]}]
    model.save(path, optimizer=optimizer, random_state=True)
    loaded = Sequential.load(path)
    assert loaded.metadata == model.metadata and os.listdir(path.parent) == [path.name]
    for a, b in zip(model.layers, loaded.layers, strict=True):
        for name, array in a.parameters().items():
            np.testing.assert_array_equal(array, b.parameters()[name])
            assert b.parameters()[name].flags.writeable
    loaded.fit(*data, 1, 50, verbose=False)
    zipped = path.read_bytes()[:2] == b"PK"
    assert zipped == (path.suffix == ".npz")


def test_safetensors_is_readable_without_fastcnn(tmp_path):
    """Eight bytes with the length of a JSON header, and numbers: what others read."""
    pytest.importorskip("safetensors")
    path, model = tmp_path / "m.safetensors", small()
    model.save(path)
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    entry = header["3.bias"]
    start, end = entry["data_offsets"]
    assert entry["dtype"] == "F32" and entry["shape"] == [10]
    numbers = np.frombuffer(content[8 + size :][start:end], np.float32)
    np.testing.assert_array_equal(numbers, model.layers[3].bias)
    assert json.loads(header["__metadata__"]["architecture"])["format"] == "fastcnn-model"


def test_random_numbers_continue(path):
    layer = Drawing((1, 3), 2**63 - 1)
    layer.drawn = 5
    np.random.seed(9)
    np.random.standard_normal()  # which keeps a second number for the next call
    Sequential([layer, Softmax((1, 3))]).save(path, random_state=True)
    wanted = np.random.standard_normal(4), np.random.random(3)
    np.random.seed(1)
    before = np.random.get_state()
    plain = Sequential.load(path, CUSTOM)
    assert plain.layers[0].drawn == 0
    for a, b in zip(before, np.random.get_state(), strict=True):
        np.testing.assert_array_equal(a, b)
    loaded = Sequential.load(path, CUSTOM, random_state=True)
    np.testing.assert_equal((np.random.standard_normal(4), np.random.random(3)), wanted)
    assert (loaded.layers[0].seed, loaded.layers[0].drawn) == (2**63 - 1, 5)
    layer.seed = None
    Sequential([layer, Softmax((1, 3))]).save(path, random_state=True)
    assert Sequential.load(path, CUSTOM, random_state=True).layers[0].seed is None


def test_files_without_random_state(tmp_path):
    small().save(tmp_path / "m.npz")
    with pytest.raises(FileFormatError, match=r"m\.npz: it holds no random state$"):
        Sequential.load(tmp_path / "m.npz", random_state=True)
    for use in (small().save, Sequential.load):
        with pytest.raises(ValueError, match=r"`random_state` must be True or False. Received random_state='yes'"):
            use(tmp_path / "m.npz", random_state="yes")


def rewrite(path, change):
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays.pop("architecture")))
    change(header)
    np.savez(path, architecture=np.array(json.dumps(header)), **arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda random: random.pop("numpy"),
        lambda random: random.pop("layers"),
        lambda random: random.update(numpy=None),
        lambda random: random["numpy"].pop(),
        lambda random: random["numpy"][1].pop(),
        lambda random: random["numpy"].__setitem__(0, "PCG64"),
        lambda random: random["layers"]["0"].update(drawn=-1),
        lambda random: random["layers"]["0"].update(drawn="many"),
        lambda random: random.update(layers=[]),
    ],
)
def test_damaged_random_state(tmp_path, change):
    """One error, and NumPy's generator stands where it stood."""
    path = tmp_path / "m.npz"
    Sequential([Drawing((1, 3)), Softmax((1, 3))]).save(path, random_state=True)
    rewrite(path, lambda header: change(header["random"]))
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    with pytest.raises(FileFormatError, match=r"m\.npz: its random state is damaged"):
        Sequential.load(path, CUSTOM, random_state=True)
    assert (np.random.get_state()[1] == before).all()


def test_files_of_version_1(tmp_path):
    """Written before there was anything but layers."""
    path, model = tmp_path / "m.npz", small()
    model.save(path)
    rewrite(path, lambda header: header.update(version=1))
    np.testing.assert_array_equal(Sequential.load(path).layers[0].weights, model.layers[0].weights)


def resized(path, size):
    content = path.read_bytes()
    path.write_bytes(struct.pack("<Q", size) + content[8:])


def replaced(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no model at all"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-4]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"1234"),
    "only a header": lambda path: path.write_bytes(path.read_bytes()[:400]),
    "a huge header": lambda path: resized(path, 2**62),
    "no header": lambda path: resized(path, 0),
    "a zip": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)),
    "another dtype": lambda path: replaced(path, b'"F32"', b'"F99"'),
    "no metadata": lambda path: replaced(path, b"__metadata__", b"__Metadata__"),
    "no architecture": lambda path: replaced(path, b"architecture", b"Architecture"),
    "no format": lambda path: replaced(path, b"fastcnn-model", b"fastcnn-modal"),
    "a weight less": lambda path: replaced(path, b'"0.weights"', b'"0.Weights"'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_safetensors(tmp_path, damage):
    pytest.importorskip("safetensors")
    path = tmp_path / "m.safetensors"
    small().save(path)
    DAMAGES[damage](path)
    with pytest.raises(FileFormatError, match=r"m\.safetensors: "):
        Sequential.load(path)


def test_safetensors_paths(tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(FileNotFoundError):
        Sequential.load(tmp_path / "none.safetensors")
    with pytest.raises(IsADirectoryError, match=r"cannot read '.*folder.safetensors': it is a folder, and not a fast"):
        Sequential.load(tmp_path / "folder.safetensors")
    with pytest.raises(IsADirectoryError, match=r"cannot write '.*folder.safetensors': it is a folder"):
        small().save(tmp_path / "folder.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        small().save(tmp_path / "none" / "m.safetensors")


@pytest.mark.parametrize("code", ["model.save('m.safetensors')", "Sequential.load('n.safetensors')"])
def test_without_the_library(tmp_path, code):
    (tmp_path / "n.safetensors").write_text("")
    start = "import sys; sys.modules['safetensors'] = None; from fastcnn import Sequential, zoo; "
    done = run_python("-c", f"{start}model = zoo.lenet((1, 12, 12, 1)); {code}", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 1 and os.listdir(tmp_path) == ["n.safetensors"]
    wanted = "ImportError: model files that end in .safetensors need that library: `pip install fastcnn[safetensors]`"
    assert done.stderr.splitlines()[-1] == wanted
