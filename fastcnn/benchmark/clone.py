"""What measures many nodes stands in the folder benchmarks of the repository, which an installed package has not."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def stand_for(name: str, tool: str) -> None:
    """Let the module `name` be benchmarks/nodes/`tool`.py; where it is `__main__`, run its `main`.

    Raises
    ------
    ImportError
        This fastcnn does not lie in a clone; `__main__` ends with the same words.
    """
    if not (ROOT / "benchmarks/nodes").is_dir():
        message = (
            f"fastcnn.benchmark.{tool} is part of the repository and not of the installed package: clone it, and run "
            f"`python -m benchmarks {tool}` there"
        )
        if name == "__main__":
            sys.exit(message)
        raise ImportError(message)
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    module = importlib.import_module(f"benchmarks.nodes.{tool}")
    if name == "__main__":
        sys.exit(module.main(prog=f"python -m fastcnn.benchmark.{tool}"))
    sys.modules[name] = module
