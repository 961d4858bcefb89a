"""The networks in JAX, compiled whole: a step is one call. JAX is imported where it is used."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import fastcnn
from fastcnn.benchmark.networks import NETWORKS, data

Steps = dict[str, Callable[[], object]]
DIMENSIONS = "NHWC", "HWIO", "NHWC"
RATE = DECAY = 1e-3
EPSILON, MOMENTUM = 1e-5, 0.1  # of a BatchNorm, as PyTorch's defaults


def layer(kind: str, args: list[Any], shape: tuple[int, ...], draw: Callable) -> tuple[list[Any], list[Any], Callable]:
    """Parameters, running statistics, and the function (parameters, statistics, x, training) -> (y, statistics), of a
    layer for images of `shape` (height, width, channels)."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def window(x: Any, size: int, stride: int, around: int) -> Any:
        pads = (0, 0), (around, around), (around, around), (0, 0)
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), pads)

    def batch_norm(p: Any, s: Any, x: Any, training: bool) -> tuple[Any, Any]:
        if training:
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            s = [old + MOMENTUM * (new - old) for old, new in zip(s, (mean, variance), strict=True)]
        else:
            mean, variance = s
        return (x - mean) * (lax.rsqrt(variance + EPSILON) * p[0]) + p[1], s

    if kind in ("conv", "depthwise"):
        channels = shape[2]
        outputs, ksize, method, stride = (*args, 1)[:4] if kind == "conv" else (channels, *args, "SAME", 1)
        around, groups = ksize // 2 if method == "SAME" else 0, channels if kind == "depthwise" else 1

        def convolve(p: Any, s: Any, x: Any, training: bool) -> tuple[Any, Any]:
            pads, strides = [(around, around)] * 2, (stride, stride)
            y = lax.conv_general_dilated(
                x, p[0], strides, pads, dimension_numbers=DIMENSIONS, feature_group_count=groups
            )
            return y + p[1], s

        return [draw(ksize, ksize, channels // groups, outputs), draw(outputs)], [], convolve
    if kind == "fc":
        size = math.prod(shape)
        return [draw(size, *args), draw(*args)], [], lambda p, s, x, _: (x.reshape(len(x), -1) @ p[0] + p[1], s)
    if kind == "bn":
        ones = np.ones(shape[-1], fastcnn.get_dtype())
        return [ones, 0 * ones], [0 * ones, ones], batch_norm
    plain: dict[str, Callable] = {
        "relu": jax.nn.relu,
        "relu6": jax.nn.relu6,
        "pool": lambda x: window(x, 2, 2, 0),
        "stem_pool": lambda x: window(x, 3, 2, 1),
        "global_avg": lambda x: x.mean((1, 2)),
    }
    return [], [], lambda p, s, x, _: (plain[kind](x), s)


def chain(
    spec: tuple[tuple, ...], shape: tuple[int, ...], draw: Callable
) -> tuple[list[Any], list[Any], Callable, tuple[int, ...]]:
    """The same of layers one after another, and the shape of what they return."""
    import jax

    parameters, statistics, functions = [], [], []
    for kind, *args in spec:
        if kind == "residual":
            p, s, body, _ = chain(args[0], shape, draw)
            function = added(body)
        else:
            p, s, function = layer(kind, args, shape, draw)
        x = jax.ShapeDtypeStruct((1, *shape), fastcnn.get_dtype())
        shape = jax.eval_shape(lambda p, s, x, f=function: f(p, s, x, True)[0], p, s, x).shape[1:]
        parameters.append(p)
        statistics.append(s)
        functions.append(function)

    def forward(p: Any, s: Any, x: Any, training: bool) -> tuple[Any, Any]:
        new = []
        for function, own, kept in zip(functions, p, s, strict=True):
            x, kept = function(own, kept, x, training)
            new.append(kept)
        return x, new

    return parameters, statistics, forward, shape


def added(body: Callable) -> Callable:
    def function(p: Any, s: Any, x: Any, training: bool) -> tuple[Any, Any]:
        y, s = body(p, s, x, training)
        return x + y, s

    return function


def network(name: str) -> tuple[list[Any], list[Any], Callable]:
    import jax

    jax.config.update("jax_enable_x64", fastcnn.get_dtype() == np.float64)
    shape, spec = NETWORKS[name]
    rng, dtype = np.random.default_rng(0), fastcnn.get_dtype()

    def draw(*sizes: int) -> np.ndarray:
        return (rng.standard_normal(sizes) / math.prod(sizes[:-1]) ** 0.5).astype(dtype)

    return chain(spec, shape, draw)[:3]


def training_step(name: str, batch: int) -> Steps:
    import jax
    from jax import numpy as jnp

    images, labels = data(name, batch)
    parameters, statistics, forward = network(name)

    def loss_of(p: Any, s: Any, x: Any, y: Any) -> tuple[Any, Any]:
        logits, s = forward(p, s, x, True)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean(), s

    def update(p: Any, s: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
        (loss, s), slopes = jax.value_and_grad(loss_of, has_aux=True)(p, s, x, y)
        return loss, jax.tree.map(lambda a, g: a - RATE * (g + DECAY * a), p, slopes), s

    compiled, state = jax.jit(update), [*map(jax.device_put, (parameters, statistics))]
    x, y = jax.device_put(images), jax.device_put(labels)

    def step() -> float:
        loss, *state[:] = compiled(*state, x, y)
        return float(loss)

    return {"": step}


def prediction(name: str) -> Steps:
    import jax

    parameters, statistics, forward = network(name)
    predict = jax.jit(lambda p, s, x: jax.nn.softmax(forward(p, s, x, False)[0]))
    p, s, x = (jax.device_put(value) for value in (parameters, statistics, data(name, 1)[0]))
    return {"": lambda: predict(p, s, x).block_until_ready()}
