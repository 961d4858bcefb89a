"""onnx's own test cases, node by node: from its package, without a network.

Cases of kind 'node' are made by modules of :mod:`onnx.backend.test.case.node`, one for each operator, when they are
imported; those of PyTorch are files in the package.
"""

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Where a module is not named like its operator.
MODULES = {
    "BatchNormalization": "batch_normalization",
    "InstanceNormalization": "instance_normalization",
}
PYTORCH = ("pytorch-converted", "pytorch-operator")


class Node(NamedTuple):
    """An operator, the names of its arguments and results ('' where one is left out), and its attributes."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    opset: int


class Case(NamedTuple):
    """`nodes` in order, the arrays that they begin with, by name, and those that must come out."""

    name: str
    nodes: list[Node]
    arrays: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    rtol: float
    atol: float


def node_cases(op: str) -> list[Case]:
    """Those of one operator. Left out are those of its definition by simpler operators, of which onnx makes one or
    two from each of these."""
    from onnx.backend.test.case import node

    with quiet():
        importlib.import_module(f"{node.__name__}.{MODULES.get(op, op.lower())}")
        made = [case for case in node._NodeTestCases if [part.op_type for part in case.model.graph.node] == [op]]
        return [read(case, case.model, *case.data_sets[0]) for case in made]


def every_node_case() -> list[tuple[str, str]]:
    """(operator, name) of all cases of one node that onnx has; it takes 8 s to make them."""
    from onnx.backend.test.loader import load_node_model_tests

    with quiet():
        graphs = [(case.name, case.model.graph.node) for case in load_node_model_tests()]
    return [(nodes[0].op_type, name) for name, nodes in graphs if len(nodes) == 1]


def pytorch_cases(kind: str, ops: Sequence[str]) -> list[Case]:
    """Those of the folder `kind` in which one of `ops` occurs."""
    import onnx
    from onnx.backend.test.loader import load_model_tests

    found = []
    for case in sorted(load_model_tests(kind=kind), key=lambda case: case.name):
        folder = Path(case.model_dir)
        model = onnx.load(folder / "model.onnx")
        if any(node.op_type in ops for node in model.graph.node):
            inputs, outputs = (arrays_of(folder / "test_data_set_0", what) for what in ("input", "output"))
            found.append(read(case, model, inputs, outputs))
    return found


def arrays_of(folder: Path, what: str) -> list[np.ndarray]:
    from onnx import load_tensor, numpy_helper

    number = len(list(folder.glob(f"{what}_*.pb")))
    return [numpy_helper.to_array(load_tensor(folder / f"{what}_{at}.pb")) for at in range(number)]


def read(case: Any, model: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Case:
    from onnx import numpy_helper

    graph, opset = model.graph, next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    arrays = {weights.name: numpy_helper.to_array(weights) for weights in graph.initializer}
    arrays |= {entry.name: array for entry, array in zip(graph.input, inputs, strict=False)}
    nodes = [
        Node(part.op_type, list(part.input), list(part.output), attributes(part.attribute), opset)
        for part in graph.node
    ]
    expected = {entry.name: array for entry, array in zip(graph.output, outputs, strict=True)}
    return Case(case.name, nodes, arrays, expected, case.rtol, case.atol)


def attributes(entries: Any) -> dict[str, Any]:
    """By name: numbers, strings, lists of these, and arrays."""
    from onnx import AttributeProto, helper, numpy_helper

    found = {}
    for entry in entries:
        value = helper.get_attribute_value(entry)
        if entry.type == AttributeProto.TENSOR:
            value = numpy_helper.to_array(value)
        found[entry.name] = value.decode() if isinstance(value, bytes) else value
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """onnx makes its numbers when its modules are imported: the same ones in every run, and without its warnings."""
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
