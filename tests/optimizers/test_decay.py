"""Which parameters decay: all, weights alone, or those that a function names."""

import numpy as np
import pytest

from fastcnn.layers import BatchNorm, Conv2D, FullyConnect, PReLU, Residual
from fastcnn.layers.protocol import walk
from fastcnn.optimizers import SGD, Adam, AdamW, Momentum, Nesterov, RMSProp

RULES = (SGD, Momentum, Nesterov, RMSProp, Adam, AdamW)


def parts(layers):
    """Every parameter by its place and name."""
    return {(place, name): array.copy() for place, layer in walk(layers) for name, array in layer.parameters().items()}


def of_some(place, name):
    return name == "bias" or place == "2.body.0"


DECAYS = {
    "all": lambda place, name, array: True,
    "weights": lambda place, name, array: array.ndim > 1,
    of_some: lambda place, name, array: of_some(place, name),
}


@pytest.mark.parametrize("decay", DECAYS, ids=["all", "weights", "callable"])
@pytest.mark.parametrize("rule", RULES)
def test_what_decays(rule, decay, backend):
    """Without a gradient a parameter changes by its decay alone, and where it has none not at all."""
    shape = (2, 4, 4, 3)
    layers = [
        Conv2D(shape, 3, method="SAME", rng=0),
        PReLU(shape),
        Residual([BatchNorm(shape)]),
        FullyConnect(shape, 2),
    ]
    layers[2].body[0].beta = [1, 2, 3]
    optimizer = rule(layers, 0.125, weight_decay=0.5, decay=decay)
    before = parts(layers)
    for _, layer in optimizer.trained:
        layer.gradients()  # zeros
    optimizer.step()
    for (place, name), array in parts(layers).items():
        was = before[place, name]
        if DECAYS[decay](place, name, array):
            assert (array[was != 0] != was[was != 0]).all(), (place, name)
            if rule in (SGD, AdamW):
                np.testing.assert_allclose(array, was * (1 - 0.125 * 0.5), rtol=1e-6)
        else:
            np.testing.assert_array_equal(array, was)
    assert len(before) == 7


def test_what_a_file_says_of_the_decay():
    assert SGD([FullyConnect((2, 3))], decay="weights").config()["decay"] == "weights"
    assert SGD([FullyConnect((2, 3))], decay=decays_nothing).config()["decay"].endswith(".decays_nothing")


def decays_nothing(place, name):
    return False


class Owned:
    """A layer that updates itself, and says nothing of its parameters."""

    def forward(self, x):
        return x

    def gradient(self, eta):
        return eta

    def backward(self, alpha, weight_decay):
        pass


def test_a_layer_that_updates_itself_decays_as_it_likes():
    SGD([Owned()], decay="all")
    with pytest.raises(TypeError, match="a `backward` of its own and no gradients"):
        SGD([Owned()], decay="weights")
