"""What the type checker sees: every public name, and every function that is not compiled."""

import ast

import fastcnn
from tests.helpers.processes import ROOT, run_python

SCRIPT = ROOT / "tests" / "typed_script.py"
# Decorators of functions whose types numba infers.
COMPILED = {"serial", "linked", "inline", "task_kernel", "single", "intrinsic", "overload"}


def test_the_typed_script_runs(tmp_path):
    done = run_python("-m", "tests.typed_script", tmp_path, cwd=ROOT, FASTCNN_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "epoch 2" in done.stderr


def test_no_public_name_is_missing_in_the_typed_script():
    """A name that nothing uses there could be Any, and nobody would know."""
    used = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fastcnn":
            used.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == "fastcnn":
            used.update(alias.name for alias in node.names)
    assert sorted(set(fastcnn.__all__) - used) == []


def unannotated(tree, compiled=False):
    """The functions without any annotation that no decorator of `COMPILED` compiles: mypy skips them."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef):
            yield from unannotated(node, compiled)
            continue
        names = {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}
        below = compiled or bool(names & COMPILED)
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if not below and node.returns is None and not any(argument.annotation for argument in arguments):
            yield node
        yield from unannotated(node, below)


def test_what_is_not_compiled_has_annotations():
    """mypy demands them in every other package; in that of the kernels it cannot tell what numba compiles."""
    folder = ROOT / "fastcnn" / "backends" / "numba"
    found = {path.relative_to(folder): unannotated(ast.parse(path.read_text("utf-8"))) for path in folder.rglob("*.py")}
    assert [f"{path}:{node.lineno} {node.name}" for path, nodes in found.items() for node in nodes] == []
