"""The landing page, as a plugin of asv: ``asv publish`` calls it last, when asv's own pages are written.

Named in asv.conf.json under "plugins". It writes `index.html`, its script and its style, moves asv's page to `asv.html`
and puts every library beside them, so that the site needs no network.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import asv
from asv.publishing import OutputPublisher

from . import collect, stock  # relative: other projects' suites lie in folders of other names

PAGE = Path(__file__).parent / "page"
MARK = "/*data*/"


class Landing(OutputPublisher):
    name = "overview"
    button_label = "Overview"
    description = "The landing page"
    order = math.inf  # after asv's own, whose regressions it shows

    @classmethod
    def publish(cls, conf: Any, repo: Any, benchmarks: Any, graphs: Any, revisions: dict[str, int]) -> None:
        """Write the page into ``conf.html_dir``."""
        html = Path(conf.html_dir)
        stock.publish(html)
        branches = [repo.get_branch_commits(branch) for branch in conf.branches]
        known = {commit: number for commit, number in revisions.items() if any(commit in some for some in branches)}
        data = collect.collect(conf, benchmarks, known) | {"asv": asv.__version__, "stock": stock.PAGE}
        for source in PAGE.iterdir():
            shutil.copy(source, html / source.name)
        index = html / "index.html"
        # No "<" in a script element: "</script>" would end it, and after "<!--<script" its own end would not.
        text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
        index.write_text(index.read_text("utf-8").replace(MARK, text), "utf-8")
