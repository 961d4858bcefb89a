"""Model files: what is written comes back, damaged ones are one error, and nothing is lost or half-written."""

import json
import os
import stat
import threading
import zipfile

import numpy as np
import pytest

from fastcnn import FileFormatError, Sequential, plotting
from fastcnn.layers import FullyConnect, Relu
from fastcnn.optimizers import Adam
from fastcnn.saving import containers
from tests.helpers.models import small


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_load(tmp_path, data, dtype):
    np.random.seed(3)
    model = small(dtype=dtype)
    model.fit(*data, 1, verbose=False)
    model.metadata["class_names"] = ["null", "eins"]
    path = tmp_path / "model.npz"
    model.save(path)
    state = np.random.get_state()[1].copy()
    loaded = Sequential.load(path)
    assert (np.random.get_state()[1] == state).all()
    assert loaded.metadata == model.metadata
    assert [repr(layer) for layer in loaded.layers] == [repr(layer) for layer in model.layers]
    np.testing.assert_array_equal(loaded.predict(data[0]), model.predict(data[0]))
    loaded.fit(*data, 1, verbose=False)
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


class Doubled(Relu):
    def forward(self, x):
        return 2 * super().forward(x)


def test_custom_layers(tmp_path):
    path = tmp_path / "m.npz"
    Sequential([Doubled((1, 3))]).save(path)
    with pytest.raises(FileFormatError, match=r"unknown layer class 'Doubled'; pass it to load\(..., custom_layers="):
        Sequential.load(path)
    loaded = Sequential.load(path, {"Doubled": Doubled})
    np.testing.assert_array_equal(loaded.forward([[1, -1, 2]]), [[2, 0, 4]])


def test_saving_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    model = small()
    model.save(path)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half a model")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(containers.np, "savez", fail)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.npz"]


def test_unwritable_paths(tmp_path):
    model = small()
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        model.save(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        model.save(tmp_path / "none" / "model.npz")
    (tmp_path / "file").write_text("text")
    for path in (tmp_path / "file" / "model.npz", tmp_path / "file" / "deeper" / "model.npz"):
        with pytest.raises(NotADirectoryError, match=r"cannot write '.*model.npz': '.*file' is a file, and no folder"):
            model.save(path)


def test_unreadable_paths(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(IsADirectoryError, match=r"cannot read '.*': it is a folder, and not a fastcnn model file"):
        Sequential.load(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"cannot read '.*model.npz': '.*file' is a file, and no folder"):
        Sequential.load(tmp_path / "file" / "model.npz")


@pytest.mark.parametrize("use", ["save", "load"])
@pytest.mark.parametrize(
    ("path", "error", "shown"),
    [
        (None, TypeError, "path=None"),
        (7, TypeError, "path=7"),
        (b"m.npz", TypeError, "path=b'm.npz'"),
        ("", ValueError, "path=''"),
        ("a\0b", ValueError, r"path='a\\x00b'"),
    ],
)
def test_what_is_no_path(use, path, error, shown):
    with pytest.raises(error, match=rf"{use}: `path` must be a path, text or a pathlib.Path.*. Received {shown}"):
        getattr(small(), use)(path)


def test_learning_curves_need_a_path_too():
    with pytest.raises(TypeError, match=r"learning_curves: `path` must be a path.*. Received path=None"):
        plotting.learning_curves({"loss": [1.0], "accuracy": [0.5]}, None)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_parameters_that_are_not_finite(tmp_path, value):
    """Neither written, over what is there, nor read."""
    path, model = tmp_path / "model.npz", small()
    model.save(path)
    before = path.read_bytes()
    model.layers[3].weights[1, 2] = value
    message = rf"save: `layers\[3\].weights` must be finite. Received layers\[3\].weights\[1, 2\]={value} \(1 of"
    with pytest.raises(ValueError, match=message):
        model.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.npz"]
    rewrite(path, lambda _, arrays: arrays["3.weights"].fill(value))
    message = r"model.npz: parameter `weights` of layer 3, a FullyConnect, is wrong: .*`weights` must be finite"
    with pytest.raises(FileFormatError, match=message):
        Sequential.load(path)


def test_numbers_that_the_layers_dtype_cannot_hold(tmp_path):
    path = tmp_path / "model.npz"
    small().save(path)
    rewrite(path, lambda _, arrays: arrays.update({"3.bias": np.full(10, 1e300)}))
    with pytest.raises(
        FileFormatError, match=r"parameter `bias` of layer 3, a FullyConnect, is wrong: .*at most 3.403e"
    ):
        Sequential.load(path)


def test_a_missing_parameter_is_named(tmp_path):
    path = tmp_path / "model.npz"
    small().save(path)
    rewrite(path, lambda _, arrays: arrays.pop("0.weights"))
    with pytest.raises(FileFormatError, match=r"model.npz: parameter `weights` of layer 0, a Conv2D, is missing$"):
        Sequential.load(path)


class Constant:
    """A layer of no base class, whose one parameter is a plain number."""

    factor = 2.0

    def forward(self, x):
        return x * self.factor

    def gradient(self, eta):
        return eta * self.factor

    def config(self):
        return {}

    def parameters(self):
        return {"factor": self.factor}


def test_foreign_layers(tmp_path):
    model = Sequential([Constant()])
    model.layers[0].factor = 3.0
    model.save(tmp_path / "m.npz")
    assert Sequential.load(tmp_path / "m.npz", {"Constant": Constant}).forward(2.0) == 6
    model.layers[0].factor = np.nan
    with pytest.raises(ValueError, match=r"save: `layers\[0\].factor` must be finite. Received layers\[0\].factor=nan"):
        model.save(tmp_path / "m.npz")


def rewrite(path, change):
    """Read a model file, change its header and arrays, write it again."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays["architecture"]))
    change(header, arrays)
    if "architecture" in arrays:
        arrays["architecture"] = np.array(json.dumps(header))
    np.savez(path, **arrays)


def write_array(path, array):
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=True)


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


def flip(path, position):
    """Change one bit: a zip archive's checksum shows it."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def strip(arrays):
    """Leave the architecture alone."""
    for name in [name for name in arrays if name != "architecture"]:
        del arrays[name]


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a model"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": lambda path: flip(path, path.stat().st_size // 2),
    "pickle": lambda path: write_array(path, np.array([{}], object)),
    "array": lambda path: write_array(path, np.zeros(3)),
    "other archive": lambda path: np.savez(path, x=np.zeros(3)),
    "other zip": write_zip,
    "bad json": lambda path: np.savez(path, architecture=np.array("{")),
    "other format": lambda path: rewrite(path, lambda header, _: header.update(format="onnx")),
    "newer": lambda path: rewrite(path, lambda header, _: header.update(version=3)),
    "no class": lambda path: rewrite(path, lambda header, _: header["layers"][0].pop("class")),
    "bad config": lambda path: rewrite(path, lambda header, _: header["layers"][0]["config"].update(stride=0)),
    "extra config": lambda path: rewrite(path, lambda header, _: header["layers"][0]["config"].update(wings=2)),
    "missing weights": lambda path: rewrite(path, lambda _, arrays: arrays.pop("0.weights")),
    "wrong weights": lambda path: rewrite(path, lambda _, arrays: arrays.update({"0.weights": np.zeros(3)})),
    "stray array": lambda path: rewrite(path, lambda _, arrays: arrays.update({"9.weights": np.zeros(3)})),
    "inconsistent": lambda path: rewrite(path, lambda header, _: header["layers"].pop(1)),
    "misfit": lambda path: rewrite(path, lambda header, _: header["layers"][1]["config"].update(shape=[4, 9, 9, 3])),
    "no layers": lambda path: rewrite(path, lambda header, arrays: (header["layers"].clear(), strip(arrays))),
    "number for layers": lambda path: rewrite(path, lambda header, _: header.update(layers=5)),
    "nested json": lambda path: np.savez(path, architecture=np.array("[" * 100_000)),
    "too large for memory": lambda path: rewrite(
        path, lambda header, _: header["layers"][0]["config"].update(output_channels=10**12)
    ),
    "too large for an integer": lambda path: rewrite(
        path, lambda header, _: header["layers"][0]["config"].update(shape=[10**400, 9, 9, 3])
    ),
    "number for metadata": lambda path: rewrite(path, lambda header, _: header.update(metadata=5)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_model_files(tmp_path, damage):
    path = tmp_path / "model.npz"
    small().save(path)
    DAMAGES[damage](path)
    with pytest.raises(FileFormatError, match=r"model\.npz: "):
        Sequential.load(path)


@pytest.mark.parametrize("seed", range(200))
def test_model_files_with_random_damage(tmp_path, seed):
    """A few bytes changed anywhere, most of them in headers: FileFormatError, or the model as it was."""
    path, model = tmp_path / "model.npz", small()
    model.save(path)
    content, generator = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for _ in range(generator.integers(1, 9)):
        content[min(int(generator.exponential(300)), len(content) - 1) * generator.choice([1, -1])] = seed
    path.write_bytes(content)
    try:
        loaded = Sequential.load(path)
    except FileFormatError:
        return
    for a, b in zip(model.layers, loaded.layers, strict=True):
        for name, array in a.parameters().items():
            np.testing.assert_array_equal(array, b.parameters()[name])


def test_missing_model_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Sequential.load(tmp_path / "none.npz")


class Classifier(FullyConnect):
    """A layer of somebody's own that takes fewer arguments than the one it derives from."""

    def __init__(self, shape, *, dtype=None):
        super().__init__(shape, 3, dtype=dtype)

    def config(self):
        return {"shape": list(self.input_shape), "dtype": self.dtype.name}


def test_custom_layers_with_parameters(tmp_path, rng):
    model = Sequential([Classifier((2, 4))])
    model.save(tmp_path / "m.npz")
    loaded = Sequential.load(tmp_path / "m.npz", {"Classifier": Classifier})
    x = rng.random((5, 4))
    np.testing.assert_array_equal(loaded.forward(x), model.forward(x))


def test_what_json_cannot_hold_is_named(tmp_path):
    model = small()
    model.metadata["classes"] = np.int64(3)
    with pytest.raises(TypeError, match=r"save: `metadata` and .* must be what JSON can hold: .*int64"):
        model.save(tmp_path / "m.npz")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(FileExistsError, match="it is a device or a pipe, and no file"):
        small().save(path)
    assert stat.S_ISFIFO(path.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_links_and_permissions_are_kept(tmp_path):
    (tmp_path / "models").mkdir()
    real, link = tmp_path / "models" / "real.npz", tmp_path / "link.npz"
    real.write_bytes(b"before")
    real.chmod(0o640)
    link.symlink_to(real)
    small().save(link)
    assert link.is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o640
    assert Sequential.load(real).output_shape == small().output_shape
    small().save(tmp_path / "new.npz")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "new.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode  # the umask's


def test_threads_may_save_and_load_one_file(tmp_path):
    path, model, errors = tmp_path / "m.npz", small(), []
    model.save(path)

    def work():
        try:
            for _ in range(20):
                model.save(path)
                Sequential.load(path)
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors and os.listdir(tmp_path) == ["m.npz"]


class Gain(Relu):
    """An argument that its config() forgets."""

    def __init__(self, shape, gain=1.0, dtype=None):
        super().__init__(shape, dtype=dtype)
        self.gain = gain


class Sudden(Relu):
    """Without the argument `dtype`, which config() has."""

    def __init__(self, shape):
        super().__init__(shape)


def test_layers_that_could_not_be_made_again(tmp_path):
    """They would load as another layer, or not at all: said when the model is saved."""
    for layer, message in (
        (Gain((1, 3), 7.0), r"config\(\) of layers\[0\], a Gain, must hold all arguments .* It lacks 'gain'"),
        (Sudden((1, 3)), r"a Sudden, must hold arguments of the constructor. Received 'dtype', which is none"),
    ):
        with pytest.raises(TypeError, match=message):
            Sequential([layer]).save(tmp_path / "m.npz")
    assert os.listdir(tmp_path) == []


def test_an_optimizer_over_another_model_is_not_saved(tmp_path):
    for other in (Adam(small()), "adam"):
        with pytest.raises(ValueError, match=r"save: `optimizer` must be an Optimizer over this model. Received"):
            small().save(tmp_path / "m.npz", optimizer=other)
    with pytest.raises(TypeError, match=r"load: `custom_layers` must be a dict of class names and classes"):
        Sequential.load(tmp_path / "m.npz", [Gain])
    assert os.listdir(tmp_path) == []
