"""`fastcnn.profiling`: which layer's time is counted where, and that nothing stays wrapped."""

import pickle
import threading
import time

import numpy as np
import pytest

import fastcnn
from fastcnn import profiling
from fastcnn.layers import Conv2D, FullyConnect, Layer, Relu, Softmax
from tests.helpers.models import small


def methods():
    """Every method that a profile could wrap, of every layer class."""
    classes = [Layer]
    for cls in classes:
        classes += cls.__subclasses__()
    return {(cls, name): vars(cls).get(name) for cls in classes for name in (*profiling.METHODS, "__init_subclass__")}


@pytest.fixture(autouse=True)
def _restored():
    before = methods()
    yield
    assert {key: value for key, value in methods().items() if key in before} == before
    assert not any(hasattr(value, "__wrapped__") for value in methods().values())


class Slow(Relu):
    """A script's own layer: overrides, calls super(), and one of its own methods."""

    def forward(self, x):
        time.sleep(0.01)
        return super().forward(self.predict(x))

    def predict(self, x):
        return x


class Block(Layer):
    """A layer made of layers."""

    def __init__(self, shape):
        super().__init__(shape)
        self.inner = Slow(shape)

    def forward(self, x):
        time.sleep(0.005)
        return self.inner.forward(self.inner.forward(x))

    def gradient(self, eta):
        return self.inner.gradient(eta)


def table(report):
    return {(row.layer, row.method): row for row in report.rows}


def test_the_outermost_call_counts_and_inner_layers_have_their_own_time():
    x = np.ones((2, 3), np.float32)
    with profiling.profile() as report:
        block = Block((2, 3))
        block.gradient(block.forward(x))
    rows = table(report)
    names = {("Block 1 (2, 3) -> (2, 3)", m) for m in ("forward", "gradient")}
    assert set(rows) == names | {("Slow 1 (2, 3) -> (2, 3)", m) for m in ("forward", "gradient")}
    outer, inner = (rows[f"{kind} 1 (2, 3) -> (2, 3)", "forward"] for kind in ("Block", "Slow"))
    assert (outer.calls, inner.calls) == (1, 2)
    assert inner.seconds >= 0.02 > outer.seconds >= 0.005
    assert report.rows[0] == inner and report.layer_seconds <= report.seconds
    assert report.elsewhere == pytest.approx(report.seconds - report.layer_seconds)
    assert report.as_dict()["rows"][0] == inner._asdict()


@pytest.mark.parametrize("name", ["numpy", "check"])
def test_sequential_calls_parts_of_layers(name, data):
    if name == "check":
        pytest.importorskip("numba")
    images, labels = data
    model = small()
    with fastcnn.use_backend(name), profiling.profile() as report:
        model.fit(images[:16], labels[:16], batch_size=8, verbose=False)
        model.predict(images[:3])
    calls = {(row.layer.split(" (")[0], row.method): row.calls for row in report.rows}
    assert calls == {
        ("Conv2D 1", "forward"): 3,
        ("Conv2D 1", "gradient"): 2,  # `parameter_gradient` alone
        ("MaxPooling 1", "forward"): 3,  # `forward_rectified`: the Relu is in it
        ("MaxPooling 1", "gradient"): 2,
        ("FullyConnect 1", "forward"): 3,
        ("FullyConnect 1", "gradient"): 2,
        ("Softmax 1", "cal_loss"): 2,
        ("Softmax 1", "gradient"): 2,
        ("Softmax 1", "predict"): 1,
        ("SGD 1", "step"): 2,
    }


def test_classes_made_meanwhile_are_measured_and_restored():
    with profiling.profile() as report:

        class Late(Slow):
            def gradient(self, eta):
                return super().gradient(eta)

        layer = Late((1, 2))
        layer.gradient(layer.forward(np.ones((1, 2))))
    assert {(row.layer.split(" (")[0], row.method) for row in report.rows} == {
        ("Late 1", "forward"),
        ("Late 1", "gradient"),
    }
    calls = [row.calls for row in report.rows]
    layer.forward(np.ones((1, 2)))
    assert calls == [row.calls for row in report.rows] == [1, 1]


def test_restored_after_an_exception_and_nested():
    layer = Relu((1, 2))
    with pytest.raises(ValueError, match="`x` must have the shape"), profiling.profile() as outer:
        with profiling.profile() as inner:
            layer.forward(np.ones((1, 2)))
        layer.forward(np.ones((1, 2)))
        layer.forward(np.ones((1, 3)))
    assert [row.calls for row in inner.rows] == [1] and [row.calls for row in outer.rows] == [3]


def test_layers_pickle_meanwhile():
    conv = Conv2D((1, 5, 5, 1), 2)
    with profiling.profile():
        conv.forward(np.ones((1, 5, 5, 1)))
        again = pickle.loads(pickle.dumps([conv, conv.forward]))
        assert type(again[0]) is Conv2D and again[1].__self__ is again[0]
    assert again[0].forward(np.ones((1, 5, 5, 1))).shape == (1, 3, 3, 2)


def test_threads():
    layers = [Slow((1, 2)), Slow((1, 2))]

    def work():
        for layer in layers:
            for _ in range(5):
                layer.forward(np.ones((1, 2)))

    with profiling.profile() as report:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted((row.layer, row.calls) for row in report.rows) == [(f"Slow {n} (1, 2) -> (1, 2)", 20) for n in (1, 2)]
    assert report.layer_seconds > report.seconds and report.elsewhere == 0


def test_the_table():
    with profiling.profile() as report:
        softmax = Softmax((2, 3))
        softmax.cal_loss(np.zeros((2, 3)), [0, 1])
        for _ in range(60):  # many layers that come and go
            FullyConnect((1, 2)).forward(np.zeros((1, 2)))
    text = str(report).splitlines()
    assert text[0].split("  ")[0] == "layer" and len({len(line) for line in text}) == 1
    assert len(text) == 1 + 1 + profiling.ROWS_SHOWN + 1 + 1 + 3
    assert text[-5].startswith("21 more rows ") and text[-2].startswith("elsewhere ") and "100.0%" in text[-1]
    assert len(report.rows) == 61 and "FullyConnect 60 (1, 2) -> (1, 2)" in {row.layer for row in report.rows}


def test_an_empty_profile_prints():
    with profiling.profile() as report:
        pass
    assert report.rows == [] and str(report).count("\n") == 5
    assert fastcnn.profiling is profiling
