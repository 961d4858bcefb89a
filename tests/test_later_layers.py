"""What a model does, with every layer that came later: it trains, is saved, resumed, profiled and summarised."""

import contextlib
import inspect

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential
from fastcnn.callbacks import Callback, Checkpoint
from fastcnn.layers import Layer
from fastcnn.optimizers import Adam
from fastcnn.profiling import profile
from tests.helpers.later import later_layers

SHAPE = (6, 16, 14, 3)


class Interrupted(Callback):
    """After the third batch."""

    def on_batch_end(self, run):
        if run.batch == 3:
            raise KeyboardInterrupt


@pytest.fixture
def data(rng):
    return rng.standard_normal((30, *SHAPE[1:])).astype(np.float32), rng.integers(0, 4, 30)


def made():
    np.random.seed(0)
    return Sequential(later_layers(SHAPE, 4))


def trained(model, data, **options):
    model.fit(*data, epochs=2, batch_size=6, optimizer=Adam(model, 0.01), seed=1, verbose=False, **options)
    return model.predict(data[0])


FIRST = "BatchNorm Dropout ELU Flatten GlobalAvgPooling Layer Leaky_Relu PReLU Rescaling Residual Sigmoid Tanh"


def test_the_network_has_every_layer_but_the_first_ones():
    public = [getattr(fastcnn.layers, name) for name in fastcnn.layers.__all__]
    kinds = {kind.__name__ for kind in public if inspect.isclass(kind) and issubclass(kind, Layer)}
    assert kinds - {type(layer).__name__ for layer in made().layers} == set(FIRST.split())


def test_saved_and_loaded(tmp_path, data):
    model = made()
    wanted = trained(model, data)
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(Sequential.load(tmp_path / "model.npz").predict(data[0]), wanted)


def test_resumed_to_the_same_bits(tmp_path, data):
    wanted, path = trained(made(), data), tmp_path / "checkpoint.npz"
    with contextlib.suppress(KeyboardInterrupt):
        trained(made(), data, callbacks=[Checkpoint(path, every_steps=2), Interrupted()])
    np.testing.assert_array_equal(trained(made(), data, resume=path), wanted)


def test_profiled_and_summarised(data):
    model, lines = made(), []
    with profile() as report:
        trained(model, data)
    model.summary(lines.append)
    text = "\n".join(lines)
    for layer in model.layers[:-1]:
        called = {row.method for row in report.rows if row.layer.startswith(layer.name)}
        assert {"forward", "gradient"} <= called and layer.name in text, (layer.name, called)
