"""Ranks that train together get what one process gets, and none outlives the others."""

import json
import os
import random
import re
import select
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastcnn
from fastcnn.distributed import launcher
from fastcnn.distributed.failures import error_facts, remote_error
from fastcnn.distributed.group import Group, data_facts
from fastcnn.errors import FileFormatError
from fastcnn.saving import checksum, model_file
from fastcnn.threads import available_cores
from fastcnn.training import History, checkpoint
from fastcnn.training.data_parallel.loop import DistributedLoop
from tests.helpers import ranks
from tests.helpers.processes import ROOT, run_fastcnn, run_python
from tests.helpers.switches import switches_kept

pytestmark = pytest.mark.mpi
RANKS = ROOT / "tests/helpers/ranks.py"
KILLS = 20
PROMPTLY = 10  # seconds in which all ranks of a job are gone


def command(count, *words, program=(sys.executable,)):
    return [launcher(), "-n", str(count), *map(str, (*program, *words))]


def start(count, *words, program=(sys.executable,), **variables):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    environment |= variables
    return subprocess.Popen(
        command(count, *words, program=program),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(count, result, options=None, timeout=300, **variables):
    """Train on `count` ranks; the exit status and stderr."""
    process = start(count, RANKS, result, json.dumps(options or {}), **variables)
    _, error = process.communicate(timeout=timeout)
    return process.returncode, error


def trained(count, result, options=None, **variables):
    """What each rank wrote."""
    status, error = run(count, result, options, **variables)
    assert status == 0, error
    return [dict(np.load(f"{result}{rank}.npz")) for rank in range(count)]


@pytest.fixture
def alone(tmp_path, float64):
    """What one process without MPI gets, by options; it compiles the kernels too."""

    def train(**options):
        with switches_kept():
            ranks.train(f"{tmp_path}/alone", options)
        return dict(np.load(tmp_path / "alone0.npz"))

    return train


def assert_close(found, wanted, bound):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        if array.dtype.kind == "U":
            assert found[name].tolist() == array.tolist(), name
        else:
            np.testing.assert_allclose(found[name], array, rtol=bound, atol=bound, err_msg=name)


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("count", [1, *(pytest.param(count, marks=pytest.mark.slow) for count in (2, 3, 4))])
def test_any_number_of_ranks_gets_the_same_weights(count, tmp_path, alone):
    """Parts that differ by an image, a last batch of 26; each rank has the same, from run to run to the last bit."""
    each = trained(count, f"{tmp_path}/a")
    for rank in each:
        assert_equal(rank, each[0])
    assert_close(each[0], alone(), 1e-10)
    if count > 1:
        assert_equal(trained(count, f"{tmp_path}/b")[0], each[0])


@pytest.mark.parametrize(
    "options",
    [
        {"images": 63},  # a last batch of one image: other ranks have none
        {"images": 5, "batch_size": 2, "epochs": 3},
        {"images": 1, "epochs": 1, "sync": False},  # the running statistics are those of the one rank that has it
        {"momentum": True},
    ],
)
@pytest.mark.slow
def test_ranks_without_images_and_biases_without_gradient(options, tmp_path, alone):
    each = trained(3, f"{tmp_path}/a", options)
    assert_equal(each[2], each[0])
    assert_close(each[0], alone(**options), 1e-10)


@pytest.mark.slow
def test_layers_that_came_later_train_on_ranks(tmp_path, alone):
    """And are interrupted, and go on to the same weights."""
    each = trained(2, f"{tmp_path}/a", {"later": True})
    assert_equal(each[1], each[0])
    assert_close(each[0], alone(later=True), 1e-10)
    options = {"later": True, "checkpoint": f"{tmp_path}/file.npz", "every": 100}
    trained(2, f"{tmp_path}/b", options | {"fault": [1, "interrupt"]})
    assert_equal(trained(2, f"{tmp_path}/b", options)[0], each[0])


# Relative above 1, absolute below. Sums in another order: 1.2e-6 was seen after 10 steps of Adam, 1.5e-6 after 100.
FLOAT32_BOUND = 2e-5


@pytest.mark.slow
def test_float32_stays_within_its_bound(tmp_path, alone):
    each = trained(3, f"{tmp_path}/a", {"dtype": "float32"})
    assert_equal(each[1], each[0])
    assert_close(each[0], alone(dtype="float32"), FLOAT32_BOUND)
    assert each[0]["0.weights"].dtype == np.float32


def test_numpy_backend_and_a_seed_that_rank_0_draws(tmp_path):
    each = trained(2, f"{tmp_path}/a", {"draw": True}, FASTCNN_BACKEND="numpy")
    assert_equal(each[1], each[0])


def test_batch_norm_of_each_part_by_default(tmp_path, alone):
    """Other numbers than those of the whole batch, running statistics included, but the same on all ranks."""
    each = trained(2, f"{tmp_path}/a", {"sync": False})
    assert_equal(each[1], each[0])
    whole = alone()
    assert not np.allclose(each[0]["0.weights"], whole["0.weights"], atol=1e-6)
    np.testing.assert_allclose(each[0]["2.moving_mean"], whole["2.moving_mean"], rtol=0.1, atol=0.05)
    assert each[0]["2.moving_var"].min() > 0


def descendants(pid):
    """The processes below `pid` that run ranks.py, from /proc."""
    parents, found = {}, []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                parents[int(entry)] = int(stat[1])
            except OSError:  # it has just ended
                continue
    for process in parents:
        above = process
        while above in parents and above != pid:
            above = parents[above]
        if above == pid and process != pid and is_rank(process):
            found.append(process)
    return sorted(found)


def is_rank(pid):
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return sys.executable in words[:1] and str(RANKS) in words
    except OSError:
        return False


def seconds_until_gone(pids):
    start = time.monotonic()
    while any(is_rank(pid) for pid in pids):  # a zombie has no command line
        assert time.monotonic() - start < 60, "ranks were left behind"
        time.sleep(0.01)
    return time.monotonic() - start


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/cmdline"), reason="processes are found in /proc")
LONG = {"epochs": 40}  # 200 steps


@needs_proc
@pytest.mark.slow
def test_ranks_that_are_killed_again_and_again(tmp_path):
    """kill -9 of one rank at random moments, start-up included: the other is gone soon, and the resumed run ends with
    the bits of one that was never disturbed."""
    whole = trained(2, f"{tmp_path}/whole", LONG)[0]
    moment, kills, slowest = random.Random(3), 0, 0.0
    options = LONG | {"checkpoint": f"{tmp_path}/run.npz"}
    result = tmp_path / "result0.npz"
    while kills < KILLS or not result.exists():
        if result.exists():  # a machine so fast that it was done before: once more from the start
            assert_equal(dict(np.load(result)), whole)
            result.unlink()
            (tmp_path / "run.npz").unlink()
        process = start(2, RANKS, f"{tmp_path}/result", json.dumps(options))
        if kills < KILLS:
            time.sleep(moment.uniform(0.1, 2.5))
            pids = descendants(process.pid)
            if pids:
                os.kill(moment.choice(pids), 9)
                kills += 1
                slowest = max(slowest, seconds_until_gone(pids))
        error = process.communicate(timeout=60)[1]
        assert process.returncode in (0, 9, 137), error  # as MPICH has it, and Open MPI
    assert slowest < PROMPTLY
    assert_equal(dict(np.load(result)), whole)


@pytest.mark.slow
def test_another_number_of_ranks_goes_on(tmp_path, alone):
    """Begun by 2 ranks of which one leaves, gone on with by 3 of which one hangs, ended by a process without MPI."""
    whole, checkpoint = alone(epochs=4), f"{tmp_path}/run.npz"
    options = {"epochs": 4, "checkpoint": checkpoint, "every": 1}
    process = start(2, RANKS, f"{tmp_path}/a", json.dumps(options | {"fault": [1, "leave"]}))
    process.communicate(timeout=60)
    options["every"] = 7
    status, _ = run(3, f"{tmp_path}/b", options | {"fault": [2, "hang", 2]}, FASTCNN_DISTRIBUTED_TIMEOUT="5")
    assert status != 0 and not os.path.exists(tmp_path / "b0.npz")
    found = alone(**options)
    assert_close(found, whole, 1e-10)


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["rank", "proxy", "mpiexec"])
def test_nobody_is_left_behind(victim, tmp_path):
    """A rank that leaves or hangs, and a launcher that dies: all are gone within seconds."""
    process = start(3, RANKS, f"{tmp_path}/a", json.dumps({"epochs": 10000}))
    time.sleep(4)
    pids = descendants(process.pid)
    try:
        assert len(pids) == 3
        proxy = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill({"rank": pids[1], "proxy": proxy, "mpiexec": process.pid}[victim], 9)
        assert seconds_until_gone(pids) < PROMPTLY
    finally:
        process.kill()
        for pid in filter(is_rank, pids):
            os.kill(pid, 9)
        process.communicate(timeout=60)


@pytest.mark.slow
def test_an_error_of_one_rank_ends_all_with_its_message(tmp_path):
    begin = time.monotonic()
    status, error = run(3, f"{tmp_path}/a", {"broken": True})
    assert status == 1 and time.monotonic() - begin < 60
    assert "fastcnn: rank 1: MemoryError: no room for this layer" in error
    assert 'raise MemoryError("no room for this layer")' in error, "the traceback says where"


ENDS = """
import os, sys
from fastcnn.distributed import failures

class Comm:
    def Abort(self, status):
        os.write(1, b"ended")

failures.GRACE = 60.0
failures.abort_all(Comm(), "no room", 3)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="asks the pipe")
def test_ranks_are_ended_once_the_launcher_has_read_why():
    """MPICH's mpiexec drops what it has not read by then."""
    with subprocess.Popen([sys.executable, "-c", ENDS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert not select.select([process.stdout], [], [], 2)[0]
        assert os.read(process.stderr.fileno(), 100) == b"no room\n"
        assert process.stdout.read() == b"ended"
    assert process.returncode == 3
    gone = subprocess.run(
        [sys.executable, "-c", ENDS.replace("failures.GRACE", "os.close(2); failures.GRACE")], check=False
    )
    assert gone.returncode == 3, "nowhere to write to"


@pytest.mark.slow
def test_a_rank_that_hangs(tmp_path):
    status, error = run(2, f"{tmp_path}/a", {"fault": [1, "hang"]}, FASTCNN_DISTRIBUTED_TIMEOUT="2")
    assert status == 1 and "rank 0: no answer from the other ranks for 2 s (FASTCNN_DISTRIBUTED_TIMEOUT)" in error


@pytest.mark.parametrize(("what", "reason"), [("stop", "enough"), ("interrupt", "interrupted")])
@pytest.mark.slow
def test_all_stop_after_the_step_in_which_one_wants_to(what, reason, tmp_path):
    """Rank 1 alone: all have made 3 steps, and a checkpoint from which the whole training follows."""
    options = {"checkpoint": f"{tmp_path}/run.npz", "every": 100}
    each = trained(2, f"{tmp_path}/a", options | {"fault": [1, what]})
    assert_equal(each[1], each[0])
    assert each[0]["stopped"].tolist() == [reason, "3"] and "loss" not in each[0]
    if what == "interrupt":
        whole = trained(2, f"{tmp_path}/whole")[0]
        assert_equal(trained(2, f"{tmp_path}/b", options)[0], whole)


@pytest.mark.slow
def test_sigterm_of_one_rank_ends_all(tmp_path):
    """After the same step, by the same status; the checkpoint is that of this step."""
    options = {"checkpoint": f"{tmp_path}/run.npz", "every": 100, "fault": [1, "terminate"]}
    status, error = run(2, f"{tmp_path}/a", options)
    assert status == 143 and "Traceback" not in error and os.listdir(tmp_path) == ["run.npz"]
    assert model_file.read(f"{tmp_path}/run.npz").header["training"]["batch"] == 3


def test_a_callback_that_fails_on_one_rank_raises_on_all(tmp_path):
    status, error = run(2, f"{tmp_path}/a", {"fault": [1, "fail"]})
    assert status != 0
    assert error.count("rank 1: no space left on device") == 1, error
    assert len(re.findall('no space left on device(?!")', error)) == 2, "and by itself, which is not the line of source"


def test_models_that_come_apart(tmp_path):
    status, error = run(2, f"{tmp_path}/a", {"fault": [1, "spoil"]})
    assert status != 0
    assert "the models of the ranks have come apart: that of rank 1 is not that of rank 0 any more" in error


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_rank(tmp_path):
    """The rank says what went bad and leaves a file; all have the model as it was before the step."""
    script = tmp_path / "bad.py"
    script.write_text(BAD)
    out, error = start(3, script, tmp_path).communicate(timeout=120)
    lines = sorted(out.splitlines())
    assert len(lines) == 3, error
    assert lines[0].startswith(
        "0 rank 1: fit: the loss is nan in batch 2 of epoch 1; the first to go bad is the output"
    )
    assert lines[1].startswith("1 fit: the loss is nan in batch 2") and lines[2].startswith("2 rank 1: fit:")
    assert all(line.endswith(" True 1 0 None") for line in lines), "statistics, calls, first image, sum of BatchNorm"
    assert sorted(os.listdir(tmp_path)) == ["bad.py", "failure.npz"]
    done = run_python("-m", "fastcnn.diagnosis", tmp_path / "failure.npz")
    assert done.returncode == 0 and "the first to go bad is the output of `layers[0]`" in done.stdout, done.stderr


BAD = r"""
import sys
import numpy as np
from mpi4py import MPI
from tests.helpers import ranks
from fastcnn.training.loop import Loop
comm, take = MPI.COMM_WORLD, Loop.take
def spoiled(self, index, moves):
    x, y = take(self, index, moves)
    if comm.rank == 1 and self.batch == 1:
        x[0] = np.inf
    return x, y
Loop.take = spoiled
model = ranks.make_model(comm.rank, 8, True)
x, y = np.random.default_rng(0).random((20, 28, 28, 1)), np.arange(20) % 10
try:
    model.fit(x, y, batch_size=8, seed=1, failure_file=f"{sys.argv[1]}/failure.npz", sync_batch_norm=True,
              verbose=False, distributed=comm)
except FloatingPointError as error:
    norm, drop = model.layers[1], model.layers[6]
    finite = bool(np.isfinite(norm.moving_mean).all() and norm.moving_mean.any())
    print(f"{comm.rank} {error} {finite} {drop.calls} {drop.first_image} {norm.total}\n", end="", flush=True)
"""


def test_all_learn_of_parameters_that_go_bad(tmp_path):
    status, error = run(2, f"{tmp_path}/a", {"fault": [1, "burst"], "images": 93})
    assert status != 0 and "the models of the ranks have come apart" in error, "after the last step of an epoch"


@pytest.mark.slow
@pytest.mark.parametrize("sync", [False, True])
def test_models_can_be_copied_in_callbacks(sync, tmp_path):
    trained(2, f"{tmp_path}/a", {"fault": [1, "copy"], "sync": sync, "epochs": 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "value", "name", "both"),
    [
        ("epochs", 3, "epochs", "2 on rank 0 and 3 on rank 1"),
        ("seed", None, "seed", "7 on rank 0 and any on rank 1"),
        ("sync_batch_norm", False, "sync_batch_norm", "True on rank 0 and False on rank 1"),
        ("metrics", [], "metrics", "f1 on rank 0 and none on rank 1"),
    ],
)
def test_arguments_that_are_not_the_same_on_all_ranks(argument, value, name, both, tmp_path):
    status, error = run(2, f"{tmp_path}/a", {"differ": {argument: value}})
    assert status != 0
    assert error.count(f"`{name}` must be the same on all ranks. Received {both}") == 2


def test_what_one_rank_alone_has():
    """A group whose other rank has told of more, and of other labels."""
    group = Group()
    group.all_gather = lambda facts: [facts, facts | {"x of validation_data": "uint8 (4, 28, 28, 1)"}]
    with pytest.raises(ValueError, match=r"`x of validation_data` must be .* Received None on rank 0 and uint8"):
        group.check_same("fit", {"epochs": 3})


def test_facts_of_data():
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 1])
    facts = data_facts(x, y)
    assert data_facts(x.copy(), y.copy()) == facts
    assert data_facts(x[::-1], y)["x"] != facts["x"] and data_facts(x, y[::-1])["y"] != facts["y"]
    assert data_facts(x[:1]) != data_facts(x[1:2])


@pytest.mark.slow
def test_a_checkpoint_knows_that_the_training_has_ended(tmp_path):
    """What is written at the end of an epoch holds what another rank has decided there."""
    script = tmp_path / "stops.py"
    script.write_text(LOOK)
    for count, seen in ((2, "(None, 'enough')"), (3, "()")):
        out, error = start(count, script, tmp_path).communicate(timeout=120)
        assert out == f"{seen} enough 2\n", error


LOOK = """
import os, sys
import numpy as np
from mpi4py import MPI
from tests.helpers import ranks
from fastcnn.callbacks import Checkpoint
comm, path = MPI.COMM_WORLD, f"{sys.argv[1]}/run.npz"
model, look = ranks.make_model(comm.rank, 8, False), ranks.Look(path)
callbacks = [Checkpoint(path), ranks.Ends(), look]
x, y = np.random.default_rng(0).random((20, 28, 28, 1)), np.arange(20) % 10
resume = path if os.path.exists(path) else None
history = model.fit(x, y, 5, 8, callbacks=callbacks, seed=1, distributed=comm, resume=resume, verbose=False)
if comm.rank == 0:
    print(look.stopped, history.stopped, len(history["loss"]))
"""


def train(count, folder, *words):
    """``fastcnn train --distributed`` in `folder`."""
    process = subprocess.Popen(
        command(count, "-m", "mpi4py", "-m", "fastcnn", *words),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, error = process.communicate(timeout=300)
    return process.returncode, out, error


@pytest.mark.slow
def test_command_line(tmp_path):
    """Rank 0 prints and writes; what it writes goes on with any number of ranks, and is evaluated by any."""
    files = ["--csv", "log.csv", "--checkpoint", "run.npz", "--best", "best.npz"]
    words = ["--sync-batch-norm", "--epochs", "2", "--patience", "2", "--seed", "3", "--json", *files]
    status, out, error = train(2, tmp_path, "train", "--distributed", *words)
    assert status == 0, error
    lines = out.splitlines()
    assert "ranks 2, threads of each" in lines[0] and sum(line.startswith("epoch ") for line in lines) == 2
    rule = {"-" * len(lines[2])}
    assert len(lines) == len(set(lines) - rule) + 2, "what rank 0 printed, and nobody else"
    result = json.loads(lines[-1])
    assert result["ranks"] == 2 and result["test_accuracy"] > 0.9
    assert sorted(os.listdir(tmp_path)) == ["best.npz", "lenet-digits.npz", "log.csv", "run.npz"]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    status, out, error = train(3, tmp_path, "evaluate", "lenet-digits.npz", "--distributed", "--report", "--json")
    assert status == 0 and out.count("accuracy") == 2, error
    assert json.loads(out.splitlines()[-1])["accuracy"] == pytest.approx(result["test_accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("--data nowhere", 2, "argument --data: unknown data set"),
        ("--epochs 0", 2, "argument --epochs: expected an integer of at least 1"),
        ("--threads 64", 2, "argument --threads: expected at most"),
        ("--lr 1e9", 1, "fit: the loss is"),
        ("--resume nothing.npz", 1, "No such file or directory: 'nothing.npz'"),
        ("--csv nowhere/log.csv", 1, "cannot write 'nowhere/log.csv'"),
        ("--out nowhere/model.npz", 1, "cannot write 'nowhere/model.npz'"),
    ],
)
def test_command_line_says_once_what_is_wrong(words, status, message, tmp_path):
    got, _, error = train(2, tmp_path, "train", "--distributed", *words.split())
    errors = [line for line in error.splitlines() if "error:" in line]
    assert got == status and len(errors) == 1 and message in errors[0], error


SHARD = r"""
import sys, os
import numpy as np
from mpi4py import MPI
from fastcnn import Sequential, datasets
from fastcnn.layers import AvgPooling, FullyConnect, Softmax
from fastcnn.training.loop import Loop

def anonymous():
    status = open("/proc/self/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

comm, seen, take = MPI.COMM_WORLD, [], Loop.take
def watched(self, index, moves):
    seen.append(index)
    return take(self, index, moves)
Loop.take = watched
data = datasets.load(sys.argv[1])
pool = AvgPooling((64, 32, 32, 3), 8, 8)
fc = FullyConnect(pool.output_shape, 10)
model = Sequential([pool, fc, Softmax(fc.output_shape)])
model.fit(data.train_images[:512], data.train_labels[:512], distributed=comm, verbose=False)
seen.clear()
before = anonymous()
model.fit(data.train_images, data.train_labels, validation_data=(data.test_images, data.test_labels), distributed=comm,
          verbose=False)
model.evaluate(data.train_images, data.train_labels, distributed=comm)
np.savez(f"{sys.argv[2]}{comm.rank}.npz", seen=np.concatenate(seen), grown=anonymous() - before)
"""


@pytest.mark.slow
@needs_proc
def test_each_rank_reads_its_part_of_the_images_alone(tmp_path):
    """A set of 60 MiB in files that are mapped: in an epoch each image is read by one rank, and none is kept."""
    rng, count = np.random.default_rng(0), 20_000
    for split, number in (("train", count), ("test", 1_001)):
        np.save(tmp_path / f"x_{split}.npy", rng.integers(0, 256, (number, 32, 32, 3), np.uint8))
        np.save(tmp_path / f"y_{split}.npy", np.arange(number) % 10)
    script = tmp_path / "reads.py"
    script.write_text(SHARD)
    process = start(3, script, tmp_path, f"{tmp_path}/r", FASTCNN_BACKEND="numpy")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    each = [np.load(f"{tmp_path}/r{rank}.npz") for rank in range(3)]
    parts = [rank["seen"] for rank in each]
    assert max(map(len, parts)) - min(map(len, parts)) <= -(-count // 64), "an image in each batch"
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert max(float(rank["grown"]) for rank in each) < 20, "MiB"


def test_what_is_no_communicator(data):
    model = ranks.make_model(0, 31, False)
    for call in (model.fit, model.evaluate, model.report):
        with pytest.raises(TypeError, match="`distributed` must be an intracommunicator of mpi4py, such as MPI"):
            call(*data, distributed=2)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("", "has no gradients()"),
        ("    def gradients(self):\n        return {'a': np.zeros(3)}\n", "returns copies from gradients()"),
    ],
)
def test_a_layer_whose_gradients_nobody_can_change(more, what, tmp_path):
    script = tmp_path / "own.py"
    script.write_text(
        "from mpi4py import MPI\nimport numpy as np\nfrom fastcnn import Sequential, layers\n"
        f"class Own(layers.Relu):\n    def backward(self, alpha, weight_decay=0.0):\n        pass\n{more}"
        "fc = layers.FullyConnect((4, 3), 2)\n"
        "model = Sequential([Own((4, 3)), fc, layers.Softmax((4, 2))])\n"
        "model.fit(np.zeros((4, 3)), [0, 1, 0, 1], distributed=MPI.COMM_WORLD)\n"
    )
    _, error = start(2, script).communicate(timeout=60)
    assert error.count(f"needs the gradients of all layers that learn, and the layer 0, a Own, {what}") == 2, error


def test_threads_of_all_ranks_have_a_core_each(tmp_path):
    """In fit, predict and evaluate, and of ranks on communicators of their own too; afterwards all is as it was."""
    script = tmp_path / "threads.py"
    script.write_text(THREADS)
    out, error = start(2, script).communicate(timeout=60)
    most = max(1, available_cores() // 2)
    assert out.split() == [f"{{{most}}}", "True"] * 2, error


THREADS = r"""
import numpy as np
from mpi4py import MPI
from fastcnn import Sequential, config, layers
seen = set()
class Watch(layers.Relu):
    def forward(self, x):
        seen.add(config.get_num_threads())
        return super().forward(x)
fc = layers.FullyConnect((4, 3), 2)
model = Sequential([Watch((4, 3)), fc, layers.Softmax((4, 2))])
x, y, world = np.zeros((4, 3)), np.array([0, 1, 0, 1]), MPI.COMM_WORLD
model.fit(x, y, distributed=world, verbose=False)
model.evaluate(x, y, distributed=world)
model.predict(x, distributed=world)
model.report(x, y, distributed=world)
print(f"{seen} {config.process.threads is None}\n", end="", flush=True)
"""


DIFFERENT = """
import sys
import numpy as np
from mpi4py import MPI
from fastcnn import Sequential, layers
rank = MPI.COMM_WORLD.rank
fc = layers.FullyConnect((4, 3), 2, rng=0)
model, x, y, size = Sequential([fc, layers.Softmax((4, 2))]), np.zeros((4, 3)), [0, 1, 0, 0], 4
if rank:
    x, y, size = {"x": (x + 1, y, 4), "y": (x, [0, 1, 0, 1], 4), "size": (x, y, 5)}.get(sys.argv[1], (x, y, 4))
    fc.bias += sys.argv[1] == "weights"
model.evaluate(x, y, size, distributed=MPI.COMM_WORLD)
"""


@pytest.mark.parametrize(
    ("differs", "name"), [("x", "x"), ("y", "y"), ("size", "batch_size"), ("weights", "weights of the model")]
)
def test_ranks_that_are_asked_for_different_work(differs, name, tmp_path):
    script = tmp_path / "different.py"
    script.write_text(DIFFERENT)
    _, error = start(2, script, differs).communicate(timeout=60)
    # Without the exception's name: Python writes it apart, and the other rank may come in between.
    assert error.count(f"evaluate: `{name}` must be the same on all ranks. Received ") == 2, error


def test_an_mpiexec_of_another_mpi():
    done = run_fastcnn("train", "--distributed", OMPI_COMM_WORLD_SIZE="2", PYTHONWARNINGS="ignore")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "mpiexec has started 2 processes, and each is alone: it belongs to another MPI than the lib" in done.stderr


@pytest.mark.slow
def test_ranks_that_share_nothing_are_warned_of(tmp_path):
    status, _, error = train(2, tmp_path, "train", "--epochs", "1", "--quiet")
    assert status == 0 and error.count("warning: each of the 2 processes that mpiexec has started does the whole") == 1


@pytest.mark.slow
def test_a_usage_error_of_one_rank_alone(tmp_path):
    """The other one does not wait for it."""
    words = ["-m", "mpi4py", "-m", "fastcnn", "train", "--distributed", "--quiet", "--epochs"]
    both = [*command(1, *words, "1"), ":", "-n", "1", sys.executable, *words, "nothing"]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(both, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "argument --epochs: expected an integer of at least 1" in done.stderr
    assert "[rank 1]" in done.stderr


def test_a_wish_that_comes_while_ranks_agree_is_kept():
    run = DistributedLoop.__new__(DistributedLoop)
    run.history, run.requested, run.error, run.group = History(), None, None, Group()

    def gather(wish):
        run.stop("interrupted")  # a signal, in the midst of it
        return [wish]

    run.group.all_gather = gather
    run.group.raise_any = lambda error: None
    run.synchronize()
    assert run.history.stopped is None and run.stopping == run.requested == "interrupted"


def test_usage_errors_of_processes_that_share_nothing():
    """A rank number alone does not say that others tell the same: srun gives one to a sweep."""
    for more in ((), ("--distributed",)):
        done = run_fastcnn("train", "--epochs", "0", *more, SLURM_PROCID="1")
        assert done.returncode == 2 and "argument --epochs" in done.stderr


@given(st.binary(max_size=40), st.binary(max_size=400))
def test_checksums_are_joined(first, second):
    whole = checksum.joined(zlib.crc32(first), zlib.crc32(second), len(second))
    assert whole == zlib.crc32(first + second)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_fingerprint_is_the_same_for_any_number_of_ranks(size, rng, monkeypatch):
    """That of one process, and of checkpoints that were written before there were ranks."""
    monkeypatch.setattr(checksum, "BLOCK", 100)
    array = rng.standard_normal((7, 5, 3)).astype(np.float32)[:, ::-1]
    parts, group = [], Group()
    for rank in range(size):
        part = array[slice(7 * rank // size, 7 * (rank + 1) // size)]
        parts.append((checksum.crc32(part), part.nbytes))
    group.all_gather = lambda _: parts
    wanted = f"float32 (7, 5, 3), CRC-32 {zlib.crc32(array.tobytes()):08x}"
    assert checkpoint.fingerprint(array, group) == wanted


def test_a_group_of_one_answers_at_once():
    group = Group.of("fit", None)
    with group:
        assert group.lead and group.shard(7) == slice(0, 7) and group.all_gather(3) == [3] and group.broadcast(4) == 4
        assert group.all_reduce(np.ones(2)).tolist() == [1, 1]
        group.barrier()
        group.broadcast_arrays([np.ones(1)])
        with pytest.raises(KeyError):
            group.together(lambda: {}[0])
        group.check_same("fit", {"epochs": 3})


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 6, 31])
def test_parts_are_the_whole_and_differ_by_one_at_most(size, count):
    group, parts = Group(), []
    group.size = size
    for group.rank in range(size):
        parts.append(range(count)[group.shard(count)])
    assert [number for part in parts for number in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no"), ValueError),
        (FileNotFoundError(2, "No such file", "a.npz"), FileNotFoundError),
        (FileFormatError("no"), FileFormatError),
        (fastcnn.DatasetNotFoundError("no"), FileNotFoundError),
        (np.linalg.LinAlgError("no"), ValueError),
        (UnicodeDecodeError("utf-8", b"a", 0, 1, "no"), UnicodeError),
        (type("Own", (RuntimeError,), {})("no"), RuntimeError),
        (KeyError(), KeyError),
    ],
)
def test_errors_of_other_ranks(error, kind):
    found = remote_error(2, *error_facts(error))
    assert type(found) is kind and str(found).strip("'").startswith("rank 2: ") and found.remote
    assert ("no" in str(found)) == ("no" in str(error).lower())


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_bad_timeout(text, monkeypatch):
    monkeypatch.setenv("FASTCNN_DISTRIBUTED_TIMEOUT", text)
    with pytest.raises(ValueError, match="FASTCNN_DISTRIBUTED_TIMEOUT` must be a number of seconds above 0"):
        Group()
