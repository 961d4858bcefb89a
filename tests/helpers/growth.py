"""Work that is done again and again: ``growth.py WORK WARM_UP COUNT BACKEND FOLDER``.

It prints, as JSON, what the process holds after the rounds that warm it up, and after each tenth of the others.
"""

import contextlib
import gc
import io
import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np

import fastcnn
from fastcnn import FileFormatError, Sequential, cli, zoo
from fastcnn.callbacks import Checkpoint, CSVLogger, EarlyStopping, LearningCurves, TensorBoard
from fastcnn.layers import (
    AvgPooling,
    BatchNorm,
    Conv2D,
    Dropout,
    FullyConnect,
    GlobalAvgPooling,
    MaxPooling,
    PReLU,
    Relu,
    Residual,
    Softmax,
)
from fastcnn.optimizers import OPTIMIZERS

RANDOM = np.random.default_rng(0)
SHAPE = (16, 12, 12, 3)
LARGEST = 300  # images of a batch


def mixed(shape=SHAPE):
    """A small network with a layer of each kind that keeps something for its gradient."""
    conv = Conv2D(shape, 8, 3, 1, "SAME", initializer="he")
    norm, prelu = BatchNorm(conv.output_shape), PReLU(conv.output_shape)
    block = Residual([Conv2D(conv.output_shape, 8, 3, 1, "SAME", initializer="he"), BatchNorm(conv.output_shape)])
    most = MaxPooling(conv.output_shape)
    wide = Conv2D(most.output_shape, 16, 3, 1, "SAME", initializer="he")
    relu, mean = Relu(wide.output_shape), AvgPooling(wide.output_shape)
    drop, pool = Dropout(mean.output_shape, 0.8), GlobalAvgPooling(mean.output_shape)
    fc = FullyConnect(pool.output_shape, 10)
    return Sequential([conv, norm, prelu, block, most, wide, relu, mean, drop, pool, fc, Softmax(fc.output_shape)])


def batch(shape, count=None):
    return RANDOM.random((count or shape[0], *shape[1:]), np.float32), RANDOM.integers(0, 10, count or shape[0])


def step(model, optimizer, images, labels):
    model.accumulate(images, labels)
    optimizer.step(len(images))


def steps(make, shape):
    """Training steps of one model for each optimizer, in turns, with a new batch each time."""
    pairs = [(model, kind(model)) for kind in OPTIMIZERS.values() for model in [make(shape)]]
    for model, optimizer in itertools.cycle(pairs):
        yield step(model, optimizer, *batch(shape))


def lenet(folder):
    return steps(zoo.lenet, (32, 28, 28, 1))


def layers(folder):
    return steps(mixed, SHAPE)


def batches(folder):
    """Training steps and predictions of batches of 1 to 300 images: all plans are kept by shape."""
    pairs = [(model, OPTIMIZERS["adam"](model), shape) for model, shape in (
        (zoo.lenet((32, 28, 28, 1)), (32, 28, 28, 1)), (mixed(), SHAPE))]  # fmt: skip
    while True:
        for count in RANDOM.permutation(LARGEST) + 1:
            for model, optimizer, shape in pairs:
                images, labels = batch(shape, count)
                step(model, optimizer, images, labels)
                model.predict(images, count)
            yield


def models(folder):
    """Models that are made, trained, saved, loaded, used and dropped."""
    images, labels = batch((32, 28, 28, 1))
    for number in itertools.count():
        path = folder / f"model.{('npz', 'safetensors')[number % 2]}"
        model = zoo.lenet((32, 28, 28, 1))
        optimizer = OPTIMIZERS["adam"](model)
        step(model, optimizer, images, labels)
        model.save(path, optimizer=optimizer)
        again = Sequential.load(path)
        OPTIMIZERS["adam"](again).load(path)
        again.predict(images)
        yield


def fits(folder):
    """Trainings with all callbacks, every other one resumed."""
    data = batch((64, 12, 12, 3))
    for number in itertools.count():
        path = folder / "c.npz"
        callbacks = [CSVLogger(folder / "l.csv"), EarlyStopping("loss", 9, restore_best=True)]
        callbacks += [Checkpoint(path, best=folder / "b.npz", monitor="loss")]
        with contextlib.suppress(ImportError):
            callbacks.append(TensorBoard(folder / "logs"))
        with contextlib.suppress(ImportError):
            callbacks += [LearningCurves(folder / "curves.png")] * (number % 10 == 0)
        resume = path if number % 2 else None
        mixed().fit(*data, 2, 16, seed=1, callbacks=callbacks, resume=resume, verbose=False)
        yield


def errors(folder):
    """Calls that fail, as those of an interactive session do."""
    path, model = folder / "damaged.npz", mixed()
    path.write_bytes(b"PK" + bytes(100))
    images, labels = batch(SHAPE)
    calls = [
        lambda: Sequential.load(path),
        lambda: model.predict(images[:, :5]),
        lambda: model.fit(images, labels - 20, verbose=False),
        lambda: model.fit(images * np.float32(np.nan), labels, verbose=False),
        lambda: model.save(folder / "nowhere" / "model.npz"),
        lambda: model.fit(images, labels, learning_rate=1e30, failure_file=folder / "failure.npz", verbose=False),
    ]
    for call in itertools.cycle(calls):
        model = mixed()
        with contextlib.suppress(ValueError, FileFormatError, OSError, FloatingPointError), np.errstate(all="ignore"):
            call()
        yield


def commands(folder):
    """Commands of the command line, in one process."""
    model, image = folder / "model.npz", folder / "image.npy"
    np.save(image, batch((8, 28, 28, 1))[0])
    lines = [
        ["train", "--quiet", "--epochs", "1", "--batch-size", "500", "--out", str(model), "--seed", "0"],
        ["evaluate", str(model)],
        ["predict", str(model), str(image), "--json"],
        ["predict", str(model), str(folder / "none.png")],
    ]
    for line in itertools.cycle(lines):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            cli.main(line)
        yield


WORKS = {work.__name__: work for work in (lenet, layers, batches, models, fits, errors, commands)}


def held():
    """What this process holds: KiB of memory, threads, open files, and the entries of all caches beyond their size."""
    gc.collect()
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    return {
        "KiB": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(os.listdir("/proc/self/fd")),
        "caches": caches(),
    }


def caches():
    """The entries of each cache of functools in the package, and how many it may have at most."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "fastcnn":
            for key, value in vars(module).items():
                if hasattr(value, "cache_info") and value.__module__ == name:
                    info = value.cache_info()
                    found[f"{name}.{key}"] = (info.currsize, info.maxsize)
    return found


def main(name, warm_up, count, backend, folder):
    warm_up, count = int(warm_up), int(count)
    with fastcnn.using(backend=backend):
        rounds = WORKS[name](Path(folder))
        for _ in range(warm_up):
            next(rounds)
        measured = [held()]
        for number in range(1, count + 1):
            next(rounds)
            if number % max(count // 10, 1) == 0:
                measured.append(held())
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
