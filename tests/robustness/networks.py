"""Random layers, their twins of the oracle, and random inputs, from a :class:`fastcnn.backends.arguments.Source`."""

import numpy as np

from fastcnn import layers
from fastcnn.windows import GEOMETRIES, both, padding_pairs
from tests.robustness import oracle

ALPHAS, KEPT, FLAGS = (-0.5, 0.0, 0.2, 1.5), (0.3, 0.5, 1.0), (True, False)
INPUTS = ("float32", "float64", "float16", "uint8", "int8", "int16", ">i4", "int64", "bool", ">f8")


def among(source, name, values):
    return values[source.integer(name, 0, len(values) - 1)]


def conv(source, shape):
    same, most = source.boolean("same"), min(5, *shape[1:3])
    ksize = source.integer("ksize", 1, 5 if same else most)
    method = "SAME" if same else "VALID"
    stride = source.integer("stride", 1, 4) if source.boolean("strided") else 1
    return layers.Conv2D(shape, source.integer("outputs", 1, 17), ksize, stride, method, dtype=source.dtype)


def sides(source, name, low, high):
    """A number, or two."""
    first = source.integer(name, low, high)
    return (first, source.integer(f"{name} across", low, high)) if source.boolean(f"two of {name}") else first


def windows(source, shape, transposed=False):
    """Options of a convolution whose windows fit: padded in any way."""
    given = {"dtype": source.dtype, "bias": bool(source.integer("bias", 0, 2)), "ksize": sides(source, "ksize", 1, 4)}
    given |= {name: sides(source, name, 1, 3) for name in ("stride", "dilation")}
    padding = among(source, "padding", ("SAME", "SAME_UPPER", "none", "one", "uneven"))
    if padding in ("SAME", "SAME_UPPER"):
        return given | {"method": padding}
    reach = [(k - 1) * d + 1 for k, d in zip(both(given["ksize"]), both(given["dilation"]), strict=True)]
    if transposed:
        most = [(side - 1) // 2 for side in reach]  # of which something is left, whatever the image
        more = tuple(source.integer("output padding", 0, step - 1) for step in both(given["stride"]))
        given["output_padding"] = more
        uneven = tuple((source.integer("before", 0, size), source.integer("after", 0, size)) for size in most)
        return given | {"none": {}, "one": {"padding": min(most)}, "uneven": {"padding": uneven}}[padding]
    short = [max(0, far - size) for far, size in zip(reach, shape[1:3], strict=True)]
    if padding == "one" or (padding == "none" and any(short)):
        return given | {"padding": (max(short) + 1) // 2 + source.integer("more", 0, 1)}
    if padding == "none":
        return given
    uneven = [(source.integer("before", 0, 2), size + source.integer("after", 0, 1)) for size in short]
    return given | {"padding": tuple(uneven)}


def grouped(kind):
    """`Conv2D` or its transposed one, with all that they take."""

    def make(source, shape):
        groups = among(source, "groups", [g for g in range(1, shape[3] + 1) if shape[3] % g == 0])
        outputs = groups * -(-source.integer("outputs", 1, 12) // groups)
        given = windows(source, shape, kind is layers.Conv2DTranspose)
        return kind(shape, outputs, groups=groups, **given)

    return make


def depthwise(source, shape):
    return layers.DepthwiseConv2D(shape, multiplier=source.integer("multiplier", 1, 2), **windows(source, shape))


def pooling(kind):
    def make(source, shape):
        geometry = among(source, "geometry", GEOMETRIES)
        if geometry != "original":
            axes = zip(*(source.pooling_axis(size, geometry) for size in shape[1:3]), strict=True)
            given = dict(zip(("ksize", "stride", "dilation", "padding"), axes, strict=True))
            more = {"count_padding": source.boolean("count padding")} if kind is layers.AvgPooling else {}
            return kind(shape, **given, **more, geometry=geometry, dtype=source.dtype)
        padding = source.integer("padding", 0, 2)
        most = min(4, *(side + 2 * padding for side in shape[1:3]))
        ksize = source.integer("ksize", min(padding + 1, most), most)
        stride = source.integer("stride", 1, most)
        return kind(shape, ksize, stride, padding=min(padding, ksize - 1), dtype=source.dtype)

    return make


def plain(kind, **choices):
    def make(source, shape):
        given = {name: among(source, name, values) for name, values in choices.items()}
        return kind(shape, **given, dtype=source.dtype)

    return make


def group_norm(source, shape):
    channels = shape[-1]
    groups = among(source, "groups", [n for n in range(1, channels + 1) if channels % n == 0])
    return layers.GroupNorm(shape, groups, epsilon=among(source, "epsilon", (1e-3, 0.1)), dtype=source.dtype)


ANY = [
    plain(layers.Relu, at_zero=FLAGS),
    plain(layers.LeakyRelu, alpha=ALPHAS, at_zero=FLAGS),
    plain(layers.ELU, alpha=ALPHAS, at_zero=FLAGS),
    plain(layers.Sigmoid),
    plain(layers.Tanh),
    plain(layers.SiLU),
    plain(layers.GELU, approximate=("none", "tanh")),
    plain(layers.Mish),
    plain(layers.Softplus),
    plain(layers.HardSwish),
    plain(layers.ReLU6),
    plain(layers.HardSigmoid, alpha=(1 / 6, 0.2), beta=(0.5, -0.3)),
    plain(layers.PReLU, at_zero=FLAGS),
    plain(layers.BatchNorm, epsilon=(1e-5, 0.1), moving_decay=(0.997, 0.5, 0.0)),
    plain(layers.LayerNorm, axis=(-1, 1), epsilon=(1e-3, 0.1)),
    group_norm,
    plain(layers.Dropout, prob=KEPT),
    plain(layers.Rescaling, scale=(1 / 255, -2.0), offset=(0.0, 0.5)),
    plain(layers.FullyConnect, output_num=(1, 2, 10, 33)),
    plain(layers.Flatten),
]
FIRST_ANY = len(ANY) - 2  # those before keep the shape
CONVOLUTIONS = [conv, conv, grouped(layers.Conv2D), depthwise, grouped(layers.Conv2DTranspose)]
IMAGES = [*CONVOLUTIONS, pooling(layers.MaxPooling), pooling(layers.AvgPooling), plain(layers.GlobalAvgPooling)]
IMAGES += [
    plain(layers.GlobalMaxPooling),
    plain(layers.AdaptiveAvgPooling, output_size=(1, 3, (4, 2))),
    plain(layers.UpSampling, factor=(1, 2, (3, 2))),
    plain(layers.UpSampling, factor=(2, (1, 3)), mode=("bilinear",), align_corners=(True, False)),
]


def draw_layer(source, shape):
    """A layer for inputs of that shape, whose parameters are random numbers of order 1."""
    kinds = [*ANY, *IMAGES, residual_of_one_shape] if len(shape) == 4 else [*ANY, residual_of_one_shape]
    layer = among(source, "kind", kinds)(source, shape)
    for inner in [layer, *layer.children().values()]:
        fill(source, inner)
    return layer


def residual_of_one_shape(source, shape):
    """Layers that keep the shape in both ways."""
    keeping = ANY[:FIRST_ANY]
    body = [among(source, "kind", keeping)(source, shape) for _ in range(source.integer("body", 1, 2))]
    return layers.Residual(body, among(source, "kind", keeping)(source, shape) if source.boolean("shortcut") else None)


def fill(source, layer):
    for name, array in layer.parameters().items():
        if array is None:  # no bias
            continue
        fan_in = max(1, array[..., 0].size if array.ndim > 1 else 1)
        setattr(layer, name, source.rng.standard_normal(array.shape) / np.sqrt(fan_in))
    if isinstance(layer, layers.BatchNorm) and source.boolean("seen a batch"):
        layer.moving_mean = source.rng.standard_normal(layer.moving_mean.shape)
        layer.moving_var = source.rng.random(layer.moving_var.shape) + 0.1


def draw_network(source, most=4):
    """Layers in a row. What they draw from NumPy's global generator follows from `source` too."""
    np.random.seed(source.integer("global seed", 0, 2**20))
    shape = source.image() if source.integer("rank", 0, 3) else (source.integer("batch", 1, 9), *small(source))
    shape = (source.integer("batch", 1, 9), *shape[1:])
    found = []
    for _ in range(source.integer("layers", 1, most)):
        found.append(draw_layer(source, found[-1].output_shape if found else shape))
    return found


def small(source):
    return tuple(source.integer("side", 1, 9) for _ in range(source.integer("axes", 1, 3)))


def twin(layer):
    """The oracle's layer for one of fastcnn, with its values."""
    if isinstance(layer, layers.Dropout):
        layer.draw_seed()
    make = TWINS[type(layer)]
    return make(layer)


def convolution(own):
    """What the oracle is told of a convolution: values and geometry, each number for both axes."""
    padding = own.method if own.padding is None else padding_pairs(own.padding)
    return own.weights, own.bias, (both(own.stride), both(own.dilation), padding, own.groups)


TWINS = {
    layers.Conv2D: lambda own: oracle.Conv(*convolution(own)),
    layers.DepthwiseConv2D: lambda own: oracle.Conv(*convolution(own)),
    layers.Conv2DTranspose: lambda own: oracle.TransposedConv(*convolution(own), own.output_shape),
    layers.FullyConnect: lambda own: oracle.Dense(own.weights, own.bias),
    layers.MaxPooling: lambda own: oracle.Pool(own.added_later | own.config(), mean=False),
    layers.AvgPooling: lambda own: oracle.Pool(own.added_later | own.config(), mean=True),
    layers.GlobalAvgPooling: lambda own: oracle.GlobalMean(),
    layers.GlobalMaxPooling: lambda own: oracle.GlobalMax(),
    layers.AdaptiveAvgPooling: lambda own: oracle.adaptive(own.input_shape[1:3], own.output_size),
    layers.UpSampling: lambda own: oracle.upsampling(own.input_shape[1:3], own.factor, own.mode, own.align_corners),
    layers.Relu: lambda own: oracle.leaky(0.0, own.at_zero),
    layers.LeakyRelu: lambda own: oracle.leaky(own.alpha, own.at_zero),
    layers.ELU: lambda own: oracle.elu(own.alpha, own.at_zero),
    layers.PReLU: lambda own: oracle.Slopes(own.alpha, own.at_zero),
    layers.Sigmoid: lambda own: oracle.logistic(),
    layers.Tanh: lambda own: oracle.tanh(),
    layers.SiLU: lambda own: oracle.silu(),
    layers.GELU: lambda own: oracle.gelu(own.approximate),
    layers.Mish: lambda own: oracle.mish(),
    layers.Softplus: lambda own: oracle.softplus(),
    layers.HardSwish: lambda own: oracle.hard_swish(),
    layers.ReLU6: lambda own: oracle.Ramp(1.0, 0.0, 6.0),
    layers.HardSigmoid: lambda own: oracle.Ramp(own.alpha, own.beta, 1.0),
    layers.BatchNorm: lambda own: oracle.Norm(
        own.alpha, own.beta, (own.moving_mean, own.moving_var), own.epsilon, own.moving_decay
    ),
    layers.LayerNorm: lambda own: oracle.ImageNorm(own.alpha, own.beta, own.epsilon, -own.axis),
    layers.GroupNorm: lambda own: oracle.ImageNorm(own.alpha, own.beta, own.epsilon, groups=own.groups),
    layers.Dropout: lambda own: oracle.Drop(own.prob, own.seed, own.calls),
    layers.Flatten: lambda own: oracle.Flat(),
    layers.Rescaling: lambda own: oracle.rescaling(own.scale, own.offset),
    layers.Residual: lambda own: oracle.Sum(list(map(twin, own.body)), list(map(twin, own.shortcut))),
}


def draw_input(source, shape):
    """An array of numbers as scripts pass them: of any real dtype, order in memory and alignment."""
    name = among(source, "input", INPUTS)
    values = 3 * source.rng.standard_normal(shape)
    if name in ("uint8", "bool"):
        values = abs(40 * values) % 256
    array = values.astype(name)
    return among(source, "layout", LAYOUTS)(array)


def unaligned(array):
    place = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    place[...] = array
    return place


def read_only(array):
    array.flags.writeable = False
    return array


LAYOUTS = [
    lambda array: array,
    np.asfortranarray,
    lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    lambda array: np.ascontiguousarray(array[::-1])[::-1],
    lambda array: np.ascontiguousarray(np.moveaxis(array, -1, 0)).transpose(*range(1, array.ndim), 0),
    read_only,
    unaligned,
    lambda array: array.tolist(),
]
