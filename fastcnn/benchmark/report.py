"""What the seconds mean: ratios, rates, and the figures that sum up a run."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from fastcnn.benchmark.kernels import CONVOLUTIONS
from fastcnn.benchmark.turns import fastest, times_slower
from fastcnn.benchmark.workloads import WORKLOADS, Workload

TIMED_GROUPS = tuple(dict.fromkeys(workload.group for workload in WORKLOADS.values()))
WHOLE_GROUPS = ("startup", "memory")
FRAMEWORKS = ("torch", "compile", "jax")
WAYS = ("forward", "input", "weights")
HEADER = f"{'workload':<38} {'contestant':<20} {'median ms':>10} {'min ms':>10} {'ratio':>7} {'rate':>11}"


def result(workload: Workload, seconds: dict[str, dict[str, list[list[float]]]]) -> dict[str, Any]:
    """For each contestant the median and smallest milliseconds of its fastest variant and the median of each turn, how
    many times slower than the first contestant it is, and the rate in GFLOP/s or GB/s."""
    found: dict[str, Any] = {}
    first: list[float] = []
    for name, variants in seconds.items():
        variant, runs = fastest(variants)
        median, turns = statistics.median(runs), [statistics.median(turn) * 1e3 for turn in variants[variant]]
        facts = {"variant": variant, "median_ms": median * 1e3, "min_ms": min(runs) * 1e3, "runs": len(runs)}
        first = first or turns
        facts |= {"turns_ms": turns, "ratio": times_slower(turns, first)}
        for unit, amount in (("GFLOP/s", workload.flops), ("GB/s", workload.bytes)):
            if amount:
                facts[unit] = amount / median / 1e9
        found[name] = facts
    return found


def lines(name: str, found: dict[str, Any]) -> str:
    rows = []
    for contestant, facts in found.items():
        who = f"{contestant} ({facts['variant']})" if facts["variant"] else contestant
        rate = next((f"{facts[unit]:.0f} {unit}" for unit in ("GFLOP/s", "GB/s") if unit in facts), "")
        times = f"{facts['median_ms']:>10.3f} {facts['min_ms']:>10.3f} {facts['ratio']:>7.2f}"
        rows.append(f"{name:<38} {who:<20} {times} {rate:>11}")
    return "\n".join(rows)


def failures(name: str, failed: dict[str, str]) -> str:
    """Contestants that could not do a workload, and why."""
    return "".join(f"\n{name:<38} {contestant:<20} failed: {why}" for contestant, why in failed.items())


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def summary(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The figures by which a run is judged: how many times faster than torch, shape by shape and in the mean."""

    def over(name: str, rival: str, of: str = "numba") -> float | None:
        found = results.get(name, {})
        known = rival in found and of in found
        return times_slower(found[rival]["turns_ms"], found[of]["turns_ms"]) if known else None

    found: dict[str, dict[str, float]] = {}

    def add(title: str, figures: Mapping[str, float | None]) -> None:
        known = {name: value for name, value in figures.items() if value is not None}
        if known:
            found[title] = known

    steps = [name for name, workload in WORKLOADS.items() if workload.group in ("training", "prediction")]
    for rival in (*FRAMEWORKS, "numpy", "original"):
        add(f"steps: times faster than {rival}", {name: over(name, rival) for name in steps})
    for group in ("training", "prediction"):
        best = {}
        for name in steps:
            known = [ratio for rival in FRAMEWORKS if (ratio := over(name, rival)) is not None]
            if known and WORKLOADS[name].group == group:
                best[name] = min(known)
        if best:
            add(
                f"{group}: times faster than the best of them", best | {"geometric mean": geometric_mean(best.values())}
            )
    add("two threads: times faster than one", {"vgg_small": over("vgg_small", "numba-1")})
    shapes = {}
    for shape in CONVOLUTIONS:
        ways = [results.get(f"{shape.name}_{way}", {}) for way in WAYS]
        if all("torch" in way and "numba" in way for way in ways):
            ours = [way["numba"]["median_ms"] for way in ways]
            theirs = [own * over(f"{shape.name}_{way}", "torch") for own, way in zip(ours, WAYS, strict=True)]
            shapes[shape.name] = sum(theirs) / sum(ours)
    if shapes:
        shapes["geometric mean"] = geometric_mean(shapes.values())
    add("convolutions, forward and both gradients: times faster than torch", shapes)
    large = {f"{shape.name}_forward": shape.name for shape in CONVOLUTIONS if shape.large}
    for contestant in ("numba", "direct"):
        title = f"large convolutions, {contestant}: effective rate over that of sgemm"
        add(title, {short: over(name, "sgemm", contestant) for name, short in large.items()})
    dense = [f"{shape.name}_{way}" for shape in CONVOLUTIONS if shape.dense for way in WAYS]
    add("direct convolutions: rate over that of torch", {name: over(name, "torch", "direct") for name in dense})
    for group, rival in (("convolution", "copy"), ("pooling", "torch"), ("pooling", "copy"), ("columns", "copy")):
        title = f"{group}: times faster than torch" if rival == "torch" else f"{group}: share of copy bandwidth"
        add(title, {name: over(name, rival) for name, w in WORKLOADS.items() if w.group == group})
    return found


def summary_lines(found: dict[str, dict[str, float]]) -> str:
    rows = []
    for title, figures in found.items():
        rows += ["", title]
        rows += [f"  {name:<44} {value:>9.2f}" for name, value in figures.items()]
    return "\n".join(rows)


RANKS_HEADER = (
    f"{'workload':<14} {'ranks x threads':<16} {'median ms':>10} {'ratio':>7} {'waited ms':>10} {'summed bytes':>13} "
    f"{'their sum alone ms':>19}"
)


def rank_lines(name: str, found: dict[str, dict[str, Any]]) -> str:
    rows = []
    for job, facts in found.items():
        row = f"{name:<14} {job:<16} {facts['median_ms']:>10.3f} {facts['ratio']:>7.2f}"
        if "bytes" in facts:
            row += f" {facts['waited_ms']:>10.3f} {facts['bytes']:>13,} {facts['sum_alone_ms']:>19.3f}"
        rows.append(row)
    return "\n".join(rows)
