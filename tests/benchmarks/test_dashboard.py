"""The site that `asv publish` makes: what is collected, and what a browser shows of it with the network cut.

DASHBOARD_SCREENSHOTS=docs/images takes the pictures of docs/benchmarks.md, from the results in this repository.
"""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys

import pytest

from benchmarks.dashboard import stock, titles
from tests.helpers import browser, made_history
from tests.helpers.processes import ROOT

SCREENSHOTS = os.environ.get("DASHBOARD_SCREENSHOTS")
COLOURS = {"numba": "#0a66c2", "numpy": "#b35900", "torch": "#8a2be2"}  # of page.css, light


def publish(folder, html):
    command = [sys.executable, "-m", "asv", "publish", "--no-pull", "--html-dir", str(html)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return html


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a site of made-up results, and the hashes of their commits."""
    folder = tmp_path_factory.mktemp("made") / "repository"
    hashes = made_history.build(folder)
    return publish(folder, folder / "html"), hashes


@pytest.fixture(scope="module")
def site(made):
    with browser.served(made[0]) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    if not (browser.CHROMIUM and browser.DRIVER):
        pytest.skip("no chromium with chromedriver")
    opened = browser.Browser()
    yield opened
    opened.close()


@pytest.fixture
def page(chromium, site):
    """A browser whose page must not complain, nor ask anyone but the site for anything."""
    chromium.complaints(), chromium.requests()
    yield chromium
    assert chromium.complaints() == []
    asked = [url for url in chromium.requests() if not url.startswith(("about:", "data:", "blob:"))]
    assert asked and all(url.startswith(site) for url in asked)


def data_of(html):
    text = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', (html / "index.html").read_text(), re.S
    )
    return json.loads(text[1])


def test_what_is_collected(made):
    html, hashes = made
    data = data_of(html)
    (setup,) = data["setups"]
    assert [commit["hash"] for commit in setup["commits"]] == hashes
    assert setup["commits"][3]["subject"] == "commit 3 <!-- <script </script><b>"
    assert setup["pins"] == {"python": "3.11", "numpy": "2.4.6", "numba": "0.68.1", "THREADS": "2"}
    charts = {(chart["group"], chart["title"]): chart for chart in setup["charts"]}
    step = charts["Training steps", "LeNet: step on 64 images"]
    assert step["query"] == {"p-network": "'lenet'"} and step["unit"] == "seconds"
    lines = {line["name"]: line for line in step["series"]}
    assert list(lines) == ["numba", "numpy", "torch"]
    assert lines["numba"]["value"] == pytest.approx(
        [made_history.numba_seconds(n) for n in range(made_history.COMMITS)]
    )
    assert lines["torch"]["value"][:3] == [None, None, pytest.approx(6e-3)]
    assert lines["numba"]["low"][0] == pytest.approx(0.99 * 2e-3) and lines["numba"]["high"][0] == pytest.approx(
        1.01 * 2e-3
    )
    assert [line["name"] for line in charts["numba over its rivals", "LeNet: time over the rival's"]["series"]] == [
        "numpy",
        "torch",
    ]
    users = charts[titles.OTHER, "bench_of_a_user.time_something: size small"]
    assert [line["name"] for line in users["series"]] == ["value"]
    assert setup["headlines"][0]["newest"] == pytest.approx({"numba": 4e-3, "numpy": 40e-3, "torch": 12e-3})


def test_asv_finds_the_step_and_none_in_the_references(made):
    html, hashes = made
    """Which became slower with the same commit."""
    found = data_of(html)
    (setup,) = found["setups"]
    assert len(setup["regressions"]) == 5  # numba: two networks, epoch, two batches
    for regression in setup["regressions"]:
        assert "('numba'" in regression["name"]
        assert regression["newest"] == pytest.approx(2 * regression["best"])
        assert found["revisions"][str(regression["jumps"][0][1])] == hashes[8]


def test_results_of_commits_that_the_repository_lacks_are_left_out(tmp_path):
    made_history.build(tmp_path / "r", machines=("made-up", "other"))
    commit = min((tmp_path / "r/benchmarks/results/other").glob("*-made.json"))
    commit.write_text(re.sub(r'"commit_hash": "[0-9a-f]{40}"', f'"commit_hash": "{"0" * 40}"', commit.read_text()))
    data = data_of(publish(tmp_path / "r", tmp_path / "html"))
    assert sorted(len(setup["commits"]) for setup in data["setups"]) == [made_history.COMMITS - 1, made_history.COMMITS]


def test_commits_beside_the_branch_are_left_out_and_machines_have_their_own_regressions(tmp_path):
    folder = tmp_path / "r"
    hashes = made_history.build(folder, machines=("made-up", "quick"))
    made_history.git(folder, "branch", "-f", "aside", hashes[-1])
    made_history.git(folder, "reset", "-q", "--hard", hashes[-2])
    for number, commit in enumerate(hashes):  # on this machine nothing became slower
        if number >= 8:
            (path,) = (folder / "benchmarks/results/quick").glob(f"{commit[:8]}-*")
            path.unlink()
    data = data_of(publish(folder, tmp_path / "html"))
    found = {setup["machine"]["machine"]: setup for setup in data["setups"]}
    assert [commit["hash"] for commit in found["made-up"]["commits"]] == hashes[:-1]
    assert len(found["made-up"]["regressions"]) == 5 and found["quick"]["regressions"] == []


def test_nothing_of_the_pages_lies_elsewhere(made):
    html, _ = made
    for name in ("index.html", stock.PAGE):
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', (html / name).read_text())
        assert len(loaded) >= 5
        for address in loaded:
            assert (html / address).is_file(), address


def test_a_library_without_a_copy_is_an_error():
    with pytest.raises(
        RuntimeError, match=r"asv's page loads https://cdn\.example/d3\.js, of which .*vendor has no copy"
    ):
        stock.localise('<script src="https://cdn.example/d3.js"></script>')


def test_the_libraries_are_as_published():
    """Each file has the hash that vendor.json keeps, and each package its licence."""
    packages = json.loads((stock.VENDOR / "vendor.json").read_text())
    assert {path.name for path in stock.VENDOR.iterdir() if path.is_dir()} == set(packages)
    for folder, package in packages.items():
        assert {path.name for path in (stock.VENDOR / folder).iterdir()} == set(package["files"])
        assert package["licence"] == "MIT"
        for name, facts in package["files"].items():
            assert hashlib.sha256((stock.VENDOR / folder / name).read_bytes()).hexdigest() == facts["sha256"]
    assert all((stock.VENDOR / path).is_file() for path in stock.LIBRARIES.values())


CHART = """
    return [...document.querySelectorAll('figure.chart')].find(
        (figure) => figure.closest('#history') && figure.querySelector('figcaption').textContent === arguments[0])
"""


@pytest.mark.browser
def test_curves_of_all_backends_are_drawn(page, site):
    page.open(site, height=4000)
    chart = page.wait(CHART, "LeNet: step on 64 images")
    canvas = page.wait("return arguments[0].querySelector('canvas')", chart)
    legend = page.run("return [...arguments[0].querySelectorAll('.legend button')].map((b) => b.textContent)", chart)
    assert legend == ["numba", "numpy", "torch"]
    drawn = {name: page.pixels(canvas, colour) for name, colour in COLOURS.items()}
    assert all(count > 100 for count in drawn.values()), drawn

    button = page.run("return arguments[0].querySelector('.legend button')", chart)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    page.wait("return arguments[0].querySelector('canvas')", chart)
    assert page.pixels(canvas, COLOURS["numba"]) == 0 and page.pixels(canvas, COLOURS["numpy"]) > 100


@pytest.mark.browser
def test_a_chart_is_read_by_keyboard_and_as_a_table(page, site, made):
    from selenium.webdriver.common.keys import Keys

    page.open(site, height=4000)
    chart = page.wait(CHART, "LeNet: step on 64 images")
    page.wait("return arguments[0].querySelector('canvas')", chart)
    plot, said = (page.run(f"return arguments[0].querySelector('{part}')", chart) for part in (".plot", ".said"))
    assert "numba 4.00 ms (3.96 ms to 4.04 ms)" in said.text
    assert plot.get_attribute("aria-label").startswith("LeNet: step on 64 images. ")
    plot.send_keys(Keys.HOME)
    assert said.text.startswith(made[1][0][:7]) and "numba 2.00 ms" in said.text and "torch not measured" in said.text
    plot.send_keys(Keys.ARROW_RIGHT)
    assert said.text.startswith(made[1][1][:7]) and "commit 1 <!-- <script </script><b>" in said.text
    rows = page.run(
        "return [...arguments[0].querySelectorAll('details tbody tr')].map((row) => row.textContent)", chart
    )
    assert len(rows) == made_history.COMMITS and rows[0].endswith("2.00 ms20.0 ms\N{EN DASH}")


@pytest.mark.browser
def test_the_head_of_the_page(page, site):
    page.open(site)
    page.wait("return document.querySelector('#headlines li')")
    assert page.run("return document.title") == "fastcnn benchmarks"
    assert "4.00 ms" in page.run("return document.querySelector('#headlines').textContent")
    assert "1,000,000" in page.run("return document.querySelector('#headlines').textContent")  # 4,000 images in 4 ms
    row = page.run("return [...document.querySelectorAll('#speedups tbody tr')][1].textContent")
    assert row == "LeNet: step on 64 images4.00 ms10.0 T3.00 T1.00 T".replace("T", "\N{MULTIPLICATION SIGN}")
    assert "now 2.00 \N{MULTIPLICATION SIGN} its best value" in page.run(
        "return document.querySelector('#regressions').textContent"
    )
    scaling = page.run("return document.querySelector('#scaling figcaption').textContent")
    assert scaling == "LeNet training: images a second by batch"
    pins = page.run("return document.querySelector('#pins').textContent")
    assert all(pin in pins for pin in ("numba0.68.1", "numpy2.4.6", "cpua processor", "THREADS2"))


@pytest.mark.browser
def test_every_button_has_a_name_and_every_picture_a_text(page, site):
    page.open(site, height=4000)
    page.wait("return document.querySelector('canvas')")
    assert page.run("return document.documentElement.lang") == "en"
    for kind in ("button", "a", "select", ".plot", "table"):
        unnamed = page.run(
            """return [...document.querySelectorAll(arguments[0])].filter((e) => !(e.getAttribute('aria-label')
            || e.getAttribute('aria-labelledby') || e.textContent.trim() || (e.labels && e.labels.length)))
            .map((e) => e.outerHTML)""",
            kind,
        )
        assert unnamed == []
    levels = page.run("return [...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.browser
def test_dark_and_light(page, site):
    ground = "return getComputedStyle(document.body).backgroundColor"
    page.open(site, height=4000, dark=True)
    page.wait("return document.querySelector('canvas')")
    assert page.run(ground) == "rgb(15, 19, 24)"
    page.run("document.getElementById('theme').click()")
    assert page.run(ground) == "rgb(255, 255, 255)"
    canvas = page.run("return document.querySelector('#history canvas')")
    assert page.pixels(canvas, COLOURS["numba"]) > 100
    page.open(site, dark=True)
    assert page.run(ground) == "rgb(255, 255, 255)"  # as chosen
    page.run("localStorage.clear()")


@pytest.mark.browser
def test_a_phone_needs_no_sideways_scrolling(page, site):
    page.open(site, width=360, height=6000)
    page.wait("return document.querySelector('#history canvas')")
    assert page.run("return document.documentElement.scrollWidth") <= 360


@pytest.mark.browser
def test_the_landing_page_works_from_a_file(chromium, made):
    chromium.complaints(), chromium.requests()
    chromium.open(f"file://{made[0]}/index.html")
    assert chromium.wait("return document.querySelector('canvas')")
    assert chromium.complaints() == []
    assert all(url.startswith("file:") for url in chromium.requests() if not url.startswith(("about:", "data:")))


@pytest.mark.browser
def test_asvs_own_pages(page, site):
    page.open(f"{site}{stock.PAGE}#/")
    page.wait("return document.querySelectorAll('#summarygrid-display canvas').length >= 6")
    page.open(f"{site}{stock.PAGE}#/summarylist")
    page.wait("return document.querySelector('#summarylist-body').textContent.includes('TrainingStep.time_step')")
    page.open(f"{site}{stock.PAGE}#/regressions")
    page.wait("return document.querySelectorAll('#regressions-body tbody tr').length === 5")
    page.open(f"{site}{stock.PAGE}#bench_training.TrainingStep.time_step?p-network='lenet'")
    page.wait("return document.querySelector('#main-graph .legend')")
    legend = page.run("return document.querySelector('#main-graph .legend').textContent")
    assert "numba" in legend and "numpy" in legend
    canvas = page.run("return document.querySelector('#main-graph canvas.flot-base')")
    colours = page.run(
        """const hex = (n) => Number(n).toString(16).padStart(2, '0');
        return [...document.querySelectorAll('#main-graph .legendColorBox div div')].map((div) =>
            '#' + getComputedStyle(div).borderTopColor.match(/[0-9]+/g).map(hex).join(''))"""
    )
    assert len(colours) == 3 and all(page.pixels(canvas, colour) > 50 for colour in colours)  # LeNet alone, as linked
    overview = page.run("return [...document.querySelectorAll('nav a')].find((a) => a.textContent === 'Overview').href")
    assert overview == f"{site}index.html"


@pytest.mark.browser
def test_links_made_for_asvs_usual_address_lead_there(page, site):
    page.open(f"{site}index.html#bench_training.Epoch.time_epoch?p-backend='numba'")
    page.wait("return location.pathname.endsWith('asv.html') && document.querySelector('#main-graph canvas')")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The site of the results that this repository keeps; skipped in a copy without their commits."""
    hashes = {json.loads(path.read_text())["commit_hash"] for path in (ROOT / "benchmarks/results").glob("*/*-*.json")}
    known = subprocess.run(
        ["git", "-C", str(ROOT), "cat-file", "-e", f"{min(hashes)}^{{commit}}"], check=False, capture_output=True
    )
    if known.returncode:
        pytest.skip("this copy of the repository has no history")
    return publish(ROOT, tmp_path_factory.mktemp("kept") / "html"), hashes


def test_the_repository_keeps_results_of_ten_commits(kept):
    html, hashes = kept
    data = data_of(html)
    assert len(hashes) >= 10 and len(data["setups"][0]["commits"]) >= 10
    for group in ("Training steps", "Convolution", "Pooling", "Columns", "Memory", "Start", "Layers", "Scaling"):
        lines = {
            line["name"] for chart in data["setups"][0]["charts"] if chart["group"] == group for line in chart["series"]
        }
        assert {"numba", "numpy"} <= lines


@pytest.mark.browser
def test_the_page_of_the_kept_results(chromium, kept):
    with browser.served(kept[0]) as address:
        chromium.complaints()
        chromium.open(address, height=1500)
        chart = chromium.wait(CHART, "LeNet: step on 64 images")
        chromium.run("arguments[0].scrollIntoView()", chart)
        canvas = chromium.wait("return arguments[0].querySelector('canvas')", chart)
        assert all(chromium.pixels(canvas, colour) > 100 for colour in COLOURS.values())
        assert chromium.complaints() == []
        if SCREENSHOTS:
            take_screenshots(chromium, address, ROOT / SCREENSHOTS)


def take_screenshots(chromium, address, folder):
    folder.mkdir(parents=True, exist_ok=True)
    views = {
        "dashboard": ("", 1280, 1100, False),
        "dashboard-dark": ("#group-training-steps", 1280, 1000, True),
        "dashboard-phone": ("", 390, 844, False),
        "asv-graph": (f"{stock.PAGE}#bench_training.TrainingStep.time_step?p-network='lenet'", 1280, 800, False),
    }
    for name, (path, width, height, dark) in views.items():
        chromium.open(address + path, width, height, dark)
        chromium.wait("return document.querySelector('canvas, #headlines li')")
        if path.startswith(stock.PAGE):
            chromium.wait("return document.querySelector('#main-graph .legend')")
        if path.startswith("#"):
            chromium.run("document.querySelector(arguments[0]).scrollIntoView()", path)
            chromium.wait("return document.querySelectorAll('#history canvas').length > 2")
        chromium.driver.save_screenshot(str(folder / f"{name}.png"))
