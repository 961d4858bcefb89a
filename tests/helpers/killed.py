"""A training to be killed: ``killed.py CHECKPOINT RESULT``. It goes on from the checkpoint where there is one.

Augmentation, Dropout, BatchNorm, Adam and a schedule: all that has a state of its own. It says on stdout when it has
begun, and writes the weights, the optimizer's state and the history to RESULT at the end.
"""

import json
import os
import sys

import numpy as np

from fastcnn import Sequential, datasets, schedules
from fastcnn.augmentation import Augmentation
from fastcnn.callbacks import Callback, Checkpoint, EarlyStopping
from fastcnn.layers import BatchNorm, Conv2D, Dropout, Flatten, FullyConnect, MaxPooling, Relu, Residual, Softmax
from fastcnn.layers.protocol import tensors_of
from fastcnn.optimizers import Adam


class Begun(Callback):
    def on_fit_begin(self, run):
        print("begun", flush=True)


def make_model(batch=32):
    np.random.seed(3)
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


def train(checkpoint, result, steps=5, epochs=12, images=1500):
    data = datasets.load("digits")
    x, y = data.train_images[:images], data.train_labels[:images]
    model = make_model()
    optimizer = Adam(model, schedules.one_cycle(0.01), weight_decay=1e-4, clip_norm=5.0)
    history = model.fit(
        x,
        y,
        epochs,
        32,
        (data.test_images[:200], data.test_labels[:200]),
        optimizer=optimizer,
        seed=7,
        augmentation=Augmentation(shift=2),
        label_smoothing=0.1,
        callbacks=[
            Begun(),
            EarlyStopping(patience=epochs, restore_best=True),
            Checkpoint(checkpoint, every_steps=steps),
        ],
        resume=checkpoint if os.path.exists(checkpoint) else None,
        verbose=False,
    )
    if history.stopped is not None:
        sys.exit(130)
    kept = {f"{key}.{slot}": a for key, slots in optimizer.state_dict()["kept"].items() for slot, a in slots.items()}
    arrays = {f"{i}.{j}.{name}": a for i, layer in enumerate(model.layers) for j, inner in enumerate(parts(layer))
              for name, a in tensors_of(inner).items()}  # fmt: skip
    numbers = {key: values for key, values in history.items() if key not in ("seconds", "images_per_second")}
    random = str(np.random.get_state())
    with open(f"{result}.half", "wb") as file:  # it may be killed here too
        np.savez(file, numbers=np.array(json.dumps(numbers)), random=np.array(random), **arrays, **kept)
    os.replace(f"{result}.half", result)


def parts(layer):
    return [layer, *layer.children().values()]


if __name__ == "__main__":
    train(*sys.argv[1:])
