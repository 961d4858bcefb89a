"""What the documentation prints works as printed."""

import re
import shlex
import shutil
import subprocess

import pytest

import benchmarks.__main__ as benchmarks
from fastcnn import cli
from tests.helpers.processes import ROOT
from tests.helpers.switches import switches_kept

DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def blocks(document, language):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


SLOW = {"docs/training.md": pytest.mark.slow}


@pytest.mark.parametrize(
    "document",
    [pytest.param(document, marks=SLOW.get(document, ())) for document in DOCUMENTS if blocks(document, "python")],
)
def test_snippets_run_one_after_the_other(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    with switches_kept():  # a snippet may choose a backend, for itself
        for snippet in blocks(document, "python"):
            exec(compile(snippet, document, "exec"), scope)


def test_there_are_snippets():
    assert sum(len(blocks(document, "python")) for document in DOCUMENTS) >= 10


def commands():
    """Each `fastcnn ...` or `python -m fastcnn ...` of a shell block, and of inline code with arguments."""
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        lines = [line for block in blocks(document, "sh") for part in block.splitlines() for line in part.split("&&")]
        lines += re.findall(r"`((?:python -m )?fastcnn [a-z]+ [^`\[\]]*)`", text)
        for line in lines:
            match = re.search(r"(?:-m |^|\s)fastcnn ([a-z]+\b[^\n]*)", line.split("#")[0])
            if match:
                yield document, match.group(1).strip()


def test_commands_of_the_benchmarks_are_there():
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8") + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    text += (ROOT / ".github/workflows/benchmarks.yml").read_text("utf-8") + (ROOT / ".ci/run").read_text("utf-8")
    lines = re.findall(r"-m benchmarks ([a-z]+[^\n`]*)", text)
    assert {line.split()[0] for line in lines} == {"smoke", "run", "compare", "dashboard", "trial"}
    for line in lines:
        words = shlex.split(line)
        assert benchmarks.parser().parse_args(words).command == words[0]


@pytest.mark.parametrize(("document", "command"), sorted(set(commands())))
def test_commands_have_the_options_that_are_shown(document, command):
    words = shlex.split(command)
    if any(word.isupper() and len(word) > 2 for word in words):
        words = [word if not word.isupper() else "x" for word in words]
    if "--help" not in words:
        assert cli.build_parser().parse_args(words).command == words[0]


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="a clone, and git")
def test_the_example_of_a_new_kernel_applies():
    text = (ROOT / "docs" / "adding-a-kernel.md").read_text(encoding="utf-8")
    (diff,) = re.findall(r"^```diff\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        ["git", "apply", "--check", "--numstat"], cwd=ROOT, input=diff, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = [line.split("\t")[2] for line in done.stdout.splitlines()]
    twins = [f"fastcnn/backends/{folder}/softsign.py" for folder in ("numba/pointwise", "numpy")]
    assert sorted(files) == [*twins, "tests/naive.py"]
