"""A training on several ranks: ``mpiexec -n N python -m mpi4py ranks.py RESULT [OPTIONS as JSON]``.

Convolutions, BatchNorm, Residual, Dropout, augmentation, Adam, a schedule, clipping. 150 images in batches of 31: parts
differ in size, and the last batch holds 26. Each rank writes the weights, the optimizer's state and the history to
RESULT with its number.
"""

import json
import os
import sys

import numpy as np

import fastcnn
from fastcnn import Sequential, datasets, schedules
from fastcnn.augmentation import Augmentation
from fastcnn.callbacks import Checkpoint
from fastcnn.layers import BatchNorm, Conv2D, Dropout, Flatten, FullyConnect, MaxPooling, Relu, Residual, Softmax
from fastcnn.layers.chain import walk
from fastcnn.optimizers import Adam
from fastcnn.storage import tensors

DEFAULTS = {"images": 150, "batch_size": 31, "epochs": 2, "dtype": "float64", "sync": True, "threads": 1}


def make_model(rank, batch=31):
    np.random.seed(3 + rank)  # rank 0's weights and numbers are those of all
    conv = Conv2D((batch, 28, 28, 1), 6, 5, 2, initializer="he")
    norm = BatchNorm(conv.output_shape)
    relu = Relu(norm.output_shape)
    inner = Conv2D(relu.output_shape, 6, 3, 1, "SAME", initializer="he")
    residual = Residual([inner, BatchNorm(inner.output_shape)])
    pool = MaxPooling(residual.output_shape)
    flat = Flatten(pool.output_shape)
    drop = Dropout(flat.output_shape, 0.8)
    fc = FullyConnect(drop.output_shape, 10, initializer="he")
    return Sequential([conv, norm, relu, residual, pool, flat, drop, fc, Softmax(fc.output_shape)])


def train(result, options, comm):
    options = DEFAULTS | options
    fastcnn.set_dtype(options["dtype"])
    fastcnn.set_num_threads(options["threads"])
    rank = comm.Get_rank() if comm else 0
    data = datasets.load("digits")
    x, y = data.train_images[: options["images"]], data.train_labels[: options["images"]]
    model = make_model(rank)
    optimizer = Adam(model, schedules.one_cycle(0.01), weight_decay=1e-4, clip_norm=5.0)
    checkpoint = options.get("checkpoint")
    history = model.fit(
        x,
        y,
        options["epochs"],
        options["batch_size"],
        (data.test_images[:101], data.test_labels[:101]),
        optimizer=optimizer,
        seed=7,
        augmentation=Augmentation(shift=2),
        label_smoothing=0.1,
        metrics=["f1"],
        callbacks=[Checkpoint(checkpoint, every_steps=2)] if checkpoint else [],
        resume=checkpoint if checkpoint and os.path.exists(checkpoint) else None,
        distributed=comm,
        sync_batch_norm=options["sync"],
        verbose=False,
    )
    kept = {f"{key}.{slot}": a for key, slots in optimizer.state_dict()["kept"].items() for slot, a in slots.items()}
    arrays = {f"{place}.{name}": a for place, layer in walk(model.layers) for name, a in tensors(layer).items()}
    numbers = {key: np.array(values) for key, values in history.items() if not key.startswith(("seconds", "images"))}
    probabilities = model.predict(data.test_images[:17], distributed=comm)
    np.savez(f"{result}{rank}.npz", probabilities=probabilities, **numbers, **arrays, **kept)


if __name__ == "__main__":
    from mpi4py import MPI

    train(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}, MPI.COMM_WORLD)
