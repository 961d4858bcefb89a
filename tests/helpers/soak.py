"""Everything at random: ``soak.py SECONDS CASES MIB FOLDER``, in a process that may take MIB of address space more.

Layers, trainings, predictions, files and switches are drawn from a seed, and for each piece of work one of CASES inputs
(6 at most): the same ones come again and again, on other threads, after other calls, beside another Python thread. Each
result is compared bitwise with the first for the same inputs. It prints its figures as JSON.
"""

import contextlib
import copy
import hashlib
import itertools
import json
import os
import pickle
import random
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import fastcnn
from fastcnn import Sequential, zoo
from fastcnn.augmentation import Augmentation
from fastcnn.callbacks import Callback, Checkpoint
from fastcnn.layers import AvgPooling, BatchNorm, Conv2D, Dropout, FullyConnect, MaxPooling, Relu, Residual, Softmax
from fastcnn.optimizers import OPTIMIZERS

KERNELS = ((3, 1, "SAME"), (5, 1, "VALID"), (3, 2, "SAME"), (1, 1, "VALID"), (4, 3, "VALID"), (3, 1, "VALID"))
SHAPE = (16, 14, 14, 1)
DRAWN = threading.local()  # `source`: what a piece of work draws from


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def images(case, count=40):
    rng = np.random.default_rng(case)
    return rng.random((count, *SHAPE[1:]), np.float32), rng.integers(0, 10, count)


def model(case):
    """One of three networks."""
    rng = np.random.default_rng(case)
    if case % 3 == 0:
        return zoo.lenet((16, 28, 28, 1), rng=rng)
    conv = Conv2D(SHAPE, 8, 3, 1, "SAME", initializer="he", rng=rng)
    norm, relu, pool = BatchNorm(conv.output_shape), Relu(conv.output_shape), MaxPooling(conv.output_shape)
    inner = Conv2D(pool.output_shape, 8, 3, 1, "SAME", initializer="he", rng=rng)
    block, drop = Residual([inner]), Dropout(pool.output_shape, 0.8, rng=rng)
    fc = FullyConnect(pool.output_shape, 10, rng=rng)
    return Sequential([conv, norm, relu, pool, block, drop, fc, Softmax(fc.output_shape)])


def inputs(network, case):
    x, y = images(case)
    return (np.repeat(np.repeat(x, 2, 1), 2, 2), y) if network.input_shape[1] == 28 else (x, y)


def weights(network):
    return [array for layer in network.layers for array in layer.parameters().values()]


def layer(case, folder):
    """Forward and backward passes of a convolution and poolings."""
    ksize, stride, method = KERNELS[case]
    rng = np.random.default_rng(case)
    x = rng.random((8 + case, 20, 20, 3 * case + 1), np.float32)
    conv = Conv2D(x.shape, 8 * case + 4, ksize, stride, method, rng=rng)
    most, mean = MaxPooling(conv.output_shape, 3, 2), AvgPooling(conv.output_shape)
    y = conv.forward(x)
    eta = most.gradient(most.forward(y)) + mean.gradient(mean.forward(y))
    return digest(y, eta, conv.gradient(eta), conv.w_gradient, conv.b_gradient)


class Stop(Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_batch_end(self, run):
        self.steps -= 1
        if not self.steps:
            raise InterruptedError


def fit(network, case, **options):
    optimizer = list(OPTIMIZERS)[case % len(OPTIMIZERS)]
    return network.fit(
        *inputs(network, case), 2, 16, seed=case, optimizer=optimizer, label_smoothing=0.1,
        augmentation=Augmentation(shift=1), validation_data=inputs(network, case + 1), verbose=False, **options,
    )  # fmt: skip


def training(case, folder):
    network = model(case)
    history = fit(network, case)
    return digest(*weights(network), history["loss"], history["val_loss"])


def resumed(case, folder):
    """The same, stopped after some step and resumed from its checkpoint."""
    path = folder / f"c{threading.get_ident()}.{DRAWN.source.choice(('npz', 'safetensors'))}"
    steps = DRAWN.source.randrange(1, 7)
    with contextlib.suppress(InterruptedError):
        fit(model(case), case, callbacks=[Checkpoint(path, every_steps=1), Stop(steps)])
    network = model(case)
    history = fit(network, case, resume=path)
    return digest(*weights(network), history["loss"], history["val_loss"])


def prediction(case, folder):
    """Of a model, of its copies, and of what its file holds; batches of any size."""
    network = model(case)
    x = inputs(network, case)[0]
    path = folder / f"m{threading.get_ident()}.{DRAWN.source.choice(('npz', 'safetensors'))}"
    network.save(path)
    twins = (network, Sequential.load(path), copy.deepcopy(network), pickle.loads(pickle.dumps(network)))
    return digest(DRAWN.source.choice(twins).predict(x))


def too_large(case, folder):
    """More than there is memory for: an error, after which all goes on."""
    conv = Conv2D((1, 512, 512, 1), 64, 3, rng=case)
    try:
        conv.forward(np.broadcast_to(np.float32(1), (200, 512, 512, 1)))
    except MemoryError:
        return "refused"
    return "computed"


# Those of one name must return the same.
WORKS = {layer: "layer", training: "training", resumed: "training", prediction: "prediction", too_large: "too large"}
COUNTS = (8, 4, 4, 8, 1)


class Soak:
    """The first results, and what differed from them."""

    def __init__(self, folder, cases):
        self.folder, self.cases = folder, cases
        self.first, self.wrong, self.compared, self.done = {}, [], 0, 0

    def one(self, seed, alone=True):
        """One piece of work under switches that are drawn with it; `alone` where no other Python thread works.

        The sums of NumPy's BLAS depend on its threads, of which a process has one number: that of the block that any
        Python thread entered last.
        """
        drawn = DRAWN.source = random.Random(seed)
        backend = drawn.choices(("numba", "numpy", "check"), (12, 2 * alone, 1))[0]
        conv = drawn.choice(("auto", "im2col", "direct", "winograd"))
        threads = drawn.randrange(1, 5)
        work = drawn.choices(list(WORKS), COUNTS)[0]
        case = drawn.randrange(self.cases)
        blas = threads if backend == "numpy" else None
        with fastcnn.using(backend=backend, conv=conv, threads=threads):
            found = work(case, self.folder)
        self.compare((WORKS[work], case, backend, conv if backend != "numpy" else None, blas), found)

    def compare(self, key, found):
        self.done += 1
        if key in self.first:
            self.compared += 1
            if self.first[key] != found:
                self.wrong.append(key)
        else:
            self.first[key] = found


def main(seconds, cases, mib, folder):
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = taken + (int(mib) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    soak, seeds = Soak(Path(folder), int(cases)), itertools.count()
    soak.one(next(seeds))  # which may compile
    end = time.monotonic() + float(seconds)
    with ThreadPoolExecutor(2) as pool:
        while time.monotonic() < end:
            if soak.done % 5:
                soak.one(next(seeds))
            else:  # two at once
                for future in [pool.submit(soak.one, next(seeds), False) for _ in range(2)]:
                    future.result()
    soak.one(0)  # once more, so that there is something to compare where this took all the time
    left = sorted(name for name in os.listdir(folder) if name.endswith(".tmp"))
    print(json.dumps({"done": soak.done, "compared": soak.compared, "wrong": soak.wrong, "left": left}))


if __name__ == "__main__":
    main(*sys.argv[1:])
