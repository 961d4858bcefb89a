"""The layers, the loss and the optimizers once more, in float64 NumPy: what the whole API is compared with.

Written from the documentation, and neither from the NumPy backend nor from the scalar loops of `tests/naive.py`: what
all three have in common is the arithmetic alone. A layer is called as fastcnn's own. Beside each result it leaves its
`size`, the same with absolute values in place of all terms, to which rounding errors are relative.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Oracle:
    """A layer: `forward` keeps what `gradient` needs. `values` are its parameters, `slopes` their gradients."""

    def __init__(self, **values):
        self.values = {name: np.asarray(value, np.float64) for name, value in values.items()}
        self.slopes = {}  # name: (gradient, size)
        self.size = self.back_size = None

    def forward(self, x, train=True):
        self.x = np.asarray(x, np.float64)
        out, self.size = self.compute(train)
        return out

    def gradient(self, eta):
        back, self.back_size = self.differentiate(np.asarray(eta, np.float64))
        return back

    def all(self):
        """This layer and those inside it."""
        return [self]


def windows(x, ksize, stride, out):
    """(batch, OH, OW, C, ksize, ksize)"""
    height, width = ((count - 1) * stride + ksize for count in out)
    return sliding_window_view(x[:, :height, :width], (ksize, ksize), axis=(1, 2))[:, ::stride, ::stride]


def spread(terms, ksize, stride, shape):
    """Adds `terms` (batch, OH, OW, C, ksize, ksize) up where the windows lie: the adjoint of `windows`."""
    total, (oh, ow) = np.zeros(shape), terms.shape[1:3]
    for i in range(ksize):
        for j in range(ksize):
            place = np.s_[:, i : i + stride * (oh - 1) + 1 : stride, j : j + stride * (ow - 1) + 1 : stride]
            total[place] += terms[..., i, j]
    return total


def axis_matrix(size, padding, step, tap, count):
    """(count, size): 1 where output i of an axis has pixel j under the kernel's tap, ``i * stride - before + tap *
    dilation``."""
    stride, dilation = step
    at = np.arange(count) * stride - padding[0] + tap * dilation
    return (at[:, None] == np.arange(size)).astype(float)


def zeros_around(method, size, reach, stride):
    """The padding of an axis, as TensorFlow's documentation says it, and the original's."""
    if method == "VALID":
        return 0, 0
    if method == "SAME":
        return (reach - 1) // 2, reach // 2
    total = max(reach - (size % stride or stride), 0)
    return total // 2, total - total // 2


class Convolution(Oracle):
    """A sum over the kernel's taps, each of which is a matrix on each axis of the image; and one weight matrix of all
    channels, 0 between those of different groups. `geometry` is (stride, dilation, padding or method, groups)."""

    def __init__(self, weights, bias, geometry):
        super().__init__(weights=weights, **({} if bias is None else {"bias": bias}))
        *self.steps, self.padding, self.groups = geometry

    def taps(self, image_sizes):
        """(i, j, matrix of the rows, matrix of the columns) of each tap of a convolution of such images."""
        axes = []
        for axis, size in enumerate(image_sizes):
            ksize, stride, dilation = self.values["weights"].shape[axis], *(pair[axis] for pair in self.steps)
            reach, around = (ksize - 1) * dilation + 1, self.padding
            padding = zeros_around(around, size, reach, stride) if isinstance(around, str) else around[axis]
            count = (size + sum(padding) - reach) // stride + 1
            axes.append([axis_matrix(size, padding, (stride, dilation), tap, count) for tap in range(ksize)])
        return [(i, j, rows, columns) for i, rows in enumerate(axes[0]) for j, columns in enumerate(axes[1])]

    def whole(self, weights):
        """(kh, kw, C, O) of all channels."""
        inputs, outputs = weights.shape[2], weights.shape[3] // self.groups
        full = np.zeros((*weights.shape[:2], self.groups * inputs, weights.shape[3]))
        for g in range(self.groups):
            own = slice(g * outputs, (g + 1) * outputs)
            full[:, :, g * inputs : (g + 1) * inputs, own] = weights[..., own]
        return full

    def of_groups(self, full):
        """The adjoint of `whole`."""
        inputs, outputs = full.shape[2] // self.groups, full.shape[3] // self.groups
        parts = [full[:, :, g * inputs : (g + 1) * inputs, g * outputs : (g + 1) * outputs] for g in range(self.groups)]
        return np.concatenate(parts, axis=3)

    def forth(self, image, weights):
        full = self.whole(weights)
        return sum(
            np.einsum("nhwc,yh,xw,co->nyxo", image, rows, columns, full[i, j], optimize=True)
            for i, j, rows, columns in self.taps(image.shape[1:3])
        )

    def back(self, eta, weights, image_sizes):
        full = self.whole(weights)
        return sum(
            np.einsum("nyxo,yh,xw,co->nhwc", eta, rows, columns, full[i, j], optimize=True)
            for i, j, rows, columns in self.taps(image_sizes)
        )

    def by_weights(self, image, eta):
        full = np.zeros((*self.values["weights"].shape[:2], image.shape[3], eta.shape[3]))
        for i, j, rows, columns in self.taps(image.shape[1:3]):
            full[i, j] = np.einsum("nhwc,yh,xw,nyxo->co", image, rows, columns, eta, optimize=True)
        return self.of_groups(full)

    def twice(self, function, *arguments):
        """The result, and that of absolute values."""
        return function(*arguments), function(*map(np.abs, arguments))

    def compute(self, train):
        out, size = self.twice(self.apply, self.x, self.values["weights"])
        bias = self.values.get("bias", np.zeros(1))
        return out + bias, size + abs(bias)

    def differentiate(self, eta):
        self.slopes = {"weights": self.twice(self.slope, self.x, eta)}
        if "bias" in self.values:
            self.slopes["bias"] = self.twice(lambda eta: eta.sum(axis=(0, 1, 2)), eta)
        return self.twice(self.unapply, eta, self.values["weights"])


class Conv(Convolution):
    def apply(self, x, weights):
        return self.forth(x, weights)

    def unapply(self, eta, weights):
        return self.back(eta, weights, self.x.shape[1:3])

    def slope(self, x, eta):
        return self.by_weights(x, eta)


class TransposedConv(Convolution):
    """To images of the height and width of `output_shape`."""

    def __init__(self, weights, bias, geometry, output_shape):
        super().__init__(weights, bias, geometry)
        self.sizes = output_shape[1:3]

    def apply(self, x, weights):
        return self.back(x, weights, self.sizes)

    def unapply(self, eta, weights):
        return self.forth(eta, weights)

    def slope(self, x, eta):
        return self.by_weights(eta, x)


class Dense(Oracle):
    def __init__(self, weights, bias):
        super().__init__(weights=weights, bias=bias)

    def compute(self, train):
        x, weights, bias = self.x.reshape(len(self.x), -1), self.values["weights"], self.values["bias"]
        return x @ weights + bias, abs(x) @ abs(weights) + abs(bias)

    def differentiate(self, eta):
        x, weights = self.x.reshape(len(self.x), -1), self.values["weights"]
        self.slopes = {
            "weights": (x.T @ eta, abs(x).T @ abs(eta)),
            "bias": (eta.sum(axis=0), abs(eta).sum(axis=0)),
        }
        return (eta @ weights.T).reshape(self.x.shape), (abs(eta) @ abs(weights).T).reshape(self.x.shape)


class Pool(Oracle):
    """Zeros around the image; windows that cross its lower or right border hold fewer elements."""

    def __init__(self, ksize, stride, padding, mean):
        super().__init__()
        self.ksize, self.stride, self.padding, self.mean = ksize, stride, padding, mean

    def compute(self, train):
        around = ((0, 0), (self.padding,) * 2, (self.padding,) * 2, (0, 0))
        image = np.pad(self.x, around)
        self.shape, out = image.shape, [side // self.stride for side in image.shape[1:3]]
        sides = [max(side, (n - 1) * self.stride + self.ksize) for side, n in zip(image.shape[1:3], out, strict=True)]
        more = ((0, 0), *((0, side - own) for side, own in zip(sides, image.shape[1:3], strict=True)), (0, 0))
        held = windows(np.pad(image, more, constant_values=-np.inf), self.ksize, self.stride, out)
        self.inside = held > -np.inf
        self.long = (self.shape[0], *sides, self.shape[3])
        if self.mean:
            self.share = self.inside / self.inside.sum(axis=(-2, -1), keepdims=True)
            terms = np.where(self.inside, held, 0) * self.share
            return terms.sum(axis=(-2, -1)), abs(terms).sum(axis=(-2, -1))
        flat = held.reshape(*held.shape[:4], -1)
        first = flat.argmax(axis=-1)
        self.share = (np.arange(self.ksize**2) == first[..., None]).reshape(held.shape)
        out = flat.max(axis=-1)
        return out, abs(out)

    def differentiate(self, eta):
        def back(eta):
            image = spread(eta[..., None, None] * self.share, self.ksize, self.stride, self.long)
            height, width = self.x.shape[1:3]
            return image[:, self.padding : self.padding + height, self.padding : self.padding + width]

        return back(eta), back(abs(eta))


class GlobalMean(Oracle):
    def compute(self, train):
        return self.x.mean(axis=(1, 2)), abs(self.x).mean(axis=(1, 2))

    def differentiate(self, eta):
        share = eta[:, None, None] / (self.x.shape[1] * self.x.shape[2])
        return np.broadcast_to(share, self.x.shape), np.broadcast_to(abs(share), self.x.shape)


class Pointwise(Oracle):
    """``function(x)`` with the slope ``slope(x)``, each element by itself; `most` is the largest slope."""

    def __init__(self, function, slope, most=1.0):
        super().__init__()
        self.function, self.slope, self.most = function, slope, most

    def compute(self, train):
        out = self.function(self.x)
        return out, np.maximum(abs(out), self.most * abs(self.x))

    def differentiate(self, eta):
        return eta * self.slope(self.x), self.most * abs(eta)


def leaky(alpha):
    most = max(1.0, abs(alpha))
    return Pointwise(lambda x: np.where(x >= 0, x, alpha * x), lambda x: np.where(x >= 0, 1, alpha), most)


def elu(alpha):
    return Pointwise(
        lambda x: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x >= 0, 1, alpha * np.exp(np.minimum(x, 0))),
        max(1.0, abs(alpha)),
    )


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def logistic():
    return Pointwise(sigmoid, lambda x: sigmoid(x) * sigmoid(-x))


def tanh():
    return Pointwise(np.tanh, lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2)


def rescaling(scale, offset):
    return Pointwise(lambda x: x * scale + offset, lambda x: scale, abs(scale))


class Flat(Oracle):
    def compute(self, train):
        out = self.x.reshape(len(self.x), -1)
        return out, abs(out)

    def differentiate(self, eta):
        back = eta.reshape(self.x.shape)
        return back, abs(back)


class Slopes(Oracle):
    """PReLU."""

    def __init__(self, alpha):
        super().__init__(alpha=alpha)

    def compute(self, train):
        out = np.where(self.x >= 0, self.x, self.values["alpha"] * self.x)
        return out, abs(out)

    def differentiate(self, eta):
        terms = np.where(self.x < 0, eta * self.x, 0)
        axes = tuple(range(eta.ndim - 1))
        self.slopes = {"alpha": (terms.sum(axis=axes), abs(terms).sum(axis=axes))}
        back = np.where(self.x >= 0, eta, eta * self.values["alpha"])
        return back, abs(back)


class Norm(Oracle):
    """BatchNorm. `moving` is (mean, variance); both 0 before the first batch."""

    def __init__(self, alpha, beta, moving, epsilon, decay):
        super().__init__(alpha=alpha, beta=beta)
        self.moving, self.epsilon, self.decay = [np.asarray(part, np.float64) for part in moving], epsilon, decay

    def running(self):
        seen = any(part.any() for part in self.moving)
        return self.moving[0], self.moving[1] if seen else np.ones_like(self.moving[1])

    def compute(self, train):
        rows = self.x.reshape(-1, self.x.shape[-1])
        self.of_batch = train and len(rows) > 1
        mean, var = (rows.mean(axis=0), rows.var(axis=0)) if self.of_batch else self.running()
        if self.of_batch:
            seen, fresh = any(part.any() for part in self.moving), (mean, rows.var(axis=0, ddof=1))
            decay = self.decay if seen else 0.0
            self.moving = [decay * old + (1 - decay) * new for old, new in zip(self.moving, fresh, strict=True)]
        self.root = np.sqrt(var + self.epsilon)
        self.scaled, self.scaled_size = (self.x - mean) / self.root, (abs(self.x) + abs(mean)) / self.root
        alpha, beta = self.values["alpha"], self.values["beta"]
        return self.scaled * alpha + beta, self.scaled_size * abs(alpha) + abs(beta)

    def differentiate(self, eta):
        axes, count = tuple(range(eta.ndim - 1)), eta.size // eta.shape[-1]
        dalpha, alpha_size = (eta * self.scaled).sum(axis=axes), (abs(eta) * self.scaled_size).sum(axis=axes)
        dbeta, beta_size = eta.sum(axis=axes), abs(eta).sum(axis=axes)
        self.slopes = {"alpha": (dalpha, alpha_size), "beta": (dbeta, beta_size)}
        through = (dbeta + self.scaled * dalpha) / count if self.of_batch else 0.0
        more = (beta_size + self.scaled_size * alpha_size) / count if self.of_batch else 0.0
        factor = self.values["alpha"] / self.root
        return factor * (eta - through), abs(factor) * (abs(eta) + more)


GOLDEN, LOW = np.uint64(0x9E3779B97F4A7C15), np.uint64(2**64 - 1)


def splitmix(state):
    """SplitMix64's finaliser, of an array of uint64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return state ^ (state >> np.uint64(31))


class Drop(Oracle):
    """Element i is kept where the upper half of random number i of the call's seed is below ``keep * 2**32``."""

    def __init__(self, keep, seed, calls):
        super().__init__()
        self.keep, self.seed, self.calls = keep, seed, calls

    def compute(self, train):
        self.factor = np.ones(self.x.shape)
        if train:
            (own,) = splitmix(np.array([self.seed], np.uint64) + np.uint64(self.calls + 1) * np.array([GOLDEN]))
            self.calls += 1
            numbers = splitmix(np.array([own]) + np.arange(1, self.x.size + 1, dtype=np.uint64) * GOLDEN)
            kept = (numbers >> np.uint64(32)) < np.uint64(round(self.keep * 2**32))
            self.factor = kept.reshape(self.x.shape) / self.keep
        out = self.x * self.factor
        return out, abs(out)

    def differentiate(self, eta):
        return eta * self.factor, abs(eta * self.factor)


class Sum(Oracle):
    """Residual: the sum of two rows of layers, the second of which may be empty."""

    def __init__(self, body, shortcut):
        super().__init__()
        self.ways = body, shortcut

    def compute(self, train):
        outs, size = [], 0.0
        for way in self.ways:
            out = self.x
            for layer in way:
                out = layer.forward(out, train)
            outs.append(out)
            size = size + abs(out)
        return sum(outs), size

    def differentiate(self, eta):
        backs, size = [], 0.0
        for way in self.ways:
            back = eta
            for layer in reversed(way):
                back = layer.gradient(back)
            backs.append(back)
            size = size + abs(back)
        return sum(backs), size

    def all(self):
        return [self] + [inner for way in self.ways for layer in way for inner in layer.all()]


def cross_entropy(logits, labels, weights=None, smoothing=0.0):
    """The loss of each image, its gradient, and the probabilities."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    classes = logits.shape[1]
    target = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    counts = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)[labels]
    probabilities = np.exp(log_probabilities)
    losses = -(target * log_probabilities).sum(axis=1) * counts
    return losses, (probabilities - target) * counts[:, None], probabilities
