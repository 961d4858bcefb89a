"""Convolutions lane by lane: shapes of taps and of groups that random tests leave out, each with code of its own."""

import numpy as np
import pytest

from fastcnn.backends import check
from fastcnn.backends.numba.convolution import conv
from fastcnn.backends.numba.core import copying
from fastcnn.backends.numba.product.lane_kind import Lanes, fits_whole, outputs_of_vector
from fastcnn.windows import Window
from tests.helpers.switches import conv_algorithm

# taps, dilation and stride on the axis across, inputs and outputs of a group; groups
SHAPES = (
    (3, 1, 1, 2, 2, 8),
    (3, 1, 1, 3, 3, 5),
    (2, 3, 2, 5, 5, 4),
    (3, 1, 2, 4, 4, 4),
    (3, 1, 1, 8, 8, 3),
    (3, 1, 1, 16, 16, 2),
    (1, 1, 2, 16, 16, 3),
    (5, 1, 1, 1, 1, 16),
    (7, 1, 1, 1, 1, 5),
    (11, 1, 2, 1, 1, 17),
    (3, 4, 1, 1, 1, 32),
    (4, 1, 3, 1, 1, 7),
    (3, 1, 1, 1, 3, 11),
    (3, 1, 2, 1, 4, 8),
    (3, 1, 1, 1, 16, 2),
)


DTYPES = "float32", "float64"


@pytest.mark.parametrize(("shape", "dtype"), [(shape, DTYPES[i % 2]) for i, shape in enumerate(SHAPES)], ids=str)
def test_each_shape_agrees_with_the_twin(shape, dtype, rng):
    """Of lines with one window up to more than two tiles, at the edge of the image and inside."""
    taps, dilation, stride, inputs, outputs, groups = shape
    reach = (taps - 1) * dilation + 1
    with conv_algorithm("lanes"):
        for windows, padding in ((1, 0), (3, reach - 1), (6, 1), (7, 0), (8, reach // 2), (17, 2)):
            width = (windows - 1) * stride + reach - 2 * padding
            if width < 1:
                continue
            window = Window((2, taps), (1, stride), (1, dilation), ((1, 0), (padding, padding)))
            images, size = (2, 3, width, inputs * groups), (outputs * groups,)
            eta_shape = 2, *window.positions(3, width), *size
            x, eta, weights, bias, gate = (
                rng.standard_normal(part).astype(dtype)
                for part in (images, eta_shape, (2, taps, inputs, *size), size, images)
            )
            assert conv.find_forward(x, weights, bias, window)[0] == "lanes"
            for rectify in (False, True):
                check.conv_forward(x, weights, bias, window, rectify)
                check.conv_weight_gradient(x, eta, window, groups, rectify)
            check.conv_input_gradient(eta, weights, images, window, gate)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 3), (1, 3), (4, 4), (12, 12)])
def test_large_results_are_written_past_the_caches(inputs, outputs, rng, monkeypatch):
    """Of groups that do not fill vectors they are not: such a store ends the process where it is not aligned."""
    monkeypatch.setattr(copying, "STREAMED", 0)
    window = Window((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1)))
    images = 3, 40, 44, 16 * inputs
    x, eta = (rng.standard_normal((*images[:3], 16 * number)).astype(np.float32) for number in (inputs, outputs))
    weights, bias = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((3, 3, inputs, 16 * outputs), (16 * outputs,))
    )
    with conv_algorithm("lanes"):
        check.conv_forward(x, weights, bias, window)
        check.conv_input_gradient(eta, weights, images, window)


@pytest.mark.parametrize("at", [(0, 2), (2, 0), (2, 2), (5, 5)])
def test_pixels_outside_the_image_are_zeros(at):
    """And times NaN or infinity they are NaN: rows outside as columns outside, as by the other algorithms."""
    window = Window((1, 1), (1, 1), (1, 1), ((1, 1), (1, 1)))
    x, eta, weights = np.ones((1, 4, 4, 4)), np.ones((1, 6, 6, 4)), np.full((1, 1, 1, 4), np.inf)
    eta[(0, *at, 1)] = np.nan
    with conv_algorithm("lanes"):
        check.conv_weight_gradient(x, eta, window, 4)
        assert np.isnan(conv.conv_weight_gradient(x, eta, window, 4)[0]).sum() == 1
        out = conv.conv_forward(x, weights, np.zeros(4), window)
    assert np.isnan(out).sum() == 4 * (36 - 16) and np.isinf(out).sum() == 4 * 16


def test_wide_kernels_are_left_to_the_register_tile():
    x, bias = np.ones((1, 1, 80, 2), np.float32), np.zeros(2, np.float32)
    for width, algorithm in ((64, "lanes"), (65, "direct")):
        weights = np.ones((1, width, 1, 2), np.float32)
        assert conv.find_forward(x, weights, bias, Window((1, width)))[0] == algorithm


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_a_vector_has_whole_groups_or_a_whole_part_of_one(lanes):
    for outputs in range(1, 40):
        step = outputs_of_vector(outputs, lanes)
        assert 1 <= step <= lanes and (step % outputs == 0 or outputs % step == 0)
        whole = fits_whole(outputs, outputs, 2 * lanes * outputs, lanes)
        assert whole == (step == lanes)


def test_every_tap_of_every_window_meets_one_column():
    for taps, dilation, stride, pixels in ((3, 1, 1, 7), (3, 4, 1, 7), (4, 1, 3, 7), (5, 2, 2, 14), (1, 1, 2, 1)):
        kind = Lanes(taps, dilation, stride, 1, 1, rectify=False, part=False)
        met = [(column, *pair) for column in kind.columns(pixels) for pair in kind.meet(column, pixels)]
        wanted = {(r * stride + k * dilation, r, k) for r in range(pixels) for k in range(taps)}
        assert len(met) == len(wanted) and set(met) == wanted
