"""The defects of the original, each in a layer that is right otherwise."""

import numpy as np

from tests.helpers import seed_layers


class BiasWithItself(seed_layers.FullyConnect):
    def backward(self, alpha=1e-5, weight_decay=4e-4):
        bias = self.bias
        super().backward(alpha, weight_decay)
        self.bias = bias * (1 - weight_decay) - alpha * bias


class MaskNeverCleared(seed_layers.MaxPooling):
    """The gradient of windows that do not overlap, times a mask that only grows."""

    def __init__(self, shape):
        super().__init__(shape)
        self.index = np.zeros(shape)

    def forward(self, x):
        out = super().forward(x)
        self.index[: len(x)][super().gradient(np.ones(out.shape)) > 0] = 1
        return out

    def gradient(self, eta):
        height, width = self.input_shape[1:3]
        grown = np.repeat(np.repeat(eta, 2, axis=1), 2, axis=2)
        grown = np.pad(grown, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        return grown * self.index[: len(eta)]


class StrideRaises(seed_layers.Conv2D):
    def spread(self, eta):
        """Takes `eta` for that of stride 1."""
        sizes = [size - self.ksize + 1 for size in self.x.shape[1:3]]
        return super().spread(eta.reshape(len(eta), *sizes, self.output_channels))


class StrideSpreadsWrongly(seed_layers.Conv2D):
    def spread(self, eta):
        """The right shape, everything where it would belong with stride 1."""
        stride, self.stride = self.stride, 1
        try:
            return super().spread(eta)
        finally:
            self.stride = stride


class WidthByHeight(seed_layers.Conv2D):
    def sizes(self):
        height, width = super().sizes()
        return [height, width if self.method == "SAME" else height]


class EvenKernelRaises(seed_layers.Conv2D):
    def sizes(self):
        """For a padding of ``ksize // 2`` on both sides, which is one too many."""
        return [size + (self.method == "SAME" and self.ksize % 2 == 0) for size in super().sizes()]


class OverlapAssigns(seed_layers.AvgPooling):
    def gradient(self, eta):
        back = np.zeros((self.batch, *self.input_shape[1:]))
        for i, j, rows, columns in self.windows():
            part = back[:, rows, columns]
            part[...] = eta[:, i : i + 1, j : j + 1] / (part.shape[1] * part.shape[2])
        return back


class FixedBatch(seed_layers.FullyConnect):
    def gradient(self, eta):
        for n in range(self.output_shape[0]):
            self.w_gradient += np.outer(self.x[n], eta[n])
            self.b_gradient += eta[n]
        return (eta @ self.weights.T).reshape(self.input_shape)


class MeanIsConstant(seed_layers.BatchNorm):
    def gradient(self, eta):
        super().gradient(eta)
        return eta * self.alpha / self.deviation


class ReluOverwrites(seed_layers.Relu):
    def gradient(self, eta):
        self.eta = eta
        self.eta[self.x < 0] = 0
        return self.eta


class PredictOverwrites(seed_layers.Softmax):
    def predict(self, prediction):
        prediction -= prediction.max(axis=1, keepdims=True)
        return super().predict(prediction)
