"""Commands whose output is lost or cannot be encoded: the work is done, and the exit status says what was lost."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fastcnn import Sequential
from tests.helpers.processes import ROOT

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full")
NAMES = ["猫", "狗", "鸟", "鱼"]
TRAIN = "train", "--data", "own.npz", "--epochs", "2", "--csv", "log.csv", "--backend", "numpy", "--json"
REASON = "cannot write to standard output: "


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory,
):
    """A data set whose classes have Chinese names, a model of it, and images."""
    path = tmp_path_factory.mktemp("output")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 12, 12, 1)).astype(np.uint8), np.arange(40) % 4
    np.savez(path / "own.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    np.save(path / "\udcff.npy", x[:1])
    from fastcnn import zoo

    model = zoo.lenet((8, 12, 12, 1), 4, rng=0)
    model.metadata["class_names"] = NAMES
    model.save(path / "猫.npz")
    (path / "script.py").write_text("print('line', flush=True)\nopen('done', 'w').close()\nraise SystemExit(3)")
    return path


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (TRAIN, 0),
        (("evaluate", "猫.npz", "--data", "own.npz", "--backend", "numpy"), 1),
        (("predict", "猫.npz", "\udcff.npy", "--backend", "numpy"), 1),
        (("info", "--backend", "numpy", "--json"), 1),
        (("bench", "--list"), 1),
        (("run", "script.py"), 3),
        (("--help",), 1),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_standard_output_on_a_full_disk(main, inside, monkeypatch, capsys, arguments, status):
    """A training has its files; a command whose output is all that it makes has failed."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        try:
            assert main(list(arguments)) == status
        except SystemExit as ending:
            assert ending.code == status and arguments == ("--help",)
    name = " ".join(["fastcnn", *arguments[:1]]).removesuffix(" --help")
    line = f"{name}: {'error' if status else 'warning'}: {REASON}No space left on device\n"
    assert capsys.readouterr().err == ("" if arguments[0] == "run" else line)
    assert os.path.exists("done") or arguments[0] != "run"
    if arguments is TRAIN:
        assert len(Sequential.load("lenet-own.npz").layers) == 9
        with open("log.csv", encoding="utf-8", newline="") as log:
            assert [row[0] for row in csv.reader(log)] == ["epoch", "1", "2"]


@pytest.mark.parametrize(
    ("arguments", "streams", "status", "error"),
    [
        (TRAIN, ">&- 2>&-", 0, ""),
        (TRAIN, ">/dev/full 2>/dev/full <&-", 0, ""),
        (("predict", "猫.npz", "?.npy"), ">&-", 1, f"fastcnn predict: error: {REASON}Bad file descriptor\n"),
    ],
)
def test_streams_that_are_closed_from_the_start(folder, tmp_path, arguments, streams, status, error):
    """By the shell; the interpreter exits with status 120 where its last flush fails."""
    command = f'"{sys.executable}" -m fastcnn {" ".join(arguments)} {streams}'
    env = os.environ | {"PYTHONPATH": str(ROOT), "FASTCNN_BACKEND": "numpy"}
    done = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, check=False, timeout=300)
    assert (done.returncode, done.stderr.decode()) == (status, error)
    if arguments is TRAIN:
        Sequential.load(folder / "lenet-own.npz")


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "utf-8"])
def test_names_and_paths_on_any_terminal(main, inside, monkeypatch, encoding):
    """What it does not have is escaped; the line of JSON is ASCII anyway."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, newline="\n"))
    assert main(["predict", "猫.npz", "\udcff.npy", "--backend", "numpy", "--json"]) == 0
    assert main(["evaluate", "猫.npz", "--data", "own.npz", "--backend", "numpy", "--report", "--json"]) == 0
    first, predicted, evaluated, *table = raw.getvalue().decode(encoding).splitlines()
    names = [name.encode(encoding, "backslashreplace").decode(encoding) for name in NAMES]
    assert first.startswith(r"\udcff.npy: ") and first.split()[1] in names
    assert json.loads(predicted)["predictions"][0]["image"] == "\udcff.npy"
    assert evaluated.startswith(rf"{names[0]}.npz on the 8 test images of own: accuracy ")
    assert all(any(name in line for line in table) for name in names)
    assert np.sum(json.loads(table[-1])["confusion_matrix"]) == 8


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_names_and_paths_in_an_ascii_locale(folder, variables):
    command = [sys.executable, "-m", "fastcnn", "predict", "猫.npz", b"\xff.npy"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "FASTCNN_BACKEND": "numpy", "PYTHONUTF8": "0"} | variables
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")
    path, label = done.stdout.split()[:2]
    assert path in (b"\xff.npy:", rb"\udcff.npy:") and label.decode("ascii").startswith(r"\u")
    missing = [*command[:-1], "没有.npy"]
    done = subprocess.run(missing, cwd=folder, env=env, capture_output=True, check=False, timeout=300)
    assert done.returncode == 1 and done.stderr.startswith(b"fastcnn predict: error: No such file or directory: '")
