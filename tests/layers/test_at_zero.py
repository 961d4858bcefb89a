"""The switch `at_zero`: on which side of the kink an x of exactly 0 is, in the gradient."""

import copy
import pickle

import numpy as np
import pytest

from fastcnn import Sequential
from fastcnn.layers import ELU, Conv2D, FullyConnect, LeakyRelu, MaxPooling, PReLU, Relu, Softmax
from fastcnn.layers.chain import is_fused

SHAPE = (2, 5)
X = np.array([[-2.0, -0.0, 0.0, 1.0, np.nan]] * 2)
ETA = np.full(SHAPE, 4.0)
# Kind, its arguments, and the slopes at -2, 0 and 1: with at_zero=True the one at 0 is the one at 1.
KINDS = [(Relu, {}, 0.0), (LeakyRelu, {"alpha": 0.25}, 0.25), (ELU, {"alpha": 0.5}, 0.5), (PReLU, {"alpha": 0.5}, 0.5)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "given", "below"), KINDS)
def test_the_gradient_at_exactly_zero(kind, given, below, dtype, backend):
    one, other = kind(SHAPE, **given, dtype=dtype), kind(SHAPE, **given, at_zero=False, dtype=dtype)
    np.testing.assert_array_equal(one.forward(X), other.forward(X))
    passed, stopped = one.gradient(ETA), other.gradient(ETA)
    np.testing.assert_array_equal(passed[:, 1:4], ETA[:, 1:4])
    np.testing.assert_array_equal(stopped[:, 1:3], below * ETA[:, 1:3])
    np.testing.assert_array_equal(stopped[:, [0, 3, 4]], passed[:, [0, 3, 4]])
    for name, gradient in one.gradients().items():
        np.testing.assert_array_equal(other.gradients()[name], gradient)


@pytest.mark.parametrize(("kind", "given", "below"), KINDS)
def test_the_switch_is_kept(kind, given, below, tmp_path):
    """In a copy, a pickle, a file, the text; where it is at its default, neither file nor text says anything of it."""
    layer, plain = kind(SHAPE, at_zero=False), kind(SHAPE)
    assert "at_zero=False" in repr(layer) and "at_zero" not in repr(plain) and "at_zero" not in plain.config()
    fc = FullyConnect(SHAPE, 2)
    Sequential([layer, fc, Softmax(fc.output_shape)]).save(tmp_path / "model.npz")
    loaded = Sequential.load(tmp_path / "model.npz").layers[0]
    for one in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded, kind(**layer.config())):
        assert one.at_zero is False
    assert kind(**plain.config()).at_zero is True


@pytest.mark.parametrize(("kind", "given", "below"), KINDS)
def test_a_pickle_of_before(kind, given, below):
    state = vars(kind(SHAPE)).copy()
    del state["at_zero"]
    layer = kind.__new__(kind)
    layer.__setstate__(state)
    assert layer.at_zero is True and layer.config() == kind(SHAPE).config()


def test_a_wrong_switch_is_refused():
    with pytest.raises(ValueError, match=r"^Relu: `at_zero` must be True or False\. Received at_zero='no'$"):
        Relu(SHAPE, at_zero="no")
    layer = PReLU(SHAPE)
    with pytest.raises(ValueError, match=r"^PReLU: `at_zero` must be True or False\. Received at_zero=2$"):
        layer.at_zero = 2
    layer.at_zero = np.bool_(False)
    assert layer.at_zero is False


def network(at_zero):
    """A Relu before each of the layers that compute one before them."""
    image = (3, 6, 6, 2)
    conv = Conv2D(image, 4, 3, 1, "SAME", initializer="he", rng=0, dtype="float64")
    conv.bias = np.zeros(4)
    relus = [Relu(shape, at_zero=at_zero, dtype="float64") for shape in (image, conv.output_shape)]
    pool = MaxPooling(conv.output_shape, dtype="float64")
    fc = FullyConnect(pool.output_shape, 3, rng=0, dtype="float64")
    return [relus[0], conv, relus[1], pool, fc]


@pytest.mark.parametrize("at_zero", [True, False])
def test_in_a_row_of_layers(at_zero, rng, backend):
    """A row computes what its layers do one by one, where many values are exactly 0: the first image is, and so is what
    the convolution makes of it."""
    x, row = rng.integers(-1, 2, (3, 6, 6, 2)).astype(float), network(at_zero)
    x[0] = 0
    model = Sequential([*copy.deepcopy(row), Softmax((3, 3), dtype="float64")])
    assert [is_fused(model.body, position) for position in (0, 2)] == [at_zero, at_zero]
    out = x
    for layer in row:
        out = layer.forward(out)
    np.testing.assert_array_equal(model.logits(x, "train"), out)
    eta = rng.standard_normal(out.shape)
    got = model.gradient(eta)
    for layer in reversed(row):
        eta = layer.gradient(eta)
    np.testing.assert_allclose(got, eta, rtol=1e-12, atol=1e-14)
    assert eta[0].any() == at_zero and eta[x > 0].any()
    for mine, theirs in zip(model.body, row, strict=True):
        for name, gradient in theirs.gradients().items():
            np.testing.assert_allclose(mine.gradients()[name], gradient, rtol=1e-12, atol=1e-12)


def test_a_switch_between_forward_and_gradient(rng):
    """It counts for the gradient that follows, also where the next layer has computed the Relu."""
    x = np.zeros((3, 6, 6, 2))
    for first in (True, False):
        model = Sequential([*network(first), Softmax((3, 3), dtype="float64")])
        model.logits(x, "train")
        model.body[0].at_zero = model.body[2].at_zero = False
        assert not model.gradient(np.ones((3, 3))).any()
