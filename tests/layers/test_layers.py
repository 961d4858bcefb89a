"""The layers' public behaviour: shapes, attributes, initialisation, update, dtype, purity. Contract section 2."""

import copy
import math
import pickle
import sys
import threading

import numpy as np
import pytest

import fastcnn
from fastcnn import layers
from fastcnn.layers import (
    ELU,
    GELU,
    AdaptiveAvgPooling,
    AvgPooling,
    BatchNorm,
    Conv2D,
    Conv2DTranspose,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    FullyConnect,
    GlobalAvgPooling,
    GlobalMaxPooling,
    GroupNorm,
    HardSigmoid,
    HardSwish,
    LayerNorm,
    LeakyRelu,
    MaxPooling,
    Mish,
    PReLU,
    Relu,
    ReLU6,
    Rescaling,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    UpSampling,
)

SHAPE = (3, 7, 5, 2)


def every_layer(**options):
    yield Conv2D(SHAPE, 4, 3, 2, "SAME", **options)
    yield Conv2D(SHAPE, 4, (3, 2), (1, 2), "SAME_UPPER", groups=2, dilation=(2, 1), **options)
    yield Conv2D(SHAPE, 4, padding=((1, 0), (2, 3)), bias=False, **options)
    yield DepthwiseConv2D(SHAPE, 3, 1, "SAME", 3, **options)
    yield DepthwiseConv2D(SHAPE, 2, (2, 1), dilation=2, bias=False, **options)
    yield Conv2DTranspose(SHAPE, 4, 4, 2, padding=1, groups=2, **options)
    yield Conv2DTranspose(SHAPE, 3, (2, 3), (3, 2), output_padding=(2, 0), dilation=(1, 2), bias=False, **options)
    yield Conv2DTranspose(SHAPE, 3, 3, 2, "SAME", **options)
    yield MaxPooling(SHAPE, 3, 2, **options)
    yield AvgPooling(SHAPE, 3, 2, **options)
    yield Relu(SHAPE, **options)
    yield LeakyRelu(SHAPE, **options)
    yield Rescaling(SHAPE, 0.5, 1.0, **options)
    yield FullyConnect(SHAPE, 6, **options)
    yield MaxPooling(SHAPE, 3, 2, padding=1, **options)
    yield AvgPooling(SHAPE, 3, 2, padding=2, **options)
    yield GlobalAvgPooling(SHAPE, **options)
    yield MaxPooling(SHAPE, 3, 2, padding=1, geometry="floor", **options)
    yield MaxPooling(SHAPE, (2, 3), (3, 1), padding=((1, 0), (2, 1)), geometry="ceil", dilation=(2, 1), **options)
    yield AvgPooling(SHAPE, 3, None, padding=1, geometry="ceil", count_padding=False, **options)
    yield GlobalMaxPooling(SHAPE, **options)
    yield AdaptiveAvgPooling(SHAPE, (3, 4), **options)
    yield UpSampling(SHAPE, (2, 3), **options)
    yield UpSampling(SHAPE, 2, mode="bilinear", **options)
    yield ELU(SHAPE, 0.7, **options)
    yield PReLU(SHAPE, **options)
    yield Sigmoid(SHAPE, **options)
    yield Tanh(SHAPE, **options)
    yield Relu(SHAPE, at_zero=False, **options)
    for kind in (SiLU, GELU, Mish, Softplus, HardSwish, ReLU6, HardSigmoid):
        yield kind(SHAPE, **options)
    yield GELU(SHAPE, approximate="tanh", **options)
    yield Flatten(SHAPE, **options)
    yield BatchNorm(SHAPE, **options)
    yield LayerNorm(SHAPE, epsilon=0.1, **options)  # of two channels, which are now and then nearly equal
    yield LayerNorm(SHAPE, axis=1, **options)
    yield GroupNorm(SHAPE, 1, **options)
    yield GroupNorm(SHAPE, 2, **options)
    yield Dropout(SHAPE, 1.0, **options)  # kept whole: what it drops differs from call to call, see test_dropout.py


LAYERS = [pytest.param(i, id=f"{layer.name}{i}") for i, layer in enumerate(every_layer())]


@pytest.fixture(params=LAYERS)
def layer(request):
    np.random.seed(0)
    return list(every_layer())[request.param]


@pytest.mark.parametrize("shape", [[3, 7, 5, 2], (3, 7, 5, 2), np.array([3, 7, 5, 2])])
def test_shape_may_be_any_sequence_of_integers(shape):
    assert Conv2D(shape, 4).output_shape == (3, 5, 3, 4)
    assert Conv2D(shape=shape, output_channels=4, ksize=5, stride=1).output_shape == (3, 3, 1, 4)
    assert MaxPooling(shape).input_shape == (3, 7, 5, 2)
    assert FullyConnect(shape).output_shape == (3, 2)


@pytest.mark.parametrize("size", range(3, 9))
@pytest.mark.parametrize("ksize", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_output_sizes(size, ksize, stride):
    shape = (1, size, size + 1, 1)
    valid = Conv2D(shape, 1, ksize, stride, "VALID").output_shape
    assert valid == (1, (size - ksize) // stride + 1, (size + 1 - ksize) // stride + 1, 1)
    same = Conv2D(shape, 1, ksize, stride, "SAME").output_shape
    assert same == (1, math.ceil(size / stride), math.ceil((size + 1) / stride), 1)
    assert MaxPooling(shape, ksize, stride).output_shape == (1, size // stride, (size + 1) // stride, 1)


def test_even_kernel_with_same_pads_after(backend):
    conv = Conv2D((1, 3, 3, 1), 1, 2, 1, "SAME", initializer=1.0)
    x = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1)
    np.testing.assert_array_equal(conv.forward(x)[0, :, :, 0], [[12, 16, 9], [24, 28, 15], [15, 17, 9]])


def test_default_initialisation_is_that_of_the_original():
    np.random.seed(0)
    conv, fc = Conv2D([64, 28, 28, 1], 12, 5, 1), FullyConnect([64, 600], 10)
    np.random.seed(0)
    scale = math.sqrt(64 * 28 * 28 * 1 / 12)
    for got, wanted in (
        (conv.weights, np.random.standard_normal((5, 5, 1, 12)) / scale),
        (conv.bias, np.random.standard_normal(12) / scale),
        (fc.weights, np.random.standard_normal((600, 10)) / 100),
        (fc.bias, np.random.standard_normal(10) / 100),
    ):
        np.testing.assert_array_equal(got, wanted.astype(np.float32))


def test_initializers():
    shape = (8, 16, 16, 32)
    he = Conv2D(shape, 64, 3, initializer="he", rng=0)
    assert abs(he.weights.std() - math.sqrt(2 / (9 * 32))) < 2e-3 and not he.bias.any()
    xavier = Conv2D(shape, 64, 3, initializer="xavier", rng=0)
    assert abs(xavier.weights.std() - math.sqrt(2 / (9 * 32 + 9 * 64))) < 2e-3
    assert not FullyConnect((1, 4), 3, initializer="zeros").weights.any()
    assert (FullyConnect((1, 4), 3, initializer=0.5).weights == 0.5).all()
    called = FullyConnect((1, 4), 3, initializer=lambda shape, rng: rng.random(shape), rng=3)
    np.testing.assert_array_equal(called.weights, np.random.default_rng(3).random((4, 3)).astype(np.float32))
    assert (Conv2D(shape, 4, rng=1).weights == Conv2D(shape, 4, rng=np.random.default_rng(1)).weights).all()


def test_rng_leaves_the_global_generator_alone():
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    Conv2D(SHAPE, 4, rng=1)
    assert np.random.random() == expected


def test_update_rule(backend):
    conv = Conv2D(SHAPE, 4)
    x = np.random.default_rng(0).random(SHAPE)
    out = conv.forward(x)
    conv.gradient(np.ones_like(out))
    weights, bias, dw, db = (np.copy(a) for a in (conv.weights, conv.bias, conv.w_gradient, conv.b_gradient))
    assert db.any() and (db == out[..., 0].size).all()
    conv.backward(alpha=0.01, weight_decay=0.1)
    for got, before, gradient in ((conv.weights, weights, dw), (conv.bias, bias, db)):
        size = np.abs(before) + 0.01 * np.abs(gradient)  # where the two cancel, the error is still that of each of them
        assert (np.abs(got - (before * 0.9 - 0.01 * gradient)) <= 2e-7 * size).all()
    assert not conv.w_gradient.any() and not conv.b_gradient.any()


def test_gradients_accumulate_until_backward(layer, backend):
    if not hasattr(layer, "backward"):
        assert layer.parameters() == {}
        return
    x = np.random.default_rng(0).random(SHAPE)
    eta = np.ones_like(layer.forward(x))
    layer.gradient(eta)
    once = {name: gradient.copy() for name, gradient in layer.gradients().items()}
    layer.gradient(eta)
    for name, gradient in layer.gradients().items():
        np.testing.assert_allclose(gradient, 2 * once[name], rtol=1e-6)
    layer.backward(0.1)
    assert not any(gradient.any() for gradient in layer.gradients().values())


@pytest.mark.parametrize("batch", [1, 2, 17])
def test_any_batch_size(layer, backend, batch):
    x = np.random.default_rng(1).standard_normal((batch, *SHAPE[1:]))
    out = layer.forward(x)
    assert out.shape == (batch, *layer.output_shape[1:])
    eta = layer.gradient(np.ones_like(out))
    assert eta.shape == x.shape
    phase = {"phase": "test"} if isinstance(layer, BatchNorm) else {}
    if batch > 1:  # an image's result does not depend on its neighbours, but for statistics of the batch
        np.testing.assert_allclose(layer.forward(x[:1], **phase)[0], layer.forward(x, **phase)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, bool, ">f4"])
def test_inputs_of_any_real_dtype(layer, backend, dtype):
    x = (np.random.default_rng(1).random(SHAPE) * 3).astype(dtype)
    out = layer.forward(x)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, layer.forward(x.astype(np.float32)))
    eta = np.ones(out.shape, np.int32)
    assert layer.gradient(eta).dtype == np.float32
    assert all(array.dtype == np.float32 for array in layer.parameters().values())


def test_float64_by_keyword_and_by_switch(backend, float64):
    by_switch, by_keyword = list(every_layer()), list(every_layer(dtype="float32"))
    for layer, other in zip(by_switch, by_keyword, strict=True):
        assert layer.forward(np.ones(SHAPE, np.float32)).dtype == np.float64
        assert other.forward(np.ones(SHAPE)).dtype == np.float32
        layer.gradient(np.ones(layer.output_shape))
        if hasattr(layer, "backward"):
            layer.backward(np.float32(0.1), np.float64(0.1))
            other.gradient(np.ones(layer.output_shape))
            other.backward(np.float64(0.1), np.float64(0.1))
            assert all(array.dtype == np.float64 for array in layer.tensors().values())
            assert all(array.dtype == np.float32 for array in other.tensors().values())


def test_arguments_are_not_modified_and_results_not_overwritten(layer, backend):
    generator = np.random.default_rng(2)
    kept = []
    for batch in (3, 3, 1, 3):
        x = generator.standard_normal((batch, *SHAPE[1:])).astype(np.float32)
        before = x.copy()
        out = layer.forward(x)
        eta = generator.standard_normal(out.shape).astype(np.float32)
        eta_before = eta.copy()
        back = layer.gradient(eta)
        np.testing.assert_array_equal(x, before)
        np.testing.assert_array_equal(eta, eta_before)
        kept += [(out, out.copy()), (back, back.copy())]
    for array, copied in kept:
        np.testing.assert_array_equal(array, copied)


def test_arrays_that_are_not_contiguous_writeable_or_aligned(layer, backend):
    x = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)
    wanted = layer.forward(x)
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(SHAPE)
    reversed_twice = x[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    for other in (read_only, unaligned, np.asfortranarray(x), reversed_twice, x.tolist()):
        np.testing.assert_array_equal(layer.forward(other), wanted)


def test_layers_pickle_and_copy(layer, backend):
    x = np.random.default_rng(2).standard_normal(SHAPE)
    eta = np.ones_like(layer.forward(x))
    wanted = layer.gradient(eta)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert twin.__dict__.keys() == layer.__dict__.keys()
        for name, array in twin.__dict__.items():
            assert not isinstance(array, np.ndarray) or not np.shares_memory(array, layer.__dict__[name]), name
        np.testing.assert_array_equal(twin.gradient(eta), wanted)  # mid-step: the state came along
        np.testing.assert_array_equal(twin.forward(x), layer.forward(x))


def test_layers_pickled_into_foreign_buffers_learn(backend):
    """Protocol 5 hands arrays over in buffers, which may be read-only."""
    fc = FullyConnect((2, 3), 2)
    buffers = []
    content = pickle.dumps(fc, protocol=5, buffer_callback=buffers.append)
    assert buffers
    twin = pickle.loads(content, buffers=[bytes(buffer.raw()) for buffer in buffers])
    twin.gradient(twin.forward(np.ones((2, 3))))
    twin.backward(0.1)
    assert (twin.weights != fc.weights).any()


def test_threads_predict_with_one_layer(backend, rng):
    """What `predict` returns is the caller's, whatever other threads do with the layer."""
    loss, wrong = Softmax((1, 2)), []

    def work(number):
        logits = np.array([[number, 0]], np.float32)
        wanted = Softmax((1, 2)).predict(logits)
        wrong.extend(number for _ in range(3000) if (loss.predict(logits) != wanted).any())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_nan_in_a_pooling_window(backend):
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    x[0, 1, 0, 0] = x[0, 0, 1, 0] = np.nan
    pool = MaxPooling(x.shape)
    out = pool.forward(x)
    assert np.isnan(out[0, 0, 0, 0]) and out[0, 1, 1, 0] == 15
    back = pool.gradient(np.ones(out.shape))
    assert back[0, 0, 1, 0] == 1 and back[0, 1, 0, 0] == 0  # the first NaN in row-major order


@pytest.mark.parametrize(("ksize", "stride", "padding"), [(2, 2, 1), (3, 1, 1), (3, 2, 2), (5, 3, 4)])
@pytest.mark.parametrize("kind", [MaxPooling, AvgPooling])
def test_padding_of_a_pooling(kind, ksize, stride, padding, backend, rng):
    """The same as of an image with zeros around it, of which the gradient's border is cut away."""
    x = rng.standard_normal(SHAPE).astype(np.float32)
    around = (0, 0), (padding, padding), (padding, padding), (0, 0)
    wide = np.pad(x, around)
    pool, plain = kind(SHAPE, ksize, stride, padding=padding), kind(wide.shape, ksize, stride)
    assert pool.output_shape == plain.output_shape
    out = pool.forward(x)
    np.testing.assert_array_equal(out, plain.forward(wide))
    inside = slice(None), slice(padding, -padding), slice(padding, -padding)
    eta = rng.standard_normal(out.shape).astype(np.float32)
    np.testing.assert_array_equal(pool.gradient(eta), plain.gradient(eta)[inside])
    if kind is MaxPooling:
        np.testing.assert_array_equal(pool.index, plain.index[inside])
        np.testing.assert_array_equal(pool.forward_rectified(x), plain.forward(np.maximum(wide, 0)))
        wanted = Relu(wide.shape)
        wanted.forward(wide)
        np.testing.assert_array_equal(pool.gradient(eta), wanted.gradient(plain.gradient(eta))[inside])
    assert pool.config()["padding"] == padding
    assert kind(**pool.config()).output_shape == pool.output_shape


def test_a_maximum_with_zeros_around_it(backend):
    """Zeros are values: they win over negative numbers, whose gradient is then 0."""
    pool = MaxPooling((1, 2, 2, 1), 2, 2, padding=1)
    np.testing.assert_array_equal(
        pool.forward(np.array([-1, 2, 3, -4]).reshape(1, 2, 2, 1))[0, :, :, 0], [[0, 2], [3, 0]]
    )
    np.testing.assert_array_equal(pool.gradient(np.ones((1, 2, 2, 1)))[0, :, :, 0], [[0, 1], [1, 0]])


def test_flatten_and_global_means(backend, rng):
    x = rng.standard_normal(SHAPE).astype(np.float32)
    flatten, pool = Flatten(SHAPE), GlobalAvgPooling(SHAPE)
    assert flatten.output_shape == (3, 70) and pool.output_shape == (3, 2) and pool.output_channels == 2
    np.testing.assert_array_equal(flatten.forward(x), x.reshape(3, 70))
    np.testing.assert_array_equal(flatten.gradient(x.reshape(3, 70)), x)
    np.testing.assert_allclose(pool.forward(x), x.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(pool.gradient([[35, 70]] * 3), np.ones(SHAPE) * [1, 2])


def test_windows_larger_than_a_byte_can_count(backend):
    x = np.random.default_rng(0).random((1, 40, 40, 2)).astype(np.float32)
    pool = MaxPooling(x.shape, 20, 20)
    np.testing.assert_array_equal(pool.forward(x), x.reshape(1, 2, 20, 2, 20, 2).max(axis=(2, 4)))
    assert pool.gradient(np.ones(pool.output_shape)).sum() == 8


def test_im2col_and_col2im_functions(backend):
    image = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    cols = layers.im2col(image, 2, 1)
    assert cols.shape == (2 * 3 * 4, 12) and cols.dtype == np.float32
    np.testing.assert_array_equal(cols[0], image[0, :2, :2].reshape(-1))
    np.testing.assert_array_equal(cols[-1], image[1, 2:, 3:].reshape(-1))
    counts = layers.col2im(np.ones_like(cols), image.shape, 2, 1)
    np.testing.assert_array_equal(counts[0, :, :, 0], np.outer([1, 2, 2, 1], [1, 2, 2, 2, 1]))
    assert layers.im2col(image.astype(np.float64), 2, 2).dtype == np.float64
    with pytest.raises(ValueError, match=r"col2im: `cols` must have the shape \(24, 12\)"):
        layers.col2im(cols[1:], image.shape, 2, 1)


def test_use_backend_mid_step(rng):
    """Forward on one backend, gradient on the other: the state between them is common."""
    x = rng.standard_normal(SHAPE).astype(np.float32)
    for layer in every_layer():
        results = []
        for first, second in (("numpy", "numba"), ("numba", "numpy")):
            with fastcnn.use_backend(first):
                out = layer.forward(x)
            with fastcnn.use_backend(second):
                results.append(layer.gradient(np.ones_like(out)))
        np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)
