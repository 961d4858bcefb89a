"""Windows of any kind, groups, and layers without bias: what `Conv2D` and its relatives take, refuse, keep and save."""

import copy
import json
import pickle

import numpy as np
import pytest

import fastcnn
from fastcnn import Sequential, profiling, testing
from fastcnn.callbacks import Callback, Checkpoint
from fastcnn.layers import Conv2D, Conv2DTranspose, DepthwiseConv2D, FullyConnect, Softmax, im2col
from fastcnn.windows import Window, square
from tests.helpers.switches import on_threads, threads

SHAPE = (2, 6, 5, 4)


def every_convolution(**options):
    yield Conv2D(SHAPE, 6, (3, 2), (1, 2), groups=2, dilation=(2, 1), padding=((1, 0), (2, 3)), **options)
    yield Conv2D(SHAPE, 3, 3, 2, "SAME_UPPER", bias=False, **options)
    yield DepthwiseConv2D(SHAPE, (1, 3), 1, "SAME", 3, dilation=2, **options)
    yield DepthwiseConv2D(SHAPE, 3, (2, 1), padding=(1, 2), bias=False, **options)
    yield Conv2DTranspose(SHAPE, 6, 4, 2, padding=1, groups=2, **options)
    yield Conv2DTranspose(SHAPE, 3, (2, 3), (3, 2), output_padding=(2, 0), dilation=(1, 2), bias=False, **options)
    yield Conv2DTranspose(SHAPE, 3, 3, 2, "SAME", **options)


LAYERS = [pytest.param(i, id=f"{layer.name}{i}") for i, layer in enumerate(every_convolution())]


@pytest.fixture(params=LAYERS)
def layer(request):
    np.random.seed(0)
    return list(every_convolution())[request.param]


@pytest.fixture
def x(rng):
    return rng.standard_normal(SHAPE).astype(np.float32)


def test_sides_are_one_number_where_they_are_equal():
    for conv in (Conv2D(SHAPE, 4, (3, 3), [1, 1], dilation=(1, 1)), Conv2DTranspose(SHAPE, 4, (3, 3), (1, 1))):
        assert (conv.ksize, conv.stride, conv.dilation) == (3, 1, 1)
    conv = Conv2D(SHAPE, 4, [3, 2], (1, np.int64(2)), padding=((1, 1), (2, 2)))
    assert (conv.ksize, conv.stride, conv.padding) == ((3, 2), (1, 2), (1, 2))
    assert conv.window == Window((3, 2), (1, 2), (1, 1), ((1, 1), (2, 2)))
    assert Conv2D(SHAPE, 4, padding=((1, 1), (1, 1))).padding == 1
    assert Conv2D(SHAPE, 4, padding=((1, 0), 2)).padding == ((1, 0), (2, 2))
    assert Conv2D(SHAPE, 4).padding is None and Conv2D(SHAPE, 4).window == square(3)
    assert DepthwiseConv2D(SHAPE, multiplier=3).multiplier == 3 and DepthwiseConv2D(SHAPE).groups == 4


def test_shapes_of_weights():
    assert Conv2D(SHAPE, 6, (3, 2), groups=2).weights.shape == (3, 2, 2, 6)
    depthwise = DepthwiseConv2D(SHAPE, 3, multiplier=2)
    assert depthwise.weights.shape == (3, 3, 1, 8) and depthwise.output_shape == (2, 4, 3, 8)
    transposed = Conv2DTranspose(SHAPE, 6, (3, 2), groups=2)
    assert transposed.weights.shape == (3, 2, 3, 4) and transposed.bias.shape == (6,)
    assert transposed.output_channels == 6 and transposed.input_channels == 4


def test_a_transposed_convolution_is_the_gradient_of_its_convolution(backend, float64, rng):
    """Its name says so: with the same weights, from that layer's output to its input."""
    options = {"stride": (2, 3), "dilation": (1, 2), "padding": ((1, 0), (2, 1)), "groups": 2}
    conv = Conv2D((2, 10, 13, 4), 6, (2, 3), **options)
    back = Conv2DTranspose(conv.output_shape, 4, (2, 3), output_padding=(1, 2), **options)
    assert back.output_shape == conv.input_shape
    back.weights, back.bias = conv.weights, np.zeros(4)
    eta = rng.standard_normal(conv.output_shape)
    conv.forward(np.zeros(conv.input_shape))
    np.testing.assert_array_equal(back.forward(eta), conv.gradient(eta))


def test_depthwise_is_grouped(backend, x):
    depthwise = DepthwiseConv2D(SHAPE, 3, 2, "SAME", 2)
    grouped = Conv2D(SHAPE, 8, 3, 2, "SAME", groups=4)
    grouped.weights, grouped.bias = depthwise.weights, depthwise.bias
    out = depthwise.forward(x)
    np.testing.assert_array_equal(out, grouped.forward(x))
    np.testing.assert_array_equal(depthwise.gradient(out), grouped.gradient(out))
    for c in range(4):  # outputs of channel c are c * multiplier and the next
        one = Conv2D((2, 6, 5, 1), 2, 3, 2, "SAME")
        one.weights, one.bias = depthwise.weights[..., 2 * c : 2 * c + 2], depthwise.bias[2 * c : 2 * c + 2]
        np.testing.assert_allclose(one.forward(x[..., c : c + 1]), out[..., 2 * c : 2 * c + 2], rtol=1e-5, atol=1e-6)


# (size, ksize, stride, dilation) and the zeros before and after. The first is the example of TensorFlow's documentation
# (tf.nn, "Notes on padding"); with `axis` numbers of outputs ceil(size / stride).
UPPER = [
    ((13, 6, 5, 1), (1, 2)),
    ((224, 7, 2, 1), (2, 3)),  # ResNet's stem, where SAME adds 3 and 3
    ((224, 3, 2, 1), (0, 1)),
    ((225, 3, 2, 1), (1, 1)),
    ((5, 3, 1, 1), (1, 1)),
    ((5, 2, 1, 1), (0, 1)),
    ((5, 3, 1, 2), (2, 2)),
    ((6, 3, 3, 2), (1, 1)),
    ((6, 1, 2, 1), (0, 0)),  # windows apart: nothing is added, and never less
    ((4, 1, 3, 1), (0, 0)),
    ((4, 4, 4, 1), (0, 0)),
    ((9, 4, 4, 1), (1, 2)),
]


@pytest.mark.parametrize(("axis", "zeros"), UPPER)
def test_same_upper_is_the_padding_of_tensorflow_and_onnx(backend, rng, axis, zeros):
    size, ksize, stride, dilation = axis
    conv = Conv2D((1, size, 20, 1), 2, (ksize, 1), (stride, 1), "SAME_UPPER", dilation=(dilation, 1), dtype="float64")
    assert conv.window.padding == (zeros, (0, 0)) and conv.output_shape[1] == -(-size // stride)
    x = rng.standard_normal((1, size, 20, 1))
    wide = np.pad(x, ((0, 0), zeros, (0, 0), (0, 0)))
    plain = Conv2D(wide.shape, 2, (ksize, 1), (stride, 1), dilation=(dilation, 1), dtype="float64")
    plain.weights, plain.bias = conv.weights, conv.bias
    np.testing.assert_allclose(conv.forward(x), plain.forward(wide), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("ksize", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", range(1, 9))
def test_same_and_same_upper(size, ksize, stride):
    """The same output sizes; the same padding with stride 1, and another one else."""
    same, upper = (Conv2D((1, size, size, 1), 1, ksize, stride, method) for method in ("SAME", "SAME_UPPER"))
    assert same.output_shape == upper.output_shape == (1, -(-size // stride), -(-size // stride), 1)
    assert same.window.padding == (((ksize - 1) // 2, ksize // 2),) * 2
    remainder = size % stride or stride  # TensorFlow's own words: filter - stride, or filter - size % stride
    total = max(ksize - remainder, 0)
    assert upper.window.padding == ((total // 2, total - total // 2),) * 2
    if stride == 1:
        assert same.window == upper.window
    turned = Conv2DTranspose((1, size, size, 1), 1, ksize, stride, "SAME_UPPER")
    assert turned.output_shape == (1, size * stride, size * stride, 1)


def test_the_stem_of_resnet():
    assert Conv2D((1, 224, 224, 3), 64, 7, 2, padding=3).output_shape == (1, 112, 112, 64)


@pytest.mark.parametrize("name", ["stride", "dilation", "padding", "method"])
@pytest.mark.parametrize("kind", [Conv2D, DepthwiseConv2D, Conv2DTranspose])
def test_a_changed_setting_is_as_one_of_the_constructor(backend, kind, name, x):
    values = {"stride": (2, 1), "dilation": 2, "padding": ((1, 2), (0, 1)), "method": "SAME_UPPER"}
    given = {} if kind is DepthwiseConv2D else {"output_channels": 4}
    changed, made = kind(SHAPE, ksize=2, **given), kind(SHAPE, ksize=2, **given, **{name: values[name]})
    made.weights, made.bias = changed.weights, changed.bias
    eta = changed.forward(x)
    setattr(changed, name, values[name])
    with pytest.raises(RuntimeError, match="`gradient` needs a call of `forward` first"):
        changed.gradient(eta)
    assert changed.window == made.window and changed.output_shape == made.output_shape
    out = changed.forward(x)
    np.testing.assert_array_equal(out, made.forward(x))
    assert out.shape == changed.output_shape
    np.testing.assert_array_equal(changed.gradient(out), made.gradient(out))


def test_a_changed_output_padding(backend, x):
    layer = Conv2DTranspose(SHAPE, 3, 3, 2)
    assert layer.output_shape == (2, 13, 11, 3)
    layer.output_padding = (1, 0)
    out = layer.forward(x)
    assert out.shape == layer.output_shape == (2, 14, 11, 3)
    assert (out[:, -1] == layer.bias).all()  # no window reaches it
    assert layer.gradient(out).shape == SHAPE


PADDING = r"`padding` must be an integer of at least 0, \(rows, columns\), or \(\(top, bottom\), \(left, right\)\)"
TWO = r"must be an integer of at least 1, or two: \(height, width\). Received"
REFUSED = [
    (lambda: Conv2D(SHAPE, 4, (3,)), rf"Conv2D: `ksize` {TWO} ksize=\(3,\)"),
    (lambda: Conv2D(SHAPE, 4, (3, 0)), rf"`ksize` {TWO} ksize=\(3, 0\)"),
    (lambda: Conv2D(SHAPE, 4, (3, 2.0)), rf"`ksize` {TWO} ksize=\(3, 2.0\)"),
    (lambda: Conv2D(SHAPE, 4, (3, True)), rf"`ksize` {TWO} ksize=\(3, True\)"),
    (lambda: Conv2D(SHAPE, 4, (3, 3, 3)), rf"`ksize` {TWO}"),
    (
        lambda: Conv2D(SHAPE, 4, "33"),
        r"`ksize` must be an integer of at least 1, or two: \(height, width\). Received ksize='33'",
    ),
    (lambda: Conv2D(SHAPE, 4, 3, (1, -1)), rf"`stride` {TWO} stride=\(1, -1\)"),
    (lambda: Conv2D(SHAPE, 4, dilation=0), "`dilation` must be an integer of at least 1. Received dilation=0"),
    (lambda: Conv2D(SHAPE, 4, dilation=(1, 0)), rf"`dilation` {TWO} dilation=\(1, 0\)"),
    (lambda: Conv2D(SHAPE, 4, dilation=1.5), "`dilation` must be an integer of at least 1. Received dilation=1.5"),
    (lambda: Conv2D(SHAPE, 4, dilation=3), "`ksize`, 7 x 7 with `dilation`, must not be larger than the image, 6 x 5"),
    (
        lambda: Conv2D(SHAPE, 4, (2, 3), dilation=(5, 3), padding=((0, 0), (1, 0))),
        r"`ksize`, 6 x 7 with `dilation`, must not be .* with its padding, 6 x 6. Received ksize=\(2, 3\)",
    ),
    (lambda: Conv2D(SHAPE, 4, 9, padding=1), "not be larger than the image with its padding, 8 x 7. Received ksize=9"),
    (lambda: Conv2D(SHAPE, 4, (7, 1)), r"`ksize` must not be larger than the image, 6 x 5. Received ksize=\(7, 1\)"),
    (lambda: Conv2D(SHAPE, 4, padding=-1), "`padding` must be an integer of at least 0. Received padding=-1"),
    (lambda: Conv2D(SHAPE, 4, padding=1.0), "`padding` must be an integer of at least 0. Received padding=1.0"),
    (lambda: Conv2D(SHAPE, 4, padding=True), "`padding` must be an integer of at least 0. Received padding=True"),
    (
        lambda: Conv2D(SHAPE, 4, padding="SAME"),
        r"right\)\); a text such as 'SAME' is a `method`. Received padding='SAME'",
    ),
    (lambda: Conv2D(SHAPE, 4, padding=(1, -1)), PADDING + r". Received padding=\(1, -1\)"),
    (lambda: Conv2D(SHAPE, 4, padding=(1, 2, 3, 4)), PADDING + r". Received padding=\(1, 2, 3, 4\)"),
    (lambda: Conv2D(SHAPE, 4, padding=((1, 2), (3,))), PADDING + r". Received padding=\(\(1, 2\), \(3,\)\)"),
    (lambda: Conv2D(SHAPE, 4, groups=3), "`groups` must divide the channels of `shape`, 4. Received groups=3"),
    (lambda: Conv2D(SHAPE, 6, groups=4), "`groups` must divide the `output_channels`, 6. Received groups=4"),
    (lambda: Conv2D(SHAPE, 4, groups=0), "`groups` must be an integer of at least 1. Received groups=0"),
    (lambda: Conv2D(SHAPE, 4, groups=1.0), "`groups` must be an integer of at least 1. Received groups=1.0"),
    (lambda: Conv2D(SHAPE, 4, groups=(1, 1)), r"`groups` must be an integer of at least 1. Received groups=\(1, 1\)"),
    (lambda: Conv2D(SHAPE, 4, bias="no"), "`bias` must be True or False. Received bias='no'"),
    (lambda: Conv2D(SHAPE, 4, bias=None), "`bias` must be True or False. Received bias=None"),
    (lambda: DepthwiseConv2D((2, 6, 5)), r"DepthwiseConv2D: `shape` must be \(batch, height, width, channels\)"),
    (lambda: DepthwiseConv2D(SHAPE, multiplier=0), "DepthwiseConv2D: `multiplier` must be an integer of at least 1"),
    (lambda: DepthwiseConv2D(SHAPE, 3, 1, "VALID", 2.0), "`multiplier` must be an integer of at least 1. Received mul"),
    (lambda: DepthwiseConv2D(SHAPE, 7), "DepthwiseConv2D: `ksize` must not be larger than the image, 6 x 5. Received"),
    (lambda: Conv2DTranspose(SHAPE, 0), "Conv2DTranspose: `output_channels` must be an integer of at least 1"),
    (lambda: Conv2DTranspose(SHAPE, 6, groups=4), "`groups` must divide the `output_channels`, 6. Received groups=4"),
    (
        lambda: Conv2DTranspose(SHAPE, 4, output_padding=1),
        "`output_padding` must be less than `stride`, 1. Received output_padding=1",
    ),
    (
        lambda: Conv2DTranspose(SHAPE, 4, stride=(2, 1), output_padding=1),
        r"`output_padding` must be less than `stride`, \(2, 1\). Received output_padding=1",
    ),
    (
        lambda: Conv2DTranspose(SHAPE, 4, stride=2, output_padding=-1),
        "`output_padding` must be an integer of at least 0. Received output_padding=-1",
    ),
    (
        lambda: Conv2DTranspose(SHAPE, 4, 3, 2, "SAME", output_padding=1),
        "`output_padding` must be 0 with `method` 'SAME', which says the size of the output",
    ),
    (
        lambda: Conv2DTranspose(SHAPE, 4, 1, padding=(3, 0)),
        r"`padding` must leave something of the output, which would be 0 x 5. Received padding=\(3, 0\)",
    ),
    (
        lambda: Conv2D(SHAPE, 4, stride=2, padding=2**31 - 1),
        "Conv2D: `padding` must be smaller: images of 4294967300 x 4294967299 fit into no memory. Received padding=214",
    ),
    (
        lambda: Conv2D(SHAPE, 4, 3, 1, "SAME", dilation=2**31 - 1),
        "Conv2D: `dilation` must be smaller: images of 4294967300 x 4294967299 fit into no memory. Received dilation=",
    ),
    (
        lambda: Conv2DTranspose(SHAPE, 4, 3, 2**31 - 1),
        "Conv2DTranspose: `stride` must be smaller: images of 10737418238 x 8589934591 fit into no memory. Received s",
    ),
    (lambda: im2col(np.zeros(SHAPE), (2, 0), 1), rf"im2col: `ksize` {TWO} ksize=\(2, 0\)"),
    (lambda: im2col(np.zeros(SHAPE), (7, 1), 1), "im2col: `ksize` must not be larger than the image, 6 x 5"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_each_channel_of_a_depthwise_convolution_is_a_group():
    with pytest.raises(TypeError, match="groups"):
        DepthwiseConv2D(SHAPE, groups=2)


ASSIGNED = [
    (lambda: Conv2D(SHAPE, 4), "dilation", 4, "`ksize`, 9 x 9 with `dilation`, must not be larger than the image"),
    (lambda: Conv2D(SHAPE, 4, 7, padding=2), "padding", 0, "`ksize` must not be larger than the image"),
    (lambda: Conv2D(SHAPE, 4, 7, padding=2), "padding", None, "`ksize` must not be larger than the image"),
    (lambda: Conv2D(SHAPE, 4), "groups", 2, "`groups` must be 1, as in the constructor: make a new layer for another"),
    (lambda: Conv2D(SHAPE, 4, (3, 2)), "ksize", 3, r"`ksize` follows from the layer's other arguments, \(3, 2\); make"),
    (lambda: DepthwiseConv2D(SHAPE), "multiplier", 2, "`multiplier` follows from the layer's other arguments, 1; make"),
    (lambda: Conv2DTranspose(SHAPE, 4), "output_padding", 1, "`output_padding` must be less than `stride`, 1. Receiv"),
    (lambda: Conv2DTranspose(SHAPE, 4, 1), "padding", 5, "must leave something of the output, which would be -4 x -5"),
    (lambda: Conv2DTranspose(SHAPE, 4, 3, 2, output_padding=1), "stride", 1, "`output_padding` must be less than `str"),
    (lambda: Conv2DTranspose(SHAPE, 4, 3, 2, output_padding=1), "method", "SAME", "`output_padding` must be 0 with `m"),
]


@pytest.mark.parametrize(("make", "name", "value", "message"), ASSIGNED)
def test_what_is_assigned_is_checked_and_changes_nothing_where_it_is_refused(make, name, value, message):
    layer = make()
    before, window = getattr(layer, name), layer.window
    with pytest.raises(ValueError, match=f"{layer.name}: .*{message}"):
        setattr(layer, name, value)
    assert getattr(layer, name) == before and layer.window == window
    setattr(layer, name, before)


def test_a_layer_without_bias(backend, layer, x):
    if layer.has_bias:
        assert layer.bias.shape == layer.output_shape[3:]
        with pytest.raises(TypeError, match=r"`bias` must hold real numbers. Received bias=None"):
            layer.bias = None
        return
    assert layer.bias is None and layer.b_gradient is None
    assert layer.parameters().keys() == layer.gradients().keys() == layer.tensors().keys() == {"weights"}
    layer.bias = layer.b_gradient = None
    with pytest.raises(ValueError, match=r"`bias` must be None in a layer that was made without. Received bias=array"):
        layer.bias = np.zeros(layer.output_shape[3])
    out, before = layer.forward(x), layer.weights.copy()
    layer.gradient(np.ones_like(out))
    layer.backward(0.1)
    assert (layer.weights != before).any() and layer.bias is None
    assert layer.parameter_count() == layer.weights.size
    twin = type(layer)(**{**layer.config(), "bias": True})
    twin.weights, twin.bias = layer.weights, np.zeros(twin.bias.shape)
    np.testing.assert_array_equal(layer.forward(x), twin.forward(x))


def test_without_bias_the_weights_are_drawn_as_ever():
    for kind in (Conv2D, Conv2DTranspose):
        with_bias, without = (kind(SHAPE, 4, rng=3, bias=bias) for bias in (True, False))
        np.testing.assert_array_equal(with_bias.weights, without.weights)


def test_columns_of_images(backend, x):
    for conv in (Conv2D(SHAPE, 3, (3, 2), (1, 2), dilation=(2, 1), padding=((1, 0), (2, 3))), DepthwiseConv2D(SHAPE)):
        out, columns = conv.forward(x), conv.col_image
        assert columns.shape == (2, np.prod(out.shape[1:3]), np.prod(conv.window.ksize) * 4)
        weights = conv.weights.reshape(-1, 4 // conv.groups, conv.output_channels)
        whole = np.zeros((len(weights), 4, conv.output_channels), np.float32)
        for o in range(conv.output_channels):
            first = o // (conv.output_channels // conv.groups) * (4 // conv.groups)
            whole[:, first : first + 4 // conv.groups, o] = weights[:, :, o]
        wanted = columns @ whole.reshape(-1, conv.output_channels) + conv.bias
        np.testing.assert_allclose(wanted.reshape(out.shape), out, rtol=1e-5, atol=1e-6)


def test_check_layer(backend, layer, x):
    """All that a layer promises, and variants of its windows."""
    report = testing.check_layer(layer, x)
    assert all(check.status != "failed" for check in report.checks), report
    assert len([check for check in report.checks if check.status == "passed"]) > 10, report


def model():
    np.random.seed(1)
    made = [Conv2D((4, 9, 8, 3), 6, (3, 2), (2, 1), dilation=(1, 2), padding=((1, 0), (2, 1)), groups=3)]
    made.append(DepthwiseConv2D(made[-1].output_shape, 3, 1, "SAME_UPPER", 2, bias=False))
    made.append(Conv2DTranspose(made[-1].output_shape, 4, (2, 3), 2, groups=2, output_padding=(1, 0), dilation=(2, 1)))
    made.append(Conv2DTranspose(made[-1].output_shape, 3, 3, 1, padding=(1, 0), bias=False))
    made.append(FullyConnect(made[-1].output_shape, 3))
    return Sequential([*made, Softmax(made[-1].output_shape)])


def data(count=12):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 9, 8, 3)).astype(np.float32), rng.integers(0, 3, count)


@pytest.mark.parametrize("name", ["model.npz", "model.safetensors"])
def test_saved_and_loaded(tmp_path, backend, name):
    own, (x, _) = model(), data()
    own.save(tmp_path / name)
    loaded = Sequential.load(tmp_path / name)
    assert repr(loaded.layers) == repr(own.layers)
    for mine, theirs in zip(own.body, loaded.body, strict=True):
        assert vars(mine).keys() >= vars(theirs).keys() - {"_window"}
        for key, array in mine.tensors().items():
            np.testing.assert_array_equal(array, theirs.tensors()[key])
    np.testing.assert_array_equal(own.predict(x), loaded.predict(x))


def test_a_file_whose_layer_has_no_bias_is_not_that_of_one_with(tmp_path):
    layer = Conv2D(SHAPE, 3, bias=False)
    Sequential([layer]).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    text = str(arrays["architecture"])
    assert '"bias": false' in text
    arrays["architecture"] = np.array(text.replace('"bias": false', '"bias": true'))
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(fastcnn.FileFormatError, match="bias"):
        Sequential.load(tmp_path / "b.npz")


NEW = "groups", "dilation", "padding", "bias"  # arguments that files and pickles made before lack


def test_files_made_before(tmp_path, backend):
    conv = Conv2D((2, 6, 6, 2), 3, 3, 2, "SAME", rng=0)
    x = np.random.default_rng(1).standard_normal((2, 6, 6, 2))
    own = Sequential([conv])
    own.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        (layer,) = json.loads(str(file["architecture"]))["layers"]
    assert layer["config"].keys().isdisjoint(NEW)  # it is such a file: what is at its default is not said
    loaded = Sequential.load(tmp_path / "model.npz")
    assert repr(loaded.layers) == repr(own.layers)
    np.testing.assert_array_equal(loaded.forward(x), own.forward(x))


def test_pickles_made_before(backend):
    """Layers then kept no `dilation`, `padding`, `groups` and no window; a subclass of a script neither."""
    conv = Conv2D((2, 6, 6, 2), 3, 3, 2, "SAME", rng=0)
    x = np.random.default_rng(1).standard_normal((2, 6, 6, 2))
    out = conv.forward(x)
    state = {name: value for name, value in vars(conv).items() if name not in (*NEW[:3], "_window")}
    old = Conv2D.__new__(Conv2D)
    old.__setstate__(copy.deepcopy(state))
    assert (old.groups, old.dilation, old.padding, old.has_bias) == (1, 1, None, True)
    np.testing.assert_array_equal(old.gradient(out), conv.gradient(out))
    np.testing.assert_array_equal(old.forward(x), out)
    old.stride = 1
    assert old.forward(x).shape == old.output_shape == (2, 6, 6, 3)
    again = pickle.loads(pickle.dumps(old))
    np.testing.assert_array_equal(again.forward(x), old.forward(x))


def test_summary_counts_what_is_multiplied(capsys):
    own = model()
    own.summary()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:5]]
    for row, layer in zip(rows, own.body, strict=False):
        assert row[0] == layer.name and row[-2:] == [f"{layer.parameter_count():,}", f"{layer.multiply_adds():,}"]
    conv, depthwise, transposed, *_ = own.body
    assert conv.multiply_adds() == 6 * np.prod(conv.output_shape[1:3]) * 3 * 2 * 1
    assert depthwise.multiply_adds() == 12 * np.prod(depthwise.output_shape[1:3]) * 9
    assert transposed.multiply_adds() == 12 * np.prod(transposed.input_shape[1:3]) * 2 * 3 * 2
    assert [layer.parameter_count() for layer in own.body[:3]] == [6 * 6 + 6, 12 * 9, 2 * 3 * 2 * 12 + 4]


def test_profile():
    own, (x, y) = model(), data()
    with profiling.profile() as report:
        own.train_on_batch(x, y)
    seen = {(row.layer.split()[0], row.method) for row in report.rows}
    assert {(layer.name, method) for layer in own.body for method in ("forward", "gradient")} <= seen


class StopAt(Callback):
    """Ends a training in the midst of its second epoch."""

    steps = 5

    def on_batch_end(self, run):
        self.steps -= 1
        if not self.steps:
            raise KeyboardInterrupt


def fit(own, **options):
    own.fit(*data(), 3, 5, learning_rate=0.01, seed=3, verbose=False, failure_file=None, **options)
    return [array for layer in own.body for array in layer.parameters().values()]


def test_a_training_that_is_stopped_goes_on_to_the_same_bits(tmp_path, backend):
    whole = fit(model())
    assert any((one != other).any() for one, other in zip(whole, model().body[0].parameters().values(), strict=False))
    with pytest.raises(KeyboardInterrupt):
        fit(model(), callbacks=[Checkpoint(tmp_path / "c.npz", every_steps=1), StopAt()])
    for one, other in zip(whole, fit(model(), resume=tmp_path / "c.npz"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_training_on_both_backends_at_once():
    with fastcnn.use_backend("check"):
        fit(model())


def test_the_number_of_threads_changes_no_bit():
    results = []
    for count in (1, 2):
        with threads(count), on_threads():
            results.append(fit(model()))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
