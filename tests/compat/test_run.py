"""`fastcnn run`: a script that knows only the original's `layers` and NumPy runs as it is, and learns."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time
from importlib.machinery import SourceFileLoader

import numpy as np
import pytest

import fastcnn
from fastcnn.compat import aliases, script
from fastcnn.layers import base_conv, fc
from tests.helpers.processes import ROOT, run_fastcnn, run_python

FAST = {"FASTCNN_BACKEND": "numpy"}
POISON = "raise RuntimeError('the slow layers were imported')\n"

MY_LAYER = """
import numpy as np
from .relu import Relu

class Clipped(Relu):
    def forward(self, x):
        return np.minimum(super(Clipped, self).forward(x), 1e6)
"""

MODEL = """
from layers.fc import FullyConnect
from layers.my_layer import Clipped
from layers.pooling import AvgPooling

class Head(object):
    def __init__(self, shape):
        self.pool = AvgPooling(shape, 2, 2)
        self.relu = Clipped(self.pool.output_shape)
        self.fc = FullyConnect(self.relu.output_shape, 10)

    def forward(self, x):
        return self.fc.forward(self.relu.forward(self.pool.forward(x)))

    def gradient(self, eta):
        return self.pool.gradient(self.relu.gradient(self.fc.gradient(eta)))
"""

TRAIN = """
import pickle, sys
import numpy as np
import layers.base_conv as c
from layers import fc
from layers.base_conv import Conv2D
from layers.pooling import MaxPooling
from layers.relu import Relu
from layers.softmax import Softmax
from model import Head

class Net(object):
    def __init__(self, conv, relu, pool, head):
        self.conv, self.relu, self.pool, self.head = conv, relu, pool, head

    def __call__(self, x):
        return self.head.forward(self.pool.forward(self.relu.forward(self.conv.forward(x))))

if __name__ == "__main__":
    np.random.seed(0)
    images, labels = np.load("images.npy"), np.load("labels.npy")
    batch_size = 64
    conv = Conv2D([batch_size, 28, 28, 1], 12, 5, 1)
    relu = Relu(conv.output_shape)
    pool = MaxPooling(relu.output_shape)
    head = Head(pool.output_shape)
    sf = Softmax(head.fc.output_shape)
    net = Net(conv, relu, pool, head)

    for epoch in range(int(sys.argv[sys.argv.index("--epochs") + 1])):
        loss, correct = 0, 0
        for i in range(images.shape[0] // batch_size):
            img = images[i * batch_size:(i + 1) * batch_size].reshape([batch_size, 28, 28, 1])
            label = labels[i * batch_size:(i + 1) * batch_size]
            prediction = net(img)
            sf.cal_loss(prediction, np.array(label))
            loss += sf.cal_loss(prediction, np.array(label))
            for j in range(batch_size):
                if np.argmax(sf.softmax[j]) == label[j]:
                    correct += 1
            sf.gradient()
            conv.gradient(relu.gradient(pool.gradient(head.gradient(sf.eta))))
            head.fc.backward(alpha=5e-5, weight_decay=0.0004)
            conv.backward(alpha=5e-5, weight_decay=0.0004)
        print("epoch %d, loss %.4f, accuracy %.4f" % (epoch, loss / images.shape[0], correct / (i + 1) / batch_size))

    one = net(images[:1].reshape([1, 28, 28, 1]))
    np.save("weights.npy", conv.weights)
    copy = c.Conv2D([1, 28, 28, 1], 12, 5, 1)
    copy.weights = np.load("weights.npy")
    copy.bias = conv.bias
    assert np.array_equal(copy.forward(images[:1]), conv.forward(images[:1]))
    with open("layers.pkl", "wb") as f:
        pickle.dump({"conv": conv, "rest": [relu, pool, head.pool, head.fc], "softmax": sf}, f)
    with open("net.pkl", "wb") as f:
        pickle.dump(net, f)
    with open("net.pkl", "rb") as f:
        again = pickle.load(f)
    assert type(again) is Net and np.array_equal(again(images[:1]), one)
    assert type(head.fc) is fc.FullyConnect
    np.save("one.npy", one)
"""

LOAD = """
import pickle
import numpy as np
import fastcnn
with open("layers.pkl", "rb") as f:
    net = pickle.load(f)
conv, (relu, pool, average, fc) = net["conv"], net["rest"]
x = np.load("images.npy")[:1]
out = fc.forward(np.maximum(average.forward(pool.forward(relu.forward(conv.forward(x)))), 0))
assert np.array_equal(out, np.load("one.npy"))
print(type(conv).__module__, type(net["softmax"]).__module__)
"""


def write(folder, **files):
    """Python files with these texts; the first one's path."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return str(folder / f"{next(iter(files))}.py")


def not_used(folder, *names):
    """The line about files of the script that are not used."""
    files = [f"{name}.py" for name in names]
    words = " and ".join([", ".join(files[:-1])] * bool(files[1:]) + files[-1:])
    first = next((name for name in names if name != "__init__"), None)
    option = f", or `--keep {first}` for the script's own" if first else ""
    return (
        f"fastcnn run: fastcnn.layers is used instead of {words} in {folder / 'layers'} "
        f"(`python` runs all of them{option})\n"
    )


@pytest.fixture
def original(tmp_path):
    """A folder like an original user's: the slow package, one layer of their own in it."""
    (tmp_path / "layers").mkdir()
    names = ("__init__", "base_conv", "fc", "pooling", "relu", "softmax")
    write(tmp_path / "layers", **dict.fromkeys(names, POISON), my_layer=MY_LAYER)
    return tmp_path


@pytest.mark.slow
def test_a_whole_training(original, digits):
    folder = original / "elsewhere"  # neither the script's folder nor fastcnn's
    folder.mkdir()
    path = write(original, train=TRAIN, model=MODEL)
    np.save(folder / "images.npy", digits.train_images[:2048])
    np.save(folder / "labels.npy", digits.train_labels[:2048])
    done = run_fastcnn("run", "--profile", "--json", path, "--epochs", "4", cwd=folder)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"epoch {i}" for i in range(4)]
    assert float(lines[-1].split()[-1]) > 0.9
    result = json.loads(last)
    assert (result["script"], result["arguments"], result["status"]) == (path, ["--epochs", "4"], 0)
    profile = result["profile"]
    rows = {(row["layer"].split(" (")[0], row["method"]): row for row in profile["rows"]}
    steps = 4 * 32
    for name in ("Conv2D 1", "Relu 1", "MaxPooling 1", "AvgPooling 1", "Clipped 1", "FullyConnect 1"):
        assert rows[name, "gradient"]["calls"] == steps and rows[name, "forward"]["calls"] >= steps + 1
    assert rows["Conv2D 1", "backward"]["calls"] == rows["Softmax 1", "gradient"]["calls"] == steps
    assert rows["Softmax 1", "cal_loss"]["calls"] == 2 * steps
    assert rows["Conv2D 1", "forward"]["layer"] == "Conv2D 1 (64, 28, 28, 1) -> (64, 24, 24, 12)"
    assert 0 < sum(row["seconds"] for row in profile["rows"]) <= profile["seconds"] <= result["seconds"]
    assert re.search(r"^Conv2D 1 \(64, 28, 28, 1\) -> \(64, 24, 24, 12\) +gradient +128 ", done.stderr, re.MULTILINE)
    assert re.search(r"^elsewhere +[\d.,]+ +[\d.]+%$", done.stderr, re.MULTILINE)
    loaded = run_python("-c", LOAD, cwd=folder)
    assert loaded.stdout == "fastcnn.layers.base_conv fastcnn.layers.softmax\n", loaded.stderr


SEEN = """
import os, sys
print(__name__, os.path.basename(__file__), sys.argv[1:], sys.path[0] == os.path.dirname(os.path.abspath(__file__)))
print(os.environ.get("FASTCNN_DTYPE"), os.getcwd() in sys.path)
sys.stdout.write("kept\\topen"), sys.stdout.flush()
sys.stdout.buffer.write("\\u00e9".encode()), sys.stdout.flush()
"""


@pytest.mark.parametrize("words", ["", "--epochs 3", "--json --debug --d", "-- --profile", "-h x --backend", "run a"])
def test_what_follows_the_script_is_its_own(tmp_path, words):
    path = write(tmp_path, seen=SEEN)
    options = ["--dtype", "float64", "--threads=1", "--back", "numpy"]
    done = run_fastcnn("run", *options, path, *words.split(), cwd=ROOT, PYTHONPATH=str(ROOT / "."), **FAST)
    assert done.returncode == 0 and done.stderr == ""
    first, second, third = done.stdout.split("\n")
    assert first == f"__main__ seen.py {words.split()} True"
    assert second.startswith("float64") and third == "kept\topen\u00e9"


def test_json_has_a_line_of_its_own(main, tmp_path, capsys):
    path = write(tmp_path, seen="import sys; sys.stdout.write('open'); sys.exit(3)")
    assert main(["run", "--backend", "numpy", "--dtype", "float64", "--json", path, "--json"]) == 3
    first, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert first == "open" and result.pop("seconds") > 0 and result.pop("threads") > 0
    facts = {"script": path, "arguments": ["--json"], "status": 3, "backend": "numpy", "dtype": "float64"}
    assert result == facts and "FASTCNN_DTYPE" not in os.environ


@pytest.mark.parametrize(
    ("text", "status", "output"),
    [
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit(True)", 1, ""),
        ("raise SystemExit('no data')", 1, "no data\n"),
        ("raise KeyboardInterrupt", 130, "fastcnn run: interrupted\n"),
    ],
)
def test_exit_status(main, tmp_path, capsys, text, status, output):
    assert main(["run", "--backend", "numpy", write(tmp_path, leave=text)]) == status
    assert capsys.readouterr().err == output


def test_an_exception_shows_the_script_alone(main, tmp_path, capsys):
    path = write(tmp_path, wrong="from helper import half\n\nhalf('x')\n", helper="def half(x):\n    return x / 2\n")
    for options in ([], ["--profile"]):
        assert main(["run", "--backend", "numpy", *options, path]) == 1
        out, error = capsys.readouterr()
        lines = error.splitlines()
        assert out == "" and lines[:2] == [
            "Traceback (most recent call last):",
            f'  File "{path}", line 3, in <module>',
        ]
        assert "commands" not in error and "script.py" not in error
        assert any(line.startswith("TypeError: unsupported operand") for line in lines)
        assert ("by the clock" in error) == bool(options)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("", 2, "the following arguments are required: SCRIPT (see fastcnn run --help)"),
        ("--profile", 2, "the following arguments are required: SCRIPT"),
        ("--speed 3 a.py", 2, "unrecognized arguments: --speed (see fastcnn run --help)"),
        (
            "--keep fc,dropout a.py",
            2,
            "argument --keep: expected modules of base_conv, bn, fc, pooling, relu, softmax, ",
        ),
        ("--backend cuda a.py", 2, "argument --backend: invalid choice: 'cuda'"),
        ("none.py", 2, "argument SCRIPT: expected a Python script, received 'none.py' (No such file or directory)"),
        ("folder", 2, "argument SCRIPT: expected a Python script, received 'folder' (Is a directory)"),
        ("wrong.py", 1, "wrong.py, line 2: not a Python script ("),
        ("bytes.py", 1, "bytes.py, line 1: not a Python script ("),
        ("nul.py", 1, "not a Python script (source code"),
    ],
)
def test_one_line_for_what_is_no_script(main, tmp_path, monkeypatch, capsys, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    write(tmp_path, wrong="x = 1\nfor x in\n")
    (tmp_path / "bytes.py").write_bytes(b"x = '\xff\xfe'")
    (tmp_path / "nul.py").write_bytes(b"x = 1\0")
    try:
        found = main(["run", "--backend", "numpy", *arguments.split()])
    except SystemExit as error:
        found = error.code
    out, error = capsys.readouterr()
    assert found == status and out == "" and error.count("\n") == 1 and message in error
    assert error.startswith("fastcnn run: error: ")


def state():
    return sys.argv[:], sys.path[:], sys.meta_path[:], dict(sys.modules), sys.excepthook, sys.stdout, dict(os.environ)


def test_a_run_leaves_the_process_as_it_was(original, monkeypatch, capsys):
    """A package `layers` that was there before is there again, and a second script finds its own modules."""
    stands_for_the_slow_one = object()
    monkeypatch.setitem(sys.modules, "layers", stands_for_the_slow_one)
    text = """
        import sys
        import layers, layers.base_conv, layers.my_layer, layers.rescaling, other
        from layers import Conv2D, my_layer
        print(layers.base_conv is sys.modules["fastcnn.layers.base_conv"], layers.fc.FullyConnect.__module__)
        print(other.NAME, layers.base_conv.__spec__.name, my_layer.__name__, Conv2D is layers.base_conv.Conv2D)
        sys.argv, sys.stdout, sys.excepthook = [], sys.stderr, None
        raise SystemExit(4)
    """
    with aliases.original_names():  # which imports some of `multiprocessing`
        pass
    before = state()
    for name in ("first", "second"):
        folder = original / name
        folder.mkdir()
        (folder / "layers").symlink_to(original / "layers")
        path = write(folder, script=text, other=f"NAME = {name!r}")
        assert script.run_script(path, ["a"]) == 4
        lines = ["True fastcnn.layers.fc", f"{name} fastcnn.layers.base_conv layers.my_layer True"]
        assert capsys.readouterr().out.splitlines() == lines
        assert state() == before and sys.modules["layers"] is stands_for_the_slow_one
    with pytest.raises(OSError, match=r"none\.py"):
        script.run_script(str(original / "none.py"))
    with pytest.raises(SyntaxError):
        script.run_script(write(original, wrong="for"))
    assert state() == before


def test_names(original, monkeypatch):
    monkeypatch.syspath_prepend(original)
    with aliases.original_names():
        import layers
        import layers.base_conv as conv
        from layers.fc import FullyConnect

        assert conv is base_conv and FullyConnect is fc.FullyConnect and fastcnn.layers.fc is fc
        assert layers.Conv2D is base_conv.Conv2D and "Conv2D" in layers.__all__
        with pytest.raises(ImportError, match="cannot import name 'nothing' from 'layers'"):
            from layers import nothing  # noqa: F401
        with pytest.raises(ModuleNotFoundError, match=r"No module named 'layers\.nothing'"):
            import layers.nothing
        write(original / "layers", base="MINE = 1")
        from layers.base import MINE

        assert MINE == 1 and fastcnn.layers.base.Layer is fastcnn.layers.Layer
        assert not hasattr(fastcnn.layers, "my_layer")
    assert "layers" not in sys.modules


DROPOUT = """
class Dropout(object):
    def __init__(self, shape, prob=0.2):
        self.rate = prob
"""


def ran(capsys, path, status=0, keep=()):
    """What a script printed, and what stderr has, after it ended with `status`."""
    assert script.run_script(path, keep=keep) == status
    return capsys.readouterr()


def test_a_dropout_of_the_script_s_own_beside_replaced_modules(original, capsys):
    """The original had none: its probability may be that of dropping, 0.2 of which would be 0.8 of keeping."""
    path = write(
        original,
        use="""
        import layers
        from layers import Dropout as same
        from layers.dropout import Dropout
        from layers.fc import FullyConnect
        print(Dropout((4, 3)).rate, same is Dropout is layers.Dropout, FullyConnect.__module__, layers.Relu.__module__)
    """,
    )
    write(original / "layers", dropout=DROPOUT)
    out, error = ran(capsys, path)
    assert out == "0.2 True fastcnn.layers.fc fastcnn.layers.relu\n"
    assert error == not_used(original, "__init__", "base_conv", "fc", "pooling", "relu", "softmax")


def test_what_hides_the_script_s_files_is_said_where_it_is_imported(original, capsys):
    path = write(original, use="import importlib.util; print(importlib.util.find_spec('layers').name)")
    assert ran(capsys, path) == ("layers\n", "")
    path = write(original, use="import importlib.util; importlib.util.find_spec('layers'); import layers")
    assert ran(capsys, path) == ("", not_used(original, "__init__", "base_conv", "fc", "pooling", "relu", "softmax"))


@pytest.mark.parametrize("folder", [True, False])
def test_fastcnn_s_dropout_where_the_script_has_none(tmp_path, capsys, folder):
    if folder:
        (tmp_path / "layers").mkdir()
        write(tmp_path / "layers", __init__="# Only a comment.\n", my_layer="")
    text = "import layers\nfrom layers.dropout import Dropout\nprint(Dropout.__module__, layers.dropout.__name__)"
    out, error = ran(capsys, write(tmp_path, use=text))
    assert (out, error) == ("fastcnn.layers.dropout fastcnn.layers.dropout\n", "")


def test_a_single_file_layers_is_the_script_s_own(tmp_path, capsys):
    path = write(
        tmp_path, use="import layers; from layers import Dense; print(Dense, layers.__file__)", layers="Dense = 1"
    )
    assert ran(capsys, path) == (f"1 {tmp_path / 'layers.py'}\n", "")
    _, error = ran(capsys, write(tmp_path, fc="from layers.fc import FullyConnect"), status=1)
    assert "No module named 'layers.fc'; 'layers' is not a package" in error  # as `python` says


def test_a_package_without_any_of_the_original_s_modules_is_the_script_s_own(tmp_path, capsys):
    (tmp_path / "layers").mkdir()
    write(tmp_path / "layers", __init__="from .attention import Head\nRate = 3\n", attention="class Head: pass\n")
    path = write(
        tmp_path,
        use="""
        import layers
        from layers import Head, Rate
        from layers.base_conv import Conv2D
        print(Head.__module__, Rate, layers.__file__.endswith("__init__.py"), Conv2D.__module__)
    """,
    )
    assert ran(capsys, path) == ("layers.attention 3 True fastcnn.layers.base_conv\n", "")


NOT_UTF_8 = "# \u4e2d\u6587\n".encode("gbk")


@pytest.mark.parametrize("content", [NOT_UTF_8, "# d\u00e9j\u00e0\n".encode("latin-1"), b'\n\n"""\xd6\xd0"""\n', None])
def test_an_init_that_holds_a_comment_in_any_encoding(tmp_path, capsys, content):
    """Nothing of it is lost where it is replaced; a folder of that name is no file at all."""
    init = tmp_path / "layers" / "__init__.py"
    (init if content is None else init.parent).mkdir(parents=True)
    if content is not None:
        init.write_bytes(content)
    path = write(tmp_path, use="from layers import *\nfrom layers.fc import FullyConnect\nprint(Relu.__module__)")
    assert ran(capsys, path) == ("fastcnn.layers.relu\n", "")


@pytest.mark.parametrize(
    "content", [b"x = 1\0", b"\xd6\xd0 = 1\n\xff(", b"print 'Python 2'\n", b"x = " + b"-" * 99_999 + b"1"]
)
def test_an_init_that_nobody_can_read(original, capsys, content):
    """Whatever it holds is hidden, as by the original's package, and said; alone it is the script's own package."""
    (original / "layers" / "__init__.py").write_bytes(content)
    path = write(original, use="from layers.fc import FullyConnect\nprint(FullyConnect.__module__)")
    out, error = ran(capsys, path)
    assert out == "fastcnn.layers.fc\n"
    assert error == not_used(original, "__init__", "base_conv", "fc", "pooling", "relu", "softmax")
    for name in ("base_conv", "fc", "pooling", "relu", "softmax"):
        (original / "layers" / f"{name}.py").unlink()
    error = ran(capsys, path, status=1).err
    assert error.startswith(f'Traceback (most recent call last):\n  File "{path}", line 1') and "own.py" not in error


def test_an_init_that_may_not_be_read(original, monkeypatch, capsys):
    def denied(loader, path):
        if path.endswith("__init__.py"):
            raise PermissionError(13, "Permission denied", path)
        return get_data(loader, path)

    get_data = SourceFileLoader.get_data
    monkeypatch.setattr(SourceFileLoader, "get_data", denied)
    path = write(original, use="from layers.fc import FullyConnect\nprint(FullyConnect.__module__)")
    out, error = ran(capsys, path)
    assert out == "fastcnn.layers.fc\n"
    assert error == not_used(original, "__init__", "base_conv", "fc", "pooling", "relu", "softmax")


@pytest.mark.parametrize("line", ["from layers.fc import Dense", "import layers.fc as fc; fc.Dense"])
def test_a_name_that_only_the_script_s_own_module_has(tmp_path, capsys, line):
    (tmp_path / "layers").mkdir()
    own = write(tmp_path / "layers", fc="Dense = 1\n")
    path = write(tmp_path, use=f"{line}\n")
    _, error = ran(capsys, path, status=1)
    first, *_, last = error.splitlines(keepends=True)
    assert first == not_used(tmp_path, "fc")
    assert last == (
        f"fastcnn run: fastcnn.layers.fc is used instead of {own}: `python {path}` uses it, and "
        f"`fastcnn run --keep fc {path}` this one alone of the script's modules\n"
    )
    assert ran(capsys, path, keep=["fc"]) == ("", "")


def test_a_name_of_the_script_s_own_init(original, capsys):
    write(original / "layers", __init__="RATE = 3\n")
    path = write(original, use="from layers import RATE")
    _, error = ran(capsys, path, status=1)
    init = original / "layers" / "__init__.py"
    line = f"fastcnn run: {init} is not run, as fastcnn.layers is used instead: `python {path}` runs it\n"
    assert error.endswith(line) and "ImportError: cannot import name 'RATE'" in error
    path = write(original, other="import nothing_at_all")
    assert "instead" not in ran(capsys, path, status=1).err


@pytest.mark.parametrize("option", [["--keep", "relu,fc"], ["--keep=fc", "--ke", "relu"]])
def test_modules_that_are_kept(main, original, capsys, option):
    """In processes that the script starts too."""
    write(
        original / "layers", relu="def __getattr__(name): return 'own'\n", fc="from .relu import Relu as FullyConnect\n"
    )
    path = write(
        original,
        use="""
        import multiprocessing
        from layers.fc import FullyConnect
        from layers.relu import Relu

        def work(_):
            from layers.relu import Relu
            from layers.base_conv import Conv2D
            return Relu, Conv2D.__module__

        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(1) as pool:
                print(FullyConnect, Relu, *pool.map(work, [1]))
    """,
    )
    assert main(["run", "--backend", "numpy", *option, path]) == 0
    out, error = capsys.readouterr()
    assert out == "own own ('own', 'fastcnn.layers.base_conv')\n"
    assert error == not_used(original, "__init__", "base_conv", "pooling", "softmax")


def test_a_new_process_keeps_what_its_parent_keeps():
    code, given = aliases.InChild(["fc"]).__reduce__()[1]
    assert code.endswith("install(keep=('fc',))") and given == {}


def test_a_pickle_of_the_original_s_own_class():
    """It names `layers.relu` and holds what fastcnn cannot know; half a layer would fail much later."""
    relu = fastcnn.layers.Relu((1, 2))
    relu.__dict__.clear()
    relu.__dict__.update(eta=np.zeros((1, 2)), x=np.zeros((1, 2)), output_shape=(1, 2))
    foreign = pickle.dumps(relu)
    with pytest.raises(ValueError, match=r"Relu: this pickle is of another code base's layer\. Save its arrays"):
        pickle.loads(foreign)


SPAWN = """
import multiprocessing, os, sys
import numpy as np
from layers.fc import FullyConnect

def work(layer):
    return layer.forward(np.ones((1, 4))).dtype.name, FullyConnect is type(layer), sys.argv[1:]

if __name__ == "__main__":
    os.chdir(os.path.dirname(sys.argv[0]))
    for method in sys.argv[1:]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, pool.map(work, [FullyConnect([1, 4], 2)])[0])
"""


def test_processes_that_the_script_starts(original):
    import multiprocessing

    methods = multiprocessing.get_all_start_methods()
    path = write(original, work=SPAWN)
    done = run_fastcnn("run", "--dtype", "float64", "--backend", "numpy", path, *methods, cwd=ROOT, PYTHONPATH="")
    assert done.returncode == 0  # found by the folder alone, which the script leaves
    assert done.stderr == not_used(original, "__init__", "base_conv", "fc", "pooling", "relu", "softmax")  # said once
    assert done.stdout.splitlines() == [f"{method} ('float64', True, {methods})" for method in methods]


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_ctrl_c(tmp_path):
    """The profile so far is shown."""
    text = """
        import signal, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("ready", flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-m", "fastcnn", "run", "--profile", write(tmp_path, wait=text)]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | FAST
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert "by the clock" in error and error.endswith("fastcnn run: interrupted\n") and "Traceback" not in error


def test_help():
    done = run_fastcnn("run", "--help")
    assert done.returncode == 0 and "[--profile] SCRIPT [ARGUMENT ...]" in " ".join(done.stdout.split())
