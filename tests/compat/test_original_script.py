"""A script by someone who knows only the original: `layers` became `fastcnn.layers` in its imports, nothing else."""

import numpy as np
import pytest

import fastcnn
from fastcnn.layers import Conv2D, FullyConnect, MaxPooling, Relu, Softmax
from tests import naive

SCRIPT = """
import numpy as np
from fastcnn.layers.base_conv import Conv2D
from fastcnn.layers.fc import FullyConnect
from fastcnn.layers.pooling import MaxPooling, AvgPooling
from fastcnn.layers.softmax import Softmax
from fastcnn.layers.relu import Relu

batch_size = 64
conv1 = Conv2D([batch_size, 28, 28, 1], 12, 5, 1)
relu1 = Relu(conv1.output_shape)
pool1 = MaxPooling(relu1.output_shape)
fc = FullyConnect(pool1.output_shape, 10)
sf = Softmax(fc.output_shape)

for epoch in range(3):
    learning_rate = 1e-5
    train_acc, train_loss = 0, 0
    for i in range(images.shape[0] // batch_size):
        img = images[i * batch_size:(i + 1) * batch_size].reshape([batch_size, 28, 28, 1])
        label = labels[i * batch_size:(i + 1) * batch_size]
        conv1_out = relu1.forward(conv1.forward(img))
        pool1_out = pool1.forward(conv1_out)
        fc_out = fc.forward(pool1_out)
        train_loss += sf.cal_loss(fc_out, np.array(label))
        for j in range(batch_size):
            if np.argmax(sf.softmax[j]) == label[j]:
                train_acc += 1
        sf.gradient()
        conv1.gradient(relu1.gradient(pool1.gradient(fc.gradient(sf.eta))))
        fc.backward(alpha=learning_rate, weight_decay=0.0004)
        conv1.backward(alpha=learning_rate, weight_decay=0.0004)
    history.append((train_loss / (i + 1) / batch_size, train_acc / (i + 1) / batch_size))

correct = 0
for i in range(len(test_images)):
    out = fc.forward(pool1.forward(relu1.forward(conv1.forward(test_images[i].reshape([1, 28, 28, 1])))))
    sf.predict(out)
    correct += np.argmax(sf.softmax[0]) == test_labels[i]
"""


@pytest.mark.slow
def test_the_script_learns(backend, digits):
    np.random.seed(0)
    scope = {
        "images": digits.train_images,
        "labels": digits.train_labels,
        "test_images": digits.test_images,
        "test_labels": digits.test_labels,
        "history": [],
    }
    assert scope["images"].dtype == np.uint8 and scope["images"].max() == 255
    exec(SCRIPT, scope)
    losses, accuracies = zip(*scope["history"], strict=True)
    assert losses[0] > losses[1] > losses[2]
    assert accuracies[-1] > 0.9
    assert scope["correct"] / len(scope["test_images"]) > 0.9


def test_ten_steps_of_lenet_equal_the_scalar_arithmetic(digits):
    """np.random.seed(0), float64, the same batches: the same weights to 1e-10, on both backends."""
    shape, alpha, weight_decay = (2, 28, 28, 1), 1e-5, 4e-4
    batches = [slice(2 * i, 2 * i + 2) for i in range(10)]
    images, labels = digits.train_images, digits.train_labels
    oracle = naive.LeNet(shape, 0)
    expected_losses = [oracle.step(images[b].astype(float), labels[b], alpha, weight_decay) for b in batches]

    for name in ("numpy", "numba"):
        np.random.seed(0)
        conv1 = Conv2D(shape, 12, 5, 1, dtype="float64")
        relu1 = Relu(conv1.output_shape, dtype="float64")
        pool1 = MaxPooling(relu1.output_shape, dtype="float64")
        conv2 = Conv2D(pool1.output_shape, 24, 3, 1, dtype="float64")
        relu2 = Relu(conv2.output_shape, dtype="float64")
        pool2 = MaxPooling(relu2.output_shape, dtype="float64")
        fc = FullyConnect(pool2.output_shape, 10, dtype="float64")
        sf = Softmax(fc.output_shape, dtype="float64")
        body = [conv1, relu1, pool1, conv2, relu2, pool2, fc]
        initial = fc.weights.copy()
        losses = []
        with fastcnn.use_backend(name):
            for batch in batches:
                out = images[batch]
                for layer in body:
                    out = layer.forward(out)
                losses.append(sf.cal_loss(out, labels[batch]))
                eta = sf.gradient()
                for layer in reversed(body):
                    eta = layer.gradient(eta)
                for layer in (fc, conv2, conv1):
                    layer.backward(alpha, weight_decay)
        np.testing.assert_allclose(losses, expected_losses, rtol=0, atol=1e-10)
        for layer, number in ((conv1, 1), (conv2, 2), (fc, 3)):
            for attribute, key in (("weights", "w"), ("bias", "b")):
                np.testing.assert_allclose(
                    getattr(layer, attribute), oracle.parameters[f"{key}{number}"], rtol=0, atol=1e-10
                )
        assert np.abs(fc.weights - initial).max() > 1e-3  # ten steps went somewhere


@pytest.mark.parametrize("module", ["base_conv", "fc", "pooling", "softmax", "relu"])
def test_module_names_are_api(module):
    __import__(f"fastcnn.layers.{module}")
