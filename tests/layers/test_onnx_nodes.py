"""onnx's own cases of the operators that layers compute: each is run, or listed with what it lacks."""

import functools
from collections import Counter
from fnmatch import fnmatchcase

import numpy as np
import pytest

from tests.helpers.onnx_cases import PYTORCH, every_node_case, node_cases, pytorch_cases
from tests.helpers.onnx_nodes import OPERATORS, evaluate
from tests.helpers.onnx_windows import CannotExpress

pytest.importorskip("onnx", minversion="1.23")

WITHOUT_LAYER = ("Softsign", "ThresholdedRelu")  # activations
OPS = (*OPERATORS, *WITHOUT_LAYER)
SOURCES = (*OPS, *PYTORCH)

ONE_AXIS, THREE_AXES = "1-D: images have two axes", "3-D: images have two axes"
TYPE = "of another type: layers compute in float32 and float64"
# Names, or patterns of them, of the cases that are not run, and why.
REASONS = {
    "test_convtranspose_1d": ONE_AXIS,
    "test_maxpool_1d_*": ONE_AXIS,
    "test_averagepool_1d_*": ONE_AXIS,
    "test_Conv1d*": ONE_AXIS,
    "test_MaxPool1d*": ONE_AXIS,
    "test_operator_maxpool": ONE_AXIS,
    "test_convtranspose_3d": THREE_AXES,
    "test_maxpool_3d_*": THREE_AXES,
    "test_averagepool_3d_*": THREE_AXES,
    "test_Conv3d*": THREE_AXES,
    "test_MaxPool3d*": THREE_AXES,
    "test_AvgPool3d*": THREE_AXES,
    "test_maxpool_2d_uint8": TYPE,
    "test_celu_*float16": TYPE,
    "test_gemm_default_matrix_bias": "a bias for each row: `FullyConnect` has one for all",
    "test_operator_addmm": "a bias for each row: `FullyConnect` has one for all",
    "test_softsign*": "no layer is x / (1 + |x|)",
    "test_thresholdedrelu*": "no layer is x where it is above alpha, else 0",
}
# Patterns of those of which so many results are compared, the first ones, and why not the rest.
IN_PART = {
    "test_maxpool_with_argmax_*": (1, "positions of the maxima"),
    "test_layer_normalization_*": (1, "means and deviations, which `LayerNorm` keeps to itself"),
    "test_batchnorm_*training_mode": (2, "running variance: ONNX divides by n, PyTorch and this by n - 1"),
}


@functools.cache
def cases(source):
    return pytorch_cases(source, OPS) if source in PYTORCH else node_cases(source)


def found_in(table, name):
    """The entry for a case, if any: no more than one pattern may name it."""
    patterns = [pattern for pattern in table if fnmatchcase(name, pattern)]
    assert len(patterns) < 2, f"{name} is named by {patterns}"
    return table[patterns[0]] if patterns else None


def mistake(case, names):
    """What is wrong with the results of these names, by onnx's tolerances, or None."""
    try:
        arrays = evaluate(case)
        for name in names:
            wanted = case.outputs[name]
            assert name in arrays, f"no {name}"
            assert (arrays[name].shape, arrays[name].dtype) == (wanted.shape, wanted.dtype), name
            np.testing.assert_allclose(arrays[name], wanted, rtol=case.rtol, atol=case.atol, err_msg=name)
    except (AssertionError, CannotExpress, TypeError, ValueError) as error:
        return str(error)
    return None


def is_refused(case):
    try:
        evaluate(case)
    except CannotExpress:
        return True
    return False


@pytest.mark.parametrize("source", SOURCES)
def test_results_are_those_that_onnx_expects(source, backend):
    mistakes = {}
    for case in cases(source):
        if found_in(REASONS, case.name):
            mistakes[case.name] = None if is_refused(case) else "it is computed: it need not be in REASONS"
            continue
        names, (number, _) = list(case.outputs), found_in(IN_PART, case.name) or (len(case.outputs), "")
        mistakes[case.name] = mistake(case, names[:number])
        if mistakes[case.name] is None and number < len(names):
            mistakes[case.name] = None if mistake(case, names) else "all results are right: it need not be in IN_PART"
    assert {name: wrong for name, wrong in mistakes.items() if wrong} == {}


def test_each_reason_has_its_cases_and_so_many_cases_are_run():
    """The numbers are of onnx 1.23, and are printed with `-rP`."""
    names = [case.name for source in SOURCES for case in cases(source)]
    assert len(set(names)) == len(names)
    for table in (REASONS, IN_PART):
        assert [pattern for pattern in table if not any(fnmatchcase(name, pattern) for name in names)] == []
    reasons = Counter(found_in(REASONS, name) for name in names)
    parts = Counter((found_in(IN_PART, name) or ("", None))[1] for name in names)
    run, whole = reasons.pop(None), parts.pop(None) - reasons.total()
    print(f"{len(names)} cases, {run} of them run: {whole} with all results")
    for count, reason in sorted(((count, reason) for reason, count in parts.items()), reverse=True):
        print(f"{count:5} without {reason}")
    print(f"and {len(names) - run} are not run:")
    for count, reason in sorted(((count, reason) for reason, count in reasons.items()), reverse=True):
        print(f"{count:5} {reason}")
    assert (run, whole) == (170, 147)


@pytest.mark.slow
def test_no_case_of_these_operators_is_overlooked():
    """All of onnx's cases are made, in 8 s: none of these operators is in a module that no one looks into."""
    every = Counter(op for op, _ in every_node_case())
    assert {op: every[op] for op in OPS} == {op: len(cases(op)) for op in OPS}
