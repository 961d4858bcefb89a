"""`fastcnn.testing` finds each defect of the original; right layers pass; each check has a fault that trips it."""

import pickle
import random
import re

import numpy as np
import pytest

import fastcnn
from fastcnn.layers import Conv2D, FullyConnect, MaxPooling, Softmax
from fastcnn.testing import assert_layer, check_layer
from tests.helpers import faulty_layers, seed_layers
from tests.helpers.processes import ROOT, run_python
from tests.layers.test_layers import SHAPE as OURS
from tests.layers.test_layers import every_layer

SHAPE = (3, 6, 6, 2)


def failures(layer, **options):
    """Name and sentence of each check that fails."""
    shape = getattr(layer, "input_shape", SHAPE)
    return {
        c.name: c.message for c in check_layer(layer, np.random.default_rng(0).standard_normal(shape), **options).failed
    }


def assert_found(layer, expected):
    """The checks named in `expected` fail, no others, each with a sentence that its pattern finds."""
    failed = failures(layer)
    assert set(failed) == set(expected), failed
    for name, pattern in expected.items():
        assert re.search(pattern, failed[name]), failed[name]
        assert "\n" not in failed[name] and len(failed[name]) < 300


RAISES, DIFFERS = r"input \(2, 8, 8, 2\): .* raised \w+Error: ", r"input gradient: x\[.*finite differences give"
STRIDES = [f"stride {stride} {method}" for stride in (2, 3) for method in ("VALID", "SAME")]


@pytest.mark.parametrize(
    ("layer", "arguments", "expected"),
    [
        (
            faulty_layers.BiasWithItself,
            (4,),
            {"update": r"^`bias`\[\d\] is .* instead of .* after `backward`: p \* \(1 - weight_decay"},
        ),
        (
            faulty_layers.MaskNeverCleared,
            (),
            {"earlier batch": r"^the input gradient\[\d, \d, \d, \d\] is -?\d.* instead of 0 in a layer"},
        ),
        (faulty_layers.StrideRaises, (3,), dict.fromkeys(STRIDES, RAISES)),
        (faulty_layers.StrideSpreadsWrongly, (3,), dict.fromkeys(STRIDES, DIFFERS)),
        (
            faulty_layers.WidthByHeight,
            (3,),
            {"7 x 9 image": r"raised|give 5 x 5", "9 x 7 image": "raised ValueError|give"},
        ),
        (
            faulty_layers.EvenKernelRaises,
            (3,),
            dict.fromkeys(["ksize 2 SAME", "ksize 4 SAME"], "`forward` on .* raised ValueError: "),
        ),
        (faulty_layers.OverlapAssigns, (), dict.fromkeys(["ksize 3 stride 1", "ksize 3 stride 2"], DIFFERS)),
        (
            faulty_layers.FixedBatch,
            (4,),
            {"smaller batch": r"^`gradient` on \(2, 4\) raised IndexError: index 2 is out of bounds"},
        ),
        (
            faulty_layers.MeanIsConstant,
            (),
            {"input gradient": r"^x\[.*\]: the layer's gradient is", "smaller batch": r"^x\[", "6 x 8 image": DIFFERS}
            | {"8 x 6 image": DIFFERS},
        ),
        (
            faulty_layers.ReluOverwrites,
            (),
            {"arguments": r"^`gradient` changed an argument: eta\[.*\] is 0 instead of -?\d"},
        ),
    ],
)
def test_each_defect_of_the_original_is_found(layer, arguments, expected):
    assert_found(layer(SHAPE, *arguments), expected)


def test_softmax_that_overwrites_its_argument_is_found():
    assert_found(
        faulty_layers.PredictOverwrites((3, 4)),
        {"arguments": r"^`cal_loss` changed an argument: prediction\[.* instead of"},
    )


def right_layers():
    yield seed_layers.Conv2D(SHAPE, 3)
    yield seed_layers.Conv2D((3, 5, 7, 2), 3, 4, 2, "SAME")
    yield seed_layers.FullyConnect(SHAPE, 4)
    yield seed_layers.MaxPooling(SHAPE)
    yield seed_layers.MaxPooling((2, 5, 7, 1), 3, 2)
    yield seed_layers.AvgPooling(SHAPE)
    yield seed_layers.Relu(SHAPE)
    yield seed_layers.BatchNorm(SHAPE)
    yield seed_layers.Dropout(SHAPE)
    yield seed_layers.Softmax((3, 4))


@pytest.mark.parametrize("number", range(10))
def test_right_layers_pass(number):
    layer = list(right_layers())[number]
    for seed in range(3):
        assert_layer(
            layer, np.random.default_rng(seed).standard_normal(getattr(layer, "input_shape", SHAPE)), seed=seed
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layer_of_the_package_passes(backend, dtype, rng):
    for layer in every_layer(dtype=dtype):
        report = check_layer(layer, rng.standard_normal(OURS))
        assert report and report.dtype == dtype, str(report)
        assert {c.name for c in report.checks if c.status == "skipped"} <= {"accumulation", "update"}
    assert_layer(Softmax((4, 5), dtype=dtype), 3 * rng.standard_normal((4, 5)))


def test_the_default_kernels_at_sizes_where_winograd_computes(rng):
    """Winograd's rounding in float32 is no wrong gradient."""
    assert_layer(Conv2D((3, 12, 12, 16), 16, 3, 1, "SAME"), rng.standard_normal((3, 12, 12, 16)))


@pytest.mark.slow
def test_pixels_of_any_dtype_and_scale(rng):
    pixels = rng.permutation(np.arange(1, 217) % 256).astype(np.uint8).reshape(3, 6, 6, 2)
    for layer in (seed_layers.Conv2D(SHAPE, 3), Conv2D(SHAPE, 3), seed_layers.BatchNorm(SHAPE), MaxPooling(SHAPE)):
        assert_layer(layer, pixels)
        assert_layer(layer, pixels.tolist())
        assert_layer(layer, pixels * 1e-4)


class OnePercent(Conv2D):
    """Of float32, with one gradient that is 1 % too large."""

    wrong = ""

    def input_gradient(self, eta):
        return super().input_gradient(eta) * (1.01 if self.wrong == "input" else 1)

    def parameter_gradient(self, eta):
        super().parameter_gradient(eta)
        if self.wrong == "weights":
            self.w_gradient = self.w_gradient * 1.01
        if self.wrong == "bias":
            self.b_gradient = self.b_gradient * 1.01


@pytest.mark.parametrize(
    ("wrong", "check"), [("input", "input gradient"), *((n, f"gradient of {n}") for n in ("weights", "bias"))]
)
def test_float32_leaves_no_room_for_one_percent(wrong, check, rng):
    layer = OnePercent(SHAPE, 4, 3, initializer="he", rng=0)
    x = rng.standard_normal(SHAPE)
    with fastcnn.use_backend("numpy"):
        assert_layer(layer, x)
        layer.wrong = wrong
        assert check in {c.name for c in check_layer(layer, x).failed}


def test_outputs_so_large_that_a_bias_is_lost_in_their_rounding():
    x = 1e5 + 1e3 * np.random.default_rng(0).standard_normal(OURS)
    with fastcnn.use_backend("numpy"):
        for seed in range(5):
            assert_layer(FullyConnect(OURS, 3, initializer="he", rng=seed, dtype="float32"), x, seed=seed)


# A fault for each check that the original's defects do not trip.


class Faulty(seed_layers.FullyConnect):
    def __init__(self, shape=SHAPE, output_num=4, faults=""):
        super().__init__(shape, output_num)
        self.faults, self.buffer, self.before = faults, np.zeros((shape[0], output_num)), 0.0

    def forward(self, x):
        out = super().forward(x)
        if self.faults == "infinite":
            out[0, 0] = np.inf
        if self.faults == "a row too few":
            return out[:-1]
        if self.faults == "unrepeatable":
            out += np.random.default_rng().random(out.shape)
        if self.faults == "whole batch in forward":
            out[len(self.buffer) - 1] += 1
        if self.faults == "scaled by batch":
            out /= len(x)
        if self.faults == "statistics":
            out, self.before = out + self.before, x.max()
        if self.faults == "buffer":
            self.buffer[: len(x)] = out
            return self.buffer[: len(x)]
        return "text" if self.faults == "no numbers" else out

    def gradient(self, eta):
        if self.faults == "replaces":
            self.w_gradient[...], self.b_gradient[...] = 0, 0
        back = super().gradient(eta)
        if self.faults == "mean":
            self.w_gradient /= len(eta)
        if self.faults == "wrong bias element":
            self.b_gradient[2] *= 1.001
        if self.faults == "nan in parameter":
            self.w_gradient[3, 1] = np.nan
        if self.faults == "nan":
            back[1, 2, 3, 0] = np.nan
        if self.faults == "one element":
            back[1, 2, 3, 0] *= 1.1
        if self.faults == "scaled by batch":
            back, self.w_gradient, self.b_gradient = (a / len(eta) for a in (back, self.w_gradient, self.b_gradient))
        return {"flat": back.reshape(len(eta), -1), "nothing": None}.get(self.faults, back)

    def backward(self, alpha=1e-5, weight_decay=4e-4):
        kept = self.w_gradient
        super().backward(alpha, 0 if self.faults == "no decay" else weight_decay)
        if self.faults == "not cleared":
            self.w_gradient = kept


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ("", {}),
        ("infinite", {"forward": "^the output has values that are NaN or infinite$"}),
        ("a row too few", {"forward": r"^the output for 3 images has the shape \(2, 4\)$"}),
        ("no numbers", {"forward": "^`forward` returned str, not an array of real numbers$"}),
        ("unrepeatable", {"repeatable": r"^the output of a second copy of the layer\[.*with the same random numbers$"}),
        ("nan", {"gradient": "^`gradient` returned values that are NaN or infinite$"}),
        ("flat", {"gradient": r"^`gradient` returned the shape \(3, 72\) for an input of \(3, 6, 6, 2\)$"}),
        ("nothing", {"gradient": "^`gradient` returned NoneType, not an array"}),
        (
            "one element",
            {"input gradient": r"^x\[1, 2, 3, 0\]|^`x`, all elements moved at once: the layer's gradient is"},
        ),
        ("wrong bias element", {"gradient of bias": r"^bias\[2\]: .*\(1 of 4 steps differ\)$"}),
        ("mean", {"gradient of weights": r"^weights\[\d+, \d\]: the layer's .*\(50 of 50 steps differ\)$"}),
        ("nan in parameter", {"gradient of weights": "^the gradient of `weights` has values that are NaN"}),
        ("replaces", {"accumulation": r"^the gradient of `weights`\[.* after two steps without `backward`$"}),
        ("no decay", {"update": r"^`weights`\[.* after `backward`: p \* \(1 - weight_decay\) - alpha \* gradient$"}),
        ("not cleared", {"update": r"^the gradient of `weights`\[.* instead of 0 after `backward`$"}),
        ("whole batch in forward", {"smaller batch": "^`forward` on .* raised IndexError"}),
        ("scaled by batch", {"smaller batch": r"^the output\[.* for the same 2 images in a larger batch$"}),
        ("statistics", {"earlier batch": "^the output.* in a layer that saw no other batch before$"}),
        ("buffer", {"results kept": r"^a later call overwrote what `forward` had returned: element \[.* instead of"}),
    ],
)
def test_a_fault_is_found_by_its_check(faults, expected):
    failed = failures(Faulty(faults=faults))
    assert set(expected) <= set(failed) and bool(expected) == bool(failed), failed
    for name, pattern in expected.items():
        assert re.search(pattern, failed[name]), failed[name]


class OtherOutputShape(seed_layers.Relu):
    def __init__(self, shape):
        self.input_shape, self.output_shape = shape, (*shape[:-1], 7)


class TestPhaseOverBatch(seed_layers.BatchNorm):
    __test__ = False

    def forward(self, x, phase="train"):
        out = super().forward(x, phase)
        return out if phase == "train" else out - out.mean()


class NamesTooMuch(seed_layers.FullyConnect):
    def __init__(self, shape, output_num):
        super().__init__(shape, output_num)
        self.gradient_names = {"weights": "w_gradient", "bias": "b_gradient", "scale": "s_gradient"}


class RefusesStrides(seed_layers.AvgPooling):
    def __init__(self, shape, ksize=2, stride=2):
        if stride != ksize:
            raise NotImplementedError("windows must not\noverlap")
        super().__init__(shape, ksize, stride)


class AsWideAsHigh(seed_layers.AvgPooling):
    def __init__(self, shape, ksize=2, stride=2):
        super().__init__(shape, ksize, stride)
        self.output_shape[2] = min(self.output_shape[1:3])


class KeepsAnotherValue(seed_layers.Dropout):
    def __init__(self, shape, prob=0.5):
        super().__init__(shape, float(prob))
        self.prob = [self.prob]

    def forward(self, x, phase="train"):
        self.mask = np.random.random(x.shape) < self.prob[0]
        return x * self.mask

    def gradient(self, eta):
        return eta * self.mask


class NoBackward(seed_layers.FullyConnect):
    backward = None


def test_more_faults():
    assert failures(OtherOutputShape(SHAPE))["output shape"] == (
        "`output_shape` is (3, 6, 6, 7), the output has the shape (3, 6, 6, 2)"
    )
    assert_found(TestPhaseOverBatch(SHAPE), {"smaller batch": r"^with phase='test' the output\[.* in a larger batch"})
    failed = failures(NamesTooMuch(SHAPE, 3))
    assert failed["gradient of scale"].startswith("`scale` and its gradient, which `gradient_names` names, must be")
    assert_found(
        AsWideAsHigh(SHAPE),
        {
            "6 x 8 image": "^6 x 8 pixels give 3 x 3 outputs, but 8 x 6 give 4 x 3, which is not that turned$",
            "8 x 6 image": "^8 x 6 pixels give 4 x 3 outputs, but 6 x 8 give 3 x 3, which is not that turned$",
        },
    )
    expected = "^the constructor raised NotImplementedError: windows must not overlap$"
    assert_found(RefusesStrides(SHAPE), dict.fromkeys(["stride 3", "ksize 3 stride 1", "ksize 3 stride 2"], expected))
    assert_found(NoBackward(SHAPE, 3), {"update": "^the layer has parameters, but no method `backward`$"})


def test_kinks_are_left_out_but_not_everywhere(rng):
    x = rng.standard_normal(SHAPE)
    x[0, 0, 0] = 0
    report = check_layer(seed_layers.Relu(SHAPE), x)
    assert report and re.search("largest error 0.0e.00, [1-9] at kinks left out", str(report)), str(report)
    report = check_layer(seed_layers.Relu(SHAPE), np.zeros(SHAPE))
    assert [c.name for c in report.failed] == ["input gradient", "smaller batch"]
    assert report.failed[0].message.startswith("nothing to compare with: 96 of 96 steps lie at kinks")


def test_what_is_skipped_says_why():
    class Convolution(seed_layers.Conv2D):
        def __init__(self, shape, channels_out, size=3):
            super().__init__(shape, channels_out, size)

    reasons = {
        Convolution(SHAPE, 2): ("variants", "the constructor's argument `channels_out` is no attribute of the layer"),
        seed_layers.MaxPooling((1, 4, 4, 1)): ("smaller batch", "x holds one image: give two or more"),
        seed_layers.Relu(SHAPE): ("update", "the layer has no parameters"),
        seed_layers.FullyConnect((3, 5)): (
            "variants",
            "the input is no batch of images (batch, height, width, channels)",
        ),
        KeepsAnotherValue(SHAPE): (
            "variants",
            "the constructor does not take the layer's own attributes: TypeError: "
            "float() argument must be a string or a real number, not 'list'",
        ),
        Faulty(faults="flat"): ("update", "the check `gradient` failed"),
    }
    for layer, (name, reason) in reasons.items():
        x = np.random.default_rng(0).standard_normal(getattr(layer, "input_shape", SHAPE))
        skipped = {c.name: c.message for c in check_layer(layer, x).checks if c.status == "skipped"}
        assert skipped[name] == reason


class OwnGenerator(seed_layers.Dropout):
    """Random numbers of three sources, none of them of the same rows in a smaller batch."""

    def __init__(self, shape, prob=0.5):
        super().__init__(shape, prob)
        self.generator = np.random.default_rng(5)

    def forward(self, x):
        own = self.generator.random(x.shape[::-1]).T + np.random.random() + random.random()
        self.mask = own < 3 * self.prob
        return x * self.mask / self.prob


def test_random_layers_give_no_false_alarm(rng):
    for seed in range(4):
        assert_layer(OwnGenerator(SHAPE), rng.standard_normal(SHAPE), seed=seed)


def test_layer_x_and_randomness_stay_as_they_are(rng):
    for layer in (
        OwnGenerator(SHAPE),
        seed_layers.BatchNorm(SHAPE),
        faulty_layers.BiasWithItself(SHAPE, 3),
        FullyConnect(SHAPE, 3),
    ):
        x = rng.standard_normal(SHAPE)
        layer.gradient(np.ones_like(layer.forward(x)))
        before, x_before = pickle.dumps(layer), x.copy()
        numpy_state, python_state = np.random.get_state()[1].copy(), random.getstate()
        first, second = check_layer(layer, x), check_layer(layer, x)
        assert first == second
        assert pickle.dumps(layer) == before
        np.testing.assert_array_equal(x, x_before)
        np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
        assert random.getstate() == python_state


def test_what_the_layer_has_accumulated_does_not_count(rng):
    layer, x = seed_layers.Conv2D(SHAPE, 3), rng.standard_normal(SHAPE)
    layer.gradient(layer.forward(x))
    assert_layer(layer, x)


def test_tolerance(rng):
    class Nearly(seed_layers.Relu):
        def gradient(self, eta):
            return super().gradient(eta) * 1.0001

    x = rng.standard_normal(SHAPE)
    assert "input gradient" in {c.name for c in check_layer(Nearly(SHAPE), x).failed}
    assert check_layer(Nearly(SHAPE), x, tolerance=1e-3)


def test_report(rng):
    report = check_layer(faulty_layers.ReluOverwrites(SHAPE), rng.standard_normal(SHAPE))
    lines = str(report).splitlines()
    assert lines[0] == "ReluOverwrites on (3, 6, 6, 2), float64: 1 failed, 10 passed, 2 skipped"
    assert lines[1].startswith("  FAILED   arguments       `gradient` changed an argument: eta[")
    assert [line.split()[0] for line in lines[2:]] == ["passed"] * 10 + ["skipped"] * 2
    assert len({line.index(check.message) for line, check in zip(lines[1:2], report.failed, strict=True)}) == 1
    assert not report.ok and not report and len(report.checks) == len(lines) - 1


def test_assert_layer(rng):
    x = rng.standard_normal(SHAPE)
    assert assert_layer(seed_layers.Relu(SHAPE), x, seed=1) is None
    with pytest.raises(AssertionError) as caught:
        assert_layer(faulty_layers.ReluOverwrites(SHAPE), x)
    assert str(caught.value) == str(check_layer(faulty_layers.ReluOverwrites(SHAPE), x))
    assert caught.traceback[-1].frame.f_locals["__tracebackhide__"] is True


class Uncopyable(seed_layers.Relu):
    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle this")


@pytest.mark.parametrize(
    ("layer", "x", "options", "error", "message"),
    [
        (3, [[1.0]], {}, TypeError, "`layer` must be an instance with the methods `forward` and `gradient`, or .*=3$"),
        (
            seed_layers.Relu,
            [[1.0]],
            {},
            TypeError,
            "`layer` must be an instance with the methods .* Received layer=<class",
        ),
        (
            Uncopyable(SHAPE),
            [[1.0]],
            {},
            TypeError,
            "`layer` must be an object that copy.deepcopy .* cannot pickle this",
        ),
        (seed_layers.Relu(SHAPE), "text", {}, TypeError, "`x` must hold real numbers. Received an array of dtype <U4"),
        (seed_layers.Relu(SHAPE), [1.0], {}, ValueError, r"`x` must have the shape \(batch, ...\).*the shape \(1,\)"),
        (
            seed_layers.Conv2D(SHAPE, 3),
            [[1.0]],
            {},
            ValueError,
            r"`x` must have the shape \(batch, 6, 6, 2\), one image",
        ),
        (seed_layers.Softmax((3, 4)), np.zeros((3, 5)), {}, ValueError, r"`x` must have the shape \(batch, 4\)"),
        (
            seed_layers.Relu(SHAPE),
            np.zeros((0, 6)),
            {},
            ValueError,
            r".* one image or more. Received the shape \(0, 6\)",
        ),
        (seed_layers.Relu(SHAPE), [[1, np.nan]], {}, ValueError, r"`x` must be finite. Received x\[0, 1\]=nan"),
        (seed_layers.Relu(SHAPE), [[1.0]], {"seed": -1}, ValueError, "`seed` must be an integer from 0 to 4294967295"),
        (seed_layers.Relu(SHAPE), [[1.0]], {"tolerance": "a"}, ValueError, "`tolerance` must be a finite number of at"),
    ],
)
def test_bad_arguments(layer, x, options, error, message):
    with pytest.raises(error, match="^check_layer: " + message):
        check_layer(layer, x, **options)


def test_it_loads_neither_numba_nor_pytest():
    script = "import sys, fastcnn; fastcnn.testing.check_layer; print({'numba', 'pytest'} & set(sys.modules))"
    assert run_python("-c", script).stdout.strip() == "set()"


def test_the_example_of_the_guide_runs():
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    section = guide.split("## Check a layer of your own\n")[1].split("\n## ")[0]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    result = run_python("-c", example)
    assert result.returncode == 0, result.stderr
    shown = re.search(r"```text\n(.*?)```", section, re.DOTALL).group(1)
    assert result.stdout == shown
