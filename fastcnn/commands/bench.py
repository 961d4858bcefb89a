"""Time the backends, and layers like the original's, on the same work in turn; what counts is the ratio."""

from __future__ import annotations

import argparse
import statistics

from fastcnn.commands.options import add_runtime_options, number, print_json

HELP = "time the backends against each other"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="lenet (default): a training step")
    parser.add_argument(
        "--rounds", type=number(int, 1), default=10, metavar="N", help="turns of 20 runs for each; default: 10"
    )
    parser.add_argument(
        "--contestants",
        default="numba,numpy,original",
        metavar="A,B",
        help="the first is what the others are compared with; default: numba,numpy,original (original runs once)",
    )
    add_runtime_options(parser)


def run(arguments: argparse.Namespace) -> None:
    from fastcnn import benchmark
    from fastcnn.commands.options import UsageError
    from fastcnn.runtime import get_dtype, get_num_threads

    contestants = arguments.contestants.split(",")
    workloads = arguments.workloads or list(benchmark.WORKLOADS)
    for what, given, known in (
        ("WORKLOAD", workloads, benchmark.WORKLOADS),
        ("--contestants", contestants, benchmark.CONTESTANTS),
    ):
        for name in given:
            if name not in known:
                raise UsageError(f"argument {what}: expected any of {', '.join(known)}, received {name!r}")
    results = {}
    print(f"{'workload':<10} {'contestant':<10} {'median ms':>10} {'min ms':>10} {f'x {contestants[0]}':>10}")
    for workload in workloads:
        seconds = benchmark.measure(workload, contestants, arguments.rounds)
        ratios = benchmark.ratios(seconds)
        for name, times in seconds.items():
            median, least = statistics.median(times) * 1e3, min(times) * 1e3
            print(f"{workload:<10} {name:<10} {median:>10.2f} {least:>10.2f} {ratios[name]:>10.1f}", flush=True)
        results[workload] = {"seconds": seconds, "ratios": ratios}
    if arguments.json:
        print_json({"dtype": get_dtype().name, "threads": get_num_threads(), "workloads": results})
