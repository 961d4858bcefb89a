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


class Conv(Oracle):
    def __init__(self, weights, bias, stride, same):
        super().__init__(weights=weights, bias=bias)
        self.ksize, self.stride, self.same = len(weights), stride, same

    def padded(self, x):
        before, after = ((self.ksize - 1) // 2, self.ksize // 2) if self.same else (0, 0)
        return np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))

    def convolve(self, x, weights, bias):
        x = self.padded(x)
        out = [(side - self.ksize) // self.stride + 1 for side in x.shape[1:3]]
        return np.einsum("nhwcij,ijco->nhwo", windows(x, self.ksize, self.stride, out), weights, optimize=True) + bias

    def compute(self, train):
        weights, bias = self.values["weights"], self.values["bias"]
        return self.convolve(self.x, weights, bias), self.convolve(*map(np.abs, (self.x, weights, bias)))

    def back(self, x, eta, weights):
        """dweights, dbias, dx"""
        x = self.padded(x)
        dweights = np.einsum(
            "nhwcij,nhwo->ijco", windows(x, self.ksize, self.stride, eta.shape[1:3]), eta, optimize=True
        )
        terms = np.einsum("nhwo,ijco->nhwcij", eta, weights, optimize=True)
        dx = spread(terms, self.ksize, self.stride, x.shape)
        before = (self.ksize - 1) // 2 if self.same else 0
        height, width = self.x.shape[1:3]
        return dweights, eta.sum(axis=(0, 1, 2)), dx[:, before : before + height, before : before + width]

    def differentiate(self, eta):
        arguments = self.x, eta, self.values["weights"]
        *slopes, dx = self.back(*arguments)
        *sizes, size = self.back(*map(np.abs, arguments))
        self.slopes = dict(zip(self.values, zip(slopes, sizes, strict=True), strict=True))
        return dx, size


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


def pair(value):
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


class Pool(Oracle):
    """Windows of a pooling's `config`. With the original's geometry the padding is zeros of a larger image, of which
    windows that cross the lower or right border hold less; else it holds nothing, and a mean may count it."""

    def __init__(self, config, mean):
        super().__init__()
        rows, columns = pair(config["padding"])
        self.padding, self.mean = (pair(rows), pair(columns)), mean
        self.own, self.count = config["geometry"] == "original", config.get("count_padding", True)
        self.axes = list(zip(*(pair(config[name]) for name in ("ksize", "stride", "dilation")), strict=True))
        self.last = config["geometry"] == "ceil"

    def places(self, size, axis):
        """(windows, pixels of a window): where each pixel lies."""
        (ksize, stride, dilation), (before, after) = self.axes[axis], (0, 0) if self.own else self.padding[axis]
        room = size + before + after - (ksize - 1) * dilation - 1
        number = size // stride if self.own else room // stride + 1
        if self.last and room % stride and number * stride < size + before:
            number += 1
        return stride * np.arange(number)[:, None] + dilation * np.arange(ksize) - before

    def counted(self, places, size, axis):
        before, after = self.padding[axis] if self.count and not self.own else (0, 0)
        return (places >= -before) & (places < size + after)

    def compute(self, train):
        image = np.pad(self.x, ((0, 0), *(self.padding if self.own else ((0, 0), (0, 0))), (0, 0)))
        self.shape, (_, *sizes, _) = image.shape, image.shape
        places = [self.places(size, axis) for axis, size in enumerate(sizes)]
        known = [(place >= 0) & (place < size) for place, size in zip(places, sizes, strict=True)]
        rows, columns = (np.clip(place, 0, size - 1) for place, size in zip(places, sizes, strict=True))
        self.at = np.s_[:, rows[:, None, :, None], columns[None, :, None, :]]
        inside = (known[0][:, None, :, None] & known[1][None, :, None, :])[..., None]
        held = image[self.at]
        if self.mean:
            high, wide = (self.counted(places[axis], sizes[axis], axis).sum(axis=1) for axis in (0, 1))
            self.share = np.broadcast_to(inside / np.outer(high, wide)[:, :, None, None, None], held.shape)
            terms = held * self.share
            return terms.sum(axis=(3, 4)), abs(terms).sum(axis=(3, 4))
        flat = np.where(inside, held, -np.inf).reshape(*held.shape[:3], -1, held.shape[-1])
        first = flat.argmax(axis=3)
        self.share = (np.arange(flat.shape[3])[:, None] == first[:, :, :, None]).reshape(held.shape)
        return flat.max(axis=3), abs(flat.max(axis=3))

    def differentiate(self, eta):
        def back(eta):
            image = np.zeros(self.shape)
            np.add.at(image, self.at, eta[:, :, :, None, None] * self.share)
            (top, _), (left, _) = self.padding if self.own else ((0, 0), (0, 0))
            return image[:, top : top + self.x.shape[1], left : left + self.x.shape[2]]

        return back(eta), back(abs(eta))


class Linear(Oracle):
    """Rows and columns of the output as weighted sums of those of the input, by one matrix each."""

    def __init__(self, down, across):
        super().__init__()
        self.down, self.across = down, across

    def compute(self, train):
        return self.sums("oh,pw,nhwc->nopc", self.x)

    def differentiate(self, eta):
        return self.sums("oh,pw,nopc->nhwc", eta)

    def sums(self, axes, values):
        return tuple(np.einsum(axes, self.down, self.across, array) for array in (values, abs(values)))


def adaptive(sizes, output_size):
    """Means over pixels ``floor(i * size / n)`` to ``ceil((i + 1) * size / n)``."""
    made = []
    for size, number in zip(sizes, pair(output_size), strict=True):
        parts = [(i * size // number, -(-(i + 1) * size // number)) for i in range(number)]
        made.append(np.array([[(a <= h < b) / (b - a) for h in range(size)] for a, b in parts]))
    return Linear(*made)


def upsampling(sizes, factor, mode, align_corners):
    """Straight lines between pixels, level beyond the first and the last; or each pixel several times."""
    made = []
    for size, times in zip(sizes, pair(factor), strict=True):
        pixel, columns = np.arange(size * times), np.eye(size)
        if mode == "nearest":
            made.append(columns[pixel // times])
            continue
        place = pixel * (size - 1) / max(1, size * times - 1) if align_corners else (pixel + 0.5) / times - 0.5
        made.append(np.stack([np.interp(place, np.arange(size), column) for column in columns], axis=1))
    return Linear(*made)


class GlobalMax(Oracle):
    def compute(self, train):
        pixels = self.x.reshape(len(self.x), -1, self.x.shape[3])
        self.first = pixels.argmax(axis=1)
        return pixels.max(axis=1), abs(pixels.max(axis=1))

    def differentiate(self, eta):
        image = np.zeros((len(self.x), self.x.shape[1] * self.x.shape[2], self.x.shape[3]))
        np.put_along_axis(image, self.first[:, None], eta[:, None], axis=1)
        return image.reshape(self.x.shape), abs(image.reshape(self.x.shape))


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
