"""Imports of layers that are not here: the message holds the line that works, which is run."""

import importlib
import importlib.util
import pydoc
import sys

import pytest

import fastcnn.layers
from fastcnn.layers import missing
from tests.helpers.processes import run_fastcnn

FOREIGN = ["Dense", "Linear", "Conv2d", "MaxPool2d", "MaxPooling2D", "AveragePooling2D", "BatchNormalization", "ReLU"]
FOREIGN += ["LeakyReLU", "GlobalAveragePooling2D", "CrossEntropyLoss", "Fully_Connected", "ConvTranspose2d", "Deconv2D"]
FOREIGN += [
    "Depthwise_Conv2d",
    "conv2d_transpose",
    "Swish",
    "Silu",
    "Gelu",
    "Hardswish",
    "Hardsigmoid",
    "ReLU_6",
    "MISH",
]
FOREIGN += ["LayerNormalization", "groupnorm"]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_name_of_another_framework(name):
    with pytest.raises(ImportError, match=f"^fastcnn.layers has no '{name}': from fastcnn.layers import ") as error:
        exec(f"from fastcnn.layers import {name}")
    names: dict = {}
    exec(str(error.value).partition(": ")[2], names)
    assert any(value in vars(fastcnn.layers).values() for key, value in names.items() if key != "__builtins__")


def test_every_answer_is_a_layer():
    assert set(missing.OTHERS.values()) <= set(fastcnn.layers.__all__)


@pytest.mark.parametrize("statement", ["from fastcnn.layers.lrn import LRN", "import fastcnn.layers.lrn"])
def test_a_module_that_nobody_has(statement):
    with pytest.raises(ModuleNotFoundError, match=r"^fastcnn.layers has no 'lrn'; it has ELU, .*, Tanh"):
        exec(statement)


def test_the_name_in_the_error():
    """By it scripts tell a module that is not there from one that fails: as Python sets it."""
    with pytest.raises(ModuleNotFoundError) as error:
        importlib.import_module("fastcnn.layers.lrn")
    assert error.value.name == "fastcnn.layers.lrn"
    with pytest.raises(ImportError, match="has no 'Dense'") as error:
        from fastcnn.layers import Dense  # noqa: F401
    assert error.value.name == "fastcnn.layers" and type(error.value) is ImportError
    assert pydoc.locate("fastcnn.layers.Dense") is None


def test_who_only_looks_for_a_module_hears_none(monkeypatch, tmp_path):
    """In the midst of another import too."""
    (tmp_path / "looks.py").write_text(
        "import importlib.util, sys\n"
        "FOUND = importlib.util.find_spec('fastcnn.layers.dense')\n"
        "ASKED = [finder.find_spec('fastcnn.layers.dense', []) for finder in sys.meta_path]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    looks = importlib.import_module("looks")
    assert looks.FOUND is None and not any(looks.ASKED)
    del sys.modules["looks"]


def test_what_is_asked_politely_is_answered():
    assert not hasattr(fastcnn.layers, "Dense")
    with pytest.raises(AttributeError, match="'Dense'"):
        _ = fastcnn.layers.Dense
    assert importlib.util.find_spec("fastcnn.layers.relu").name == "fastcnn.layers.relu"
    assert importlib.util.find_spec("fastcnn.nothing") is None


def test_a_script_of_the_original(tmp_path):
    """Neither the original nor the script has the module; one that the script has is its own."""
    (tmp_path / "a.py").write_text(
        "import importlib.util\n"
        "print([importlib.util.find_spec(f'layers.{name}') for name in ('lrn', 'Dense')])\n"
        "try:\n    from layers import Dense\nexcept ImportError as error:\n    print(error.name, error)\n"
        "try:\n    import layers.lrn\nexcept ModuleNotFoundError as error:\n    print(error.name)\n"
        "from layers.lrn import LRN"
    )
    done = run_fastcnn("run", "a.py", cwd=tmp_path, FASTCNN_BACKEND="numpy")
    assert done.stdout.splitlines() == [
        "[None, None]",
        "layers fastcnn.layers has no 'Dense': from fastcnn.layers import FullyConnect",
        "layers.lrn",
    ]
    assert done.returncode == 1 and "ModuleNotFoundError: fastcnn.layers has no 'lrn'; it has ELU" in done.stderr
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "lrn.py").write_text("LRN = 3")
    (tmp_path / "a.py").write_text("from layers.lrn import LRN; from layers.relu import Relu; print(LRN, Relu)")
    done = run_fastcnn("run", "a.py", cwd=tmp_path, FASTCNN_BACKEND="numpy")
    assert done.stdout == "3 <class 'fastcnn.layers.relu.Relu'>\n", done.stderr
