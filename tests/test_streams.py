"""Standard output and error that fail: what is written is lost, and nothing else; what cannot be encoded is escaped."""

import io
import json
import os
import sys
import threading
import weakref

import pytest

from fastcnn import Sequential, streams
from fastcnn.layers import FullyConnect, Relu
from tests.helpers.processes import run_python

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX")


@pytest.fixture
def full():
    """A file on a full disk."""
    if not os.path.exists("/dev/full"):
        pytest.skip("/dev/full")
    with open("/dev/full", "w", encoding="utf-8") as stream:
        yield stream


def test_what_a_full_disk_does_not_take_is_dropped(full, monkeypatch):
    monkeypatch.setattr(sys, "stdout", full)
    with streams.guarded() as (output, error):
        print("line", flush=True)
        assert sys.stdout is output and output.lost.strerror == "No space left on device" and error.lost is None
        sys.stdout.writelines(["a\n", "b"])
        assert output.last == "b" and output.fileno() == full.fileno()
        assert output.failure() == "cannot write to standard output: No space left on device"
    assert sys.stdout is full
    full.flush()  # nothing is left for the end of the process to fail on


def test_the_stream_is_the_same_file_afterwards(monkeypatch, tmp_path):
    """A disk may have room again: the lines that come then are written."""
    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        kept = os.dup(stream.fileno())
        monkeypatch.setattr(sys, "stdout", stream)
        with streams.guarded():
            blocked = os.open("/dev/full", os.O_WRONLY)
            os.dup2(blocked, stream.fileno())
            print("lost", flush=True)
            os.dup2(kept, stream.fileno())
            print("kept", flush=True)
        os.close(kept)
        os.close(blocked)
    assert (tmp_path / "log").read_text() == "kept\n"


def test_a_reader_that_left_is_no_failure(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with streams.guarded() as (output, _):
            print("line", flush=True)
            assert isinstance(output.lost, BrokenPipeError) and output.failure() is None


def test_streams_that_are_closed(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", None)
    with streams.guarded() as (output, error):
        print("line", flush=True)
        print(end="", file=sys.stderr)
        assert error.lost is None
        print("line", file=sys.stderr)
        assert not sys.stderr.isatty() and error.lost.strerror == "Bad file descriptor"
        assert output.failure() == "cannot write to standard output: I/O operation on closed file"
    assert sys.stdout is closed and sys.stderr is None


IDIOMS = {
    "with open(name, 'w') if (name := None) else sys.stdout as out: print('text', file=out)": "text\n",
    "print([isinstance(sys.stdout, kind) for kind in (io.IOBase, io.TextIOBase)])": "[True, True]\n",
    "print(isinstance(sys.stdout, io.TextIOWrapper), isinstance(sys.stdout, list))": "True False\n",
    "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), 'utf-8'); print('\u00e9')": "\u00e9\n",
    "sys.stdout = codecs.getwriter('utf-8')(sys.stdout.detach()); print('\u00e9')": "\u00e9\n",
    "sys.stdout = codecs.getwriter('utf-8')(sys.stdout.buffer); print('\u00e9')": "\u00e9\n",
    "io.TextIOWrapper(sys.stdout.buffer, 'utf-8').write('text')": "text",  # which is closed at once
    "sys.stdout = open(sys.stdout.fileno(), 'w', encoding='utf-8', closefd=False); print('\u00e9')": "\u00e9\n",
    "sys.stdout.reconfigure(encoding='utf-16-le', newline=''); sys.stdout.write('t')": "t",
    "sys.stdout.buffer.write(b'text'); sys.stdout.buffer.flush()": "text",
    "print('text'); sys.stdout.close(); assert sys.stdout.closed": "text\n",
    "sys.stdout.write('text'); sys.stdout.detach()": "text",
    "print(sys.stdout.encoding, sys.stdout.errors, sys.stdout.isatty())": "utf-8 strict False\n",
    "print(sys.stdout.closed, sys.stdout.readable(), sys.stdout.writable(), sys.stdout.name)": "False False True 1\n",
    "subprocess.run([sys.executable, '-Sc', 'print(1)'], stdout=sys.stdout)": "1\n",
    "h = logging.StreamHandler(sys.stdout); h.emit(logging.makeLogRecord({'msg': 'text'}))": "text\n",
    "with contextlib.redirect_stderr(sys.stdout): print('text', file=sys.stderr)": "text\n",
    "with contextlib.suppress(io.UnsupportedOperation): print(next(sys.stdout), *sys.stdout)": "",
    "with contextlib.suppress(io.UnsupportedOperation): print(*sys.stdout)": "",
}


def test_what_scripts_do_with_standard_output(tmp_path):
    """As Python's own streams: what they have closed or detached is not lost, and there for what is printed later."""
    for number, line in enumerate(IDIOMS):
        (tmp_path / f"{number}.py").write_text(
            f"import codecs, contextlib, io, logging, subprocess, sys\n{line}\n", encoding="utf-8"
        )
    code = """
import os, sys
from fastcnn import cli
for number in range(int(sys.argv[1])):
    with open(f"{number}.out", "wb") as file:
        os.dup2(file.fileno(), 1)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)
    assert cli.main(["run", "--json", f"{number}.py"]) == 0
    sys.stdout.flush()
"""
    done = run_python("-c", code, len(IDIOMS), cwd=tmp_path, FASTCNN_BACKEND="numpy")
    assert (done.returncode, done.stderr) == (0, "")
    for number, (line, expected) in enumerate(IDIOMS.items()):
        output = (tmp_path / f"{number}.out").read_text(encoding="utf-8").replace("\0", "")  # one of them is UTF-16
        text, bracket, result = output.partition("{")
        assert text.rstrip("\n") == expected.rstrip("\n"), line
        assert json.loads(bracket + result)["status"] == 0, line


@pytest.mark.parametrize("how", ["close", "detach"])
def test_a_training_after_the_script_has_closed_its_streams(how, tmp_path):
    (tmp_path / "use.py").write_text(f"""
import sys
import numpy as np
from fastcnn import Sequential
from layers import FullyConnect, Softmax
kept = sys.stdout.{how}(), sys.stderr.{how}()
history = Sequential([FullyConnect((4, 3), 2), Softmax((4, 2))]).fit(np.ones((8, 3)), np.arange(8) % 2, 2, 4)
open("done", "w").write(str(len(history["loss"])))
""")
    done = run_python("-m", "fastcnn", "run", "use.py", cwd=tmp_path, FASTCNN_BACKEND="numpy")
    assert (tmp_path / "done").read_text() == "2"
    assert done.returncode == 0 and done.stderr.startswith("fastcnn run: warning: cannot write to standard output: ")


def test_a_guard_outlives_its_block(monkeypatch):
    """`print` of another thread may still be writing to it, and does not hold it: the process crashed."""
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stdout", stream)
        found = []
        for _ in range(2):
            with streams.guarded() as (output, _):
                print("line")
                found.append(weakref.ref(output))
                assert (output.lost is None) == (stream is not None)
            assert sys.stdout is stream
            print("outside", file=output)
            del output
        assert found[0]() is found[1]() is not None
        with streams.guarded() as (output, _):
            assert output.lost is None


@pytest.mark.parametrize("options", ["", "sys.stdout = None"])
def test_threads_that_print_while_others_train(options):
    code = f"""
import sys, threading
from fastcnn import streams
sys.setswitchinterval(1e-5)
{options}

def work():
    for number in range(3000):
        with streams.guarded():
            print(number, flush=True)
        print(number, flush=True)

threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("done", file=sys.stderr)
"""
    done = run_python("-c", code)
    assert (done.returncode, done.stderr) == (0, "done\n")


def test_blocks_in_several_threads_share_a_guard(full, monkeypatch):
    monkeypatch.setattr(sys, "stdout", full)
    begun, go = threading.Event(), threading.Event()

    def block():
        with streams.guarded():
            begun.set()
            assert go.wait(60)

    worker = threading.Thread(target=block)
    with streams.guarded() as (outer, _):
        worker.start()
        assert begun.wait(60)
        with streams.guarded() as (inner, _):
            assert inner is outer
    assert sys.stdout is outer  # the other thread still needs it
    go.set()
    worker.join()
    assert sys.stdout is full


def test_a_stream_that_somebody_else_put_there_stays(full, monkeypatch):
    monkeypatch.setattr(sys, "stdout", full)
    with streams.guarded():
        other = io.StringIO()
        monkeypatch.setattr(sys, "stdout", other)
    assert sys.stdout is other


@pytest.mark.parametrize(
    ("encoding", "errors", "expected"),
    [
        ("ascii", "strict", rb"\u732b \udcff"),
        ("ascii", "replace", b"? ?"),
        ("ascii", "surrogateescape", rb"\u732b \udcff"),
        ("gbk", "strict", "猫".encode("gbk") + rb" \udcff"),
        ("utf-8", "strict", "猫".encode() + rb" \udcff"),
        ("utf-8", "surrogateescape", "猫".encode() + b" \xff"),
    ],
)
def test_what_cannot_be_encoded_is_escaped(monkeypatch, encoding, errors, expected):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, errors, newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    text = "猫 \udcff"
    with streams.guarded() as (output, _):
        print(text)
        assert output.lost is None
    streams.print_line(text)
    stream.flush()
    assert raw.getvalue() == (expected + b"\n") * 2


def test_the_table_of_a_model_on_an_ascii_terminal(monkeypatch):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    model = Sequential([type("激活", (Relu,), {})((1, 4)), FullyConnect((1, 4), 2)])
    lines = []
    model.summary(lines.append)
    assert lines[2].startswith("激活 ")
    model.summary()
    stream.flush()
    assert rb"\u6fc0\u6d3b " in raw.getvalue()


SCRIPT = """
import os
os.close(2)  # as `2>&-` does
from fastcnn import streams
streams.open_missing()
opened = os.open("model", os.O_WRONLY | os.O_CREAT)
assert opened > 2
os.write(2, b"what would be in the model")
"""


def test_no_file_becomes_standard_error(tmp_path):
    done = run_python("-c", SCRIPT, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "model").read_bytes() == b""


@pytest.mark.parametrize("bar", [True, False])
def test_a_line_of_the_package(capsys, monkeypatch, bar):
    import tqdm

    monkeypatch.setitem(sys.modules, "tqdm", tqdm if bar else None)
    monkeypatch.setattr(streams, "_said", set())
    streams.say("a")
    streams.say_once("b", "b 1")
    streams.say_once("b", "b 2")
    assert capsys.readouterr() == ("", "a\nb 1\n")
