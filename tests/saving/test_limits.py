"""Small files that describe gigabytes are refused by their headers: the peak of what Python allocates says so."""

import gzip
import io
import json
import re
import struct
import tracemalloc
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest

from fastcnn import FileFormatError, Sequential, datasets, use_backend
from fastcnn.datasets.npy import read_npy
from fastcnn.layers import AvgPooling, BatchNorm, Conv2D, FullyConnect, PReLU, Residual, Softmax
from fastcnn.saving import containers, limits, model_file
from tests.helpers.models import small
from tests.layers.test_layers import every_layer

MOST = 32 << 20  # bytes that reading a small file may take
GIGABYTES = 6 * 10**8  # channels


@contextmanager
def little_memory():
    """NumPy's arrays and Python's objects together take little; arrays count when they are made, not when filled."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST


def refuses(read, path, message):
    assert path.stat().st_size < 1 << 20
    with little_memory(), pytest.raises(FileFormatError, match=rf"{re.escape(path.name)}: .*{message}"):
        read(path)


def write_model(path, layers, **arrays):
    """A file with the head of a model of these layers, and any arrays."""
    head = {"format": "fastcnn-model", "version": 2, "layers": layers, "metadata": {}}
    np.savez(path, architecture=np.array(json.dumps(head)), **arrays)


def layer(name, **config):
    return {"class": name, "config": config}


HUGE_LAYERS = {
    "PReLU": layer("PReLU", shape=[1, GIGABYTES]),
    "BatchNorm": layer("BatchNorm", shape=[1, 2, 2, GIGABYTES]),
    "LayerNorm": layer("LayerNorm", shape=[1, 2, 2, GIGABYTES], axis=1),
    "GroupNorm": layer("GroupNorm", shape=[1, 2, 2, GIGABYTES], groups=2),
    "Conv2D": layer("Conv2D", shape=[1, 9, 9, GIGABYTES], output_channels=5),
    "Conv2D of many outputs": layer("Conv2D", shape=[1, 9, 9, 1], output_channels=GIGABYTES),
    "DepthwiseConv2D": layer("DepthwiseConv2D", shape=[1, 9, 9, GIGABYTES], bias=False),
    "DepthwiseConv2D of many outputs": layer("DepthwiseConv2D", shape=[1, 9, 9, 1], multiplier=GIGABYTES),
    "Conv2DTranspose": layer("Conv2DTranspose", shape=[1, 9, 9, GIGABYTES], output_channels=5),
    "Conv2D of large windows": layer("Conv2D", shape=[1, 30000, 30000, 1], output_channels=1, ksize=30000),
    "FullyConnect": layer("FullyConnect", shape=[1, 30000], output_num=30000),
    "Residual": layer("Residual", body=[layer("PReLU", shape=[1, GIGABYTES])], shortcut=[]),
    "Residual's shortcut": layer(
        "Residual",
        body=[layer("Relu", shape=[1, GIGABYTES])],
        shortcut=[layer("BatchNorm", shape=[1, GIGABYTES])],
    ),
}


@pytest.mark.parametrize("name", HUGE_LAYERS)
def test_layers_of_gigabytes(tmp_path, name):
    write_model(tmp_path / "m.npz", [HUGE_LAYERS[name]])
    assert (tmp_path / "m.npz").stat().st_size < 2000
    refuses(Sequential.load, tmp_path / "m.npz", r"parameter `\w+` of layer 0\S*, a \w+, is missing")
    wrong = {f"0{way}.{array}": np.zeros(3) for way in ("", ".body.0", ".shortcut.0") for array in ("weights", "alpha")}
    write_model(tmp_path / "m.npz", [HUGE_LAYERS[name]], **wrong)
    refuses(Sequential.load, tmp_path / "m.npz", r"a \w+, is wrong: its shape is \(3,\), and the layer needs \(.*\d{5}")


def test_many_layers_that_share_an_array_of_the_file(tmp_path):
    """Each array belongs to one layer."""
    fc = layer("FullyConnect", shape=[1, 300], output_num=300)
    write_model(tmp_path / "m.npz", [fc] * 30, **{"0.weights": np.zeros((300, 300)), "0.bias": np.zeros(300)})
    refuses(Sequential.load, tmp_path / "m.npz", "parameter `weights` of layer 1, a FullyConnect, is missing")


def test_layers_without_parameters_take_none(tmp_path):
    shape = [1, 10**5, 10**5, 100]
    for entry in (
        *(layer(name, shape=shape) for name in ("Relu", "ELU", "Sigmoid", "Dropout", "Rescaling", "GlobalAvgPooling")),
        *(layer(name, shape=shape) for name in ("MaxPooling", "AvgPooling", "Flatten", "LeakyRelu", "Tanh")),
        layer("Softmax", shape=[10**5, 10**6]),
    ):
        write_model(tmp_path / "m.npz", [entry])
        with little_memory():
            assert list(Sequential.load(tmp_path / "m.npz").layers[0].input_shape) == entry["config"]["shape"]


def test_every_layer_takes_no_memory_before_its_arrays_are_compared():
    """Whatever class is added: what it holds is declared, so that a file is compared with it, and made when read."""
    for made in every_layer():
        assert type(made).__name__ in HUGE_LAYERS or not made.tensors()
        assert set(made.tensor_shapes()) == set(made.tensors())
        assert all(made.tensors()[name].shape == shape for name, shape in made.tensor_shapes().items())


def test_first_values_of_arrays_that_are_made_when_read():
    prelu, norm = PReLU((1, 2, 3), 0.5), BatchNorm((1, 3))
    assert prelu.alpha.tolist() == [0.5] * 3 and prelu.alpha is prelu.alpha and not prelu.a_gradient.any()
    assert norm.alpha.tolist() == [1] * 3 and not (norm.beta.any() or norm.moving_mean.any() or norm.moving_var.any())


def test_what_inherits_a_constructor_is_not_drawn(tmp_path):
    class Mine(FullyConnect):
        """Another class's constructor."""

    Sequential([Mine((1, 3), 2), Softmax((1, 2))]).save(tmp_path / "m.npz")
    loaded = Sequential.load(tmp_path / "m.npz", {"Mine": Mine}).layers[0]
    assert loaded.weights.shape == (3, 2) and loaded.weights.any()
    write_model(tmp_path / "m.npz", [layer("Mine", shape=[1, 30000], output_num=30000)])
    refuses(lambda path: Sequential.load(path, {"Mine": Mine}), tmp_path / "m.npz", "`weights` .* is missing")


def test_models_with_all_kinds_of_layers_still_load(tmp_path):
    np.random.seed(1)
    conv = Conv2D((2, 6, 6, 3), 4, method="SAME")
    norm, prelu = BatchNorm(conv.output_shape), PReLU(conv.output_shape)
    block = Residual([Conv2D(conv.output_shape, 4, method="SAME")], [Conv2D(conv.output_shape, 4, 1)])
    pool = AvgPooling(block.output_shape)
    fc = FullyConnect(pool.output_shape, 5)
    model, x = (
        Sequential([conv, norm, prelu, block, pool, fc, Softmax(fc.output_shape)]),
        np.random.random((2, 6, 6, 3)),
    )
    with use_backend("numpy"):  # nothing to compile
        model.logits(x, "train")
        model.save(tmp_path / "m.npz")
        np.testing.assert_array_equal(Sequential.load(tmp_path / "m.npz").predict(x), model.predict(x))


def npy_header(dtype, shape):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def write_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_size(path, size):
    """Write another size of the only member into an archive, where it begins and in the directory."""
    content = bytearray(path.read_bytes())
    for magic, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", content, content.index(magic) + place, size)
    path.write_bytes(content)


def test_archives_that_lie_about_sizes(tmp_path):
    path, head = tmp_path / "a.npz", npy_header("<f4", (GIGABYTES,))
    write_zip(path, {"x_train.npy": head + bytes(100)})
    refuses(datasets.load, path, "where its header, float32 of the shape .600000000,., asks for 2400000")
    with_size(path, len(head) + 4 * GIGABYTES)
    refuses(datasets.load, path, r"it describes 2,400,\d+,\d+ bytes, and \d+ compressed ones cannot hold them")
    write_zip(path, {"x_train.npy": head}, zipfile.ZIP_STORED)
    with_size(path, len(head) + 10**5)
    refuses(datasets.load, path, "'x_train.npy' has two sizes")


def test_bombs(tmp_path, monkeypatch):
    """Files that hold what they say, of zeros."""
    monkeypatch.setattr(limits, "LEAST", 1 << 20)
    for name, write in (
        ("a.npz", lambda path: np.savez_compressed(path, x_train=np.zeros(10**7))),
        ("b.npz", lambda path: np.savez_compressed(path, architecture=np.array("[" * 10**6))),
    ):
        write(tmp_path / name)
        for read in (datasets.load, Sequential.load):
            refuses(read, tmp_path / name, r"it describes [\d,]+ bytes, more than 100 times its own")
    np.savez_compressed(tmp_path / "c.npz", **{key: np.zeros((3, 4, 4), np.uint8) for key in ("x_train", "x_test")})
    with pytest.raises(FileFormatError, match="a data set needs the arrays"):
        datasets.load(tmp_path / "c.npz")


def test_members_that_share_bytes(tmp_path):
    """Two names for one place: 45 MB became 281 TB so (Fifield, "A better zip bomb", 2019)."""
    path = tmp_path / "a.npz"
    write_zip(path, {"a.npy": npy_header("<f4", (5,)) + bytes(20), "b.npy": b""})
    content = bytearray(path.read_bytes())
    second = content.rindex(b"PK\1\2")
    content[second + 20 : second + 28] = content[content.index(b"PK\1\2") + 20 :][:8]
    struct.pack_into("<I", content, second + 42, 0)
    path.write_bytes(content)
    refuses(datasets.load, path, "'a.npy' and what follows it share bytes")
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for _ in range(2):
            archive.writestr("a.npy", npy_header("<f4", (0,)))
    refuses(datasets.load, path, "'a.npy' is there twice")


def test_what_is_no_array_in_an_archive_is_left_alone(tmp_path):
    write_zip(tmp_path / "a.npz", {"x_train": b"no array", "README": b"text"})
    refuses(datasets.load, tmp_path / "a.npz", "this file holds none")


@pytest.mark.parametrize(
    ("dtype", "shape", "message"),
    [
        ("<f4", (GIGABYTES,), "bytes where its header, float32 of the shape .600000000,., asks for"),
        ("<f4", (-5,), "describes an array of float32 and the shape .-5,."),
        ("<f4", (0, 10**30), r"\("),
        ("|O", (1,), "an array of objects, object, which could run code"),
        ([("a", "|O")], (1,), "an array of objects, .*, which could run code"),
        ("|V0", (10**12,), r"describes an array of \|V0"),
    ],
)
def test_npy_headers(tmp_path, dtype, shape, message):
    path = tmp_path / "a.npy"
    path.write_bytes(npy_header(dtype, shape) + bytes(4))
    refuses(read_npy, path, message)


def test_npy_files_of_version_3_and_zips(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\3\0" + npy_header("<f4", ())[8:] + bytes(4))
    refuses(read_npy, path, r"format version 3.0; expected 1.0 or 2.0")
    write_zip(path, {"a.npy": npy_header("<f4", ())})
    refuses(read_npy, path, "not an .npy file")


def idx_header(*sizes, code=8):
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_header(2**20, 2**20, 2**20), "16 bytes where its header, .*, asks for 1152921504606846992"),
        (idx_header(2**32 - 1, 2**32 - 1), "no array has its sizes, .4294967295, 4294967295."),
        (idx_header(*[2**32 - 1] * 3, 0, code=14), "no array has its sizes"),
        (idx_header(2**32 - 1), "8 bytes where its header, sizes .4294967295,., asks for 4294967303"),
        (gzip.compress(idx_header(2**32 - 1) + bytes(9), mtime=0), "it describes 4,294,967,303 bytes, and"),
        (
            gzip.compress(idx_header(10**4) + bytes(9), mtime=0),
            "truncated or corrupt IDX file: 17 bytes where its header",
        ),
        (
            gzip.compress(idx_header(9) + bytes(10**7), mtime=0),
            "truncated or corrupt IDX file: 18 bytes or more where its",
        ),
    ],
)
def test_idx_headers(tmp_path, content, message):
    path = tmp_path / "a"
    path.write_bytes(content)
    for mapped in (False, True):
        refuses(lambda path, mapped=mapped: datasets.read_idx(path, mapped), path, message)


def test_a_gzip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LEAST", 1 << 20)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(idx_header(10**7) + bytes(10**7)))
    refuses(datasets.read_idx, path, r"it describes 10,000,008 bytes, more than 100 times its own [\d,]+ and than 1,0")


def test_headers_of_models_too_long_to_be_read(tmp_path, monkeypatch):
    """As objects, brackets take 25 times their size: none is saved that could not be read again."""
    monkeypatch.setattr(containers, "LONGEST", 5000)
    model = small()
    model.metadata["text"] = "a" * 5000
    with pytest.raises(ValueError, match=r"save: the header of a file may have 5,000 characters. Received \d,\d{3}$"):
        model.save(tmp_path / "m.npz")
    assert list(tmp_path.iterdir()) == []
    for name, head in (("long", np.array("[" * 5001)), ("many", np.array(["{}"] * 9)), ("number", np.array(5))):
        np.savez(tmp_path / f"{name}.npz", architecture=head)
        refuses(model_file.read, tmp_path / f"{name}.npz", "its architecture is missing or damaged")
