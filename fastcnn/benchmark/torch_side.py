"""The same work in PyTorch, eager, on the CPU, in both of its memory layouts. PyTorch is imported where it is used."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fastcnn
from fastcnn.benchmark import single_layers
from fastcnn.benchmark.kernels import Convolution, Pooling, Resizing, Transposed
from fastcnn.benchmark.networks import NETWORKS, data, digits
from fastcnn.windows import both

Steps = dict[str, Callable[[], object]]


def layouts() -> dict[str, Any]:
    import torch

    return {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


def tensor(array: np.ndarray, layout: Any) -> Any:
    """NHWC numbers as a tensor of PyTorch's shape, (batch, channels, height, width), in the memory layout `layout`."""
    import torch

    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=layout)


def network(name: str, layout: Any, compiled: bool = False) -> Any:
    import torch

    shape, spec = NETWORKS[name]
    made = torch.nn.Sequential(*modules_of(spec, shape)[0])
    made = made.to(dtype=getattr(torch, fastcnn.get_dtype().name), memory_format=layout)
    return torch.compile(made) if compiled else made


def modules_of(spec: tuple[tuple, ...], shape: tuple[int, ...]) -> tuple[list[Any], tuple[int, ...]]:
    """Modules for images of a `shape` (height, width, channels), and the shape that they return."""
    import torch

    nn, (side, _, channels), made = torch.nn, shape, []
    for kind, *args in spec:
        if kind == "conv":
            outputs, ksize, method, stride = *args[:3], (args[3] if len(args) > 3 else 1)
            around = ksize // 2 if method == "SAME" else 0
            made.append(nn.Conv2d(channels, outputs, ksize, stride, around))
            side, channels = (side + 2 * around - ksize) // stride + 1, outputs
        elif kind == "depthwise":
            made.append(nn.Conv2d(channels, channels, args[0], padding=args[0] // 2, groups=channels))
        elif kind == "residual":
            made.append(residual(nn.Sequential(*modules_of(args[0], (side, side, channels))[0])))
        elif kind in ("pool", "stem_pool"):
            made.append(nn.MaxPool2d(2) if kind == "pool" else nn.MaxPool2d(3, 2, 1))
            side //= 2
        elif kind == "fc":
            flat = any(isinstance(layer, nn.Flatten) for layer in made)
            made += [nn.Linear(channels, *args)] if flat else [nn.Flatten(), nn.Linear(side * side * channels, *args)]
            side, channels = 1, args[0]
        elif kind == "global_avg":
            made.append(nn.AdaptiveAvgPool2d(1))
            side = 1
        else:
            made.append(nn.BatchNorm2d(channels) if kind == "bn" else {"relu": nn.ReLU, "relu6": nn.ReLU6}[kind]())
    return made, (side, side, channels)


def residual(body: Any) -> Any:
    import torch

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: Any) -> Any:
            return x + self.body(x)

    return Residual()


def training_step(name: str, batch: int, compiled: bool = False) -> Steps:
    import torch

    images, labels = data(name, batch)

    def make(layout: Any) -> Callable[[], object]:
        model, x, y = network(name, layout, compiled), tensor(images, layout), torch.from_numpy(labels)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, weight_decay=1e-3)

        def step() -> float:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return {variant: make(layout) for variant, layout in layouts().items()}


def epoch(name: str) -> Steps:
    """What `fit` does in an epoch: batches of shuffled images, a step on each, the mean loss and the hits."""
    import torch

    images, labels = digits()

    def make(layout: Any) -> Callable[[], object]:
        model, x, y = network(name, layout), tensor(images, layout), torch.from_numpy(labels)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)

        def run() -> tuple[float, int]:
            loss_sum, hits = 0.0, 0
            for chosen in torch.randperm(len(y)).split(64):
                batch = x[chosen].contiguous(memory_format=layout)
                optimizer.zero_grad()
                logits = model(batch)
                loss = torch.nn.functional.cross_entropy(logits, y[chosen])
                loss.backward()
                optimizer.step()
                loss_sum += loss.item() * len(chosen)
                hits += int((logits.argmax(1) == y[chosen]).sum())
            return loss_sum / len(y), hits

        return run

    return {variant: make(layout) for variant, layout in layouts().items()}


def prediction(name: str, compiled: bool = False) -> Steps:
    import torch

    def make(layout: Any) -> Callable[[], object]:
        model, x = network(name, layout, compiled).eval(), tensor(data(name, 1)[0], layout)

        def step() -> Any:
            with torch.inference_mode():
                return torch.softmax(model(x), 1)

        return step

    return {variant: make(layout) for variant, layout in layouts().items()}


def convolution(shape: Convolution, direction: str) -> Steps:
    import torch

    def make(layout: Any) -> Callable[[], object]:
        x, weights, bias, eta = shape.arrays()
        x, eta = tensor(x, layout), tensor(eta, layout)
        w = torch.from_numpy(weights).permute(3, 2, 0, 1).contiguous(memory_format=layout)
        b, turned = torch.from_numpy(bias), isinstance(shape, Transposed)
        if turned:  # the convolution's input is what the transposed one makes
            x, eta = eta, x
        s, p, d = [shape.stride] * 2, list(both(shape.padding)), [shape.dilation] * 2
        if direction == "forward":

            def forward() -> Any:
                with torch.inference_mode():
                    if turned:
                        return torch.nn.functional.conv_transpose2d(x, w, b, s, p, 0, shape.groups, d)
                    return torch.nn.functional.conv2d(x, w, b, s, p, d, shape.groups)

            return forward
        wanted = [direction == "input", direction == "weights", direction == "weights"]
        back = torch.ops.aten.convolution_backward
        return lambda: back(eta, x, w, [shape.outputs], s, p, d, turned, [0, 0], shape.groups, wanted)

    return {variant: make(layout) for variant, layout in layouts().items()}


def columns(kernel: str, images: np.ndarray, ksize: int, padding: int) -> Steps:
    """The column matrix of PyTorch has the pixels last; it knows one memory layout alone."""
    import torch

    x = tensor(images, torch.contiguous_format)
    if kernel == "im2col":
        return {"": lambda: torch.nn.functional.unfold(x, ksize, padding=padding)}
    cols = torch.nn.functional.unfold(x, ksize, padding=padding)
    return {"": lambda: torch.nn.functional.fold(cols, x.shape[2:], ksize, padding=padding)}


def layer(kind: str) -> Steps:
    """Forward and all gradients of one layer, as `fastcnn.benchmark.single_layers` has it."""
    import torch
    from torch import nn

    images, eta, labels = single_layers.arrays(kind)
    dtype = getattr(torch, fastcnn.get_dtype().name)

    def make(layout: Any) -> Callable[[], object]:
        channels = single_layers.SHAPE[-1]
        module = {
            "conv": lambda: nn.Conv2d(channels, channels, 3, padding=1),
            "relu": nn.ReLU,
            "silu": nn.SiLU,
            "gelu": nn.GELU,
            "hard_swish": nn.Hardswish,
            "max_pool": lambda: nn.MaxPool2d(2),
            "avg_pool": lambda: nn.AvgPool2d(2),
            "batch_norm": lambda: nn.BatchNorm2d(channels),
            "layer_norm": lambda: nn.LayerNorm(channels),
            "group_norm": lambda: nn.GroupNorm(single_layers.GROUPS, channels),
            "dropout": nn.Dropout,
            "fc": lambda: nn.Linear(images.shape[-1], single_layers.UNITS),
            "softmax": nn.CrossEntropyLoss,
        }[kind]().to(dtype)
        if kind == "conv":
            module = module.to(memory_format=layout)

        def put(array: np.ndarray) -> Any:
            return tensor(array, layout) if array.ndim == 4 else torch.from_numpy(array)

        x, arguments = put(images).requires_grad_(), () if labels is None else (torch.from_numpy(labels),)
        wanted, direction = [x, *module.parameters()], None if eta is None else put(eta)
        if kind == "layer_norm":  # which is over the last axis: channels_last is in that order already
            return lambda: torch.autograd.grad(module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), wanted, direction)
        return lambda: torch.autograd.grad(module(x, *arguments), wanted, direction)

    return {variant: make(layout) for variant, layout in layouts().items()}


def pooling(shape: Pooling, direction: str) -> Steps:
    import torch

    images, p = shape.images(), [shape.padding] * 2
    k, s = [shape.ksize] * 2, [shape.stride] * 2
    ceil = not shape.padding and (shape.side % shape.stride != 0 or shape.ksize > shape.stride)

    def make(layout: Any) -> Callable[[], object]:
        x, aten = tensor(images, layout), torch.ops.aten
        if shape.kind == "avg":
            eta = aten.avg_pool2d(x, k, s, p, ceil)
            back = lambda: aten.avg_pool2d_backward(eta, x, k, s, p, ceil, True, None)  # noqa: E731
            return back if direction == "backward" else lambda: aten.avg_pool2d(x, k, s, p, ceil)
        eta, index = aten.max_pool2d_with_indices(x, k, s, p, [1, 1], ceil)
        back = lambda: aten.max_pool2d_with_indices_backward(eta, x, k, s, p, [1, 1], ceil, index)  # noqa: E731
        forward = lambda: aten.max_pool2d_with_indices(x, k, s, p, [1, 1], ceil)  # noqa: E731
        return back if direction == "backward" else forward

    return {variant: make(layout) for variant, layout in layouts().items()}


def resizing(shape: Resizing, direction: str) -> Steps:
    import torch
    from torch import nn

    images, eta = shape.arrays()

    def make(layout: Any) -> Callable[[], object]:
        x, slopes = tensor(images, layout), tensor(eta.reshape(64, *eta.shape[1:-1] or (1, 1), 64), layout)
        mode = shape.kind.removeprefix("upsample_")
        module = nn.AdaptiveMaxPool2d(1) if shape.kind == "global_max_pool" else nn.Upsample(scale_factor=2, mode=mode)
        if direction == "forward":
            return lambda: module(x)
        out = module(x.requires_grad_())
        return lambda: torch.autograd.grad(out, x, slopes, retain_graph=True)

    return {variant: make(layout) for variant, layout in layouts().items()}
