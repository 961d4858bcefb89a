"""asv's own pages, made to work without a network: their libraries lie beside them instead of on other servers."""

import re
import shutil
from pathlib import Path

VENDOR = Path(__file__).parent / "vendor"
PAGE = "asv.html"

# asv's page asks other servers for these, by the end of their address; each lies in a folder of VENDOR.
LIBRARIES = {
    "jquery-3.3.1.min.js": "jquery-3.3.1/jquery.min.js",
    "flot/0.8.3/jquery.flot.min.js": "flot-0.8.3/jquery.flot.js",
    "flot/0.8.3/jquery.flot.time.min.js": "flot-0.8.3/jquery.flot.time.js",
    "flot/0.8.3/jquery.flot.selection.min.js": "flot-0.8.3/jquery.flot.selection.js",
    "flot/0.8.3/jquery.flot.categories.min.js": "flot-0.8.3/jquery.flot.categories.js",
    "flot-orderbars@1.0.0/js/jquery.flot.orderBars.js": "flot-orderbars-1.0.0/jquery.flot.orderBars.js",
    "stupidtable/1.0.1/stupidtable.min.js": "stupid-table-plugin-1.1.3/stupidtable.min.js",
    "blueimp-md5/2.19.0/js/md5.min.js": "blueimp-md5-2.19.0/md5.min.js",
    "bootstrap@3.1.1/dist/js/bootstrap.min.js": "bootstrap-3.1.1/bootstrap.min.js",
    "bootstrap@3.1.1/dist/css/bootstrap.min.css": "bootstrap-3.1.1/bootstrap.min.css",
}
REMOTE = re.compile(r'(src|href)="https?://([^"]+)"(?:\s+(?:integrity|crossorigin|referrerpolicy)="[^"]*")*')


def localise(page: str) -> str:
    """The HTML of asv's page with the copies of its libraries, and a way back to the landing page.

    Raises
    ------
    RuntimeError
        The page asks for a library that is not among the copies: this asv is newer than they are.
    """

    def local(match: re.Match) -> str:
        attribute, address = match.groups()
        if address.startswith("github.com/"):  # a link in the page's head line, nothing that is loaded
            return match.group(0)
        for end, path in LIBRARIES.items():
            if address.endswith(end):
                return f'{attribute}="vendor/{path}"'
        raise RuntimeError(
            f"asv's page loads https://{address}, of which benchmarks/dashboard/vendor has no copy: add one there, and "
            "to LIBRARIES in benchmarks/dashboard/stock.py"
        )

    page = REMOTE.sub(local, page)
    home = '<li><a href="index.html">Overview</a></li>'
    return page.replace('<ul class="nav navbar-nav navbar-left">', f'<ul class="nav navbar-nav navbar-left">{home}', 1)


def publish(html: Path) -> None:
    """Move asv's page from index.html to asv.html, and copy all libraries to `html`/vendor."""
    (html / PAGE).write_text(localise((html / "index.html").read_text("utf-8")), "utf-8")
    shutil.copytree(VENDOR, html / "vendor", dirs_exist_ok=True)
    feed = html / "regressions.xml"
    if feed.exists():
        feed.write_text(feed.read_text("utf-8").replace("index.html#", f"{PAGE}#"), "utf-8")
