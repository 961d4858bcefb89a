"""Layers in the style of the original code base: the slow contestant of `fastcnn bench`, and nothing else uses them.

Python loops over images, pixels and channels around small NumPy calls, float64 throughout. They have the API of
:mod:`fastcnn.layers` and compute the same for stride-1 'VALID' convolutions and pooling that does not overlap. They are
written for this comparison: what the original does slowly is done slowly here, and its defects are left out.
"""

from collections.abc import Sequence

import numpy as np


def im2col(image: np.ndarray, ksize: int) -> np.ndarray:
    """The windows of one image (1, H, W, C), one window at a time."""
    columns = []
    for i in range(image.shape[1] - ksize + 1):
        for j in range(image.shape[2] - ksize + 1):
            columns.append(image[:, i : i + ksize, j : j + ksize, :].reshape(-1))
    return np.array(columns)


class Conv2D:
    def __init__(self, shape: Sequence[int], output_channels: int, ksize: int):
        self.input_shape, self.ksize = tuple(shape), ksize
        batch, height, width, channels = shape
        self.output_shape = (batch, height - ksize + 1, width - ksize + 1, output_channels)
        scale = np.sqrt(np.prod(shape) / output_channels)
        self.weights = np.random.standard_normal((ksize, ksize, channels, output_channels)) / scale
        self.bias = np.random.standard_normal(output_channels) / scale
        self.w_gradient, self.b_gradient = np.zeros_like(self.weights), np.zeros_like(self.bias)

    def forward(self, x: np.ndarray) -> np.ndarray:
        matrix = self.weights.reshape(-1, self.output_shape[3])
        out = np.zeros((len(x), *self.output_shape[1:]))
        self.col_image = []
        for n in range(len(x)):
            self.col_image.append(im2col(x[n : n + 1], self.ksize))
            out[n] = (np.dot(self.col_image[n], matrix) + self.bias).reshape(self.output_shape[1:])
        return out

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        col_eta = eta.reshape(len(eta), -1, self.output_shape[3])
        for n in range(len(eta)):
            self.w_gradient += np.dot(self.col_image[n].T, col_eta[n]).reshape(self.weights.shape)
        self.b_gradient += col_eta.sum(axis=(0, 1))
        border = self.ksize - 1
        padded = np.pad(eta, ((0, 0), (border, border), (border, border), (0, 0)))
        flipped = self.weights[::-1, ::-1].swapaxes(2, 3).reshape(-1, self.input_shape[3])
        return np.array(
            [
                np.dot(im2col(padded[n : n + 1], self.ksize), flipped).reshape(self.input_shape[1:])
                for n in range(len(eta))
            ]
        )

    def backward(self, alpha: float, weight_decay: float) -> None:
        for parameter, gradient in ((self.weights, self.w_gradient), (self.bias, self.b_gradient)):
            parameter *= 1 - weight_decay
            parameter -= alpha * gradient
            gradient[...] = 0


class MaxPooling:
    def __init__(self, shape: Sequence[int], size: int = 2):
        self.size = size
        self.output_shape = (shape[0], shape[1] // size, shape[2] // size, shape[3])

    def forward(self, x: np.ndarray) -> np.ndarray:
        size = self.size
        out = np.zeros((len(x), *self.output_shape[1:]))
        self.index = np.zeros(x.shape)
        for n in range(len(x)):
            for c in range(x.shape[3]):
                for i in range(out.shape[1]):
                    for j in range(out.shape[2]):
                        window = x[n, i * size : (i + 1) * size, j * size : (j + 1) * size, c]
                        out[n, i, j, c] = np.max(window)
                        first = np.argmax(window)
                        self.index[n, i * size + first // size, j * size + first % size, c] = 1
        return out

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        return np.repeat(np.repeat(eta, self.size, axis=1), self.size, axis=2) * self.index


class Relu:
    def __init__(self, shape: Sequence[int]):
        self.output_shape = tuple(shape)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.maximum(x, 0)

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        return np.where(self.x >= 0, eta, 0)


class FullyConnect:
    def __init__(self, shape: Sequence[int], output_num: int):
        self.input_shape = tuple(shape)
        self.output_shape = (shape[0], output_num)
        self.weights = np.random.standard_normal((int(np.prod(shape[1:])), output_num)) / 100
        self.bias = np.random.standard_normal(output_num) / 100
        self.w_gradient, self.b_gradient = np.zeros_like(self.weights), np.zeros_like(self.bias)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x.reshape(len(x), -1)
        return np.dot(self.x, self.weights) + self.bias

    def gradient(self, eta: np.ndarray) -> np.ndarray:
        for n in range(len(eta)):
            self.w_gradient += np.dot(self.x[n][:, np.newaxis], eta[n][np.newaxis, :])
            self.b_gradient += eta[n]
        return np.dot(eta, self.weights.T).reshape(len(eta), *self.input_shape[1:])

    backward = Conv2D.backward


class Softmax:
    def __init__(self, shape: Sequence[int]):
        self.input_shape = tuple(shape)

    def cal_loss(self, prediction: np.ndarray, label: np.ndarray) -> float:
        self.label, self.softmax = label, np.zeros(prediction.shape)
        loss = 0.0
        for n in range(len(prediction)):
            shifted = prediction[n] - np.max(prediction[n])
            self.softmax[n] = np.exp(shifted) / np.sum(np.exp(shifted))
            loss += np.log(np.sum(np.exp(shifted))) - shifted[label[n]]
        return loss

    def gradient(self) -> np.ndarray:
        eta = self.softmax.copy()
        for n in range(len(eta)):
            eta[n, self.label[n]] -= 1
        return eta


def step(layers: Sequence, x: np.ndarray, labels: np.ndarray) -> None:
    """A training step, every gradient computed."""
    *body, loss = layers
    out = x
    for layer in body:
        out = layer.forward(out)
    loss.cal_loss(out, labels)
    eta = loss.gradient()
    for layer in reversed(body):
        eta = layer.gradient(eta)
    for layer in body:
        if hasattr(layer, "backward"):
            layer.backward(1e-4, 4e-4)
