"""A training on several ranks: ``mpiexec -n N python ranks.py RESULT [OPTIONS as JSON]``.

Convolutions, BatchNorm, Residual, Dropout, augmentation, Adam, a schedule, clipping. 150 images in batches of 31: parts
differ in size, and the last batch holds 26. Each rank writes the weights, the optimizer's state and the history to
RESULT with its number.
"""

import copy
import json
import os
import signal
import sys
import time

import numpy as np

import fastcnn
from fastcnn import Sequential, datasets, schedules
from fastcnn.augmentation import Augmentation
from fastcnn.callbacks import Callback, Checkpoint
from fastcnn.layers import BatchNorm, Conv2D, Dropout, Flatten, FullyConnect, MaxPooling, Relu, Residual, Softmax
from fastcnn.layers.protocol import tensors_of, walk
from fastcnn.optimizers import Adam, Momentum
from fastcnn.saving import model_file
from tests.helpers.later import later_layers

DEFAULTS = {"images": 150, "batch_size": 31, "epochs": 2, "dtype": "float64", "sync": True, "every": 2}


class Broken(Relu):
    """Raises in the forward pass of step 3 of rank 1."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3 and rank_of(MPI_WORLD) == 1:
            raise MemoryError("no room for this layer")
        return super().forward(x)


class Fault(Callback):
    """Something that happens on one rank after step 3 of an epoch."""

    def __init__(self, rank, what, epoch=1):
        self.rank, self.what, self.epoch = rank, what, epoch

    def on_batch_end(self, run):
        if run.group.rank == self.rank and (run.epoch, run.batch) == (self.epoch, 3):
            getattr(self, self.what)(run)

    def stop(self, run):
        run.stop("enough")

    def fail(self, run):
        raise OSError("no space left on device")

    def interrupt(self, run):
        os.kill(os.getpid(), signal.SIGINT)

    def terminate(self, run):
        os.kill(os.getpid(), signal.SIGTERM)

    def hang(self, run):
        time.sleep(1000)

    def leave(self, run):
        os._exit(0)

    def spoil(self, run):
        run.model.layers[0].weights[0, 0, 0, 0] += 1

    def burst(self, run):
        run.model.layers[-2].weights[:] = np.nan

    def copy(self, run):
        copy.deepcopy(run.model)


class Ends(Callback):
    """Ends the training after its second epoch, on one rank."""

    def on_epoch_end(self, run):
        if run.group.rank == 1 and run.epoch == 3:
            run.stop("enough")


class Look(Callback):
    """What the checkpoint says after an epoch. Only rank 0 is asked, and what it is like decides the training."""

    comes_last = rank_0_only = True
    stopped: tuple = ()

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, run):
        self.stopped = (*self.stopped, model_file.read(self.path).header["training"]["stopped"])

    def settings(self):
        return "Look()"


MPI_WORLD = None


def rank_of(comm):
    return comm.Get_rank() if comm is not None else 0


def make_model(rank, batch, norm_first, broken=False, later=False):
    """With `norm_first` a bias stands before each BatchNorm, where its gradient is zero but for rounding."""
    np.random.seed(3 + rank)  # rank 0's weights and numbers are those of all
    if later:
        return Sequential(later_layers((batch, 28, 28, 1)))

    def block(shape, channels, *arguments):
        conv = Conv2D(shape, channels, *arguments, initializer="he")
        middle = [Relu(conv.output_shape), BatchNorm(conv.output_shape)]
        return [conv, *(reversed(middle) if norm_first else middle)]

    first = block((batch, 28, 28, 1), 6, 5, 2)
    residual = Residual(block(first[-1].output_shape, 6, 3, 1, "SAME"))
    pool = MaxPooling(residual.output_shape)
    flat = Flatten(pool.output_shape)
    drop = Dropout(flat.output_shape, 0.8)
    fc = FullyConnect(drop.output_shape, 10, initializer="he")
    more = [Broken(fc.output_shape)] if broken else []
    return Sequential([*first, residual, pool, flat, drop, fc, *more, Softmax(fc.output_shape)])


def train(result, options, comm=None):
    options, rank = DEFAULTS | options, rank_of(comm)
    fastcnn.set_dtype(options["dtype"])
    data = datasets.load("digits")
    x, y = data.train_images[: options["images"]] / 255, data.train_labels[: options["images"]]
    momentum, checkpoint = options.get("momentum"), options.get("checkpoint")
    model = make_model(rank, options["batch_size"], momentum, options.get("broken"), options.get("later"))
    rule, rate = (Momentum, 0.01) if momentum else (Adam, 0.01)
    optimizer = rule(model, schedules.one_cycle(rate), weight_decay=1e-4, clip_norm=5.0)
    callbacks = [Checkpoint(checkpoint, every_steps=options["every"])] if checkpoint else []
    if "fault" in options:
        callbacks.append(Fault(*options["fault"]))
    arguments = {
        "epochs": options["epochs"],
        "validation_data": (data.test_images[:101] / 255, data.test_labels[:101]),
        "seed": None if options.get("draw") else 7,
        "metrics": ["f1"],
        "sync_batch_norm": options["sync"],
    }
    if rank == 1:
        arguments |= options.get("differ", {})
    history = model.fit(
        x,
        y,
        batch_size=options["batch_size"],
        optimizer=optimizer,
        augmentation=Augmentation(shift=2),
        label_smoothing=0.1,
        callbacks=callbacks,
        resume=checkpoint if checkpoint and os.path.exists(checkpoint) else None,
        failure_file=None if comm is None else f"{result}failure.npz",
        distributed=comm,
        verbose=False,
        **arguments,
    )
    kept = {f"{key}.{slot}": a for key, slots in optimizer.state_dict()["kept"].items() for slot, a in slots.items()}
    arrays = {f"{place}.{name}": a for place, layer in walk(model.layers) for name, a in tensors_of(layer).items()}
    numbers = {key: np.array(values) for key, values in history.items() if not key.startswith(("seconds", "images"))}
    probabilities = model.predict(data.test_images[:17] / 255, distributed=comm)
    stopped = np.array([str(history.stopped), str(optimizer.steps)])
    np.savez(f"{result}{rank}.npz", probabilities=probabilities, stopped=stopped, **numbers, **arrays, **kept)


if __name__ == "__main__":
    from mpi4py import MPI

    MPI_WORLD = MPI.COMM_WORLD
    train(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}, MPI_WORLD)
