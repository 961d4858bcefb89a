"""Old names of modules that have moved: each stands for the very module of its new name."""

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import fastcnn
from fastcnn import moved
from fastcnn.training import History
from tests.helpers.processes import run_python

# Every module path and public name that the docs, messages or files of earlier versions named.
PATHS = {
    "fastcnn.augmentation": "Augmentation",
    "fastcnn.backend": "set_backend get_backend use_backend active",
    "fastcnn.backends": "KERNELS",
    "fastcnn.benchmark.scaling": "measure_training table",
    "fastcnn.benchmark.shaped": "check compare_buckets",
    "fastcnn.callbacks": "CSVLogger Callback Checkpoint EarlyStopping LearningCurves TensorBoard",
    "fastcnn.callbacks.base": "Callback",
    "fastcnn.callbacks.logs": "CSVLogger LearningCurves TensorBoard",
    "fastcnn.callbacks.progress": "Checkpoint EarlyStopping",
    "fastcnn.datasets": "load",
    "fastcnn.diagnosis": "replay main",
    "fastcnn.distributed": "world",
    "fastcnn.errors": "BackendMismatch DatasetNotFoundError FileFormatError",
    "fastcnn.layers.base_conv": "Conv2D im2col col2im",
    "fastcnn.layers.softmax": "Softmax",
    "fastcnn.loop": "History",
    "fastcnn.metrics": "Report confusion_matrix",
    "fastcnn.model": "Sequential",
    "fastcnn.optimizers": "SGD Adam AdamW Momentum Nesterov RMSProp",
    "fastcnn.plotting": "learning_curves",
    "fastcnn.profiling": "profile",
    "fastcnn.runtime": "set_dtype get_dtype set_num_threads get_num_threads set_conv_algorithm get_conv_algorithm",
    "fastcnn.schedules": "Schedule constant cosine step exponential warm_up one_cycle SCHEDULES",
    "fastcnn.testing": "check_layer",
    "fastcnn.training": "fit Run History constant cosine",
    "fastcnn.zoo": "lenet vgg_small resnet_small",
}


@pytest.mark.parametrize("path", PATHS)
def test_old_paths(path):
    module = importlib.import_module(path)
    assert all(hasattr(module, name) for name in PATHS[path].split())


@pytest.mark.parametrize(("old", "new"), moved.MOVED.items())
def test_there_is_one_copy_of_a_moved_module(old, new):
    assert old in PATHS, "list it"
    assert importlib.import_module(old) is importlib.import_module(new)
    assert importlib.import_module(new).__name__ == new and importlib.import_module(new).__spec__.name == new


@pytest.mark.parametrize("name", sorted(set(fastcnn.__all__) & {old.partition(".")[2] for old in moved.MOVED}))
def test_type_checkers_find_public_modules(name):
    """Theirs is a stub that re-exports the module of the new name."""
    stub = Path(fastcnn.__file__).with_name(f"{name}.pyi")
    assert stub.read_text() == f"from {moved.MOVED[f'fastcnn.{name}']} import *\n"


def test_submodules_of_moved_packages():
    assert importlib.import_module("fastcnn.callbacks.base").Callback is fastcnn.callbacks.Callback
    with pytest.raises(ModuleNotFoundError, match=r"fastcnn\.callbacks\.nothing"):
        importlib.import_module("fastcnn.callbacks.nothing")
    with pytest.raises(ModuleNotFoundError, match=r"fastcnn\.loops"):
        importlib.import_module("fastcnn.loops")


def test_old_names_first():
    """Whichever name comes first in a process, and with other spellings of an import."""
    code = (
        "import fastcnn.callbacks.progress as old, fastcnn.callbacks\n"
        "from fastcnn import callbacks, diagnosis\n"
        "import fastcnn.training.callbacks.progress as new\n"
        "assert old is new and callbacks is fastcnn.callbacks is fastcnn.training.callbacks\n"
        "assert callbacks.Checkpoint is new.Checkpoint and diagnosis is fastcnn.training.diagnosis\n"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr


def test_pickles_of_a_history():
    """As `pickle` wrote them when the class lay in fastcnn.loop."""
    history = pickle.loads(b"\x80\x04cfastcnn.loop\nHistory\n)\x81\x8c\x04loss]K\x01as.")
    assert type(history) is History and history == {"loss": [1]}
    assert type(pickle.loads(pickle.dumps(history))) is History


@pytest.mark.parametrize("module", ["fastcnn.diagnosis", "fastcnn.benchmark.scaling", "fastcnn.benchmark.shaped"])
def test_as_a_script(module):
    done = run_python("-m", module, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m "), done.stderr


def test_importing_the_package_imports_nothing_more():
    """Old names cost nothing: the table and a finder, and no module of the library that is not there anyway."""
    code = "import sys, importlib; before = set(sys.modules); import fastcnn; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["fastcnn", "fastcnn.moved"]
