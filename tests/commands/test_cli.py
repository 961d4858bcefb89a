"""The command line through subprocesses, as a user types it: results, exit status, one line for an error."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fastcnn import Sequential, datasets, zoo
from fastcnn.backends.numba.convolution.winograd import table
from fastcnn.layers import FullyConnect
from fastcnn.saving import containers
from tests.helpers.processes import ROOT, assert_fails, complaints, run_fastcnn, run_python

SPLITS = ("train", "test")
FAST = {"FASTCNN_BACKEND": "numpy"}  # nothing to import or compile, where the backend does not matter


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model file that knows the digits a little."""
    path = tmp_path_factory.mktemp("cli") / "model.npz"
    digits = datasets.load()
    lenet = zoo.lenet((32, 28, 28, 1), rng=0)
    lenet.fit(digits.train_images, digits.train_labels, 2, 32, seed=0, verbose=False)
    lenet.metadata["class_names"] = [f"digit {i}" for i in range(10)]
    lenet.save(path)
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory, digits):
    """A data set on which NumPy trains in no time."""
    path = tmp_path_factory.mktemp("cli") / "few.npz"
    x, y = digits.train_images, digits.train_labels
    np.savez(path, x_train=x[:500], y_train=y[:500], x_test=x[500:600], y_test=y[500:600])
    return str(path)


@pytest.mark.slow
def test_train_without_arguments_reaches_97_percent(tmp_path):
    done = run_fastcnn("train", cwd=tmp_path)
    assert done.returncode == 0 and complaints(done) == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("lenet on digits: 4,000 training and 1,000 test images, backend numba, float32")
    assert sum(line.startswith("epoch ") for line in lines) == 15
    accuracy = float(lines[-1].split("test accuracy ")[1].split("%")[0])
    assert accuracy >= 97
    assert lines[-1].endswith("model saved to lenet-digits.npz")
    assert os.listdir(tmp_path) == ["lenet-digits.npz"]
    again = run_fastcnn("evaluate", "lenet-digits.npz", "--json", cwd=tmp_path)
    assert json.loads(again.stdout.splitlines()[-1])["accuracy"] == pytest.approx(accuracy / 100)


def test_train_with_every_option(tmp_path, rng):
    x, y = rng.integers(0, 256, (30, 16, 16, 3)).astype(np.uint8), np.arange(30) % 3
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:7], y_test=y[:7])
    options = "--data own.npz --model lenet --epochs 2 --batch-size 8 --lr 0.05 --weight-decay 0 --backend check"
    more = "--dtype float64 --threads 1 --seed 4 --out my.model --json --quiet"
    runs = [run_fastcnn("train", *options.split(), *more.split(), cwd=tmp_path) for _ in range(2)]
    results = []
    for done in runs:
        assert done.returncode == 0 and complaints(done) == ""
        lines = done.stdout.splitlines()
        assert len(lines) == 1
        results.append(json.loads(lines[0]))
    first, second = results
    facts = {"model": "lenet", "data": "own", "backend": "check", "dtype": "float64", "threads": 1, "seed": 4}
    assert facts.items() <= first.items() and first["out"] == "my.model"
    assert first["history"]["loss"] == second["history"]["loss"]
    assert sorted(os.listdir(tmp_path)) == ["my.model", "own.npz"]
    quiet = run_fastcnn("train", "--data", "own.npz", "--epochs", "1", "--quiet", cwd=tmp_path, **FAST)
    assert quiet.stdout.count("\n") == 1 and quiet.stdout.endswith("model saved to lenet-own.npz\n")


@pytest.mark.parametrize("anywhere", [False, True])
def test_a_disk_that_fills_up_during_the_training(main, few, tmp_path, monkeypatch, capsys, anywhere):
    """The model is saved elsewhere, and the error says where; where nothing can be written, it says that."""
    write = containers.write_whole

    def write_to_a_full_disk(path, content):
        if anywhere or Path(path).parent == tmp_path:
            raise OSError(28, "No space left on device")
        write(path, content)

    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setattr(containers, "write_whole", write_to_a_full_disk)
    out = str(tmp_path / "m.npz")
    options = ["train", "--data", few, "--epochs", "1", "--batch-size", "64", "--quiet", "--backend", "numpy"]
    assert main([*options, "--out", out]) == 1
    output, error = capsys.readouterr()
    assert output == "" and error.count("\n") == 1
    start = f"fastcnn train: error: cannot save the trained model to {out!r} (No space left on device); it "
    left = os.listdir(tmp_path / "temp")
    if anywhere:
        assert error == f"{start}could not be saved in a folder for temporary files either (No space left on device)\n"
        assert left == []
    else:
        path = tmp_path / "temp" / left[0]
        assert error == f"{start}was saved to {str(path)!r} instead\n"
        assert Sequential.load(path).metadata["data"] == "few"
    assert os.listdir(tmp_path) == ["temp"]


def test_more_threads_than_the_pool_of_this_process(main, capsys, threads_variable):
    """Its size is fixed when numba is imported."""
    pytest.importorskip("numba")
    assert main(["info", "--threads", "1000"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fastcnn info: error: argument --threads must be at most ") and "set_num" not in error
    threads_variable("1000")
    assert main(["info"]) == 2
    assert capsys.readouterr().err.startswith("fastcnn info: error: FASTCNN_NUM_THREADS must be at most ")


INTERRUPT = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background inherits that it is ignored

class Interrupt:
    def find_spec(name, path=None, target=None):
        if name == {!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt)
"""


@pytest.mark.parametrize("during", ["fastcnn.interrupt", "fastcnn.cli", "numpy.linalg", "fastcnn.layers"])
@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_ctrl_c_while_modules_are_imported(tmp_path, during):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT.format(during))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    script = re.search(r'^fastcnn = "(.+):(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    module, function = script.groups()
    as_script = f"import sys; from {module} import {function}; sys.argv[0] = 'fastcnn'; sys.exit({function}())"
    for how in (("-m", "fastcnn"), ("-c", as_script)):
        done = run_python(*how, "train", cwd=tmp_path, PYTHONPATH=path, **FAST)
        assert_fails(done, 130, ": interrupted")


def test_evaluate_and_predict(model, tmp_path, digits):
    image = digits.test_images[:3]
    np.save(tmp_path / "one.npy", image[0, :, :, 0])
    np.save(tmp_path / "three.npy", image)
    done = run_fastcnn("predict", model, "one.npy", "three.npy", "--json", cwd=tmp_path, **FAST)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["one.npy", "three.npy[0]", "three.npy[1]", "three.npy[2]"]
    assert lines[0].startswith("one.npy: digit 0 (")
    predictions = json.loads(last)["predictions"]
    assert [p["class"] for p in predictions] == [0, 0, 1, 2] and len(predictions[0]["probabilities"]) == 10
    accuracy = json.loads(run_fastcnn("evaluate", model, "--json", **FAST).stdout.splitlines()[-1])["accuracy"]
    assert accuracy > 0.9


def test_predict_pictures(model, tmp_path, digits):
    from PIL import Image

    grey = Image.fromarray(digits.test_images[4, :, :, 0])
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "colour.png")
    done = run_fastcnn("predict", model, "grey.png", "colour.png", cwd=tmp_path, **FAST)
    assert [line.split(" (")[0] for line in done.stdout.splitlines()] == ["grey.png: digit 4", "colour.png: digit 4"]
    grey.resize((30, 28)).save(tmp_path / "wide.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "grey.png").read_bytes()[:100])
    (tmp_path / "text.png").write_text("no picture")
    for name, message in (
        ("wide.png", "wide.png: the model takes images of 28 x 28 x 1 (height x width x channels). Received the shape"),
        ("broken.png", "broken.png: not an image, or a truncated or corrupt one"),
        ("text.png", "text.png: not an image, or a truncated or corrupt one"),
    ):
        assert_fails(run_fastcnn("predict", model, "grey.png", name, cwd=tmp_path, **FAST), 1, message)


def test_predict_pictures_without_pillow(model, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['PIL'] = None")
    (tmp_path / "a.png").write_text("")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    for name, message in (
        ("a.png", "a.png: reading image files needs Pillow: `pip install fastcnn[images]`, or pass an .npy array"),
        ("missing.png", "No such file or directory: 'missing.png'"),
    ):
        done = run_fastcnn("predict", model, name, cwd=tmp_path, PYTHONPATH=path, **FAST)
        assert_fails(done, 1, message)


@pytest.mark.slow
def test_train_draws_learning_curves(tmp_path):
    from PIL import Image

    np.savez(tmp_path / "d.npz", **{f"x_{s}": np.eye(12)[None] for s in SPLITS}, **{f"y_{s}": [0] for s in SPLITS})
    done = run_fastcnn("train", "--data", "d.npz", "--epochs", "2", "--plot", "a.PNG", "--quiet", cwd=tmp_path, **FAST)
    assert done.returncode == 0  # stderr may say that matplotlib builds its font cache
    with Image.open(tmp_path / "a.PNG") as picture:
        assert picture.format == "PNG" and picture.width > 800 and len(picture.convert("RGB").getcolors(99999)) > 50
    for name, message in (
        ("a.exe", "a plot must end in one of ."),
        ("none/a.png", "cannot write 'none/a.png': there is no folder '/"),
    ):
        before = sorted(os.listdir(tmp_path))
        assert_fails(run_fastcnn("train", "--data", "d.npz", "--plot", name, cwd=tmp_path, **FAST), 1, message)
        assert sorted(os.listdir(tmp_path)) == before
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['matplotlib'] = None")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run_fastcnn("train", "--plot", "a.png", cwd=tmp_path, PYTHONPATH=path, **FAST)
    assert_fails(done, 1, "learning curves need matplotlib: `pip install fastcnn[plot]`")


@pytest.mark.slow
def test_info_says_how_a_convolution_is_computed_and_why():
    spec = ("--conv", "64x32x32x16", "--outputs", "32")
    done = run_fastcnn("info", *spec, "--json", FASTCNN_CONV="")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["out_shape"] == [64, 32, 32, 32] and (facts["asked_for"], facts["asked"]) == ("auto", "by default")
    for direction, summed, pixels in (("forward", 16, 128), ("input_gradient", 32, 128), ("weight_gradient", 16, 64)):
        row = facts[direction]
        assert (row["algorithm"], row["transform"], row["passed_over"]) == ("winograd", "F(4,3)", {})
        assert row["limits"][0] == f"summed channels {summed} < 8193"
        assert row["limits"][3:] == ["channels 16 >= 16", f"counted pixels 65536 >= {pixels}"]
    lines = run_fastcnn("info", *spec[:-1], "15", FASTCNN_CONV="").stdout.splitlines()
    assert lines[0] == "convolution      64x32x32x16 -> 64x32x32x15, 3x3, stride 1, padding 1,1"
    assert lines[2].startswith("forward          direct: any shape")
    assert lines[3].strip() == "terms 144 < 8193"
    assert lines[4].strip() == "not winograd F(4,3): channels 15, not >= 16"
    asked = run_fastcnn("info", *spec, "--ksize", "9", FASTCNN_CONV="winograd").stdout
    assert "winograd, by $FASTCNN_CONV" in asked and asked.count(" direct: ") == 3
    five = run_fastcnn("info", *spec, "--ksize", "5", FASTCNN_CONV="winograd").stdout
    assert five.count(" winograd F(4,5): ") == 3
    small = run_fastcnn(
        "info", "--conv", "1x6x6x1", "--outputs", "2", "--conv-algorithm", "winograd", "--padding", "0,1"
    )
    assert "winograd, by --conv-algorithm" in small.stdout and small.stdout.count(" winograd F(2,3): ") == 3
    strided = run_fastcnn("info", "--conv", "128x8x8x64", "--outputs", "64", "--stride", "2", FASTCNN_CONV="").stdout
    assert strided.count(" winograd F(4,3)/2: ") == 3


@pytest.mark.slow
def test_info_knows_windows_of_any_kind():
    spec = ("--conv", "16x24x20x64", "--outputs", "64")
    done = run_fastcnn("info", *spec, "--dilation", "2", "--groups", "2", "--json", FASTCNN_CONV="")
    facts = json.loads(done.stdout.splitlines()[-1])
    assert done.stdout.startswith(
        "convolution      16x24x20x64 -> 16x24x20x64, 3x3, stride 1, dilation 2, padding 2,2, 2 groups\n"
    )
    assert facts["out_shape"] == [16, 24, 20, 64]
    assert facts["layer"] == {
        **{"ksize": [3, 3], "stride": [1, 1], "dilation": [2, 2], "padding": [[2, 2], [2, 2]]},
        **{"groups": 2, "transposed": False},
    }
    pair = run_fastcnn("info", *spec, "--ksize", "1x7", "--padding", "0x3", FASTCNN_CONV="")
    assert pair.stdout.startswith("convolution      16x24x20x64 -> 16x24x20x64, 1x7, stride 1, padding 0,0,3,3\n")
    assert {facts[name]["algorithm"] for name in ("forward", "input_gradient", "weight_gradient")} == {"winograd"}
    wide = run_fastcnn("info", *spec, "--ksize", "1x7", "--stride", "1x2", "--padding", "0,0,3,2", FASTCNN_CONV="")
    assert wide.stdout.startswith("convolution      16x24x20x64 -> 16x24x10x64, 1x7, stride 1x2, padding 0,0,3,2\n")
    assert wide.stdout.count(" direct: ") == 3
    upper = run_fastcnn("info", *spec, "--stride", "2", "--padding", "SAME_UPPER", FASTCNN_CONV="")
    assert upper.stdout.startswith("convolution      16x24x20x64 -> 16x12x10x64, 3x3, stride 2, padding 0,1\n")


def test_info_prints_the_rule():
    done = run_fastcnn("info", "--conv", "--json")
    *lines, last = done.stdout.splitlines()
    rows = json.loads(last)["rule"]
    lanes, *others = (row["algorithm"] for row in rows if row["transform"] is None)
    assert (lanes, others) == ("lanes", ["lanes", "direct", "direct", "direct", "im2col"])
    assert {row["transform"] for row in rows} == {*table.ROWS, None} and rows[2]["transform"] == "F(4,3)"
    assert "winograd F(4,3)  3x3, stride 1; forward, input gradient" in lines
    assert "winograd F(4,7) across 1x7, stride 1; forward, input gradient, weight gradient" in lines
    assert all(any(row["reason"] in line for line in lines) for row in rows)


def test_info():
    done = run_fastcnn("info", "--json", FASTCNN_NUM_THREADS="1", FASTCNN_DTYPE="float64")
    *lines, last = done.stdout.splitlines()
    facts = json.loads(last)
    assert facts["backend"] == "numba" and facts["threads"] == 1 and facts["dtype"] == "float64"
    assert facts["threading_layer"] in ("tbb", "omp", "workqueue")
    assert facts["simd_width"] in ("128 bits", "256 bits", "512 bits") and os.path.isdir(facts["cache_folder"])
    assert len(lines) == len(facts) and lines[3].startswith("numba ")
    plain = run_fastcnn("info", **FAST).stdout
    assert "backend          numpy" in plain and "SIMD" not in plain


@pytest.mark.slow
def test_bench():
    done = run_fastcnn("bench", "lenet", "--rounds", "1", "--contestants", "numba,original,numba", "--json")
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["lenet", "numba"], ["lenet", "original"]]
    found = json.loads(last)
    assert found["workloads"]["lenet"]["original"]["runs"] == 1 == found["workloads"]["lenet"]["numba"]["ratio"]
    assert found["summary"]["steps: times faster than original"]["lenet"] > 1
    assert found["threads"] >= 1 and found["machine"]["cores"] >= 1 and found["versions"]["numba"]


def test_bench_names_its_workloads():
    done = run_fastcnn("bench", "--list")
    assert done.returncode == 0 and done.stdout.startswith(
        "training: lenet lenet5 vgg_small five_by_five odd_widths strided conv_bn narrow_bn mixed deep mlp "
        "mobilenet_block resnet_stem lenet_b1 lenet_b512 vgg_small_b8\n"
    )


@pytest.mark.slow
def test_warmup_fills_the_cache():
    """Twice: whatever other tests have compiled already, there is nothing left to do after the first time."""
    for _ in range(2):
        done = run_fastcnn("warmup", "--dtype", "float32", "--json")
        assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert lines[0].startswith("all kernels were compiled already")
    assert json.loads(last)["compiled"] == {} and json.loads(last)["cache_folder"]
    done = run_fastcnn("warmup", "--backend", "numpy")
    assert_fails(done, 2, "argument --backend: the NumPy backend has nothing to compile")


@pytest.mark.slow
def test_compiling_is_announced_once(tmp_path):
    Sequential([FullyConnect((1, 2, 2, 1), 2)]).save(tmp_path / "fc.npz")
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 2, 1)))
    command = "predict", str(tmp_path / "fc.npz"), str(tmp_path / "x.npy")
    for count in (1, 0):
        done = run_fastcnn(*command, NUMBA_CACHE_DIR=str(tmp_path), cwd=tmp_path)
        assert done.returncode == 0
        assert done.stderr.count("fastcnn: compiling kernels for this processor") == count
    (tmp_path / "file").touch()  # no folder can be made below it
    nowhere = {"NUMBA_CACHE_DIR": str(tmp_path / "file"), "XDG_CACHE_HOME": str(tmp_path / "file")}
    done = run_fastcnn(*command, cwd=tmp_path, **nowhere)
    assert "there is no writable folder to keep them in" in done.stderr


def test_bench_without_numba(tmp_path):
    """What keeps a contestant, a process of its own, from starting is the error of the command."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['numba'] = None")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run_fastcnn("bench", "--contestants", "numpy,numba", PYTHONPATH=path, **FAST)
    assert_fails(done, 1, "the backend 'numba' needs numba, which is not installed")


def test_results_that_are_no_numbers_are_null_in_json(model, tmp_path):
    broken = Sequential.load(model)
    broken.layers[1].weights = np.full_like(broken.layers[1].weights, 3e38)  # their products are infinite
    broken.save(tmp_path / "inf.npz")
    done = run_fastcnn("evaluate", "inf.npz", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["loss"] is None


def test_a_model_without_images_predicts_none(tmp_path):
    Sequential([FullyConnect((1, 4), 2)]).save(tmp_path / "fc.npz")
    np.save(tmp_path / "x.npy", np.zeros((2, 4)))
    done = run_fastcnn("predict", "fc.npz", "x.npy", cwd=tmp_path, **FAST)
    assert_fails(done, 1, "fc.npz: the model takes no images: its input has the shape (1, 4)")


@pytest.mark.slow
def test_a_reader_that_leaves_early_costs_no_model(few, tmp_path):
    """`fastcnn train | head -1`"""
    command = [sys.executable, "-m", "fastcnn", "train", "--data", few, "--epochs", "4", "--out", "m.npz"]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | FAST
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0
    process.stderr.close()
    assert Sequential.load(tmp_path / "m.npz").output_shape[1] == 10


def test_more_threads_than_cores():
    done = run_fastcnn("info", "--threads", "7", "--json")
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["threads"] == 7 and facts["thread_pool"] >= 7


def test_training_that_diverges_says_so(backend, tmp_path):
    done = run_fastcnn("train", "--lr", "1e9", "--backend", backend, "--quiet", cwd=tmp_path)
    assert_fails(done, 1, "fit: the loss is ")
    assert "`python -m fastcnn.diagnosis lenet-digits-failure.npz` computes it again" in done.stderr
    assert os.listdir(tmp_path) == ["lenet-digits-failure.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: COMMAND (see fastcnn --help)"),
        ("trane", "invalid choice: 'trane' (choose from"),
        ("train --epochs 0", "argument --epochs: expected an integer of at least 1, received '0'"),
        ("train --epochs many", "received 'many'"),
        ("train --batch-size -3", "received '-3'"),
        ("train --lr nan", "argument --lr: expected a number above 0, received 'nan'"),
        ("train --lr 0", "received '0'"),
        ("train --weight-decay inf", "argument --weight-decay: expected a number of at least 0, received 'inf'"),
        ("train --seed -1", "received '-1'"),
        ("train --epochs " + "9" * 400, "argument --epochs: expected an integer from 1 to 9223372036854775807, receiv"),
        ("train --seed 18446744073709551616", "argument --seed: expected an integer from 0 to 9223372036854775807, "),
        ("train --lr 1e400", "argument --lr: expected a number above 0, received '1e400'"),
        ("train --batch-size 1e30", "argument --batch-size: expected an integer of at least 1, received '1e30'"),
        ("train --threads 0", "argument --threads: expected an integer from 1 to 1024, received '0'"),
        ("info --threads 100000", "argument --threads: expected an integer from 1 to 1024, received '100000'"),
        ("train --backend cuda", "argument --backend: invalid choice: 'cuda'"),
        ("train --dtype half", "argument --dtype: invalid choice: 'half'"),
        ("train --model resnet", "argument --model: invalid choice: 'resnet' (choose from"),
        ("train --data imagenet", "argument --data: unknown data set: expected one of digits, mnist"),
        ("train --speed 3", "fastcnn train: error: unrecognized arguments: --speed 3 (see fastcnn train --help)"),
        (
            "info --conv 64x32x32",
            "argument --conv: expected a shape such as 64x32x32x16 (BxHxWxC), received '64x32x32'",
        ),
        ("info --conv 1x8x8x3", "argument --outputs: the number of output channels is needed with --conv BxHxWxC"),
        (
            f"info --conv 1x8x8x3 --outputs {2**31}",
            f"argument --outputs: expected at most {2**31 - 1}, received {2**31}",
        ),
        (
            f"info --conv 1x8x8x3 --outputs 2 --stride {2**62}",
            f"argument --stride: expected at most {2**31 - 1}, received {2**62}",
        ),
        ("info --ksize 3", "argument --ksize: goes with --conv BxHxWxC"),
        ("info --conv --stride 2", "argument --stride: goes with --conv BxHxWxC"),
        ("info --dilation 2", "argument --dilation: goes with --conv BxHxWxC"),
        ("info --groups 2", "argument --groups: goes with --conv BxHxWxC"),
        (
            "info --conv 1x8x8x6 --outputs 4 --groups 3",
            "argument --groups: expected a number that divides the 6 channels and the 4 outputs, received 3",
        ),
        (
            "info --conv 1x8x8x3 --outputs 4 --ksize 3x",
            "argument --ksize: expected an integer of at least 1, or two such as 1x7, received '3x'",
        ),
        (
            "info --conv 1x8x8x3 --outputs 4 --dilation 0",
            "argument --dilation: expected an integer of at least 1, or two such as 1x7, received '0'",
        ),
        (
            "info --conv 1x8x8x3 --outputs 4 --dilation 4 --padding VALID",
            "argument --ksize: `ksize`, 9 x 9 with `dilation`, must not be larger than the image, 8 x 8. Received",
        ),
        ("info --conv 1x8x8x3 --outputs 0", "argument --outputs: expected an integer of at least 1, received '0'"),
        ("info --conv 1x8x8x3 --outputs 4 --padding UP", "argument --padding: expected VALID, SAME, SAME_UPPER, or"),
        (
            "info --conv 1x8x8x3 --outputs 4 --ksize 9 --padding VALID",
            "argument --ksize: `ksize` must not be larger than the image, 8 x 8. Received ksize=9",
        ),
        ("info --conv --backend numpy", "argument --conv: the backend 'numpy' has one algorithm; the rule is numba's"),
        ("info extra", "fastcnn info: error: unrecognized arguments: extra (see fastcnn info --help)"),
        ("--speed 3 info", "(see fastcnn --help)"),
        ("evaluate", "the following arguments are required: MODEL"),
        ("predict model.npz", "the following arguments are required: IMAGE"),
        ("bench resnet", "or a workload (see --list), received 'resnet'"),
        ("bench --contestants mxnet", "argument --contestants: expected any of numba, torch, compile, jax, numpy, "),
    ],
)
def test_usage_errors(tmp_path, arguments, message):
    assert_fails(run_fastcnn(*arguments.split(), cwd=tmp_path, **FAST), 2, message)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FASTCNN_BACKEND", "cuda", "`FASTCNN_BACKEND` must be one of 'numba', 'numpy', 'check'. Received"),
        ("FASTCNN_DTYPE", "half", "`FASTCNN_DTYPE` must be one of 'float32', 'float64'. Received FASTCNN_DTYPE='half'"),
        ("FASTCNN_NUM_THREADS", "x", "`FASTCNN_NUM_THREADS` must be an integer from 1 to 1024. Received"),
        ("FASTCNN_NUM_THREADS", "100000", "must be an integer from 1 to 1024. Received FASTCNN_NUM_THREADS='100000'"),
    ],
)
def test_bad_environment(variable, value, message):
    assert_fails(run_fastcnn("info", **FAST | {variable: value}), 2, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --data mnist", "the data set 'mnist' is not on this machine. Looked in: "),
        ("train --data empty", "empty: no data set in this folder"),
        ("train --data text.npz", "text.npz: not an .npz data set, or a truncated or corrupt one"),
        ("train --data nan.npz", "fit: `x` must be finite. Received x[0, 0, 0, 0]=nan"),
        ("train --data tiny.npz", "Conv2D: `ksize` must not be larger than the image, 4 x 4. Received ksize=5"),
        ("train --data negative.npz", "data set negative: the labels lie in -1 to 0; expected 0 to 3 at most"),
        ("train --data wild.npz", "data set wild: the labels lie in 0 to 9000000000; expected 0 to 3 at most"),
        ("train --out none/model.npz", "cannot write 'none/model.npz': there is no folder '/"),
        ("train --out empty", "cannot write 'empty': it is a folder"),
        ("train --out=", "cannot write '.': it is a folder"),
        ("train --out /proc/model.npz", "cannot write '/proc/model.npz': No such file or directory in '/proc'"),
        ("evaluate none.npz", "No such file or directory: 'none.npz'"),
        ("evaluate empty", "cannot read 'empty': it is a folder, and not a fastcnn model file"),
        ("evaluate text.npz/model.npz", "cannot read 'text.npz/model.npz': 'text.npz' is a file, and no folder"),
        ("evaluate text.npz", "text.npz: not a fastcnn model file, or a truncated or corrupt one"),
        ("evaluate cut.npz", "cut.npz: not a fastcnn model file, or a truncated or corrupt one"),
        ("evaluate model.npz --data tiny.npz", "evaluate: `x` must have the shape (images, 28, 28, 1)"),
        ("predict model.npz none.npy", "No such file or directory: 'none.npy'"),
        ("predict model.npz none.png", "No such file or directory: 'none.png'"),
        ("predict model.npz empty", "cannot read 'empty': it is a folder, and not an image"),
        ("predict model.npz text.npy", "text.npy: not an .npy file, or a truncated or corrupt one"),
        ("predict model.npz zip.npy", "zip.npy: not an .npy file, or a truncated or corrupt one"),
        ("predict model.npz objects.npy", "objects.npy: not an .npy file, or a truncated or corrupt one"),
        ("predict model.npz small.npy", "the model takes images of 28 x 28 x 1 (height x width x channels). Received"),
        ("predict model.npz nan.npy", "predict: `x` must be finite. Received x[0, 3, 4, 0]=nan"),
    ],
)
def test_failures(tmp_path, model, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.npz").write_bytes(model.read_bytes())
    (tmp_path / "cut.npz").write_bytes(model.read_bytes()[:3000])
    for name in ("text.npz", "text.npy"):
        (tmp_path / name).write_text("neither")
    y = np.zeros(2, int)
    for name, x, labels in (
        ("nan.npz", np.full((2, 28, 28), np.nan), y),
        ("tiny.npz", np.zeros((2, 4, 4)), y),
        ("negative.npz", np.zeros((2, 28, 28)), y - 1 + np.arange(2)),
        ("wild.npz", np.zeros((2, 28, 28)), y + 9 * 10**9 * np.arange(2)),
    ):
        np.savez(tmp_path / name, x_train=x, y_train=labels, x_test=x, y_test=labels)
    (tmp_path / "zip.npy").write_bytes(model.read_bytes())
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "small.npy", np.zeros((5, 5)))
    broken = np.zeros((28, 28))
    broken[3, 4] = np.nan
    np.save(tmp_path / "nan.npy", broken)
    before = sorted(os.listdir(tmp_path))
    done = run_fastcnn(*arguments.split(), cwd=tmp_path, **FAST | {"FASTCNN_DATA": str(tmp_path)})
    assert_fails(done, 1, message)
    assert sorted(os.listdir(tmp_path)) == before


def test_debug_shows_the_traceback(tmp_path):
    done = run_fastcnn("evaluate", "none.npz", "--debug", cwd=tmp_path, **FAST)
    assert done.returncode == 1 and done.stderr.startswith("Traceback")


@pytest.mark.parametrize("command", ["", "train", "evaluate", "predict", "bench", "warmup", "info"])
def test_help(command):
    done = run_fastcnn(*command.split(), "--help")
    assert done.returncode == 0 and "usage: fastcnn" in done.stdout.replace("python -m ", "")
    assert run_fastcnn("--version").stdout.startswith("fastcnn ")


@pytest.mark.slow
def test_a_documented_recipe_reaches_98_percent(tmp_path):
    """docs/training.md; 98.2 to 98.4 % with five seeds."""
    options = "--optimizer adam --lr 0.008 --schedule one-cycle --shift 2 --batch-size 32 --epochs 20"
    assert options in (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    done = run_fastcnn("train", *options.split(), "--quiet", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["test_accuracy"] >= 0.98 and len(result["history"]["loss"]) == 20


def test_a_disk_that_fills_up_between_two_epochs(main, few, tmp_path, monkeypatch, capsys):
    """The log cannot be written any more: the model so far is saved all the same."""
    from fastcnn.callbacks import logs

    def fail(path, content):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(logs, "write_whole", fail)
    out, log = str(tmp_path / "m.npz"), str(tmp_path / "log.csv")
    options = ["train", "--data", few, "--epochs", "2", "--batch-size", "64", "--quiet", "--backend", "numpy"]
    assert main([*options, "--out", out, "--csv", log]) == 1
    error = f"fastcnn train: error: the training ended early (No space left on device: {log!r}); the model so far was "
    assert capsys.readouterr().err == f"{error}saved to {out!r}\n"
    assert os.listdir(tmp_path) == ["m.npz"] and Sequential.load(out).metadata["data"] == "few"
