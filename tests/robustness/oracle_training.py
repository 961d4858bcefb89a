"""A training once more, in float64 NumPy: the loop, the loss's options, clipping, decay, and the update rules.

The rules are PyTorch's, as the documentation says; layers and loss are those of `oracle.py`.
"""

import numpy as np

from tests.robustness.oracle import cross_entropy


class Rule:
    """An optimizer by its name and its options; `rate` is a number, or a function of the share that is done."""

    def __init__(self, name, rate, decay=0.0, only_weights=False, clip_norm=None, clip_value=None, **constants):
        self.name, self.rate, self.decay, self.only_weights = name, rate, decay, only_weights
        self.clip_norm, self.clip_value, self.constants = clip_norm, clip_value, constants
        self.steps, self.kept = 0, {}

    def clipped(self, slopes):
        if self.clip_value is not None:
            slopes = [np.clip(slope, -self.clip_value, self.clip_value) for slope in slopes]
        norm = np.sqrt(sum((slope**2).sum() for slope in slopes))
        if self.clip_norm is not None and norm > self.clip_norm:
            slopes = [slope * (self.clip_norm / norm) for slope in slopes]
        return slopes

    def step(self, made, count, done):
        """One update of all parameters by the mean of the gradients."""
        self.steps += 1
        rate = self.rate(done) if callable(self.rate) else self.rate
        places = [(layer, name) for layer in made for name in layer.values]
        slopes = self.clipped([layer.slopes[name][0] / count for layer, name in places])
        for number, ((layer, name), slope) in enumerate(zip(places, slopes, strict=True)):
            value = layer.values[name]
            decay = 0.0 if self.only_weights and value.ndim < 2 else self.decay
            kept = self.kept.setdefault(number, [np.zeros_like(value), np.zeros_like(value)])
            layer.values[name] = getattr(self, self.name)(value, slope, kept, rate, decay)

    def sgd(self, value, slope, kept, rate, decay):
        return value - rate * (slope + decay * value)

    def momentum(self, value, slope, kept, rate, decay, nesterov=False):
        slope, share = slope + decay * value, self.constants["momentum"]
        kept[0] = share * kept[0] + slope
        return value - rate * (slope + share * kept[0] if nesterov else kept[0])

    def nesterov(self, *given):
        return self.momentum(*given, nesterov=True)

    def rmsprop(self, value, slope, kept, rate, decay):
        slope, rho = slope + decay * value, self.constants["rho"]
        kept[0] = rho * kept[0] + (1 - rho) * slope**2
        return value - rate * slope / (np.sqrt(kept[0]) + self.constants["epsilon"])

    def adam(self, value, slope, kept, rate, decay):
        slope, corrected = slope + decay * value, []
        betas = self.constants["beta1"], self.constants["beta2"]
        for i, beta in enumerate(betas):
            kept[i] = beta * kept[i] + (1 - beta) * slope ** (i + 1)
            corrected.append(kept[i] / (1 - beta**self.steps))
        return value - rate * corrected[0] / (np.sqrt(corrected[1]) + self.constants["epsilon"])

    def adamw(self, value, slope, kept, rate, decay):
        return self.adam(value * (1 - rate * decay), slope, kept, rate, 0.0)


def forward(made, x, train):
    for layer in made:
        x = layer.forward(x, train)
    return x


def train(made, rule, data, batches, class_weights=None, smoothing=0.0):
    """The history of a training of layers `made` on `data` = (x, y); `batches` holds, for each epoch, the numbers of
    the images of each batch."""
    x, y = np.asarray(data[0], np.float64), np.asarray(data[1])
    history, total = {"loss": [], "accuracy": []}, sum(len(index) for epoch in batches for index in epoch)
    seen = 0
    for epoch in batches:
        loss = hits = 0.0
        for index in epoch:
            logits = forward(made, x[index], True)
            losses, eta, _ = cross_entropy(logits, y[index], class_weights, smoothing)
            loss, hits = loss + losses.sum(), hits + np.count_nonzero(logits.argmax(axis=1) == y[index])
            for layer in reversed(made):
                eta = layer.gradient(eta)
            rule.step([inner for layer in made for inner in layer.all()], len(index), seen / total)
            seen += len(index)
        history["loss"].append(loss / len(x))
        history["accuracy"].append(hits / len(x))
    return history


def evaluate(made, x, y):
    """The mean loss, the accuracy and the probabilities."""
    logits = forward(made, np.asarray(x, np.float64), False)
    losses, _, probabilities = cross_entropy(logits, y)
    return losses.mean(), (logits.argmax(axis=1) == y).mean(), probabilities
