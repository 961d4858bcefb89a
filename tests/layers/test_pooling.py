"""Geometries of poolings, their errors, and what files and pickles of before become."""

import pickle

import numpy as np
import pytest

import fastcnn
from fastcnn.layers import AdaptiveAvgPooling, AvgPooling, GlobalMaxPooling, MaxPooling, Relu, UpSampling
from fastcnn.layers.pooling import GlobalAvgPooling as SameName
from fastcnn.testing import check_layer
from fastcnn.windows import GEOMETRIES, Window, check_pooling, pooled

SHAPE = (2, 6, 5, 3)


def test_the_first_pooling_of_a_residual_network(backend):
    pool = MaxPooling((1, 112, 112, 4), 3, 2, padding=1, geometry="floor")
    assert pool.output_shape == (1, 56, 56, 4)
    assert (pool.ksize, pool.stride, pool.padding) == (3, 2, 1)
    assert pool.forward(-np.ones((1, 112, 112, 4))).max() == -1  # padding is no zero
    assert MaxPooling((1, 112, 112, 4), 3, 2, padding=1).output_shape == (1, 57, 57, 4)


@pytest.mark.parametrize(
    ("size", "given", "wanted"),  # ksize, stride, padding: outputs of 'original', 'floor', 'ceil'
    [
        (5, (2, 2, 0), (2, 2, 3)),
        (6, (3, 2, 0), (3, 2, 3)),
        (6, (3, 2, 1), (4, 3, 4)),
        (4, (2, 3, 1), (2, 2, 2)),
        (4, (1, 3, 0), (1, 2, 2)),
        (3, (2, 4, (1, 0)), (1, 1, 1)),
        (1, (1, 1, 0), (1, 1, 1)),
    ],
)
def test_how_many_windows(size, given, wanted):
    ksize, stride, padding = given
    found = [pooled((size, 9), (ksize, 1), (stride, 1), 1, (padding, 0), geometry).out for geometry in GEOMETRIES]
    assert tuple(rows for rows, _ in found) == wanted and {columns for _, columns in found} == {9}


def test_the_only_window_may_cross_the_end(backend):
    """Of PyTorch and ONNX with ceil_mode: larger than the image by less than a stride."""
    x = np.arange(1.0, 9.0).reshape(1, 2, 2, 2)
    largest = MaxPooling(x.shape, 3, 2, geometry="ceil", dtype="float64")
    mean = AvgPooling(x.shape, 3, 2, geometry="ceil", dtype="float64")
    np.testing.assert_array_equal(largest.forward(x), [[[[7, 8]]]])
    np.testing.assert_array_equal(mean.forward(x), [[[[4, 5]]]])
    np.testing.assert_array_equal(largest.gradient(np.ones((1, 1, 1, 2))), [[[[0, 0], [0, 0]], [[0, 0], [1, 1]]]])
    np.testing.assert_array_equal(mean.gradient(np.ones((1, 1, 1, 2))), np.full(x.shape, 0.25))
    with pytest.raises(ValueError, match="`ksize` must not be larger than the image, 2 x 2"):
        MaxPooling(x.shape, 4, 2, geometry="ceil")


def test_attributes_are_integers_where_both_axes_are_alike(rng):
    pool = AvgPooling(SHAPE, [2, 2], (2, 1), padding=((1, 1), (0, 0)), geometry="floor", dilation=(1, 2))
    assert (pool.ksize, pool.stride, pool.padding, pool.dilation) == (2, (2, 1), (1, 0), (1, 2))
    assert AvgPooling(SHAPE, (3, 2), None).stride == (3, 2)
    again = AvgPooling(**pool.config())
    x = rng.standard_normal(SHAPE)
    np.testing.assert_array_equal(again.forward(x), pool.forward(x))
    pool.geometry, pool.ksize = "ceil", 3
    np.testing.assert_array_equal(
        pool.forward(x),
        AvgPooling(SHAPE, 3, (2, 1), padding=(1, 0), geometry="ceil", dilation=(1, 2)).forward(x),
    )
    with pytest.raises(RuntimeError, match="`gradient` needs a call of `forward` first"):
        pool.forward(x)
        pool.stride = 1
        pool.gradient(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxPooling(SHAPE, geometry="same"), "`geometry` must be one of 'original', 'floor', 'ceil'. Received"),
        (lambda: MaxPooling(SHAPE, (2, 0)), r"`ksize` must be an integer of at least 1, or two: \(height, width\)"),
        (lambda: MaxPooling(SHAPE, (2, 2, 2)), r"`ksize` must be an integer of at least 1, or two: \(height, width\)"),
        (
            lambda: MaxPooling(SHAPE, (2, 6)),
            r"`ksize` must not be larger than the image, 6 x 5. Received ksize=\(2, ",
        ),
        (
            lambda: MaxPooling(SHAPE, 3, dilation=3),
            r"`ksize`, 7 x 7 with `dilation`, must not be larger than the image, 6 x 5. Received ksize=3",
        ),
        (lambda: MaxPooling(SHAPE, 2, dilation=0), "`dilation` must be an integer of at least 1"),
        (
            lambda: MaxPooling(SHAPE, 2, padding=(0, 2)),
            "smaller than a window, which spans 2 x 2 pixels. Received ",
        ),
        (
            lambda: MaxPooling(SHAPE, 2, padding=((0, 2), 0), geometry="floor"),
            "smaller than a window, which spans 2 x 2",
        ),
        (lambda: MaxPooling(SHAPE, 2, padding=-1), "`padding` must be an integer of at least 0"),
        (
            lambda: MaxPooling(SHAPE, 2, (7, 1)),
            r"`stride` must not be larger than the image, 6 x 5. Received stride=",
        ),
        (
            lambda: MaxPooling((1, 1, 4, 1), (2, 1), 1, padding=(1, 0), geometry="floor", dilation=(2, 1)),
            "`dilation` must be smaller: a window would step over the image, and hold nothing but padding",
        ),
        (lambda: MaxPooling((1, 5000, 5000, 1), 4097), "`ksize` must be smaller: at most 16,777,216 pixels"),
        (lambda: AvgPooling(SHAPE, count_padding=False), "`count_padding` must be True with the `geometry` 'original'"),
        (lambda: AvgPooling(SHAPE, geometry="ceil", count_padding=2), "`count_padding` must be True or False"),
        (
            lambda: AdaptiveAvgPooling(SHAPE, (2, 0)),
            "AdaptiveAvgPooling: `output_size` must be an integer of at least",
        ),
        (lambda: UpSampling(SHAPE, 0), "UpSampling: `factor` must be an integer of at least 1"),
        (
            lambda: UpSampling(SHAPE, 2**31 - 1),
            r"UpSampling: `factor` must be smaller: images of the shape \(128849018",
        ),
        (lambda: UpSampling(SHAPE, mode="cubic"), "UpSampling: `mode` must be one of 'nearest', 'bilinear'"),
        (lambda: UpSampling(SHAPE, align_corners=True), "`align_corners` must be False unless `mode` is 'bilinear'"),
        (lambda: GlobalMaxPooling((2, 6, 5)), r"GlobalMaxPooling: `shape` must be \(batch, height, width, channels\)"),
    ],
)
def test_errors_name_the_argument(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_windows_that_would_hold_padding_alone():
    """Every geometry that `check_pooling` accepts leaves each window a pixel, and it refuses no other."""
    checked = 0
    for size, ksize, stride, dilation, before in np.ndindex(4, 4, 4, 4, 7):
        window = Window((ksize + 1, 1), (stride + 1, 1), (dilation + 1, 1), ((before, 3), (0, 0)))
        if max(before, 3) >= window.reach[0] or window.reach[0] > size + before + 4:
            continue
        number = pooled((size + 1, 1), *window, "ceil").out[0]
        starts = (stride + 1) * np.arange(number)[:, None] - before + (dilation + 1) * np.arange(ksize + 1)
        holds = ((starts >= 0) & (starts <= size)).any(axis=1).all()
        checked += 1
        if holds:
            check_pooling("P", (size + 1, 1), window.padding, window, "ceil")
        else:
            with pytest.raises(ValueError, match="hold nothing but padding"):
                check_pooling("P", (size + 1, 1), window.padding, window, "ceil")
    assert checked > 500


def test_steep_strides_are_checked_at_once():
    window = Window((2, 1), (2**30, 1), (2**30, 1), ((2**30, 2**30), (0, 0)))
    check_pooling("P", (2, 1), window.padding, window, "floor")
    with pytest.raises(ValueError, match="hold nothing but padding"):
        check_pooling("P", (2, 1), window.padding, window._replace(stride=(2**29, 1)), "floor")


@pytest.mark.parametrize("geometry", ["floor", "ceil"])
def test_nan_infinity_and_padding(geometry, backend):
    x = np.full((1, 4, 4, 1), -np.inf)
    x[0, 2, 2] = np.nan
    pool = MaxPooling(x.shape, 3, 2, padding=1, geometry=geometry)
    out = pool.forward(x)
    assert np.isnan(out[0, 1, 1]).all() and (out[0, 0, 0] == -np.inf).all()
    back = pool.gradient(np.ones(pool.output_shape))[0, :, :, 0]
    assert back[0, 0] == 1 and back[2, 2] >= 1, "to the first pixel, not to padding, and to NaN"
    assert back.sum() == np.prod(pool.output_shape)
    np.testing.assert_array_equal(pool.index[0, :, :, 0], back > 0)


@pytest.mark.parametrize("given", [{"padding": 1, "geometry": "floor"}, {"padding": (1, 0), "geometry": "ceil"}])
def test_a_relu_before_is_computed_too(given, backend, rng):
    x = rng.integers(-3, 3, SHAPE)
    relu, pool, fused = Relu(SHAPE), MaxPooling(SHAPE, 3, 2, **given), MaxPooling(SHAPE, 3, 2, **given)
    out = fused.forward_rectified(x)
    np.testing.assert_array_equal(out, pool.forward(relu.forward(x)))
    eta = rng.standard_normal(out.shape)
    np.testing.assert_array_equal(fused.gradient(eta), relu.gradient(pool.gradient(eta)))


def test_means_with_padding_and_without(backend):
    x = np.ones((1, 3, 3, 1))
    for count, corner in ((True, 4 / 9), (False, 1)):
        pool = AvgPooling(x.shape, 3, 2, padding=1, geometry="ceil", count_padding=count)
        np.testing.assert_allclose(pool.forward(x)[0, :, :, 0], np.full((2, 2), corner), rtol=1e-6)
    beyond = AvgPooling((1, 4, 1, 1), (3, 1), (2, 1), geometry="ceil")  # the last window holds 2, and ceil adds 1
    np.testing.assert_allclose(beyond.forward(np.ones((1, 4, 1, 1))), 1)


def test_whole_images(backend, rng):
    x = rng.standard_normal((3, 4, 5, 70)).astype(np.float32)
    x[1, 2, 3, 5] = np.nan
    x[2, :, :, 6] = 1
    pool = GlobalMaxPooling(x.shape)
    np.testing.assert_array_equal(pool.forward(x), x.max(axis=(1, 2)))
    eta = rng.standard_normal((3, 70)).astype(np.float32)
    back = pool.gradient(eta)
    np.testing.assert_array_equal(back.sum(axis=(1, 2)), eta)
    assert back[1, 2, 3, 5] == eta[1, 5] and back[2, 0, 0, 6] == eta[2, 6]
    np.testing.assert_array_equal(pool.index, back != 0)
    assert pool.output_shape == (3, 70) and SameName(x.shape).output_shape == (3, 70)


def test_parts_that_are_alike_and_others(backend, rng):
    x = rng.standard_normal((2, 6, 4, 3))
    alike, other = AdaptiveAvgPooling(x.shape, (3, 2), dtype="float64"), AdaptiveAvgPooling(x.shape, 4, dtype="float64")
    np.testing.assert_allclose(alike.forward(x), x.reshape(2, 3, 2, 2, 2, 3).mean(axis=(2, 4)))
    np.testing.assert_allclose(other.forward(x)[:, 1], x[:, 1:3].mean(axis=1))
    np.testing.assert_allclose(AdaptiveAvgPooling(x.shape, 1).forward(x)[:, 0, 0], x.mean(axis=(1, 2)), rtol=1e-5)


def test_infinite_pixels_stay_where_they_are(backend):
    x = np.zeros((1, 4, 4, 1))
    x[0, 3, 3] = np.inf
    for layer in (UpSampling(x.shape, 3, mode="bilinear"), AdaptiveAvgPooling(x.shape, 3)):
        assert not np.isnan(layer.forward(x)).any(), layer.name


@pytest.mark.parametrize("kind", [MaxPooling, AvgPooling])
def test_files_and_pickles_of_before(kind, tmp_path, rng):
    x = rng.standard_normal(SHAPE).astype(np.float32)
    pool = kind(SHAPE, 3, 2, padding=1)
    wanted = pool.forward(x)
    config = {
        name: value for name, value in pool.config().items() if name in ("shape", "dtype", "ksize", "stride", "padding")
    }
    np.testing.assert_array_equal(kind(**config).forward(x), wanted)
    for name in ("geometry", "dilation", "count_padding", "_pooled"):
        pool.__dict__.pop(name, None)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pool)).forward(x), wanted)


def test_models_of_them_are_saved(tmp_path, rng, capsys):
    stem = MaxPooling(SHAPE, (3, 2), 2, padding=((1, 0), 1), geometry="ceil", dilation=(1, 2))
    mean = AvgPooling(stem.output_shape, 2, 1, padding=1, geometry="floor", count_padding=False)
    up = UpSampling(mean.output_shape, (2, 1), mode="bilinear", align_corners=True)
    parts = AdaptiveAvgPooling(up.output_shape, (3, 2))
    model = fastcnn.Sequential([stem, mean, up, parts, GlobalMaxPooling(parts.output_shape)])
    model.save(tmp_path / "model.npz")
    x = rng.standard_normal(SHAPE).astype(np.float32)
    again = fastcnn.Sequential.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.forward(x), model.forward(x))
    assert [layer.config() for layer in again.layers] == [layer.config() for layer in model.layers]
    model.summary()
    assert "UpSampling          (batch, 8, 4, 3)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "make",
    [
        lambda: MaxPooling(SHAPE, 3, 2, padding=1, geometry="floor"),
        lambda: AvgPooling(SHAPE, (3, 2), 2, padding=(1, 0), geometry="ceil", count_padding=False),
        lambda: GlobalMaxPooling(SHAPE),
        lambda: AdaptiveAvgPooling(SHAPE, (4, 2)),
        lambda: UpSampling(SHAPE, (2, 3)),
        lambda: UpSampling(SHAPE, 2, mode="bilinear"),
    ],
)
def test_check_layer_finds_nothing(make, rng):
    check_layer(make(), rng.standard_normal(SHAPE))
