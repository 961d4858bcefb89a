"""From asv's results to what the landing page draws: plain dicts and lists, written into the page as JSON."""

import itertools
import json
import math
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from asv.results import Results, iter_results

from .titles import HEADLINES, LINES, TITLES, plain, title_of

MACHINE = {"machine", "os", "arch", "cpu", "num_cpu", "ram"}


def collect(conf: Any, benchmarks: Any, revisions: dict[str, int]) -> dict[str, Any]:
    """One set of charts for each machine and environment, that with the newest results first.

    `revisions` numbers the commits of the branches in asv.conf.json; results of others are left out, as asv's pages do.
    """
    groups: dict[tuple, list[Results]] = {}
    for found in iter_results(conf.results_dir):
        if found.commit_hash in revisions:
            machine = tuple(str(found.params.get(key)) for key in sorted(MACHINE))  # of one name rented ones differ
            groups.setdefault((*machine, found.env_name), []).append(found)
    rises = regressions(Path(conf.html_dir))
    ordered = [sorted(results, key=lambda r: revisions[r.commit_hash]) for results in groups.values()]
    setups = [setup(results, benchmarks) | {"regressions": regressions_of(results[-1], rises)} for results in ordered]
    setups.sort(key=lambda made: made["measured"], reverse=True)
    hashes = sorted({c["hash"] for made in setups for c in made["commits"]}, key=revisions.__getitem__)
    subjects = subjects_of(conf.repo, hashes)
    for made in setups:
        for commit in made["commits"]:
            commit["subject"] = subjects.get(commit["hash"], "")
    return {
        "project": conf.project,
        "setups": setups,
        "revisions": {number: commit for commit, number in revisions.items() if commit in hashes},
    }


def setup(results: list[Results], benchmarks: Any) -> dict[str, Any]:
    """The charts of one machine and environment, from its results in the order of their commits."""
    newest = results[-1]
    machine = {key: str(newest.params[key]) for key in ("machine", *sorted(MACHINE)) if newest.params.get(key)}
    pins = {key: str(value) for key, value in newest.params.items() if key not in MACHINE and value}
    charts = list(charts_of(results, benchmarks))
    return {
        "machine": machine,
        "pins": pins | {key: str(value) for key, value in newest.env_vars.items()},
        "measured": max((at for r in results for at in r.started_at.values() if at), default=newest.date),
        "commits": [{"hash": r.commit_hash, "date": r.date} for r in results],
        "charts": charts,
        "headlines": [headline for wanted in HEADLINES if (headline := headline_of(charts, *wanted))],
    }


def charts_of(results: list[Results], benchmarks: Any) -> Iterator[dict[str, Any]]:
    """A chart for each benchmark and each combination of its parameters but the one that tells its lines apart."""
    order = {name: position for position, name in enumerate(TITLES)}
    for name in sorted(benchmarks, key=lambda name: (order.get(name, len(order)), name)):
        benchmark = benchmarks[name]
        names, values = benchmark["param_names"], benchmark["params"]
        measured = [(r, name in r.get_result_keys(benchmarks)) for r in results]
        columns = [
            (r.get_result_value(name, benchmark["params"]), r.get_result_stats(name, benchmark["params"]))
            if has
            else None
            for r, has in measured
        ]
        lines = next((key for key in LINES if key in names), None)
        charts: dict[tuple[str, ...], dict[str, Any]] = {}
        for index, combination in enumerate(itertools.product(*values)):
            parameters = dict(zip(names, combination, strict=True))
            line = plain(parameters.pop(lines)) if lines else "value"
            if lines != "backend":
                parameters.pop("backend", None)
            chart = charts.setdefault(tuple(parameters.values()), chart_of(name, benchmark, parameters))
            if series := series_of(line, [column and point(column, index) for column in columns]):
                chart["series"].append(series)
        yield from (chart for chart in charts.values() if chart["series"])


def chart_of(name: str, benchmark: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    words = {key: plain(value) for key, value in parameters.items()}
    title = title_of(name, words)
    return {
        "benchmark": name,
        "parameters": words,
        "query": {f"p-{key}": value for key, value in parameters.items()},  # as asv's pages take them
        "group": title.group,
        "title": title.text,
        "pieces": title.pieces,
        "unit": benchmark["unit"],
        "series": [],
    }


def point(column: tuple[list, list], index: int) -> tuple[float, float, float] | None:
    """The value of one commit, and the middle half of its samples where it has some; None where it was not measured."""
    values, stats = column
    value, facts = values[index], stats[index] or {}
    if value is None or not math.isfinite(value):
        return None
    low, high = facts.get("q_25"), facts.get("q_75")
    return value, value if low is None else low, value if high is None else high


def series_of(line: str, points: Iterable[tuple[float, float, float] | None]) -> dict[str, Any] | None:
    """One line: values, and the edges of its band, with None for commits that have none; None if none has any."""
    found = list(points)
    if not any(found):
        return None
    value, low, high = ([None if p is None else p[part] for p in found] for part in range(3))
    return {"name": line, "value": value, "low": low, "high": high}


def headline_of(charts: list[dict[str, Any]], name: str, wanted: tuple[str, ...], label: str) -> dict[str, Any] | None:
    for chart in charts:
        if chart["benchmark"] == name and tuple(chart["parameters"].values()) == wanted:
            newest = {line["name"]: line["value"][-1] for line in chart["series"] if line["value"][-1] is not None}
            if "numba" in newest:
                return {"label": label, "unit": chart["unit"], "pieces": chart["pieces"], "newest": newest}
    return None


def regressions(html: Path) -> list[dict[str, Any]]:
    """What asv's own search found: a benchmark, its newest and its best value, and where it rose."""
    found = json.loads((html / "regressions.json").read_text("utf-8"))["regressions"]
    keys = ("name", "graph", "parameters", "index", "newest", "best", "jumps")
    return [dict(zip(keys, entry, strict=True)) for entry in found]


def regressions_of(newest: Results, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of one machine and environment: asv names the parameters of a curve wherever there are several values."""
    own = newest.params | {f"env-{key}": value for key, value in newest.env_vars.items()}
    return [rise for rise in found if all(own.get(key, value) == value for key, value in rise["parameters"].items())]


def subjects_of(repo: str, hashes: list[str]) -> dict[str, str]:
    """The first line of each commit's message; none where the repository is not a folder here."""
    if not hashes or not Path(repo).is_dir():
        return {}
    command = ["git", "-C", repo, "show", "--no-patch", "--format=%H %s", *hashes]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
