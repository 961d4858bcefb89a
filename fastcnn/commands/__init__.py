"""The subcommands. Each module has HELP, `add_arguments(parser)` and `run(arguments)`; its docstring is its help."""

from fastcnn.commands import bench, evaluate, info, predict, run, train, warmup
from fastcnn.commands.options import UsageError

COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "run": run,
    "bench": bench,
    "warmup": warmup,
    "info": info,
}
LASTING = ("train", "run", "warmup")  # what they have done lasts where what they print is lost

__all__ = ["COMMANDS", "LASTING", "UsageError"]
