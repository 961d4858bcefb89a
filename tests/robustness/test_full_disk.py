"""Disks that are full, as file systems of some KiB: one line that names the file, what was there before is whole, and
nothing else is left."""

import os

import pytest

from fastcnn import Sequential
from tests.helpers.models import small
from tests.helpers.processes import assert_fails, complaints
from tests.helpers.small_disk import run_on_small_disk

FULL = "No space left on device"
TRAIN = ("-m", "fastcnn", "train", "--batch-size", "500", "--epochs", "1", "--seed", "0", "--quiet")
ENDED = (
    f"fastcnn train: error: the training ended early ({FULL}: 'disk/{{}}'); the model so far was saved to 'own.npz'\n"
)


@pytest.fixture
def disk(tmp_path):
    """The folder that is to be a small disk."""
    path = tmp_path / "disk"
    path.mkdir()
    return path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("option", "name", "module"),
    [
        ("--csv", "log.csv", None),
        pytest.param("--plot", "curves.png", "matplotlib", marks=pytest.mark.slow),
    ],
)
def test_a_training_whose_files_do_not_fit(tmp_path, disk, option, name, module):
    """It ends, and its model is saved where there is room."""
    if module:
        pytest.importorskip(module)
    (disk / name).write_bytes(b"earlier")
    (disk / "others").write_bytes(bytes(4096))
    before = contents(disk)
    done = run_on_small_disk(tmp_path, 8192, *TRAIN, "--out", "own.npz", option, f"disk/{name}")
    assert (done.returncode, complaints(done)) == (1, ENDED.format(name))
    assert contents(disk) == before and set(os.listdir(tmp_path)) == {"disk", "own.npz"}
    Sequential.load(tmp_path / "own.npz")


@pytest.mark.slow
def test_a_training_whose_tensorboard_does_not_fit(tmp_path, disk):
    pytest.importorskip("tensorboardX")
    (disk / "others").write_bytes(bytes(8192))
    done = run_on_small_disk(tmp_path, 8192, *TRAIN, "--out", "own.npz", "--tensorboard", "disk/logs")
    (log,) = (disk / "logs").iterdir()
    assert (done.returncode, complaints(done)) == (1, ENDED.format(f"logs/{log.name}"))
    Sequential.load(tmp_path / "own.npz")


def test_a_checkpoint_that_does_not_fit_is_said_before_the_training(tmp_path, disk):
    done = run_on_small_disk(tmp_path, 8192, *TRAIN, "--out", "own.npz", "--checkpoint", "disk/c.npz")
    assert_fails(done, 1, f"fastcnn train: error: {FULL}: 'disk/c.npz'\n")
    assert contents(disk) == {} and os.listdir(tmp_path) == ["disk"]


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_model_that_does_not_fit(tmp_path, disk, elsewhere):
    """The earlier one stays, and the new one goes to the folder for temporary files, if there is room in that."""
    small().save(disk / "own.npz")
    before, room = contents(disk), tmp_path / "room"
    room.mkdir()
    size = sum(map(len, before.values())) + 8192
    options = {"TMPDIR": str(room)} if elsewhere else {}
    done = run_on_small_disk(tmp_path, size, *TRAIN, "--out", "disk/own.npz", **options)
    kept = [*room.iterdir()]
    found = f"was saved to {str(kept[0])!r} instead" if elsewhere else (
        f"could not be saved in a folder for temporary files either ({FULL})"
    )  # fmt: skip
    assert_fails(
        done, 1, f"fastcnn train: error: cannot save the trained model to 'disk/own.npz' ({FULL}); it {found}\n"
    )
    assert contents(disk) == before and len(kept) == elsewhere
    for path in (disk / "own.npz", *kept):
        Sequential.load(path)


SCRIPT = """
import contextlib, os, sys
from pathlib import Path
import numpy as np
from fastcnn import Sequential, datasets
from fastcnn.callbacks import Callback, Checkpoint
from tests.helpers.models import small

class Fill(Callback):
    def on_epoch_begin(self, run):
        if run.epoch == 3:
            with contextlib.suppress(OSError), open("disk/others", "wb", 0) as file:
                while file.write(bytes(512)):
                    pass

def fit(model, *callbacks, resume=None):
    model.fit(*data, 4, 50, optimizer="adam", seed=1, callbacks=callbacks, resume=resume, verbose=False)

def refused(path, work, *arguments):
    try:
        work(*arguments)
    except OSError as error:
        assert (error.strerror, error.filename) == ("No space left on device", path), error
    else:
        raise AssertionError(path)
    assert sorted(os.listdir("disk")) == sorted(map(os.path.basename, (checkpoint, saved, "others")))

checkpoint, saved = (f"disk/{name}.{sys.argv[1]}" for name in "cm")
digits = datasets.load("digits")
data = digits.train_images[:200] / 255, digits.train_labels[:200]
whole, broken, again = small(), small(), small()
fit(whole)
whole.save(saved)
before = Path(saved).read_bytes()
refused(checkpoint, fit, broken, Fill(), Checkpoint(checkpoint))
refused(saved, broken.save, saved)
assert Path(saved).read_bytes() == before
os.unlink("disk/others")
fit(again, Checkpoint(checkpoint), resume=checkpoint)
for one, other in zip(whole.layers, again.layers):
    for name, array in one.parameters().items():
        np.testing.assert_array_equal(array, other.parameters()[name])
print("goes on to the same bits")
"""


@pytest.mark.parametrize("suffix", ["npz", pytest.param("safetensors", marks=pytest.mark.slow)])
def test_a_disk_that_fills_up(tmp_path, disk, suffix):
    """While a script trains: the last checkpoint is whole, and once there is room the training goes on from it to the
    same bits. What is saved over a model fails, and the model stays."""
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    done = run_on_small_disk(tmp_path, 1 << 18, "-c", SCRIPT, suffix)
    assert (done.stdout, complaints(done)) == ("goes on to the same bits\n", "")


KERNEL = """
import numpy as np
from fastcnn.layers import Relu
print(Relu((1, 2)).forward(np.array([[1, -2]] * 500_000)).sum())
"""


@pytest.mark.slow
def test_kernels_that_do_not_fit(tmp_path, disk):
    """They are compiled by each process, and one line says so."""
    done = run_on_small_disk(tmp_path, 32 << 10, "-c", KERNEL, NUMBA_CACHE_DIR="disk", FASTCNN_NUM_THREADS="2")
    assert done.stdout == "500000.0\n" and done.stderr.startswith("fastcnn: kernels cannot be kept in ")
    assert done.stderr.endswith(f" ({FULL}; each process compiles anew)\n") and done.stderr.count("\n") == 1
    assert all(path.suffix == ".nbc" for path in disk.rglob("*") if path.is_file())
