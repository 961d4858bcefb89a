"""Time training, prediction and kernels against PyTorch, the NumPy backend and layers like the original's, in turn."""

import argparse
import os
import platform
from typing import Any

from fastcnn.commands.options import UsageError, add_runtime_options, number, print_json

HELP = "time the backends, and PyTorch where it is installed, against each other"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help="a workload (lenet, predict_lenet, ...; --list names them) or a group: training, prediction, epoch, "
        "layer, convolution, pooling, columns, startup, memory; default: all",
    )
    parser.add_argument("--list", action="store_true", help="name the workloads of each group and do nothing")
    parser.add_argument(
        "--rounds", type=number(int, 1), default=10, metavar="N", help="turns of 0.2 s for each contestant; default: 10"
    )
    parser.add_argument(
        "--contestants",
        metavar="A,B",
        help="the first is what the others are compared with; default: all that are installed, numba first",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="training steps by ranks of MPI with one core each, beside one rank with the threads of all; needs the "
        "extra `mpi`",
    )
    parser.add_argument(
        "--ranks", type=number(int, 2), metavar="N", help="with --distributed: how many, a core for each; default: 2"
    )
    add_runtime_options(parser)


def run(arguments: argparse.Namespace) -> None:
    if arguments.distributed:
        run_distributed(arguments)
        return
    if arguments.ranks is not None:
        raise UsageError(f"argument --ranks: expected nothing without --distributed, received {arguments.ranks}")
    from fastcnn.benchmark import report, turns, whole
    from fastcnn.benchmark.workloads import WORKLOADS
    from fastcnn.config import get_num_threads

    groups = {name: [w.name for w in WORKLOADS.values() if w.group == name] for name in report.TIMED_GROUPS}
    if arguments.list:
        for name, members in groups.items():
            print(f"{name}: {' '.join(members)}")
        for name in report.WHOLE_GROUPS:
            print(f"{name}: whole processes")
        return
    contestants = chosen(arguments.contestants, turns)
    wanted = arguments.workloads or [*groups, *report.WHOLE_GROUPS]
    names: list[str] = []
    for name in wanted:
        if name not in WORKLOADS and name not in groups and name not in report.WHOLE_GROUPS:
            raise UsageError(
                f"argument WORKLOAD: expected a group ({', '.join([*groups, *report.WHOLE_GROUPS])}) or a workload "
                f"(see --list), received {name!r}"
            )
        names += groups.get(name, [name] if name in WORKLOADS else [])
    results: dict[str, Any] = {}
    if names:
        used = [c for c in contestants if any(c in WORKLOADS[name].make for name in names)]
        with turns.Contest(used) as contest:
            print(report.HEADER, flush=True)
            for name in dict.fromkeys(names):
                results[name] = report.result(WORKLOADS[name], contest.measure(name, arguments.rounds))
                print(report.lines(name, results[name]) + report.failures(name, contest.failed), flush=True)
    facts = {"machine": machine(), "versions": versions(), "threads": get_num_threads()}
    summary = report.summary(results)
    pair = [name for name in contestants if name in whole.STEP]
    if "startup" in wanted:
        summary["seconds from the import to the first LeNet step"] = {
            " ".join(filter(None, (name, variant))): min(times)
            for name in pair
            for variant, times in whole.startup(name, get_num_threads()).items()
        }
    if "memory" in wanted:
        summary["MiB at the peak of vgg_small training"] = {
            name: whole.peak_memory(name, get_num_threads()) for name in pair
        }
    print(report.summary_lines(summary))
    if arguments.json:
        print_json(facts | {"workloads": results, "summary": summary})


def run_distributed(arguments: argparse.Namespace) -> None:
    import importlib.util

    from fastcnn.benchmark import ranks, report
    from fastcnn.benchmark.workloads import TRAININGS
    from fastcnn.config import get_num_threads

    if arguments.contestants is not None:
        raise UsageError("argument --contestants: expected nothing with --distributed, whose contestants are ranks")
    names = [
        name for word in arguments.workloads or ["training"] for name in (TRAININGS if word == "training" else [word])
    ]
    for name in names:
        if name not in TRAININGS:
            raise UsageError(
                f"argument WORKLOAD: expected training or any of {', '.join(TRAININGS)} with --distributed, received "
                f"{name!r}"
            )
    if arguments.list:
        print(f"training: {' '.join(TRAININGS)}")
        return
    count, cores = arguments.ranks or 2, get_num_threads()
    if count > cores:
        raise UsageError(f"argument --ranks: expected at most {cores}, the threads that there are, received {count}")
    if importlib.util.find_spec("mpi4py") is None:
        raise ImportError("bench --distributed needs mpi4py and an MPI library: `pip install fastcnn[mpi]`")
    threads, found = cores // count, {}
    with ranks.Jobs(((1, count * threads), (count, threads), (1, threads))) as jobs:
        print(report.RANKS_HEADER, flush=True)
        for name in dict.fromkeys(names):
            found[name] = jobs.compare(*TRAININGS[name], arguments.rounds)
            print(report.rank_lines(name, found[name]), flush=True)
    if arguments.json:
        print_json({"machine": machine(), "versions": versions(), "workloads": found})


def chosen(text: str | None, turns: Any) -> list[str]:
    """The contestants of --contestants; by default all that are installed."""
    if text is None:
        return [name for name in turns.CONTESTANTS if turns.installed(name)]
    for name in text.split(","):
        if name not in turns.CONTESTANTS:
            raise UsageError(
                f"argument --contestants: expected any of {', '.join(turns.CONTESTANTS)}, received {name!r}"
            )
        if not turns.installed(name):
            raise UsageError(f"argument --contestants: {name} is not installed: `pip install {turns.PACKAGES[name]}`")
    return list(dict.fromkeys(text.split(",")))


def machine() -> dict[str, Any]:
    from fastcnn.threads import available_cores

    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    return {"platform": platform.platform(), "processor": model, "cores": available_cores()}


def versions() -> dict[str, str]:
    from fastcnn import __version__
    from fastcnn.commands.info import version

    return {"fastcnn": __version__, "python": platform.python_version()} | {
        package: version(package) for package in ("numpy", "numba", "llvmlite", "torch", "jax", "mpi4py")
    }
