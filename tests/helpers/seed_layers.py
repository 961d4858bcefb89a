"""Layers as scripts write them, in the original's style: loops over images, float64, no fastcnn; all of them right.

Where a defect of the original is one expression, that expression is a method here, for a faulty subclass to replace.
"""

import numpy as np


class Learning:
    """Update of `weights` and `bias`."""

    def start(self, shape):
        self.weights, self.bias = np.random.standard_normal(shape) / 3, np.random.standard_normal(shape[-1]) / 3
        self.w_gradient, self.b_gradient = np.zeros(shape), np.zeros(shape[-1])

    def backward(self, alpha=1e-5, weight_decay=4e-4):
        self.weights = self.weights * (1 - weight_decay) - alpha * self.w_gradient
        self.bias = self.bias * (1 - weight_decay) - alpha * self.b_gradient
        self.w_gradient, self.b_gradient = np.zeros(self.weights.shape), np.zeros(self.bias.shape)


class Conv2D(Learning):
    def __init__(self, shape, output_channels, ksize=3, stride=1, method="VALID"):
        self.input_shape, self.output_channels = shape, output_channels
        self.ksize, self.stride, self.method = ksize, stride, method
        self.start((ksize, ksize, shape[3], output_channels))
        self.output_shape = [shape[0], *self.sizes(), output_channels]

    def padding(self):
        return ((self.ksize - 1) // 2, self.ksize // 2) if self.method == "SAME" else (0, 0)

    def sizes(self):
        return [(size + sum(self.padding()) - self.ksize) // self.stride + 1 for size in self.input_shape[1:3]]

    def windows(self):
        for i in range(self.output_shape[1]):
            for j in range(self.output_shape[2]):
                top, left = i * self.stride, j * self.stride
                yield i, j, slice(top, top + self.ksize), slice(left, left + self.ksize)

    def forward(self, x):
        self.x = np.pad(x, ((0, 0), self.padding(), self.padding(), (0, 0)))
        out = np.zeros((len(x), *self.output_shape[1:]))
        for i, j, rows, columns in self.windows():
            out[:, i, j] = np.tensordot(self.x[:, rows, columns], self.weights, 3) + self.bias
        return out

    def spread(self, eta):
        """The gradient of the padded input."""
        back = np.zeros(self.x.shape)
        for i, j, rows, columns in self.windows():
            back[:, rows, columns] += np.tensordot(eta[:, i, j], self.weights, (1, 3))
        return back

    def gradient(self, eta):
        for i, j, rows, columns in self.windows():
            self.w_gradient += np.tensordot(self.x[:, rows, columns], eta[:, i, j], (0, 0))
        self.b_gradient += eta.sum(axis=(0, 1, 2))
        before, height, width = self.padding()[0], *self.input_shape[1:3]
        return self.spread(eta)[:, before : before + height, before : before + width]


class FullyConnect(Learning):
    def __init__(self, shape, output_num=2):
        self.input_shape, self.output_shape = shape, [shape[0], output_num]
        self.start((int(np.prod(shape[1:])), output_num))

    def forward(self, x):
        self.x = x.reshape(len(x), -1)
        return self.x @ self.weights + self.bias

    def gradient(self, eta):
        for n in range(len(eta)):
            self.w_gradient += np.outer(self.x[n], eta[n])
            self.b_gradient += eta[n]
        return (eta @ self.weights.T).reshape(len(eta), *self.input_shape[1:])


class Pooling:
    def __init__(self, shape, ksize=2, stride=2):
        self.input_shape, self.ksize, self.stride = shape, ksize, stride
        self.output_shape = [shape[0], shape[1] // stride, shape[2] // stride, shape[3]]

    def windows(self):
        for i in range(self.output_shape[1]):
            for j in range(self.output_shape[2]):
                top, left = i * self.stride, j * self.stride
                yield i, j, slice(top, top + self.ksize), slice(left, left + self.ksize)


class MaxPooling(Pooling):
    def forward(self, x):
        self.x = x.copy()
        out = np.zeros((len(x), *self.output_shape[1:]))
        for i, j, rows, columns in self.windows():
            out[:, i, j] = x[:, rows, columns].max(axis=(1, 2))
        return out

    def gradient(self, eta):
        back = np.zeros(self.x.shape)
        for i, j, rows, columns in self.windows():
            for n, c in np.ndindex(len(eta), eta.shape[3]):
                part = self.x[n, rows, columns, c]
                first = np.unravel_index(part.argmax(), part.shape)
                back[n, rows, columns, c][first] += eta[n, i, j, c]
        return back


class AvgPooling(Pooling):
    def forward(self, x):
        self.batch = len(x)
        out = np.zeros((len(x), *self.output_shape[1:]))
        for i, j, rows, columns in self.windows():
            out[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))
        return out

    def gradient(self, eta):
        back = np.zeros((self.batch, *self.input_shape[1:]))
        for i, j, rows, columns in self.windows():
            part = back[:, rows, columns]
            part += eta[:, i : i + 1, j : j + 1] / (part.shape[1] * part.shape[2])
        return back


class Relu:
    def __init__(self, shape):
        self.output_shape = shape

    def forward(self, x):
        self.x = x
        return np.maximum(x, 0)

    def gradient(self, eta):
        return np.where(self.x >= 0, eta, 0)


class Dropout:
    """Keeps an input with probability `prob`."""

    def __init__(self, shape, prob=0.5):
        self.output_shape, self.prob = shape, prob

    def forward(self, x, phase="train"):
        self.mask = np.random.random(x.shape) < self.prob if phase == "train" else np.full(x.shape, self.prob)
        return x * self.mask / self.prob

    def gradient(self, eta):
        return eta * self.mask / self.prob


class BatchNorm:
    def __init__(self, shape):
        self.input_shape = self.output_shape = shape
        self.alpha, self.beta = np.full(shape[-1], 1.5), np.full(shape[-1], 0.5)
        self.a_gradient, self.b_gradient = np.zeros(shape[-1]), np.zeros(shape[-1])
        self.moving_mean, self.moving_var = np.zeros(shape[-1]), np.ones(shape[-1])
        self.epsilon, self.moving_decay = 1e-5, 0.9

    def forward(self, x, phase="train"):
        self.axes = tuple(range(x.ndim - 1))
        mean, var = self.moving_mean, self.moving_var
        if phase == "train":
            mean, var = x.mean(axis=self.axes), x.var(axis=self.axes)
            self.moving_mean = self.moving_decay * self.moving_mean + (1 - self.moving_decay) * mean
            self.moving_var = self.moving_decay * self.moving_var + (1 - self.moving_decay) * var
        self.deviation = np.sqrt(var + self.epsilon)
        self.normed = (x - mean) / self.deviation
        return self.alpha * self.normed + self.beta

    def gradient(self, eta):
        self.a_gradient += (eta * self.normed).sum(axis=self.axes)
        self.b_gradient += eta.sum(axis=self.axes)
        scaled = eta * self.alpha
        correlated = self.normed * (scaled * self.normed).mean(axis=self.axes)
        return (scaled - scaled.mean(axis=self.axes) - correlated) / self.deviation

    def backward(self, alpha=1e-4):
        self.alpha -= alpha * self.a_gradient
        self.beta -= alpha * self.b_gradient
        self.a_gradient[...] = self.b_gradient[...] = 0


class Softmax:
    def __init__(self, shape):
        self.input_shape = shape

    def predict(self, prediction):
        raised = np.exp(prediction - prediction.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def cal_loss(self, prediction, label):
        self.softmax, self.label = self.predict(prediction), label
        return -sum(np.log(self.softmax[n, label[n]]) for n in range(len(label)))

    def gradient(self):
        self.eta = self.softmax.copy()
        for n in range(len(self.eta)):
            self.eta[n, self.label[n]] -= 1
